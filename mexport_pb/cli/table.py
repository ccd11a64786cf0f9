"""Look into dumps of embedding hash tables; convert, merge, split and reshard them."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mexport_pb.errors import InvalidArgumentError, TableError

if TYPE_CHECKING:
    from mexport_pb.table.dump import TableDump
    from mexport_pb.table.info import TableInfo

__all__ = ["add_parser"]

_FILES = """\
FILES: a basename (what the names of the files have in front of -00000-of-00004), one of the files, a pattern, a folder,
or a .npz or .parquet file. Nothing that is there is replaced without --force.
"""
_EXAMPLES = {
    "info": "mexport table info model/assets/feed_0 --json",
    "head": "mexport table head feed_0 -n 3 --json\n  mexport table head feed_0 --id -17 --id 0x1000000000005",
    "convert": "mexport table convert feed_0 feed.parquet\n  mexport table convert feed.npz feed_1 --shards 4",
    "merge": "mexport table merge feed_0 feed_1 -o feed --on-conflict newest\n  mexport table merge 'f_*' -o f",
    "reshard": "mexport table reshard train/model.ckpt-9 --num-ps 3 -o train3/model.ckpt-9\n"
    "  mexport table reshard assets/feed --num-ps 8 -o out/feed",
    "split": "mexport table split feed -o out/feed -n 4\n  mexport table split feed -o out/feed --by mod -n 5",
}
_SHOWN_SLOTS = 20
_SHOWN_VALUES = 6


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "table",
        help="look into dumps of embedding hash tables; convert, merge, split and reshard them",
        description=__doc__,
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    info = _action(actions, "info", _info, "what is in tables; reads all of it and checks every checksum")
    info.add_argument("files", nargs="+", metavar="FILES")
    info.add_argument(
        "--fid", choices=("v1", "v2"), default="v2", help="how ids hold their slots (default: %(default)s)"
    )

    head = _action(actions, "head", _head, "the first entries, or those with some ids")
    head.add_argument("files", metavar="FILES")
    head.add_argument("-n", type=_count, default=10, metavar="N", help="this many entries (default: %(default)s)")
    head.add_argument(
        "--id", type=_id, action="append", default=[], metavar="ID", help="the entries with this id; repeatable"
    )

    convert = _action(actions, "convert", _convert, "a dump to .npz or Parquet, or back, by the suffixes")
    convert.add_argument("source", metavar="FILES")
    convert.add_argument("target", metavar="TARGET", help="a .npz or .parquet file, or the basename of a dump")

    merge = _action(actions, "merge", _merge, "several tables to one dump, sorted")
    merge.add_argument("files", nargs="+", metavar="FILES")
    merge.add_argument(
        "--on-conflict",
        choices=("error", "newest", "first", "last"),
        default="error",
        help="what becomes of an id that comes more than once: of the entries the newest, the first or the last in the "
        "order of the FILES stays (default: %(default)s)",
    )

    split = _action(actions, "split", _split, "one table to several files or tables")
    split.add_argument("files", metavar="FILES")
    split.add_argument("-n", type=_count, required=True, metavar="N", help="how many files, or tables")
    split.add_argument(
        "--by",
        choices=("range", "mod"),
        default="range",
        help="range: one dump of N files, each a range of ids; mod: N dumps TARGET_0 ..., by id mod N, as parameter "
        "servers hold them (ids are unsigned) (default: %(default)s)",
    )

    _add_reshard(actions)
    for each in (info, head, convert, merge, split):
        each.add_argument("--table", metavar="NAME", help="which table of a dump of several")
        each.add_argument("--json", action="store_true", help="print JSON objects, one a line")
    for each in (info, head):
        each.set_defaults(only_looks=True)
    for each in (merge, split):
        each.add_argument("-o", "--output", required=True, metavar="TARGET", help="basename of the new dump")
    for each in (convert, merge, split):
        each.add_argument(
            "--shards", type=_count, metavar="N", help="files of a dump (default: by its size, at most 4)"
        )
        each.add_argument("--force", action="store_true", help="replace what is there")


def _add_reshard(actions: Any) -> None:
    reshard = _action(
        actions,
        "reshard",
        _reshard,
        "the tables of N parameter servers to those of M: rows go to id modulo M (docs/resharding.md)",
        "SOURCE: the prefix of a checkpoint (whose variables are copied), a folder of tables, or one table: its path "
        "without _0.\nOUTPUT is what SOURCE is. Nothing that is there is replaced. A run that was killed goes on where "
        "it was.\n",
    )
    reshard.add_argument("source", metavar="SOURCE")
    reshard.add_argument("--num-ps", type=_count, required=True, metavar="M", help="servers that there will be")
    reshard.add_argument("-o", "--output", required=True, metavar="OUTPUT", help="the new checkpoint, folder or table")
    reshard.add_argument(
        "--old-num-ps", type=_count, metavar="N", help="servers that there were (default: as the tables' names say)"
    )
    reshard.add_argument(
        "--table",
        action="append",
        metavar="NAME",
        help="this table, its name without _0; repeatable (default: all that are of servers; the rest is copied)",
    )
    reshard.add_argument(
        "--any-placement", action="store_true", help="take rows wherever they are, not only by id modulo N"
    )
    reshard.add_argument(
        "--shards", type=_count, metavar="K", help="files of each new table (default: the most of an old one)"
    )
    reshard.add_argument("--workers", type=_count, metavar="W", help="processes (default: one a processor)")
    reshard.add_argument("--json", action="store_true", help="print JSON objects, one a line")


def _action(actions: Any, name: str, run: Any, text: str, files: str = _FILES) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"{files}\nexamples:\n  {_EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a number from 1")
    return int(text)


def _id(text: str) -> int:
    """An id as int64, from a signed or unsigned number."""
    try:
        value = int(text, 0)
    except ValueError:
        value = 1 << 64
    if not -(1 << 63) <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"got {text!r}, want a number of 64 bits, decimal or 0x...")
    return value - (1 << 64) if value >= 1 << 63 else value


def _info(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.table.info import table_infos

    for info in table_infos(options.files, table=options.table):
        if options.json:
            yield json.dumps(info.to_json(), sort_keys=True)
        else:
            yield from _info_lines(info, options.fid)


def _info_lines(info: TableInfo, fid: str) -> Iterator[str]:
    yield info.name if info.table is None else f"{info.name}: table {info.table}"
    size = sum(shard.bytes for shard in info.shards)
    per_row = "" if info.bytes_per_row is None else f", {info.bytes_per_row:.1f} an entry"
    yield f"  entries      {info.rows:,}"
    yield f"  bytes        {size:,}{per_row}"
    yield f"  compression  {info.compression or 'none'}"
    for shard in info.shards:
        yield f"  shard        {shard.rows:,} entries, {shard.bytes:,} bytes: {shard.path}"
    yield f"  dim          {info.dim}"
    for i, segment in enumerate(info.segments):
        fields = ", ".join(f"{name} {width}" for name, width in segment.fields.items()) or "no state"
        yield f"  segment {i:<4} {segment.optimizer}: {fields}"
    yield f"  state        {info.optimizer_share:.1%} of an entry is the optimizer's"
    if info.rows:
        yield f"  ids          {info.min_id} to {info.max_id}"
        yield f"  unsigned     {info.min_unsigned_id} to {info.max_unsigned_id}"
        yield f"  timestamps   {_time(info.oldest)} to {_time(info.newest)}"
    yield f"  sorted       {'yes' if info.is_sorted else 'no'}"
    yield f"  duplicates   {info.duplicates:,}"
    slots = sorted((info.slots if fid == "v2" else info.slots_v1).items(), key=lambda item: (-item[1], item[0]))
    for slot, count in slots[:_SHOWN_SLOTS]:
        yield f"  slot {slot:<7} {count:,}"
    if len(slots) > _SHOWN_SLOTS:
        yield f"  and {len(slots) - _SHOWN_SLOTS} more slots with {sum(n for _, n in slots[_SHOWN_SLOTS:]):,} entries"


def _time(seconds: int | None) -> str:
    try:
        return f"{seconds} ({datetime.datetime.fromtimestamp(seconds or 0, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC)"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _head(options: argparse.Namespace) -> Iterator[str]:
    import numpy as np

    from mexport_pb.table.info import iter_entries
    from mexport_pb.table.layout import take

    wanted = dict.fromkeys(options.id)
    left = options.n
    missing = set(wanted)
    for chunk in iter_entries(options.files, table=options.table):
        if wanted:
            rows = np.flatnonzero(np.isin(chunk.ids, np.array(list(wanted), np.int64)))
            missing.difference_update(chunk.ids[rows].tolist())
        else:
            rows = np.arange(min(left, len(chunk)))
            left -= len(rows)
        yield from _entries(take(chunk, rows), options.json)
        if not wanted and not left:
            break
    if missing:
        absent = [str(i) for i in wanted if i in missing]
        raise TableError(f"no entry with id {', '.join(absent)}", path=options.files)


def _entries(dump: TableDump, as_json: bool) -> Iterator[str]:
    for i in range(len(dump)):
        number = int(dump.ids[i])
        if as_json:
            opt = [
                {"kind": state.kind, **{name: _plain(array[i].tolist()) for name, array in state.columns.items()}}
                for state in dump.opt
            ]
            entry = {
                "id": number,
                "values": _plain(dump.values[i].tolist()),
                "timestamp": int(dump.timestamps[i]),
                "opt": opt,
            }
            yield json.dumps(entry)
        else:
            parts = [f"{number}  slot {number >> 48 & 0x7FFF}  time {dump.timestamps[i]}  {_floats(dump.values[i])}"]
            for state in dump.opt:
                columns = (f"{name} {_floats(array[i])}" for name, array in state.columns.items())
                parts.append(" ".join([state.kind, *columns]))
            yield "  ".join(parts)


def _plain(value: Any) -> Any:
    """JSON has no numbers for what is none: NaN, Infinity and -Infinity are strings, as protobuf's JSON has them."""
    if isinstance(value, list):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _floats(array: Any) -> str:
    if array.ndim == 0:
        return f"{array.item():g}"
    more = " ..." if len(array) > _SHOWN_VALUES else ""
    return f"[{' '.join(f'{x:g}' for x in array[:_SHOWN_VALUES].tolist())}{more}]"


