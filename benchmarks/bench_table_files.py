"""Table dumps: files to columns and back, beside a loop of Python's protobuf runtime over the same records.

Figures are entries a second of processor time, all threads and the kernel's share included: rates of one core, whatever
the number of threads. Beside them those by the clock, which other work on the machine and fsync lower.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
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


@dataclass(frozen=True)
class Rate:
    """Entries a second: of processor time, and by the clock."""

    core: float
    clock: float


def rate(work: Callable[[], object], entries: int, repeats: int) -> Rate:
    """Return the best rates of some repeats."""
    core = clock = 0.0
    for _ in range(repeats):
        start, start_clock = processor_seconds(), time.perf_counter()
        work()
        core = max(core, entries / (processor_seconds() - start))
        clock = max(clock, entries / (time.perf_counter() - start_clock))
    return Rate(core, clock)


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


def report(title: str, rows: list[tuple[str, Rate]]) -> None:
    """Print rates, and how many times the first row's each is."""
    print(f"\n{title:<60}{'of a core':>24}{'by the clock':>24}")
    first = rows[0][1]
    for name, value in rows:
        core = f"{value.core / 1e6:>11.3f} M/s{value.core / first.core:>7.1f} x"
        print(f"  {name:<58}{core}{value.clock / 1e6:>11.3f} M/s{value.clock / first.clock:>7.1f} x")


def bench(name: str, sizes: Sizes, directory: Path) -> None:
    kind, dim = LAYOUTS[name]
    dump = make(kind, dim, sizes.table_rows)
    few = make(kind, dim, sizes.python_table_rows)
    n = len(dump)
    order = np.argsort(dump.ids)
    states = tuple(OptimizerState(s.kind, {name: c[order] for name, c in s.columns.items()}) for s in dump.opt)
    ordered = TableDump(dump.ids[order], dump.values[order], dump.timestamps[order], states)
    t, m, repeats = directory / "t", directory / "m", sizes.repeats
    written = [("Python protobuf loop", rate(lambda: build_loop(directory / "loop", few), len(few), repeats))]
    for order, columns in (("any order", dump), ("order", ordered)):
        for threads in (1, 2):
            end = f"ids in {order}, threads={threads}"
            write = partial(write_table, t, columns, 1, threads=threads)
            written.append((f"write_table, {end}", rate(write, n, repeats)))
            write_multi = partial(write_multi_table, m, {"a": columns}, 1, threads=threads)
            written.append((f"write_multi_table (snappy), {end}", rate(write_multi, n, repeats)))
    report(f"write {name}, sorted and synced", written)

    def iterate() -> None:
        for _ in iter_table(t):
            pass

    write_table(directory / "few", few, 1)
    loop = rate(lambda: parse_loop(directory / "few-00000-of-00001", kind), len(few), repeats)
    read = [("Python protobuf loop", loop), ("iter_table", rate(iterate, n, repeats))]
    for threads in (1, 2):
        read.append((f"read_table, threads={threads}", rate(partial(read_table, t, threads=threads), n, repeats)))
        read_multi = partial(read_multi_table, m, threads=threads)
        read.append((f"read_multi_table (snappy), threads={threads}", rate(read_multi, n, repeats)))
    report(f"read {name}, checksums checked", read)


def main() -> None:
    sizes = from_command_line(__doc__)
    for name in LAYOUTS:
        with tempfile.TemporaryDirectory() as directory:
            bench(name, sizes, Path(directory))


if __name__ == "__main__":
    main()
