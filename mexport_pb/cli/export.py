"""A training job's graph and checkpoint in, a SavedModel for serving out."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mexport_pb as mx

if TYPE_CHECKING:
    from mexport_pb.export.table_output import TableMode

__all__ = ["add_parser"]

_EXAMPLE = """\
example:
  mexport export --meta-graph model.ckpt-200.meta --checkpoint model.ckpt-200 --base /models/ctr \\
      --signature 'serving_default:x=x:0->y=y:0'
"""


def add_parser(subparsers: Any) -> None:
    """Adds the subcommand."""
    parser = subparsers.add_parser(
        "export",
        help="write a SavedModel from a .meta file and a checkpoint",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--meta-graph", required=True, metavar="M", help="file with the MetaGraphDef, such as model.ckpt-N.meta"
    )
    parser.add_argument("--checkpoint", metavar="C", help="prefix of the checkpoint, such as model.ckpt-N")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", metavar="D", help="the directory to make")
    target.add_argument("--base", metavar="B", help="the folder to make a version in")
    parser.add_argument(
        "--version",
        metavar="V",
        help="with --base: timestamp (unix seconds, the default), global-step, or a number",
    )
    parser.add_argument(
        "--signature",
        action="append",
        default=[],
        metavar="S",
        help="name:key=tensor[,key=tensor...]->key=tensor[,...]; repeatable; none: the graph's own",
    )
    parser.add_argument("--tags", default="serve", help="comma-separated tags of the graph (default: %(default)s)")
    parser.add_argument("--no-prune", action="store_true", help="also ship what the signatures do not need")
    parser.add_argument(
        "--freeze", action="store_true", help="make constants of the variables, for small models (at most 2 GiB)"
    )
    parser.add_argument(
        "--keep-devices", action="store_true", help="leave the devices of the training job on the nodes"
    )
    parser.add_argument(
        "--keep-default-attrs", action="store_true", help="also write attributes with their default value"
    )
    parser.add_argument("--as-text", action="store_true", help="write saved_model.pbtxt in place of saved_model.pb")
    parser.add_argument(
        "--asset",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="where an asset of the graph is now, by its file name or tensor; repeatable",
    )
    parser.add_argument(
        "--asset-extra", action="append", default=[], metavar="NAME=FILE", help="a file for assets.extra/; repeatable"
    )
    parser.add_argument(
        "--validate",
        choices=("structure", "restore", "warmup"),
        default="structure",
        help="how the model is checked before it is published; restore needs TensorFlow, and so does warmup, which "
        "replays the requests of --asset-extra tf_serving_warmup_requests=FILE (default: %(default)s)",
    )
    _add_table_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("embedding tables")
    group.add_argument(
        "--tables",
        choices=("copy", "hardlink", "serving"),
        default="copy",
        help="how they get into the export; serving: without optimizer state, zero rows and expired rows "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--shared-embedding", action="store_true", help="let the model read them from the checkpoint in place of a copy"
    )
    group.add_argument("--table-shards", type=int, metavar="N", help="serving: files for each set of tables")
    group.add_argument("--table-req-time", type=int, metavar="S", help="serving: the second that ages are counted to")
    group.add_argument("--table-pack", action="store_true", help="serving: write vectors a fifth smaller")
    group.add_argument(
        "--table-keep",
        action="append",
        default=[],
        choices=("optimizer-state", "zero", "expired"),
        help="serving: what not to drop; repeatable",
    )
    group.add_argument(
        "--table-memory", type=int, metavar="MIB", help="serving: about how much memory rows may take (default: 256)"
    )


def _table_mode(options: argparse.Namespace) -> TableMode:
    given = {
        "num_shards": options.table_shards,
        "req_time": options.table_req_time,
        "pack_floats": options.table_pack or None,
        "drop_optimizer_state": False if "optimizer-state" in options.table_keep else None,
        "drop_zero_rows": False if "zero" in options.table_keep else None,
        "drop_expired": False if "expired" in options.table_keep else None,
        "memory_bytes": None if options.table_memory is None else options.table_memory << 20,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if options.tables == "serving":
        return mx.ServingTables(**chosen)
    if chosen:
        raise mx.InvalidArgumentError(f"--table-… options go with --tables serving, got --tables {options.tables}")
    mode: TableMode = options.tables
    return mode


def _run(options: argparse.Namespace) -> Iterator[str]:
    signatures = [mx.parse_signature(text) for text in options.signature]
    tables = _table_mode(options)
    target, timestamped = _target(options)
    ledgers: list[mx.TableSetLedger] = []
    path = mx.export_meta_graph(
        options.meta_graph,
        options.checkpoint,
        target,
        signatures,
        prune=not options.no_prune,
        freeze=options.freeze,
        tags=[tag for tag in options.tags.split(",") if tag],
        clear_devices=not options.keep_devices,
        strip_default_attrs=not options.keep_default_attrs,
        assets=_pairs("--asset", options.asset),
        assets_extra=_pairs("--asset-extra", options.asset_extra),
        as_text=options.as_text,
        validate=options.validate,
        timestamped=timestamped,
        tables=tables,
        shared_embedding=options.shared_embedding,
        table_ledgers=ledgers,
    )
    report = mx.check_saved_model(path, read_variables=False)
    if options.json:
        result = {
            "path": str(path),
            "signatures": report.signatures,
            "variables": report.variables,
            "variable_bytes": report.variable_bytes,
            "tables": [dataclasses.asdict(ledger) for ledger in ledgers],
        }
        yield json.dumps(result, sort_keys=True)
    else:
        yield str(path)


def _target(options: argparse.Namespace) -> tuple[Path, bool]:
    from mexport_pb.export.version import timestamped_directory, versioned_directory

    if options.output is not None:
        if options.version is not None:
            raise mx.InvalidArgumentError("--version goes with --base; --output names the directory itself")
        return Path(_not_empty("--output", options.output)), False
    _not_empty("--base", options.base)
    if options.version in (None, "timestamp"):
        return timestamped_directory(options.base), True
    if options.version == "global-step":
        if options.checkpoint is None:
            raise mx.InvalidArgumentError("--version global-step needs --checkpoint")
        return versioned_directory(options.base, mx.checkpoint_step(options.checkpoint)), False
    if not options.version.isascii() or not options.version.isdecimal():
        raise mx.InvalidArgumentError(f"--version: got {options.version!r}, want timestamp, global-step or a number")
    return versioned_directory(options.base, int(options.version)), False


def _not_empty(option: str, path: str) -> str:
    if not path:
        raise mx.InvalidArgumentError(f"{option}: got an empty path")
    return path


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise mx.InvalidArgumentError(f"{option}: got {text!r}, want NAME=FILE")
        if name in pairs:
            raise mx.InvalidArgumentError(f"{option}: {name!r} comes twice")
        pairs[name] = path
    return pairs
