"""TensorFlow's SaveV2, MergeV2Checkpoints, RestoreV2, Saver and CheckpointReader as oracles for mexport_pb.bundle."""

import ml_dtypes
import numpy as np
import pytest

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb.bundle import (
    BundleItem,
    BundleReader,
    BundleWriter,
    copy_bundle,
    copy_to_shards,
    data_path,
    index_path,
    merge_bundles,
    parse_shape_and_slice,
)
from mexport_pb.errors import BundleError

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

RNG = np.random.default_rng(7)


def random_array(datatype, shape):
    """Values of any fixed-width type, through small integers, so that every type holds them."""
    dtype = dtypes.numpy_dtype(datatype)
    small = RNG.integers(0, 2, shape)
    if dtype.names:
        return small.astype(dtype[0]).view(dtype).reshape(shape)
    if dtype.kind == "c":
        return (small + 1j * RNG.integers(0, 5, shape)).astype(dtype)
    return small.astype(np.float32).astype(dtype)


def to_tf(value):
    array = np.asarray(value)
    if array.dtype.names:  # tf.constant takes no quantised arrays
        plain = tf.constant(array.view(array.dtype[0]))
        return tf.bitcast(plain, getattr(tf, array.dtype.names[0]))
    if array.dtype == object:
        return tf.constant(array.tolist(), tf.string, shape=array.shape)
    return tf.constant(array)


def parts_of(name, array, cuts, axis=0, order=None):
    """(name, part, text) for the parts of `array` that end at `cuts`."""
    starts = [0, *cuts[:-1]]
    result = []
    for start, stop in zip(starts, cuts, strict=True):
        extents = [f"0,{n}" for n in array.shape]
        extents[axis] = f"{start},{stop - start}"
        index = [slice(None)] * array.ndim
        index[axis] = slice(start, stop)
        result.append((name, array[tuple(index)], " ".join(map(str, array.shape)) + " " + ":".join(extents)))
    return [result[i] for i in order] if order else result


def grid_parts(name, array, rows, columns):
    return [
        (name, array[r : r + 1, c : c + 1], f"{rows} {columns} {r},1:{c},1")
        for r in range(rows)
        for c in range(columns)
    ]


ASSEMBLED_BY_TENSORFLOW = (np.float32, np.float64, np.int8, np.int32, np.int64, np.bool)
FIXED = [n for n in tensor_pb2.DataType.values() if 0 < n <= 100 and n not in (7, 20, 21)]
MATRIX = np.arange(24, dtype=np.float32).reshape(12, 2)

