"""Table dumps: files to columns and back, beside a loop of Python's protobuf runtime over the same records.

Figures are entries a second of processor time, all threads and the kernel's share included, so those of one thread
are rates of one core.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sizes import Sizes, from_command_line
from mexport_pb._proto.hash_table_pb2 import EntryDump
from mexport_pb.record import RecordReader, RecordWriter
from mexport_pb.table import (
    OptimizerState,
    TableDump,
    iter_table,
    read_multi_table,
    read_table,
    write_multi_table,
    write_table,
)
from mexport_pb.table.dump import state_fields

LAYOUTS = {"ftrl, dim 1": ("ftrl", 1), "ftrl, dim 16": ("ftrl", 16), "adagrad, dim 16": ("adagrad", 16)}


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rate(work: Callable[[], object], entries: int, repeats: int) -> float:
    """Return the best rate of some repeats, in entries a second of processor time."""
    best = 0.0
    for _ in range(repeats):
        start = processor_seconds()
        work()
        best = max(best, entries / (processor_seconds() - start))
    return best


def make(kind: str, dim: int, entries: int) -> TableDump:
    rng = np.random.default_rng(0)

    def floats() -> np.ndarray:
        return rng.standard_normal((entries, dim), np.float32)

    columns = {name: floats() for name, _, _ in state_fields()[kind]}
    ids = rng.permutation(entries).astype(np.int64) * 2654435761
    timestamps = rng.integers(1_600_000_000, 1_700_000_000, entries)
    return TableDump(ids, floats(), timestamps, (OptimizerState(kind, columns),))


def parse_loop(path: Path, kind: str) -> None:
    """What a script without this package does: a message a record, then columns."""
    names = [name for name, _, _ in state_fields()[kind]]
    ids, times, values, states = [], [], [], []
    with RecordReader(path) as reader:
        for record in reader:
            entry = EntryDump.FromString(record)
            ids.append(entry.id)
            times.append(entry.last_update_ts_sec)
            values.append(list(entry.num))
            state = getattr(entry.opt.dump[0], kind)
            states.append([list(getattr(state, name)) for name in names])
    np.array(ids), np.array(times), np.array(values, np.float32), np.array(states, np.float32)


def messages(dump: TableDump) -> Iterator[bytes]:
    state = dump.opt[0]
    lists = {name: column.tolist() for name, column in state.columns.items()}
    columns = zip(dump.ids.tolist(), dump.values.tolist(), dump.timestamps.tolist(), strict=True)
    for i, (entry_id, values, timestamp) in enumerate(columns):
        entry = EntryDump(id=entry_id, num=values, last_update_ts_sec=timestamp)
        inner = getattr(entry.opt.dump.add(), state.kind)
        for name, column in lists.items():
            getattr(inner, name).extend(column[i])
        yield entry.SerializeToString()


def build_loop(path: Path, dump: TableDump) -> None:
    with RecordWriter(path) as writer:
        for record in messages(dump):
            writer.write(record)
        writer.sync()


def report(title: str, rows: list[tuple[str, float]]) -> None:
    """Print rates, and how many times the first row's each is."""
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<48}{value / 1e6:>9.3f} M/s{value / rows[0][1]:>9.1f} x")


def bench(name: str, sizes: Sizes, directory: Path) -> None:
    kind, dim = LAYOUTS[name]
    dump = make(kind, dim, sizes.table_rows)
    few = make(kind, dim, sizes.python_table_rows)
    n = len(dump)
    order = np.argsort(dump.ids)
    states = tuple(OptimizerState(s.kind, {name: c[order] for name, c in s.columns.items()}) for s in dump.opt)
    ordered = TableDump(dump.ids[order], dump.values[order], dump.timestamps[order], states)
    one = {"num_shards": 1, "threads": 1}
    written = [
        ("Python protobuf loop", rate(lambda: build_loop(directory / "loop", few), len(few), sizes.repeats)),
        (
            "write_table, ids in any order",
            rate(lambda: write_table(directory / "t", dump, **one), n, sizes.repeats),
        ),
        (
            "write_table, ids in order",
            rate(lambda: write_table(directory / "t", ordered, **one), n, sizes.repeats),
        ),
        (
            "write_multi_table (snappy)",
            rate(lambda: write_multi_table(directory / "m", {"a": dump}, 1), n, sizes.repeats),
        ),
    ]
    report(f"write {name}, sorted and synced", written)

    def iterate() -> None:
        for _ in iter_table(directory / "t"):
            pass

    write_table(directory / "few", few, 1)
    loop = rate(lambda: parse_loop(directory / "few-00000-of-00001", kind), len(few), sizes.repeats)
    read = [
        ("Python protobuf loop", loop),
        ("read_table, threads=1", rate(lambda: read_table(directory / "t", threads=1), n, sizes.repeats)),
        ("read_table, all threads", rate(lambda: read_table(directory / "t"), n, sizes.repeats)),
        ("iter_table", rate(iterate, n, sizes.repeats)),
        ("read_multi_table (snappy)", rate(lambda: read_multi_table(directory / "m"), n, sizes.repeats)),
    ]
    report(f"read {name}, checksums checked", read)


def main() -> None:
    sizes = from_command_line(__doc__)
    for name in LAYOUTS:
        with tempfile.TemporaryDirectory() as directory:
            bench(name, sizes, Path(directory))


if __name__ == "__main__":
    main()
