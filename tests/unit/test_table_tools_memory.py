"""Tables go from files to files in memory that does not grow with them."""

import os
import subprocess
import sys

import numpy as np
import pytest

import mexport_pb as mx

pytestmark = pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")

MIB = 1 << 20
TABLES, ROWS, DIM = 8, 100_000, 64
# As columns: the ids, the timestamps, the values and as much state.
TABLE_BYTES = TABLES * ROWS * (16 + 8 * DIM)
# How far the peak may rise above what the process had after its imports.
ALLOWED = 180 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One table in eight dumps, each with every eighth id, of which four are not sorted."""
    folder = tmp_path_factory.mktemp("tables")
    values = np.random.default_rng(0).standard_normal((ROWS, DIM), np.float32)
    state = (mx.OptimizerState("adagrad", {"norm": values}),)
    times = np.full(ROWS, 1_700_000_000)
    for i in range(TABLES):
        dump = mx.TableDump(np.arange(ROWS) * TABLES + i, values, times, state)
        mx.write_table(folder / f"in_{i}", dump, 2)
        if i % 2:
            first, second = (folder / f"in_{i}-{shard:05d}-of-00002" for shard in range(2))
            first.rename(folder / "x")
            second.rename(first)
            (folder / "x").rename(second)
    assert TABLE_BYTES > 2 * ALLOWED
    return folder


def peak_growth(folder, code):
    """Run `code` in a fresh process; return how many bytes its peak of resident memory rose."""
    script = (
        "import numpy, pyarrow.parquet\nimport mexport_pb as mx\nfrom mexport_pb.table import npz, parquet\n"
        "from tests.support.memory import peak_rss\n"
        f"before = peak_rss()\n{code}\nprint(peak_rss() - before)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_tables_larger_than_the_limit(folder):
    """One after the other, because each needs the files of the one before."""
    for code in (
        "mx.merge_tables(['in_*'], 'all', num_shards=3)",
        "mx.convert_table('all', 'all.npz')",
        "mx.convert_table('all', 'all.parquet')",
        "mx.convert_table('all.npz', 'a', num_shards=3)",
        "mx.convert_table('all.parquet', 'b', num_shards=3)",
        "mx.partition_table('all', 'p', 3)",
        "mx.reshard_tables('p', 2, 'q', workers=1)",
        "assert sum(info.rows for info in mx.table_infos(['all', 'in_1'])) == 900_000",
    ):
        assert peak_growth(folder, code) < ALLOWED, code
    for shard in range(3):
        (want, *others) = ((folder / f"{name}-{shard:05d}-of-00003").read_bytes() for name in ("all", "a", "b"))
        assert [other == want for other in others] == [True, True]


def test_the_measure_sees_a_whole_table(folder):
    code = "dumps = [mx.read_table(f'in_{i}') for i in range(8)]"
    assert peak_growth(folder, code) > 2 * ALLOWED
