"""Saved models that TensorFlow's own ``tf.compat.v1.saved_model.Builder`` writes, with requests and their answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

__all__ = ["Example", "write_dense_model", "write_vocabulary_model"]

_v1 = tf.compat.v1


@dataclass(frozen=True)
class Example:
    """A request for ``serving_default`` and what the graph that was saved answers to it."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def write_dense_model(export_dir: Path, *, partitions: int = 1) -> Example:
    """A dense network with a ref kernel, a resource bias, a resource table looked up by id, and a global step.

    Tensors: ``x`` float[?, 4] and ``id`` int64[?] in, ``y`` float[?, 3] out; the table ``table`` is float[10, 5].
    """
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    with tf.Graph().as_default(), _v1.Session() as session:
        x = _v1.placeholder(tf.float32, [None, 4], name="x")
        ids = _v1.placeholder(tf.int64, [None], name="id")
        table = _v1.get_variable(
            "table",
            [10, 5],
            initializer=_v1.random_normal_initializer(seed=1),
            partitioner=_v1.fixed_size_partitioner(partitions, axis=1),
            use_resource=True,
        )
        kernel = _v1.get_variable("kernel", initializer=normal(9, 3), use_resource=False)
        bias = _v1.get_variable("bias", initializer=normal(3), use_resource=True)
        _v1.train.get_or_create_global_step()
        joined = tf.concat([x, *(_v1.nn.embedding_lookup(part, ids) for part in table)], axis=1)
        y = tf.nn.bias_add(tf.matmul(joined, kernel), bias, name="y")
        session.run(_v1.global_variables_initializer())
        inputs = {"features": normal(6, 4), "item": np.array([0, 9, 3, 3, 1, 7])}
        answer = session.run(y, {x: inputs["features"], ids: inputs["item"]})
        _save(session, export_dir, {"features": x, "item": ids}, {"answer": y})
    return Example(inputs, {"answer": answer})


def write_vocabulary_model(export_dir: Path, vocabulary: Path) -> Example:
    """A graph whose main op fills a lookup table from an asset: words in, their numbers and themselves out."""
    words = ["a", "a word that is longer than twenty-three bytes", ""]
    vocabulary.write_text("\n".join(words[:2]) + "\n")
    with tf.Graph().as_default(), _v1.Session() as session:
        asset = tf.constant(str(vocabulary), name="vocabulary")
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                asset,
                *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
                *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
            ),
            default_value=-1,
        )
        word = _v1.placeholder(tf.string, [None], name="word")
        number = tf.identity(table.lookup(word), name="number")
        doubled = tf.strings.join([word, word], name="doubled")
        _v1.get_variable("unused", initializer=np.zeros(1, np.float32))
        session.run([_v1.global_variables_initializer(), _v1.tables_initializer()])
        assets = _v1.get_collection(_v1.GraphKeys.ASSET_FILEPATHS)  # the initializer put its file there
        outputs = {"number": number, "doubled": doubled}
        _save(session, export_dir, {"word": word}, outputs, assets=assets, main_op=_v1.tables_initializer())
    given = np.array([w.encode() for w in words], object)
    return Example({"word": given}, {"number": np.array([0, 1, -1]), "doubled": given + given})


def _save(session, export_dir, inputs, outputs, assets=None, main_op=None):
    signature = _v1.saved_model.build_signature_def(
        {key: _v1.saved_model.build_tensor_info(value) for key, value in inputs.items()},
        {key: _v1.saved_model.build_tensor_info(value) for key, value in outputs.items()},
        _v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
    )
    builder = _v1.saved_model.Builder(str(export_dir))
    builder.add_meta_graph_and_variables(
        session,
        ["serve"],
        {"serving_default": signature},
        assets_collection=assets,
        main_op=main_op,
        strip_default_attrs=True,
    )
    builder.save()