CASES = {
    "scalar": [("s", np.float32(1.5), "")],
    "rank 1 to 5": [(f"r{n}", np.ones(range(1, n + 1), np.int16), "") for n in range(1, 6)],
    "empty": [("e", np.zeros((0,), np.float32), ""), ("e2", np.zeros((3, 0, 2), np.int64), ""), ("x", np.int8(1), "")],
    "only empty": [("e", np.zeros((0, 4), np.float64), "")],
    "order of writing is not that of keys": [("b", np.ones(3), ""), ("a", np.zeros(2), ""), ("ab", np.float32(0), "")],
    "bfloat16": [("w", np.arange(7).astype(ml_dtypes.bfloat16), "")],
    "bool": [("b", np.array([[True, False], [False, True]]), "")],
    "complex": [("c", np.array([1 + 2j, -3j]), ""), ("d", np.array([1 + 2j], np.complex64), "")],
    "string scalar": [("s", np.array(b"one", object), "")],
    "strings": [("s", np.array([b"ab", b"", b"\x00\xff", b"x" * 300], object), "")],
    "unicode strings": [("s", np.array([["grün", "日本"], ["", "🙂"]], object), "")],
    "no strings": [("s", np.array([], object), ""), ("t", np.zeros((2, 0), object), "")],
    "long strings": [("s", np.array([b"a" * (3 << 20), b"b" * 127, b"c" * 128], object), "")],
    "many strings": [("s", np.array([str(i) for i in range(20000)], object), "")],
    "unicode names": [("größe/日本", np.ones(2), ""), ("a b", np.ones(1), ""), ("\x01\x7f", np.ones(1), "")],
    "names with prefixes": [(n, np.int32(len(n)), "") for n in ("a", "aa", "aaa", "ab", "a/b", "a" * 500, "a" * 501)],
    "16 keys": [(f"k{i:02}", np.int64(i), "") for i in range(15)],
    "17 keys": [(f"k{i:02}", np.int64(i), "") for i in range(16)],
    "more than 127 restarts": [(f"layer_{i}/kernel", np.float32(i), "") for i in range(3000)],
    "several blocks": [(f"model/layer_{i:05}/{'deep/' * (i % 7)}weights", np.float32(i), "") for i in range(16000)],
    "several blocks of long keys": [
        (f"{'shared/' * 40}{i * 7919 % 1000:x}{'z' * 400}", np.uint8(1), "") for i in range(1000)
    ],
    "one entry above a block": [("p" * 9, np.ones(1), ""), ("x" * 300000, np.ones(1), ""), ("y", np.ones(1), "")],
    "keys of high bytes": [("\U0010ffff" * n, np.ones(1), "") for n in range(1, 40)],
    "partitioned": parts_of("p", MATRIX, [6, 12]),
    "partitioned on axis 1": [("a", np.ones(1), ""), *parts_of("p", MATRIX, [1, 2], axis=1)],
    "12 partitions in the saver's order": parts_of("p", MATRIX, range(1, 13), order=[0, 1, 10, 11, *range(2, 10)]),
    "grid of partitions": grid_parts("p", np.arange(12.0).reshape(4, 3), 4, 3),
    "whole dimensions": [("p", MATRIX[:, :1], "12 2 -:0,1"), ("p", MATRIX[:, 1:], "12 2 -:1,1")],
    "parts that are all": [("p", MATRIX, "12 2 0,12:0,2"), ("q", MATRIX, "12 2 -:-"), ("r", MATRIX, "12 2 -:0,2")],
    "partitioned strings": parts_of("s", np.array(["a", "bb", "", "dddd"], object), [1, 4]),
    "large offsets in slice keys": [
        ("p", np.zeros(n, np.int8), f"3000000 {start},{n}")
        for start, n in [(0, 63), (63, 1), (64, 8127), (8191, 1), (8192, 1040383), (1048575, 1), (1048576, 1951424)]
    ],
    "partitioned beside whole": [
        *parts_of("emb/a", MATRIX, [4, 8, 12]), ("emb", np.ones(2), ""), *parts_of("emb/\xff", MATRIX, [1, 12]),
        ("z", np.array(["s"], object), ""),
    ],
}  # fmt: skip
for _datatype in FIXED:
    CASES[f"dtype {dtypes.name_of(_datatype)}"] = [
        ("a", random_array(_datatype, (3, 5)), ""),
        ("b", random_array(_datatype, ()), ""),
        ("c", random_array(_datatype, (0,)), ""),
        *parts_of("p", random_array(_datatype, (6, 2)), [1, 3, 6]),
    ]


def save_with_tf(prefix, items):
    names, values, texts = zip(*items, strict=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=texts, tensors=[to_tf(v) for v in values]
    )


def save_with_us(prefix, items, *, partial=False):
    with BundleWriter(prefix, partial=partial) as writer:
        for name, value, text in items:
            if text:
                shape, part = parse_shape_and_slice(text)
                writer.add_slice(name, shape, part, value)
            else:
                writer.add(name, value)


def files_of(prefix, shards=1):
    paths = [index_path(prefix), *(data_path(prefix, i, shards) for i in range(shards))]
    contents = []
    for path in paths:
        with open(path, "rb") as file:
            contents.append(file.read())
    return contents


