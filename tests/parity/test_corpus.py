"""Every graph of the corpus: the files that we write are TensorFlow's, byte for byte."""

from __future__ import annotations

import logging

import pytest
import tensorflow as tf
from google.protobuf.internal import api_implementation

import mexport_pb as mx
from mexport_pb.errors import MexportError
from tests.corpus import ENTRIES, RUNS, compare_builder, compare_trees, save_with_builder, tree

pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def _quiet():
    # TensorFlow warns of every collection that it cannot write.
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def test_the_runtime_is_the_one_whose_map_order_is_compared():
    assert api_implementation.Type() == "upb"


def test_the_corpus_is_large_enough():
    assert len(ENTRIES) >= 40
    options = {(e.clear_devices, e.strip_default_attrs) for n, e in ENTRIES.items() if n.startswith("options_")}
    assert len(options) == 4
    assert sum(not entry.exceptions for entry in ENTRIES.values()) >= 60


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ENTRIES)
def test_files_are_tensorflows(name, run, tmp_path):
    kind, _, reason = ENTRIES[name].exceptions.get(run, "same").partition(": ")
    if kind == "refused":
        with pytest.raises(MexportError):
            RUNS[run](ENTRIES[name], tmp_path)
        return
    result = RUNS[run](ENTRIES[name], tmp_path)
    assert "saved_model.pb" in {file.path for file in result.files}
    if kind == "differs":
        assert not result.same, f"no longer so: {reason}"
        return
    assert result.same, str(result)


@pytest.mark.parametrize("name", ["imported_meta_graph", "scope_without_nodes"])
def test_files_are_tensorflows_once_the_names_in_use_are_told(name, tmp_path):
    """What a MetaGraphDef does not say, a caller who has the graph can."""
    inputs = save_with_builder(ENTRIES[name], tmp_path)
    (meta_graph,) = inputs.meta_graphs
    told = mx.add_saver(meta_graph, names_in_use=inputs.names_in_use)
    mx.write_saved_model(told, tmp_path / "ours", inputs.checkpoint, **inputs.options)
    result = compare_trees(tmp_path / "builder", tmp_path / "ours")
    assert result.same, str(result)


def test_a_difference_is_found(tmp_path):
    compare_builder(ENTRIES["one_resource"], tmp_path)
    for path, change in (("saved_model.pb", b"\0"), ("variables/variables.index", b"!"), ("more", b"")):
        file = tmp_path / "ours" / path
        data = file.read_bytes() if file.exists() else b""
        file.write_bytes(data + change if path != "saved_model.pb" else data.replace(b"serve", b"sErve", 1))
        result = compare_trees(tmp_path / "builder", tmp_path / "ours")
        assert [one.path for one in result.files if not one.same] == [path]
        assert all(one.difference for one in result.files if not one.same)
        file.write_bytes(data) if data else file.unlink()
    (tmp_path / "ours" / "saved_model.pb").unlink()
    assert "is missing" in str(compare_trees(tmp_path / "builder", tmp_path / "ours"))


@pytest.mark.parametrize(
    "name",
    [
        "one_ref",
        "many_of_each",
        "scalars",
        "dtypes",
        "empty_tensors",
        "string_variables",
        "unknown_shapes",
        "training_graph",
        "cleared_without_functions",
        "partitioned_resource",
        "partitioned_ref",
        "parts_from_whole",
        "second_saver",
        "nested_functions",
        "keras_model",
        "index_tables",
        "beyond_ascii",
        "many_keys",
    ],
)
def test_what_tensorflow_loads_it_saves_again(name, tmp_path):
    """Restores run, and the saver of the export writes the bundle that the export has."""
    assert compare_builder(ENTRIES[name], tmp_path).same
    export = tmp_path / "ours"
    (meta_graph,) = mx.read_saved_model(export).meta_graphs
    saver = meta_graph.saver_def
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.saved_model.load(session, list(ENTRIES[name].tags), str(export))
        (tmp_path / "again").mkdir()
        prefix = str(tmp_path / "again" / "variables")
        session.run(saver.save_tensor_name, {saver.filename_tensor_name: prefix})
    assert tree(tmp_path / "again") == tree(export / "variables")
