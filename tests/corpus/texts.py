"""Graphs with lookups, strings, assets, and names beyond ASCII."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.corpus.model import Model, Signature, dense, entry, placeholder, var

_v1 = tf.compat.v1


def _file(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def _asset(path: str, name: str = "asset", shape: list[int] | None = None) -> None:
    _v1.add_to_collection(_v1.GraphKeys.ASSET_FILEPATHS, tf.constant(path, shape=shape, name=name))


@entry(strip_default_attrs=True)
def static_hash_table(work: Path) -> Model:
    """A table that an asset fills, and one that constants fill."""
    words = placeholder(tf.string, (None,), "words")
    initializer = tf.lookup.TextFileInitializer(
        _file(work / "vocabulary.txt", "a\nb\nc\n"),
        *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
        *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
    )
    from_file = _v1.lookup.StaticHashTable(initializer, -1)
    pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([7, 8], tf.int64))
    from_pairs = tf.lookup.StaticHashTable(pairs, -1)
    y = from_file.lookup(words) + from_pairs.lookup(words)
    return dense(words, tf.identity(y, name="y"), main_op=_v1.tables_initializer(), use_assets=True)


@entry()
def index_tables(work: Path) -> Model:
    """Words to numbers and back, with buckets for unknown words."""
    words = placeholder(tf.string, (None,), "words")
    vocabulary = _file(work / "vocabulary.txt", "a\nb\nc\n")
    ids = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            vocabulary,
            *(tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
            *(tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER),
        ),
        num_oov_buckets=3,
    ).lookup(words)
    from tensorflow.python.ops import lookup_ops

    old = lookup_ops.index_table_from_file(vocabulary, num_oov_buckets=2).lookup(words)
    of_tensor = lookup_ops.index_table_from_tensor(tf.constant(["x", "y"]), default_value=9).lookup(words)
    back = lookup_ops.index_to_string_table_from_file(vocabulary, default_value="?").lookup(ids)
    weights = tf.gather(var("w", (6, 2)), ids)
    outputs = {"ids": ids + old + of_tensor, "words": back, "weights": weights}
    return Model(
        {"serving_default": Signature({"words": words}, outputs)},
        main_op=tf.group(*_v1.get_collection(_v1.GraphKeys.TABLE_INITIALIZERS)),
        use_assets=True,
    )


@entry(cluster=True, strip_default_attrs=True)
def tables_on_devices(work: Path) -> Model:
    """Tables of several devices: the main op has a part for each."""
    words = placeholder(tf.string, (None,), "words")
    found = []
    for i, device in enumerate(("/job:ps/task:1", "", "/job:ps/task:0", "/job:ps/task:1")):
        with tf.device(device):
            pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([i, i + 1], tf.int64))
            found.append(tf.lookup.StaticHashTable(pairs, -1).lookup(words))
    var("count", (), collections=[_v1.GraphKeys.LOCAL_VARIABLES], trainable=False)
    initializers = _v1.get_collection(_v1.GraphKeys.TABLE_INITIALIZERS)
    return dense(words, tf.add_n(found), main_op=tf.group(*initializers, name="own"))


@entry()
def text_operations(work: Path) -> Model:
    """Splitting, joining, hashing, parsing: strings in and out."""
    texts = placeholder(tf.string, (None,), "texts")
    parts = tf.strings.split(texts, ",")
    joined = tf.strings.reduce_join(tf.strings.lower(parts), axis=-1, separator="|")
    cleaned = tf.strings.regex_replace(joined, r"[^a-z|]+", "_")
    hashed = _v1.string_to_hash_bucket_fast(cleaned, 100)
    strong = _v1.string_to_hash_bucket_strong(cleaned, 100, [1, 2])
    numbers = tf.strings.to_number(tf.strings.substr(_v1.as_string(hashed, width=4, fill="0"), 0, 2), tf.int32)
    formatted = tf.strings.format("{} of {}", (hashed, strong))
    weights = tf.gather(var("w", (100, 2)), hashed)
    outputs = {"cleaned": cleaned, "weights": weights, "numbers": numbers, "formatted": formatted}
    return Model({"serving_default": Signature({"texts": texts}, outputs)})


@entry(strip_default_attrs=True)
def parsed_examples(work: Path) -> Model:
    """Examples of fixed, variable and ragged features, with sparse lookups."""
    serialized = placeholder(tf.string, (None,), "serialized")
    features = tf.io.parse_example(
        serialized,
        {
            "dense": tf.io.FixedLenFeature([2], tf.float32, [0.0, 1.0]),
            "sparse": tf.io.VarLenFeature(tf.int64),
            "ragged": tf.io.RaggedFeature(tf.string),
        },
    )
    embedded = _v1.nn.embedding_lookup_sparse(var("table", (10, 3)), features["sparse"], None, combiner="mean")
    outputs = {
        "embedded": embedded,
        "sparse": features["sparse"],
        "ragged": features["ragged"],
        "dense": features["dense"],
    }
    classes = tf.constant(["yes", "no"])
    return Model(
        {
            "serving_default": Signature({"examples": serialized}, outputs),
            "classified": Signature(
                {"inputs": serialized},
                {"classes": tf.broadcast_to(classes, [tf.shape(embedded)[0], 2]), "scores": embedded},
                "tensorflow/serving/classify",
            ),
            "regressed": Signature(
                {"inputs": serialized}, {"outputs": tf.reduce_sum(embedded, 1)}, "tensorflow/serving/regress"
            ),
        }
    )


@entry(strip_default_attrs=True)
def clashing_assets(work: Path) -> Model:
    """Five files of one name: equal and other contents, the third equal to the second, one listed by two tensors."""
    for i, text in enumerate(("one", "two", "one", "two", "three")):
        _asset(_file(work / f"{i}" / "words.txt", text))
    _asset(str(work / "0" / "words.txt"), "again")
    _asset(_file(work / "x" / "words.txt_1", "of another"), "suffixed")
    _asset(_file(work / "y" / "empty", ""), "vector", [1])
    return dense(use_assets=True)


@entry()
def asset_and_variables(work: Path) -> Model:
    """A graph that reads its asset when it is asked."""
    asset = tf.constant(_file(work / "greeting.txt", "hello\n"), name="greeting")
    _v1.add_to_collection(_v1.GraphKeys.ASSET_FILEPATHS, asset)
    x = placeholder(tf.string, (), "name")
    var("w")
    return dense(x, tf.strings.join([tf.io.read_file(asset), x], name="y"), use_assets=True)


@entry(strip_default_attrs=True)
def many_signatures(work: Path) -> Model:
    """Keys that are prefixes of each other, which upb orders in its own way."""
    tensors = {}
    for key in ("a", "ab", "abc", "b", "B", "a/b", "a_b", "zz", "z"):
        tensors[key] = placeholder(tf.float32, (None,) if len(key) == 1 else None, f"in_{len(tensors)}")
    outputs = {key: value * 2.0 for key, value in reversed(tensors.items())}
    unknown = placeholder(tf.int32, None, "unknown")
    names = ("serving_default", "serving_default2", "serving", "s", "sa", "raw/assign")
    signatures = {name: Signature(dict(list(tensors.items())[: i + 3]), outputs) for i, name in enumerate(names)}
    signatures["empty"] = Signature({}, {"a": unknown})
    signatures["scalar"] = Signature({"": unknown}, {"y": tf.reduce_sum(unknown)})
    return Model(signatures)


@entry(tags=("serve", "日本", "größer"))
def beyond_ascii(work: Path) -> Model:
    """Text beyond ASCII wherever TensorFlow takes it: constants, values, keys, tags, files."""
    words = np.array(["Füße", "猫", "\N{GRINNING FACE}", "e\u0301"], object)
    var("words", (4,), tf.string, initializer=_v1.constant_initializer(words))
    _v1.add_to_collection("schlüssel", "wert ü")
    _v1.add_to_collection("schlüssel", "猫".encode())
    _v1.add_to_collection("键", 3)
    _asset(_file(work / "größe" / "wörter 猫.txt", "ä\n"))
    texts = placeholder(tf.string, (None,), "texts")
    y = tf.strings.join([texts, tf.constant("…ende")])
    return Model(
        {"serving_default": Signature({"text": texts}, {"y": y}), "größe": Signature({"täxt": texts}, {"ÿ": y})},
        use_assets=True,
    )


@entry()
def constants(work: Path) -> Model:
    """Constants of every dtype: scalars, repeated and single values, text, bytes that are no text."""
    dtypes = (tf.float64, tf.float16, tf.bfloat16, tf.int8, tf.uint8, tf.int32, tf.int64, tf.uint64, tf.complex64)
    for dtype in dtypes:
        tf.constant(3, dtype)
        tf.constant([3, 3, 3], dtype)
        tf.constant([[1], [2]], dtype)
        tf.zeros([4], dtype)
        tf.fill([2, 2], tf.constant(5, dtype))
    for value in ("a", ["a", "a"], [["a"], ["b"]], b"\xff\x00", "", [], [True, False], True, [1.5, float("nan")]):
        tf.constant(value)
    tf.constant(-0.0)
    tf.constant(np.arange(1000, dtype=np.float32))
    tf.constant(7, shape=[3, 2])
    return dense()


@entry(strip_default_attrs=True)
def attributes(work: Path) -> Model:
    """Attributes at and off their defaults, attribute scopes, side effects, seeds, types of types."""
    x = placeholder(shape=(2, 2))
    a = tf.matmul(x, x, transpose_a=True) + tf.matmul(x, x)
    with _v1.get_default_graph()._attr_scope({"_mine": _v1.AttrValue(s=b"own")}):
        b = tf.transpose(a) + tf.random.uniform([2, 2], seed=4)
    printed = _v1.Print(b, [b], "b: ", first_n=3)
    tf.print("b", b, summarize=2)
    checked = _v1.Assert(tf.reduce_sum(b) > -1e9, [b], name="checked")
    with tf.control_dependencies([checked]):
        c = tf.image.resize(tf.reshape(printed, [1, 2, 2, 1]), [4, 4], method="bicubic", antialias=True)
    pooled = tf.nn.max_pool2d(c, 2, 2, "SAME") + tf.nn.avg_pool2d(c, [2, 2], [2, 2], "VALID")
    top = tf.math.top_k(tf.reshape(pooled, [-1]), 2, sorted=False)
    _v1.summary.scalar("total", tf.reduce_sum(pooled))
    _v1.summary.histogram("values", pooled)
    return dense(x, tf.cast(top.indices, tf.float32) + top.values)