def whole(items):
    """The full value of every name."""
    result = {}
    for name, value, text in items:
        array = np.asarray(value)
        if not text:
            result[name] = array
            continue
        shape, part = parse_shape_and_slice(text)
        full = result.setdefault(name, np.zeros(shape, array.dtype))
        full[tuple(slice(start, start + length) for start, length in part.box(shape))] = array
    return {
        name: np.array([s.encode() if isinstance(s, str) else s for s in value.ravel()], object).reshape(value.shape)
        if value.dtype == object
        else value
        for name, value in result.items()
    }


def assert_same(got, want):
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    if want.dtype == object:
        assert got.tolist() == want.tolist()
    else:
        assert got.tobytes() == want.tobytes()


def restore(prefix, name, text, want):
    """What RestoreV2 reads, as an array of want's dtype."""
    dtype = tf.dtypes.as_dtype(dtypes.datatype_of(want.dtype))
    (tensor,) = tf.raw_ops.RestoreV2(prefix=str(prefix), tensor_names=[name], shape_and_slices=[text], dtypes=[dtype])
    if want.dtype.names:
        plain = tf.bitcast(tensor, tf.dtypes.as_dtype(want.dtype[0]))
        return plain.numpy().view(want.dtype).reshape(want.shape)
    return np.asarray(tensor.numpy(), want.dtype if want.dtype == object else None)


@pytest.mark.parametrize("items", CASES.values(), ids=CASES.keys())
def test_bytes_equal_and_both_read_both(items, tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    save_with_tf(theirs, items)
    save_with_us(ours, items)
    assert files_of(ours) == files_of(theirs)

    want = whole(items)
    with BundleReader(theirs) as reader:
        reader.verify()
        assert sorted(reader.keys()) == sorted(want)
        for name in list(want)[:50]:
            assert_same(reader.read(name), want[name])
    for name, value, text in items[:50]:
        part = whole([(name, value, "")])[name]
        assert_same(restore(ours, name, text, part), part)
        # TensorFlow puts parts together for some types only.
        if text and part.dtype in ASSEMBLED_BY_TENSORFLOW:
            assert_same(restore(ours, name, "", want[name]), want[name])


def test_there_are_indexes_of_several_blocks():
    sizes = [sum(len(name) + 16 for name, _, _ in CASES[case]) for case in CASES if "several blocks" in case]
    assert min(sizes) > 2 * 262144


def test_our_bundle_opens_as_a_checkpoint(tmp_path):
    save_with_us(tmp_path / "model.ckpt", CASES["partitioned beside whole"])
    checkpoint = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    assert checkpoint.get_variable_to_shape_map() == {"emb/a": [12, 2], "emb": [2], "emb/ÿ": [12, 2], "z": [1]}
    np.testing.assert_array_equal(checkpoint.get_tensor("emb/a"), MATRIX)


def test_bundle_without_tensors_opens(tmp_path):
    BundleWriter(tmp_path / "none").close()
    assert tf.train.load_checkpoint(str(tmp_path / "none")).get_variable_to_shape_map() == {}
    assert BundleReader(tmp_path / "none").keys() == []


MERGES = {
    "one": [[("a", np.ones(2), ""), ("b", np.zeros(1), "")]],
    "two": [[("b", np.ones(2), "")], [("a", np.zeros(1), ""), ("c", np.zeros((2, 2)), "")]],
    "parts over three": [[("x", np.ones(1), ""), part] for part in parts_of("p", MATRIX, [3, 6, 12])],
    "parts first, later, twice": [
        [("x", np.ones(1), "")],
        parts_of("p", MATRIX, [3, 6, 12])[:2],
        [("a", np.ones(1), ""), parts_of("p", MATRIX, [3, 6, 12])[2]],
    ],
    "11 shards": [[(f"v{i}", np.full(i, i), "")] for i in range(11)],
    "13 parts over 5": [parts_of("p", np.arange(13), range(1, 14))[i::5] for i in range(5)],
    "strings and empties": [
        [("s", np.array(["a", "b"], object), "")],
        [("e", np.zeros((0, 2), np.float32), "")],
        [("t", np.array([], object), ""), ("u", np.float32(3), "")],
    ],
}
for _inputs in (MERGES["parts over three"],):
    for _i, _shard in enumerate(_inputs):
        _shard[0] = (f"x{_i}", np.ones(1), "")


def merge_with_tf(tmp_path, inputs, dest):
    prefixes = [str(tmp_path / "parts" / f"part-{i}") for i in range(len(inputs))]
    for prefix, items in zip(prefixes, inputs, strict=True):
        save_with_tf(prefix, items)
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes, destination_prefix=str(dest), delete_old_dirs=True, allow_missing_files=False
    )


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("inputs", MERGES.values(), ids=MERGES.keys())
def test_merge_equals_tensorflows(inputs, move, tmp_path):
    merge_with_tf(tmp_path, inputs, tmp_path / "theirs")
    prefixes = [tmp_path / "in" / f"part-{i}" for i in range(len(inputs))]
    for prefix, items in zip(prefixes, inputs, strict=True):
        save_with_us(prefix, items, partial=True)
    before = [files_of(prefix) for prefix in prefixes]
    merge_bundles(prefixes, tmp_path / "ours", move=move)
    assert files_of(tmp_path / "ours", len(inputs)) == files_of(tmp_path / "theirs", len(inputs))
    if move:
        assert not (tmp_path / "in").exists()
    else:
        assert [files_of(prefix) for prefix in prefixes] == before
    reader = BundleReader(tmp_path / "ours")
    reader.verify()
    for name, value in whole([item for items in inputs for item in items]).items():
        assert_same(reader.read(name), value)


