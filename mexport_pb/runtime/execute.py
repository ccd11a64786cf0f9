"""Executes a finished export: TensorFlow restores its variables, runs its main op and answers a request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mexport_pb._proto import saved_model_pb2
from mexport_pb.errors import InvalidArgumentError, UnsupportedError, ValidationError
from mexport_pb.runtime._session import load_ops_of, session_config, shorten, to_array
from mexport_pb.runtime._tensorflow import tensorflow

__all__ = ["execute_restore"]


def execute_restore(
    export_dir: str | os.PathLike[str],
    tags: Iterable[str] = ("serve",),
    *,
    signature: str | None = None,
    feeds: Mapping[str, ArrayLike] | None = None,
) -> dict[str, np.ndarray] | None:
    """Load an export with TensorFlow's Python loader, in a graph and session of its own that are gone afterwards.

    Variables are restored from ``variables/`` and the main op is run with the assets fed, on the CPU. Then one
    signature is run, if named. For a model with embedding tables the library of their ops is loaded.

    Args:
        export_dir: A directory with saved_model.pb.
        tags: The exact set of tags of the graph.
        signature: The key of a signature to run.
        feeds: Its inputs by key, as arrays of the dtype and shape that the signature asks for; other values are
            converted to that dtype.

    Returns:
        The outputs by key, or None without a signature. Strings come as arrays of bytes objects.

    Raises:
        ValidationError: TensorFlow could not load the model or run the request; the cause is its exception.
        InvalidArgumentError: No such signature, or the feeds are not its inputs.
        UnsupportedError: The signature has a sparse or ragged input or output.
        MexportError: TensorFlow is not installed, or a model with embedding tables finds no library of their ops.
    """
    if feeds is not None and signature is None:
        raise InvalidArgumentError("feeds: got feeds without a signature, want the signature's key as well")
    tf = tensorflow()
    path = os.fspath(export_dir)
    load_ops_of(path)
    with tf.Graph().as_default(), tf.compat.v1.Session(config=session_config(tf)) as session:
        try:
            loaded = tf.compat.v1.saved_model.load(session, list(tags), path)
        except Exception as error:
            raise ValidationError(f"{path}: tensorflow cannot load it: {shorten(error)}") from error
        if signature is None:
            return None
        meta_graph = saved_model_pb2.MetaGraphDef.FromString(loaded.SerializeToString())
        fed, fetched = _plan(tf, path, meta_graph, signature, feeds or {})
        try:
            answers = session.run(fetched, fed)
        except Exception as error:
            raise ValidationError(f"{path}: signature {signature!r} failed: {shorten(error)}") from error
    return {key: to_array(value) for key, value in answers.items()}


def _plan(
    tf: Any,
    path: str,
    meta_graph: saved_model_pb2.MetaGraphDef,
    key: str,
    feeds: Mapping[str, ArrayLike],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Values to feed and names to fetch: ``({tensor name: value}, {output key: tensor name})``."""
    if key not in meta_graph.signature_def:
        raise InvalidArgumentError(f"{path}: signature: got {key!r}, want one of {sorted(meta_graph.signature_def)}")
    signature = meta_graph.signature_def[key]
    if feeds.keys() != signature.inputs.keys():
        raise InvalidArgumentError(
            f"{path}: signature {key!r}: inputs: got {sorted(feeds)}, want {sorted(signature.inputs)}"
        )
    for name, info in (*signature.inputs.items(), *signature.outputs.items()):
        if info.WhichOneof("encoding") != "name":
            raise UnsupportedError(f"{path}: signature {key!r}: {name!r} is sparse or ragged, want a dense tensor")
    values: dict[str, np.ndarray] = {}
    for name, value in feeds.items():
        info = signature.inputs[name]
        want = tf.dtypes.as_dtype(info.dtype)
        try:
            array = value if isinstance(value, np.ndarray) else np.asarray(value, want.as_numpy_dtype)
            got = tf.dtypes.as_dtype(array.dtype)
        except (OverflowError, TypeError, ValueError) as error:
            raise InvalidArgumentError(f"{path}: signature {key!r}: input {name!r}: {error}") from error
        if got != want:
            raise InvalidArgumentError(f"{path}: signature {key!r}: input {name!r}: got {got.name}, want {want.name}")
        values[info.name] = array
    return values, {name: info.name for name, info in signature.outputs.items()}
