"""Who shares a table: nodes, sessions, servers; and SavedModels with table ops in TensorFlow's loaders."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from mexport_pb.runtime import ops  # noqa: E402
from tests.support import cpp_loader, python_loader  # noqa: E402
from tests.support.table_ops import ids, in_session, multi_table, table, table_config  # noqa: E402

pytestmark = pytest.mark.tensorflow


def assign(handle, keys, values):
    return ops.hash_table_assign(handle, ids(*keys), np.array(values, np.float32), np.int64(0))


def lookup(handle, *keys, dim=1):
    return ops.hash_table_lookup(handle, ids(*keys), dim_size=dim)


def unnamed(**attrs):
    return ops.hash_table(
        ops.dummy_hash_filter(shared_name="f"), ops.dummy_sync_client(shared_name="c"), config=table_config(), **attrs
    )


def test_nodes_of_one_name_share_a_table_whatever_their_config():
    with in_session() as run:
        one, same = table(table_config(), "same"), table(table_config(2), "same")
        run(assign(one, [1], [[5]]))
        assert run(lookup(same, 1)).tolist() == [[5]]


def test_a_table_is_named_by_its_node_and_container():
    with in_session() as run:
        first, second = unnamed(name="first"), unnamed(name="second")
        elsewhere = unnamed(shared_name="first", container="elsewhere")
        by_name = unnamed(shared_name="first")
        run([assign(first, [1], [[1]]), assign(second, [1], [[2]]), assign(elsewhere, [1], [[3]])])
        assert [run(lookup(h, 1)).item() for h in (first, second, elsewhere, by_name)] == [1, 2, 3, 1]


def test_two_sessions_of_a_process_have_tables_of_their_own():
    with in_session() as run:
        run(assign(table(table_config()), [1], [[5]]))
        with in_session() as other:
            assert other(lookup(table(table_config()), 1)).tolist() == [[0]]
        assert run(lookup(table(table_config()), 1)).tolist() == [[5]]


def test_sessions_of_one_server_share_tables_of_a_name():
    server = tf.distribute.Server.create_local_server()
    with in_session(server.target) as run:
        run(assign(table(table_config(), "on the server"), [1], [[5]]))
        run(multi_table({"a": table_config()}, "several").op)
    with in_session(server.target) as run:
        assert run(lookup(table(table_config(), "on the server"), 1)).tolist() == [[5]]
        assert run(ops.is_hash_table_initialized(ops.read_multi_hash_table(shared_name="several")))


def test_graph_survives_a_message():
    with in_session() as run:
        looked_up = lookup(assign(table(table_config()), [1], [[5]]), 1)
        graph_def = tf.compat.v1.get_default_graph().as_graph_def()
        assert run(looked_up).tolist() == [[5]]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            assert session.run(looked_up.name).tolist() == [[5]]


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A model that restores a table and several tables from its assets, and looks ids up in them."""
    folder = tmp_path_factory.mktemp("model")
    with in_session() as run:
        handle = table(table_config(2), "emb")
        many = multi_table({"a": table_config(1), "b": table_config(3)}, "many")
        run(assign(handle, [1, 2], [[1, 2], [3, 4]]))
        run(ops.multi_hash_table_assign(many, ids(1, 2), ids(0, 1, 2), [5.0, 6, 7, 8], np.int64(0)))
        run(ops.hash_table_save(handle, str(folder / "files" / "emb"), nshards=2))
        run(ops.multi_hash_table_save(many, str(folder / "files" / "many")))
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        base = tf.constant("./", name="ASSET_BASE")
        handle = table(table_config(2, serving=True), "emb")
        made = multi_table({"a": table_config(1, serving=True), "b": table_config(3, serving=True)}, "many")
        with tf.control_dependencies([made]):
            many = ops.read_multi_hash_table(shared_name="many")
        init = tf.group(
            ops.hash_table_restore(handle, tf.strings.join([base, "emb"])).op,
            ops.multi_hash_table_restore(many, tf.strings.join([base, "many"])).op,
        )
        x = tf.compat.v1.placeholder(tf.int64, [None], name="x")
        y = tf.identity(ops.hash_table_lookup(handle, x, dim_size=2), name="y")
        read = ops.read_multi_hash_table(shared_name="many")
        z = tf.identity(ops.multi_hash_table_lookup(read, tf.concat([x, x], 0), [0, tf.size(x), 2 * tf.size(x)]))
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": y, "z": z})
        builder = tf.compat.v1.saved_model.Builder(str(folder / "model"))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map={"serving_default": signature}, main_op=init
        )
        # The loaders feed the folder of the assets to this tensor.
        asset = builder._saved_model.meta_graphs[0].asset_file_def.add(filename="./")
        asset.tensor_info.name = "ASSET_BASE:0"
        builder.save()
    shutil.copytree(folder / "files", folder / "model" / "assets")
    return folder / "model"


@pytest.mark.parametrize("loader", [python_loader, cpp_loader], ids=["python", "cpp"])
def test_saved_models_with_table_ops_load_and_answer(saved_model, loader):
    with loader.load(saved_model) as session:
        got = session.run("serving_default", {"x": ids(1, 2, 9)})
    assert got["y"].tolist() == [[1, 2], [3, 4], [0, 0]]
    assert got["z"].tolist() == [5, 0, 0, 0, 0, 0, 6, 7, 8, 0, 0, 0]
