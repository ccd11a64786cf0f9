"""Exports of embedding tables, served by TensorFlow with the library of table ops."""

import numpy as np
import pytest

import mexport_pb as mx
from tests.support.table_exports import (
    DUMPS,
    MULTI,
    SINGLE,
    SPEC,
    assets_of,
    config,
    export,
    make_checkpoint,
    training_graph,
)

tf = pytest.importorskip("tensorflow")

from mexport_pb.runtime import execute_restore, load_op_library  # noqa: E402

pytestmark = pytest.mark.tensorflow

DIMS = {"slot": 4, "a": 2, "b": 3}
IDS = np.arange(60)


@pytest.fixture
def checkpoint(tmp_path):
    return make_checkpoint(tmp_path)


@pytest.fixture(autouse=True, scope="module")
def library():
    return load_op_library()


def wanted():
    found = {}
    for name, dim in DIMS.items():
        table = mx.EmbeddingTable(config(dim).as_proto())
        table.restore(DUMPS[name])
        found[name] = table.lookup(IDS)
    return found


def assert_same_bits(got, want):
    for name, vectors in got.items():
        np.testing.assert_array_equal(np.asarray(vectors).view(np.uint32), want[name].view(np.uint32))


MODES = {
    "copy": {},
    "hardlink": {"tables": "hardlink"},
    "serving": {"tables": "serving"},
    "packed": {"tables": mx.ServingTables(num_shards=5, pack_floats=True)},
    "shared": {"shared_embedding": True},
}


@pytest.mark.parametrize("mode", MODES)
def test_served_vectors_are_those_of_the_checkpoint(tmp_path, checkpoint, mode):
    path, _ = export(tmp_path, checkpoint, validate="restore", **MODES[mode])
    got = execute_restore(path, signature="serving_default", feeds={"ids": IDS})
    assert sorted(got) == sorted(DIMS)
    assert_same_bits(got, wanted())


def test_the_loader_of_tensorflow_2(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    loaded = tf.saved_model.load(path)
    got = loaded.signatures["serving_default"](ids=tf.constant(IDS))
    assert_same_bits({name: value.numpy() for name, value in got.items()}, wanted())


def test_the_meta_file_of_a_training_job(tmp_path, checkpoint):
    path = mx.export_meta_graph(training_graph(), checkpoint, tmp_path / "1", [SPEC], tables="serving")
    got = execute_restore(path, signature="serving_default", feeds={"ids": IDS})
    assert sorted(got) == ["b", "slot"]
    assert_same_bits(got, wanted())


def run(session, signature, feeds):
    fed = {signature.inputs[key].name: value for key, value in feeds.items()}
    return session.run({key: info.name for key, info in signature.outputs.items()}, fed)


def test_pushed_values_are_looked_up(tmp_path, checkpoint):
    path, _ = export(tmp_path, checkpoint)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def
        vector = np.array([[1, 2, 3, 4]], np.float32)
        pushed = run(session, signatures["hashtable_assign"], {f"{SINGLE}_id": [1000], f"{SINGLE}_value": vector})
        assert pushed == {f"{SINGLE}_result": 1}
        raw = signatures[f"{MULTI}/raw_assign"]
        assert run(session, raw, {"id": [7, 1000], "id_split": [0, 1, 2], "flat_value": [1, 2, 3, 4, 5]}) == {
            "result": 0
        }
        found = run(session, signatures["serving_default"], {"ids": [7, 1000]})
        np.testing.assert_array_equal(found["slot"][1], vector[0])
        np.testing.assert_array_equal(found["a"], [[1, 2], [0, 0]])
        np.testing.assert_array_equal(found["b"][1], [3, 4, 5])
        for splits in ([0, 2], [0, 2, 1], [1, 1, 2], [0, 1, 3], []):
            with pytest.raises(tf.errors.InvalidArgumentError):
                run(session, raw, {"id": [7, 1000], "id_split": splits, "flat_value": [9, 9, 9, 9, 9]})
        after = run(session, signatures["serving_default"], {"ids": [7, 1000]})
        np.testing.assert_array_equal(after["a"], [[1, 2], [0, 0]])


def test_a_damaged_file_fails_where_it_is_restored(tmp_path, checkpoint):
    path = assets_of(checkpoint) / f"{SINGLE}-00001-of-00002"
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    with pytest.raises(mx.ValidationError, match="cannot load it"):
        export(tmp_path, checkpoint, validate="restore")
    assert not (tmp_path / "models").exists()