def _convert(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.table.tools import convert_table

    rows = convert_table(
        options.source, options.target, table=options.table, num_shards=options.shards, force=options.force
    )
    yield _done(options, {options.target: rows})


def _merge(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.table.tools import merge_tables

    rows = merge_tables(
        options.files,
        options.output,
        table=options.table,
        on_conflict=options.on_conflict,
        num_shards=options.shards,
        force=options.force,
    )
    yield _done(options, {options.output: rows})


def _split(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.table.tools import partition_table, split_table

    if options.by == "mod":
        counts = partition_table(
            options.files,
            options.output,
            options.n,
            table=options.table,
            num_shards=options.shards,
            force=options.force,
        )
        yield _done(options, {f"{options.output}_{i}": rows for i, rows in enumerate(counts)})
        return
    if options.shards is not None:
        raise InvalidArgumentError("--shards goes with --by mod; -n is the number of files")
    rows = split_table(options.files, options.output, options.n, table=options.table, force=options.force)
    yield _done(options, {options.output: rows})


def _reshard(options: argparse.Namespace) -> Iterator[str]:
    from mexport_pb.table.reshard import reshard_checkpoint, reshard_tables

    is_checkpoint = os.path.isdir(f"{options.source}.assets") or os.path.isfile(f"{options.source}.index")
    report = (reshard_checkpoint if is_checkpoint else reshard_tables)(
        options.source,
        options.num_ps,
        options.output,
        workers=options.workers,
        tables=options.table,
        old_num_ps=options.old_num_ps,
        any_placement=options.any_placement,
        num_shards=options.shards,
    )
    yield _done(options, dict(report.rows))


def _done(options: argparse.Namespace, written: dict[str, int]) -> str:
    if options.json:
        return "\n".join(json.dumps({"path": path, "rows": rows}) for path, rows in written.items())
    return "\n".join(f"{path}: {rows:,} entries" for path, rows in written.items())
