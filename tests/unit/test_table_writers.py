"""Writers of one table at the same time, and writers and readers that are interrupted."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.table import shards
from mexport_pb.table.shards import shard_path
from tests.unit.test_table_files import files_of, make


def write_of(multi):
    if multi:
        return lambda base, dump, n: mx.write_multi_table(base, {"a": dump}, n)
    return mx.write_table


def read_of(multi):
    return (lambda base: mx.read_multi_table(base)["a"]) if multi else mx.read_table


# --- at the same time ---


@pytest.mark.parametrize("multi", [False, True])
def test_two_writers_leave_the_whole_dump_of_one(multi, tmp_path, monkeypatch):
    write = write_of(multi)
    second = threading.Thread(target=write, args=(tmp_path / "t", make([3, 4]), 2))
    rename = os.rename

    def slow(source, target):
        if "00001-of" in target and threading.current_thread() is not second and second.ident is None:
            second.start()
            second.join(0.5)
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow)
    write(tmp_path / "t", make([1, 2]), 2)
    second.join()
    assert read_of(multi)(tmp_path / "t").ids.tolist() == [3, 4]
    assert len(files_of(tmp_path)) == (4 if multi else 2)


def test_a_lock_that_stays_leaves_the_old_dump(tmp_path, monkeypatch):
    mx.write_table(tmp_path / "t", make([1]), 1)
    before = files_of(tmp_path)
    monkeypatch.setattr(shards, "_LOCK_SECONDS", 0.05)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another writer keeps the folder locked") as error:
            mx.write_table(tmp_path / "t", make([2]), 1)
    finally:
        os.close(descriptor)
    assert error.value.filename == str(tmp_path)
    assert files_of(tmp_path) == before
    mx.write_table(tmp_path / "t", make([2]), 1)
    assert mx.read_table(tmp_path / "t").ids.tolist() == [2]


def test_a_fork_does_not_keep_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_LOCK_SECONDS", 0.05)
    rename, copies = os.rename, []

    def copy(source, target):
        # What a child has that is forked now.
        if not copies:
            names = [name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
            own = [int(name) for name in names if os.path.samefile(f"/proc/self/fd/{name}", tmp_path)]
            copies.extend(os.dup(descriptor) for descriptor in own)
        rename(source, target)

    monkeypatch.setattr(os, "rename", copy)
    try:
        mx.write_table(tmp_path / "t", make([1]), 1)
        assert copies
        mx.write_table(tmp_path / "t", make([2]), 1)
    finally:
        for descriptor in copies:
            os.close(descriptor)


def test_file_systems_that_cannot_lock(tmp_path, monkeypatch):
    def fail(descriptor, operation):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "flock", fail)
    mx.write_table(tmp_path / "t", make([1]), 2)
    assert mx.read_table(tmp_path / "t").ids.tolist() == [1]


# --- durable ---


def can_trace():
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer cannot be traced")
@pytest.mark.skipif(not can_trace(), reason="needs strace")
@pytest.mark.parametrize("kind", ["plain", "snappy", "zlib", "multi"])
def test_files_are_synced_before_they_get_their_names(kind, tmp_path):
    code = """
        import sys
        import mexport_pb as mx
        from tests.unit.test_table_files import make
        path, kind = sys.argv[1:]
        if kind == "multi":
            mx.write_multi_table(path, {"a": make([1, 2])}, 2)
        else:
            mx.write_table(path, make([1, 2]), 2, compression=None if kind == "plain" else kind)
    """
    folder, log = tmp_path / "dump", tmp_path / "log"
    trace = ["strace", "-f", "-y", "-s", "500", "-e", "trace=fsync,rename", "-o", str(log)]
    subprocess.run([*trace, sys.executable, "-c", textwrap.dedent(code), str(folder / "t"), kind], check=True)
    calls = re.findall(rf'(?:fsync\(\d+<|rename\("){re.escape(str(folder))}/?([^">]*)', log.read_text())
    files = 4 if kind == "multi" else 2
    synced, then = calls[:files], calls[files:]
    assert len(set(synced)) == files
    assert all("-tmp-" in name for name in synced)
    # The folder, the renames, the folder.
    assert then[0] == then[-1] == ""
    assert sorted(then[1:-1]) == sorted(synced)


# --- interrupted ---


class Alarm(Exception):
    pass


def raise_alarm(*_):
    raise Alarm


def timed(call):
    start = time.monotonic()
    call()
    return time.monotonic() - start


def make_large(rows):
    rows //= 3 if "MEXPORT_SANITIZED" in os.environ else 1
    values = np.random.default_rng(0).random((rows, 32), np.float32)
    return mx.TableDump(np.arange(rows), values, np.zeros(rows, np.int64), ())


@pytest.fixture(scope="module")
def large():
    return make_large(1_500_000)


def check_interrupt(call):
    """A signal's exception comes out of a call long before its end, which is many looks for a signal away."""
    whole = timed(call)
    handler = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, whole / 10)
        start = time.monotonic()
        with pytest.raises(Alarm):
            call()
        assert time.monotonic() - start < 0.8 * whole
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("compression", ["snappy", "zlib"])
def test_interrupt_of_a_reader(compression, tmp_path):
    count, dump = 24, make_large(100_000)
    mx.write_table(tmp_path / "one", dump, 1, compression=compression)
    for shard in range(count):
        os.link(tmp_path / "one-00000-of-00001", shard_path(tmp_path / "t", shard, count))
    check_interrupt(lambda: mx.read_table(tmp_path / "t", compression=compression, threads=1))
    assert len(mx.read_table(tmp_path / "t", compression=compression)) == count * len(dump)


