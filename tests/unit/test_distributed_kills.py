"""Distributed exporters that are killed at every call and at random times, with a reader that polls beside them."""

import json
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mexport_pb as mx
from mexport_pb.export.journal import JOURNAL_NAME
from tests.support.distributed_model import make_checkpoint

ROOT = Path(__file__).parents[2]
SERVERS = 2
OTHERS = ["dense_0", *(f"ps_{i}" for i in range(SERVERS))]
NAMES = ["entry", *OTHERS]
RANDOM_KILLS = 200
CLEAN_UP_CALLS = 26


class Runner:
    """Orders exports, and polls while they run."""

    def __init__(self, folder):
        make_checkpoint(folder, SERVERS)
        self.base = folder / "models"
        self.polls = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kill_runner", str(folder), str(SERVERS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self.process.stdout.readline().strip() == "ready"

    def __call__(self, version, *, kill_at=None, kill_after=None):
        order = {"version": version, "kill_at": kill_at, "kill_after": kill_after}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        while not select.select([self.process.stdout], [], [], 0.001)[0]:
            self.poll(version)
        self.poll(version)
        return self.process.stdout.readline().strip()

    def poll(self, version):
        """What a reader sees: with the entry, all others."""
        self.polls += 1
        if (self.base / "entry" / str(version)).exists():
            for name in OTHERS:
                assert (self.base / name / str(version) / "saved_model.pb").stat().st_size > 0, f"half of {version}"

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def runner(tmp_path):
    runner = Runner(tmp_path)
    yield runner
    runner.close()


def published(base, version):
    return [name for name in NAMES if (base / name / str(version)).exists()]


def assert_clean(base, version):
    """The version is whole, and nothing is left behind."""
    assert published(base, version) == NAMES
    assert sorted(os.listdir(base)) == sorted(NAMES)
    for name in NAMES:
        assert all(entry.isdecimal() for entry in os.listdir(base / name))
        assert mx.check_saved_model(base / name / str(version)).ok


def test_killed_at_every_call(runner):
    seen, between = set(), []
    for k in range(1, 1000):
        status = runner(k, kill_at=k)
        assert status in ("killed", "done")
        found = published(runner.base, k)
        seen.add(len(found))
        if (runner.base / JOURNAL_NAME).exists() and 0 < len(found) < len(NAMES):
            between.append(k)
        assert runner(k) == "done"
        assert_clean(runner.base, k)
        if status == "done":
            break
    # Killed after each of the renames, and so at every stage of the commit.
    assert seen == {0, 1, 2, 3, 4}
    assert between
    assert k > 60
    # The same for exporters that clean up after another one.
    for number in range(1, CLEAN_UP_CALLS):
        version = 1000 + number
        assert runner(version, kill_at=between[len(between) // 2]) == "killed"
        assert 0 < len(published(runner.base, version)) < len(NAMES)
        assert runner(version, kill_at=number) == "killed"
        assert runner(version) == "done"
        assert_clean(runner.base, version)
    print(f"{k - 1} calls and {CLEAN_UP_CALLS - 1} of a clean-up, {runner.polls} polls, 0 half versions")


def test_killed_at_random_times(runner):
    rng = random.Random(6)
    begin = time.monotonic()
    for version in (1001, 1002, 1003):
        assert runner(version) == "done"
    seconds = (time.monotonic() - begin) / 3
    killed = 0
    for version in range(RANDOM_KILLS):
        killed += runner(version, kill_after=rng.uniform(0, 1.2 * seconds)) == "killed"
    assert killed > RANDOM_KILLS // 3
    for version in range(RANDOM_KILLS):
        runner.poll(version)
        assert published(runner.base, version) in ([], NAMES) or (runner.base / JOURNAL_NAME).exists()
    assert runner(RANDOM_KILLS) == "done"
    assert_clean(runner.base, RANDOM_KILLS)
    for version in range(RANDOM_KILLS):
        assert published(runner.base, version) in ([], NAMES)
    print(f"{killed} of {RANDOM_KILLS} killed, {runner.polls} polls, 0 half versions")
