"""What an entry of the corpus is: a function that builds a graph, and how that graph is to be saved."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["ENTRIES", "Entry", "Model", "Signature", "Train", "dense", "entry", "placeholder", "values", "var"]

_v1 = tf.compat.v1


@dataclass(frozen=True)
class Signature:
    """Tensors by key."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    method: str = "tensorflow/serving/predict"


@dataclass(frozen=True)
class Model:
    """What a build function tells of the graph that it built.

    Attributes:
        signatures: By key; without "serving_default" the first one is an exporter's default.
        main_op: The operation that loaders run, where the graph has its own.
        use_assets: Whether the tensors of the collection ``asset_filepaths`` are assets.
    """

    signatures: dict[str, Signature] = field(default_factory=dict)
    main_op: Any = None
    use_assets: bool = False


Build = Callable[[Path], Model]
Train = Callable[[Path], None]


@dataclass(frozen=True)
class Entry:
    """One graph, one checkpoint, one way to save.

    Attributes:
        name: Of the build function.
        doc: What it is about, in one line.
        build: Builds into the default graph; its argument is an empty folder for files of its own.
        train: Builds the graph that the checkpoint is of, where that is another one.
        cluster: Whether nodes are on devices of jobs, so that a session needs a cluster.
        tags: Of the first MetaGraph.
        clear_devices: As for the Builder.
        strip_default_attrs: As for the Builder.
        second_tags: Tags of a second MetaGraph; none without them.
        second: Builds the second MetaGraph's graph; without it the second one is of the same graph.
        exceptions: By comparison ("builder", "exporter"), why the files cannot be TensorFlow's: a reason that begins
            with "differs: ", or with "refused: " where we raise an error instead.
    """

    name: str
    doc: str
    build: Build
    train: Build | None = None
    cluster: bool = False
    tags: tuple[str, ...] = ("serve",)
    clear_devices: bool = False
    strip_default_attrs: bool = False
    second_tags: tuple[str, ...] = ()
    second: Build | None = None
    exceptions: Mapping[str, str] = field(default_factory=dict)


ENTRIES: dict[str, Entry] = {}


def entry(**options: Any) -> Callable[[Build], Build]:
    """Puts a build function into the corpus, under its name and with the first line of its docstring."""

    def register(build: Build) -> Build:
        name = options.pop("name", build.__name__)
        assert name not in ENTRIES, name
        ENTRIES[name] = Entry(name, (build.__doc__ or "").splitlines()[0], build, **options)
        return build

    return register


def values(name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Numbers that depend on the name only."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (rng.normal(size=shape) * 10).astype(dtype)


def var(name: str, shape: tuple[int, ...] = (2, 3), dtype: Any = tf.float32, *, resource: bool = True, **options: Any):
    """A variable with values that depend on its name, or with the given initializer."""
    if "initializer" not in options:
        numbers = values(name, shape, tf.as_dtype(dtype).as_numpy_dtype)
        options["initializer"] = _v1.constant_initializer(numbers)
    return _v1.get_variable(name, shape, dtype, use_resource=resource, **options)


def placeholder(dtype: Any = tf.float32, shape: Any = (None, 3), name: str = "x") -> Any:
    """An input."""
    return _v1.placeholder(dtype, shape, name=name)


def dense(x: Any = None, y: Any = None, **options: Any) -> Model:
    """A model with one signature; without tensors one that doubles its input."""
    x = placeholder() if x is None else x
    y = tf.multiply(x, 2.0, name="y") if y is None else y
    return Model({"serving_default": Signature({"x": x}, {"y": y})}, **options)