def test_interrupt_of_a_reader_of_several_tables(tmp_path):
    count, dump = 24, make_large(100_000)
    mx.write_multi_table(tmp_path / "one", {"a": dump}, 1)
    for shard in range(count):
        for suffix in ("", ".meta"):
            os.link(tmp_path / f"one{suffix}-00000-of-00001", shard_path(tmp_path / f"t{suffix}", shard, count))
    check_interrupt(lambda: mx.read_multi_table(tmp_path / "t", threads=1))
    assert len(mx.read_multi_table(tmp_path / "t")["a"]) == count * len(dump)


@pytest.mark.parametrize("compression", ["snappy", "zlib"])
def test_interrupt_of_a_writer(compression, large, tmp_path):
    dump = make_large(100_000) if compression == "zlib" else large
    targets = iter(("whole", "interrupted"))
    mx.write_table(tmp_path / "interrupted" / "t", make([1]), 1)
    before = files_of(tmp_path / "interrupted")
    check_interrupt(lambda: mx.write_table(tmp_path / next(targets) / "t", dump, 3, compression=compression, threads=1))
    assert files_of(tmp_path / "interrupted") == before


def test_interrupt_of_a_writer_of_several_tables(large, tmp_path):
    targets = iter(("whole", "interrupted"))
    mx.write_multi_table(tmp_path / "interrupted" / "t", {"a": make([1])}, 1)
    before = files_of(tmp_path / "interrupted")
    check_interrupt(
        lambda: mx.write_multi_table(tmp_path / next(targets) / "t", {"a": large, "b": large}, 3, threads=1)
    )
    assert files_of(tmp_path / "interrupted") == before


def test_signal_whose_handler_returns_ends_nothing(large, tmp_path):
    calls = []
    handler = signal.signal(signal.SIGALRM, lambda *_: calls.append(time.monotonic()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.02)
        mx.write_table(tmp_path / "t", large, 3)
        got = mx.read_table(tmp_path / "t")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert calls
    np.testing.assert_array_equal(got.values, large.values)


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer needs a process of its own")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    code = """
        import sys
        import mexport_pb as mx
        from tests.unit.test_table_writers import make_large
        dump = make_large(300_000)
        print("go", flush=True)
        mx.write_table(sys.argv[1], dump, 3, compression="zlib")
        print("done", flush=True)
    """
    mx.write_table(tmp_path / "t", make([1]), 1)
    before = files_of(tmp_path)
    run = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "t")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        out, err = process.communicate(timeout=60)
        seconds = time.monotonic() - start
    assert process.returncode == -signal.SIGINT
    assert out == ""
    assert "KeyboardInterrupt" in err
    assert seconds < 1
    assert files_of(tmp_path) == before
