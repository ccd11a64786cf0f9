"""Goldens that need no TensorFlow at any time: graphs built by a GraphBuilder, checkpoints by a BundleWriter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import mexport_pb as mx

__all__ = ["GRAPHS", "Case"]


@dataclass(frozen=True)
class Case:
    """Arguments of :func:`mexport_pb.write_saved_model`."""

    meta_graphs: list[Any]
    checkpoint: Path | None
    options: dict[str, Any] = field(default_factory=dict)


GRAPHS: dict[str, Callable[[Path], Case]] = {}


def _graph(build: Callable[[Path], Case]) -> Callable[[Path], Case]:
    GRAPHS[build.__name__] = build
    return build


@_graph
def built_dense(work: Path) -> Case:
    """The smallest model with a variable, as text."""
    with mx.BundleWriter(work / "model.ckpt") as bundle:
        bundle.add("w", np.arange(6, dtype=np.float32).reshape(2, 3))
    g = mx.GraphBuilder()
    x = g.placeholder("float32", [None, 2], name="x")
    y = g.matmul(x, g.variable("w", [2, 3]), name="y")
    meta_graph = g.to_meta_graph(["serve"], {"serving_default": mx.make_signature_def({"x": x}, {"y": y})})
    return Case([meta_graph], work / "model.ckpt")


@_graph
def built_recommender(work: Path) -> Case:
    """Parts on servers, both kinds of variables, collections, a main op, assets and extra assets."""
    with mx.BundleWriter(work / "model.ckpt") as bundle:
        bundle.add("bias", np.array([1.5, -2.0], np.float32))
        bundle.add("embedding", np.arange(22, dtype=np.float32).reshape(11, 2))
        bundle.add("global_step", np.array(12, np.int64))
        bundle.add("words", np.array([b"a", "ü".encode(), b""], object))
    for name, text in (("words.txt", "a\nb\n"), ("requests", "none")):
        (work / name).write_text(text)
    g = mx.GraphBuilder()
    ids = g.placeholder("int64", [None], name="ids")
    embedding = g.partitioned_variable("embedding", [11, 2], num_shards=3)
    with g.device("/job:ps/task:1"):
        bias = g.variable("bias", [2])
    g.variable("words", [3], "string", trainable=False)
    g.global_step()
    with g.device("/job:worker/task:0"):
        y = g.add(g.gather(g.concat(embedding, 0), ids), bias, name="y")
    asset = g.const("words.txt", name="asset")
    g.add_to_collection("asset_filepaths", asset)
    packed = mx.messages.pack_asset_file_def(mx.make_asset_file_def(asset.name, "words.txt"))
    g.add_to_collection("saved_model_assets", packed)
    for key, value in (("numbers", 3), ("numbers", -1), ("texts", "ü"), ("tensors", y), ("ratio", 0.5)):
        g.add_to_collection(key, value)
    signature = mx.make_signature_def({"ids": ids}, {"y": y})
    meta_graph = g.to_meta_graph(["serve", "größer"], {"serving_default": signature, "serving": signature})
    return Case(
        [mx.add_main_op(meta_graph)],
        work / "model.ckpt",
        {
            "assets": {"words.txt": work / "words.txt"},
            "assets_extra": {"tf_serving_warmup_requests": work / "requests"},
            "clear_devices": True,
            "strip_default_attrs": True,
        },
    )