def test_merging_merged_bundles(tmp_path):
    first, second = MERGES["two"], [[("y", np.ones(3), "")], [("x", np.ones(1), "")]]
    merge_with_tf(tmp_path, first, tmp_path / "a")
    merge_with_tf(tmp_path, second, tmp_path / "b")
    merge_bundles([tmp_path / "a", tmp_path / "b"], tmp_path / "ours")
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / "a"), str(tmp_path / "b")],
        destination_prefix=str(tmp_path / "theirs"),
        delete_old_dirs=False,
    )
    assert files_of(tmp_path / "ours", 4) == files_of(tmp_path / "theirs", 4)


@pytest.mark.parametrize("inputs", MERGES.values(), ids=MERGES.keys())
def test_copy_to_shards_leaves_what_a_sharded_saver_leaves(inputs, tmp_path):
    merge_with_tf(tmp_path, inputs, tmp_path / "theirs")
    shards = [[BundleItem(name, text) for name, _, text in items] for items in inputs]
    want = files_of(tmp_path / "theirs", len(inputs))
    # From a source that holds the parts as they are, from one that holds every tensor whole, and from other parts.
    everything = whole([item for items in inputs for item in items])
    save_with_tf(tmp_path / "whole", [(name, value, "") for name, value in everything.items()])
    other = []
    for name, value in everything.items():
        other += parts_of(name, value, [1, len(value)]) if value.ndim and len(value) > 1 else [(name, value, "")]
    save_with_tf(tmp_path / "other", other)
    for source in ("theirs", "whole", "other"):
        report = copy_to_shards(tmp_path / source, tmp_path / f"from-{source}", shards)
        assert files_of(tmp_path / f"from-{source}", len(inputs)) == want
        assert sorted(report.names) == sorted(everything)
        assert report.bytes == sum(map(len, want[1:]))


def test_copy_to_shards_with_extra_values(tmp_path):
    inputs = MERGES["parts over three"]
    merge_with_tf(tmp_path, inputs, tmp_path / "theirs")
    save_with_tf(tmp_path / "less", [("x0", np.ones(1), ""), ("x2", np.ones(1), "")])
    shards = [[BundleItem(name, text) for name, _, text in items] for items in inputs]
    copy_to_shards(tmp_path / "less", tmp_path / "ours", shards, extra={"p": MATRIX, "x1": [1.0]})
    assert files_of(tmp_path / "ours", 3) == files_of(tmp_path / "theirs", 3)


