"""A distributed model whose entry asks its parameter servers, for checks that run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mexport_pb as mx
from tests.support import distributed_model
from tests.support.distributed_model import STEP, make_checkpoint, make_exporter

__all__ = ["SERVERS", "STEP", "expected", "export", "make_checkpoint", "make_model_fn"]

SERVERS = 2


def make_model_fn(*, everywhere=False, **call):
    """``call`` changes the call of the last server, or of all: alias, dtype, and attributes of the op."""

    def model_fn(features, mode):
        ctx = mx.get_current_export_ctx()
        for i in range(SERVERS):
            distributed_model.add_server(ctx.sub_graph(f"ps_{i}"), i)
        parts = [_ask(features["ids"], i, **(call if everywhere or i == SERVERS - 1 else {})) for i in range(SERVERS)]
        graph = mx.get_default_graph()
        return mx.EstimatorSpec(mode, {"y": graph.add(*parts, name="y")})

    return model_fn


def _ask(ids, i, *, alias="slot", sends=None, **attrs):
    graph = mx.get_default_graph()
    asked = graph.op(
        "TfServingRemotePredict",
        [graph.const([b"ids"]), [ids if sends is None else graph.cast(ids, sends)], graph.const([alias.encode()])],
        name=f"ask_{i}",
        attrs={
            "model_name": f"ctr:ps_{i}",
            "old_model_name": f"ps_{i}",
            "task": i,
            "signature_name": "lookup",
            "max_rpc_deadline_millis": 10_000,
            "output_types": ["float32"],
            **attrs,
        },
    )
    return graph.reshape(asked.outputs[2], [-1, 4])


def receiver_fn():
    ids = mx.get_default_graph().placeholder("int64", [None], name="ids")
    return mx.ServingInputReceiver({"ids": ids}, {"ids": ids})


def export(folder: Path, name="models", *, call=None, **options) -> Path:
    """Export into a folder beside the checkpoint's; returns the base."""
    make_exporter(folder, make_model_fn(**(call or {})), name, **options).export_saved_model(receiver_fn)
    return folder / name


def expected(base: Path, ids) -> np.ndarray:
    """What the tables of the exported files give."""
    rows = []
    for i in range(SERVERS):
        dump = mx.read_table(base / f"ps_{i}" / str(STEP) / "assets" / f"MonolithHashTable_{i}")
        found = dict(zip(dump.ids.tolist(), dump.values, strict=True))
        rows.append(np.array([found.get(int(key), np.zeros(4, np.float32)) for key in ids]))
    return rows[0] + rows[1]