@pytest.mark.parametrize("case", ["partitioned beside whole", "strings", "12 partitions in the saver's order", "empty"])
def test_copy_bundle_equals_saving_in_order(case, tmp_path):
    items = CASES[case]
    save_with_tf(tmp_path / "theirs", sorted(items, key=lambda item: item[0]))
    save_with_tf(tmp_path / "source", items)
    copy_bundle(tmp_path / "source", tmp_path / "ours")
    assert files_of(tmp_path / "ours") == files_of(tmp_path / "theirs")


def test_saver_and_copy_of_some_variables(tmp_path):
    """A real Saver of a v1 graph with a partitioned variable on several devices."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        with tf.device("/device:CPU:0"):
            tf.compat.v1.get_variable("b", [3])
        tf.compat.v1.get_variable("a", [4, 2])
        tf.compat.v1.get_variable(
            "emb", [25, 3], partitioner=tf.compat.v1.fixed_size_partitioner(12), use_resource=True
        )
        tf.compat.v1.get_variable("step", [], tf.int64, initializer=tf.compat.v1.zeros_initializer())
        session.run(tf.compat.v1.global_variables_initializer())
        everything = tf.compat.v1.global_variables()
        sharded = tf.compat.v1.train.Saver(sharded=True).save(session, str(tmp_path / "model.ckpt"))
        some = [v for v in everything if not v.op.name.startswith("b")]
        tf.compat.v1.train.Saver(some).save(session, str(tmp_path / "some"))
    report = copy_bundle(sharded, tmp_path / "ours", ["step", "a", "emb"])
    assert report.names == ("a", "emb", "step")
    assert files_of(tmp_path / "ours") == files_of(tmp_path / "some")

    reader = BundleReader(sharded)
    assert reader.num_shards == 2
    checkpoint = tf.train.load_checkpoint(sharded)
    for name, shape in checkpoint.get_variable_to_shape_map().items():
        assert reader.shape(name) == tuple(shape)
        np.testing.assert_array_equal(reader.read(name), checkpoint.get_tensor(name))


def test_read_slice_equals_restore(tmp_path):
    value = RNG.standard_normal((7, 5, 3)).astype(np.float32)
    save_with_tf(tmp_path / "whole", [("p", value, "")])
    save_with_tf(tmp_path / "parts", parts_of("p", value, [2, 3, 7]))
    for source in ("whole", "parts"):
        reader = BundleReader(tmp_path / source)
        for text in ("7 5 3 1,4:2,3:1,1", "7 5 3 -:0,2:-", "7 5 3 0,2:0,5:0,3", "7 5 3 6,1:4,1:2,1", ""):
            (want,) = tf.raw_ops.RestoreV2(
                prefix=str(tmp_path / source), tensor_names=["p"], shape_and_slices=[text], dtypes=[tf.float32]
            )
            np.testing.assert_array_equal(reader.read_slice("p", text), want.numpy())


@pytest.mark.parametrize("stack", [0, 1, 3])
def test_variants_are_copied_and_checked(stack, tmp_path):
    handle = tf.raw_ops.TensorListFromTensor(tensor=tf.constant([[1.0, 2.0]]), element_shape=tf.constant([2]))
    variant = tf.stack([handle] * stack) if stack else handle
    names = ["v", "w"]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"), tensor_names=names, shape_and_slices=["", ""], tensors=[variant, tf.ones(2)]
    )
    BundleReader(tmp_path / "theirs").verify()
    copy_bundle(tmp_path / "theirs", tmp_path / "ours")
    assert files_of(tmp_path / "ours") == files_of(tmp_path / "theirs")

    data = bytearray(files_of(tmp_path / "theirs")[1])
    for position in range(len(data)):
        data[position] ^= 0x10
        with open(data_path(tmp_path / "theirs", 0, 1), "wb") as file:
            file.write(data)
        with pytest.raises(BundleError, match=r"tensor '[vw]'"):
            BundleReader(tmp_path / "theirs").verify()
        data[position] ^= 0x10
