"""Tables in TensorFlow graphs: what the faces of single and of several tables build, run by TensorFlow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto import hash_table_pb2  # noqa: E402
from mexport_pb.errors import InvalidArgumentError  # noqa: E402
from mexport_pb.runtime import hash_filter_ops, hash_table_ops  # noqa: E402
from mexport_pb.runtime.hash_table_ops import test_hash_table as make_table  # noqa: E402
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTable, RaggedIds  # noqa: E402
from mexport_pb.runtime.test_utils import generate_test_hash_table_config  # noqa: E402
from tests.support.table_ops import in_session, threshold  # noqa: E402

pytestmark = pytest.mark.tensorflow

v1 = tf.compat.v1


def ids(*values):
    return tf.constant(values, tf.int64)


def step(table, values, loss=tf.reduce_sum, **settings):
    """The table behind a step for a loss over the vectors of ids."""
    embeddings = table.lookup(ids(*values))
    (gradients,) = tf.gradients(loss(embeddings), embeddings)
    return table.apply_gradients(ids(*values), gradients, global_step=tf.constant(0, tf.int64), **settings)


class TestOneTable:
    def test_lookup(self):
        with in_session() as run:
            table = make_table(1)
            added = table.assign_add(ids(0, 1), [[1.0], [1.0]])
            assert run(added.lookup(ids(0, 1, 2))).tolist() == [[1], [1], [0]]
            assert run(table.size()) == 2
            assert run(table.lookup(np.array([1, 7], np.int64), use_multi_threads=True)).tolist() == [[1], [0]]

    def test_the_name_is_that_of_the_node_and_of_the_files(self):
        with in_session():
            table = make_table(1, name_suffix="a/b")
            assert table.name == "MonolithHashTable_a/b"
            assert table.file_prefixes == ["MonolithHashTable_a-b"]
            assert table.table.op.get_attr("shared_name") == table.name.encode()

    def test_assign_overrides(self):
        with in_session() as run:
            table = make_table(2).assign_add(ids(0), [[1.0, 2.0]]).assign(ids(0, 1), [[3, 4], [5, 6]])
            assert run(table.lookup(ids(0, 1))).tolist() == [[3, 4], [5, 6]]

    def test_lookup_entry(self):
        with in_session() as run:
            table = make_table(1, use_adagrad=True).assign(ids(0), [[4.0]], req_time=7)
            found, absent = run(table.lookup_entry(ids(0, 1)))
            entry = hash_table_pb2.EntryDump.FromString(found)
            assert list(entry.num) == [4]
            assert entry.last_update_ts_sec == 7
            assert entry.opt.dump[0].WhichOneof("type") == "adagrad"
            assert not entry.HasField("id")
            assert absent == b""

    def test_save_as_tensor(self):
        with in_session() as run:
            table = make_table(1).assign(ids(-1, 3), [[4.0], [5.0]])
            offset, entries = table.save_as_tensor(0, 1, 1, 0)
            seen, where = [], 0
            for _ in range(3):
                where, part = run([offset, entries], {offset.op.inputs[4]: where})
                seen.extend(hash_table_pb2.EntryDump.FromString(data).id for data in part)
            assert sorted(seen) == [-1, 3]

    def test_a_name_is_taken_once_in_a_graph(self):
        with in_session():
            make_table(1, name_suffix="same")
            with pytest.raises(InvalidArgumentError, match="shared_name MonolithHashTable_same has already been used"):
                make_table(1, name_suffix="same")
        with in_session():
            assert make_table(1, name_suffix="same").name == "MonolithHashTable_same"
            assert [make_table(1).name for _ in range(2)] == ["MonolithHashTable_test", "MonolithHashTable_test_1"]

    def test_gradients_of_equal_ids_add_up(self):
        with in_session() as run:
            table = make_table(1, learning_rate=0.1).assign_add(ids(0, 1), [[0.4], [0.2]])
            changed = step(table, [0, 0, 1])
            assert run(changed.lookup(ids(0, 1))) == pytest.approx(np.array([[0.2], [0.1]]))

    def test_gradients_by_dedup(self):
        with in_session() as run:
            table = make_table(1, learning_rate=0.1)
            changed = step(table.assign_add(ids(0, 1), [[0.5], [0.3]]), [0, 1, 0], enable_dedup=True)
            assert run(changed.lookup(ids(0, 1))) == pytest.approx(np.array([[0.3], [0.2]]))

    def test_a_learning_rate_may_be_a_function(self):
        with in_session() as run:
            rate = v1.placeholder_with_default(0.25, [])
            table = step(make_table(1, learning_rate=lambda: rate * 2), [3])
            assert run(table.lookup(ids(3))).tolist() == [[-0.5]]
            rates = v1.get_collection("monolith_hash_tables")[0].to_proto().learning_rate_tensor
            assert rates == "learning_rate/stack:0"

    def test_a_learning_rate_may_decay(self):
        with in_session() as run:
            global_step = v1.train.get_or_create_global_step()
            decay = v1.train.polynomial_decay(0.1, global_step, 10, 0.0)
            table = make_table(1, learning_rate=lambda: decay)
            gradient = tf.constant([[1.0]])
            changed = table.apply_gradients(ids(0), gradient, global_step)
            run(v1.global_variables_initializer())
            run(changed.as_op())
            run(v1.assign(global_step, 5))
            run(changed.as_op())
            assert run(table.lookup(ids(0))) == pytest.approx(np.array([[-0.15]]))

    def test_an_id_must_come_often_enough(self):
        with in_session() as run:
            table = make_table(1, enable_hash_filter=True, occurrence_threshold=3, learning_rate=0.1)
            add = table.assign_add(ids(0), [[0.1]])
            seen = []
            for _ in range(4):
                run(add.as_op())
                seen.append(float(run(table.lookup(ids(0)))[0, 0]))
            assert seen == pytest.approx([0, 0, 0, 0.1])

    def test_filtered_ids_get_no_gradient(self):
        with in_session() as run:
            hash_filter = hash_filter_ops.create_hash_filter(300, 5, threshold(2))
            embeddings = tf.constant([[1.0], [2.0]])
            kept = hash_filter_ops.intercept_gradient(hash_filter, ids(1, 2), embeddings)
            assert run(kept).tolist() == [[1], [2]]
            (gradient,) = tf.gradients(kept, embeddings)
            assert [run(gradient).tolist() for _ in range(3)] == [[[0], [0]], [[0], [0]], [[1], [1]]]

    def test_fused_lookup_and_optimize(self):
        with in_session() as run:
            tables = [make_table(dim, learning_rate=0.1) for dim in (1, 1, 2)]
            filled = [
                table.assign(ids(*values), np.ones((2, table.dim_size), np.float32)).table
                for table, values in zip(tables, ([0, 1], [4, 3], [6, 7]), strict=True)
            ]
            found = hash_table_ops.fused_lookup(filled, ids(0, 4, 6, 1, 3, 7), [1, 1, 1, 1, 1, 1], num_of_shards=2)
            embeddings, splits, id_offsets, offsets, indices = found
            assert [v.tolist() for v in run((splits, id_offsets, offsets))] == [
                [4, 4],
                [0, 1, 2, 3, 4, 5, 6],
                [0, 1, 2, 4, 5, 6, 8],
            ]
            (gradients,) = tf.gradients(tf.reduce_sum(embeddings * -1.0), embeddings)
            handles = hash_table_ops.fused_apply_gradient(
                filled,
                *(ids(0, 4, 6, 1, 3, 7), indices, [1, 1, 1, 1, 1, 1], gradients, id_offsets, offsets),
                *([0.1, 0.1, 0.1], 0, 0, 2),
            )
            changed = tables[2].table_update(handles[2]).lookup(ids(6, 7))
            assert run(changed) == pytest.approx(np.full((2, 2), 1.1))

    def test_batch_softmax_learns_how_often_an_id_comes(self):
        segment = mx.CombineAsSegment(
            1, mx.BatchSoftmaxInitializer(1.0), mx.BatchSoftmaxOptimizer(), mx.Fp32Compressor()
        )
        config = mx.CuckooHashTableConfig(mx.entry_config(segment)).as_proto()
        with in_session() as run:
            table = hash_table_ops.hash_table_from_config(mx.HashTableConfigInstance(config, [0.1]), name_suffix="b")
            now = v1.placeholder(tf.int64, [])
            changed = [table.apply_gradients(ids(i), [[0.0]], now).as_op() for i in range(2)]
            for at in range(500):
                if at % 5 == 0:
                    run(changed[0], {now: at})
                if at % 10 == 0:
                    run(changed[1], {now: at})
            assert run(table.lookup(ids(0, 1))) == pytest.approx(np.array([[5], [10]]), rel=0.02)

    def test_the_slot_of_an_entry(self):
        with in_session() as run:
            entry = hash_table_pb2.EntryDump(id=1 << 48).SerializeToString()
            assert run(hash_table_ops.extract_slot_from_entry([entry])).tolist() == [1]

    def test_a_meta_graph_carries_the_table(self):
        with tf.Graph().as_default():
            with v1.name_scope("scope"):
                made = make_table(3, name_suffix="t", extra_restore_names=["MonolithHashTable_before"])
            made.export_share_embedding = True
            meta_graph = v1.train.export_meta_graph()
        assert len(meta_graph.collection_def["monolith_hash_tables"].bytes_list.value) == 1
        with tf.Graph().as_default():
            v1.train.import_meta_graph(meta_graph, import_scope="again")
            (table,) = v1.get_collection("monolith_hash_tables")
            assert isinstance(table, hash_table_ops.HashTable)
            assert table.table.name == "again/scope/MonolithHashTable_t:0"
            assert (table.dim_size, table.name) == (3, "MonolithHashTable_t")
            assert table.extra_restore_names == ["MonolithHashTable_before"]
            assert table.export_share_embedding is True
            with v1.Session() as session:
                assert session.run(table.assign(ids(1), [[1, 2, 3]]).lookup(ids(1))).tolist() == [[1, 2, 3]]
            back = table.to_proto(export_scope="again")
            assert back.table_tensor == "scope/MonolithHashTable_t:0"
            assert table.to_proto(export_scope="elsewhere") is None


class TestSeveralTables:
    def two(self, **settings):
        return MultiHashTable.from_configs(
            {"b": generate_test_hash_table_config(2), "a": generate_test_hash_table_config(1)}, **settings
        )

    def test_assign_add_lookup_and_reinitialize(self):
        with in_session() as run:
            made = self.two()
            run(made.initializer)
            table = made.assign_add({"a": (ids(1), [[1.0]]), "b": ([2, 3], [[2.0, 3.0], [4.0, 5.0]])})
            found = run(table.lookup({"b": ids(2, 9, 3), "a": ids(1)}))
            assert list(found) == ["b", "a"]
            assert found["b"].tolist() == [[2, 3], [0, 0], [4, 5]]
            assert found["a"].tolist() == [[1]]
            table, status = made.reinitialize("a", ids(0, 1, 1))
            assert run(status).tolist() == [0, 1, 1]
            assert run(table.lookup({"a": ids(1)}))["a"].tolist() == [[0]]
            assert run(made.reinitialize("nothing", ids(0, 1))[1]).tolist() == [-1, -1]

    def test_lookup_of_some_tables(self):
        with in_session() as run:
            made = self.two()
            run(made.initializer)
            table = made.assign({"b": (ids(2), [[2.0, 3.0]])})
            assert {name: v.tolist() for name, v in run(table.lookup({"b": ids(2)})).items()} == {"b": [[2, 3]]}
            empty = run(table.lookup({"a": tf.constant([], tf.int64)}))["a"]
            assert empty.shape == (0, 1)

    def test_gradients_and_rates_in_the_order_of_the_names(self):
        configs = {
            "z": generate_test_hash_table_config(1, learning_rate=0.5),
            "a": generate_test_hash_table_config(1, learning_rate=0.25),
        }
        with in_session() as run:
            made = MultiHashTable.from_configs(configs)
            run(made.initializer)
            found = made.lookup({"a": ids(1), "z": ids(1)})
            gradients = tf.gradients(found["a"] + found["z"], [found["a"], found["z"]])
            changed = made.apply_gradients({"a": (ids(1), gradients[0]), "z": (ids(1), gradients[1])}, 0)
            assert {k: v.tolist() for k, v in run(changed.lookup({"a": ids(1), "z": ids(1)})).items()} == {
                "a": [[-0.25]],
                "z": [[-0.5]],
            }

    def test_ids_may_be_a_ragged_tensor(self):
        with in_session() as run:
            made = self.two()
            run(made.initializer)
            ragged = tf.RaggedTensor.from_row_splits(ids(1, 2, 3), ids(0, 1, 3))
            table = made.raw_assign(ragged, [1.0, 2.0, 2.0, 3.0, 3.0])
            assert run(table.raw_lookup(RaggedIds(ids(1, 3), ids(0, 1, 2)))).tolist() == [1, 3, 3]
            found = run(table.get_embeddings(ragged, table.raw_lookup(ragged)))
            assert found["b"].tolist() == [[2, 2], [3, 3]]

    def test_lookup_entry(self):
        with in_session() as run:
            made = self.two()
            run(made.initializer)
            table = made.assign({"b": (ids(2), [[2.0, 3.0]])}, req_time=5)
            entries = run(table.lookup_entry({"b": ids(2, 7)}))["b"]
            entry = hash_table_pb2.EntryDump.FromString(entries[0])
            assert (list(entry.num), entry.last_update_ts_sec, entries[1]) == ([2, 3], 5, b"")

    def test_tensorflow_makes_them_with_its_shared_resources(self):
        with tf.Graph().as_default():
            made = self.two()
            v1.train.get_or_create_global_step()
            found = made.assign({"a": (ids(1), [[1.0]])}).lookup({"a": ids(1)})["a"]
            with v1.train.SingularMonitoredSession() as session:
                assert session.run(found).tolist() == [[1]]

    def test_before_the_initializer_there_are_no_tables(self):
        with in_session() as run:
            made = self.two()
            with pytest.raises(tf.errors.OpError, match="MonolithMultiHashTable_"):
                run(made.lookup({"a": ids(1)}))

    def test_names_are_checked(self):
        with in_session():
            made = self.two(name_suffix="x")
            with pytest.raises(InvalidArgumentError, match="no table 'c'"):
                made.lookup({"c": ids(1)})
            with pytest.raises(InvalidArgumentError, match="MonolithMultiHashTable_x has already been used"):
                self.two(name_suffix="x")

    def test_a_meta_graph_carries_the_tables(self):
        with tf.Graph().as_default():
            self.two(name_suffix="m")
            meta_graph = v1.train.export_meta_graph()
        with tf.Graph().as_default():
            v1.train.import_meta_graph(meta_graph, import_scope="again")
            (made,) = v1.get_collection("monolith_multi_hash_tables")
            assert (made.table_names, made.dims, made.shared_name) == (("a", "b"), (1, 2), "MonolithMultiHashTable_m")
            with v1.Session() as session:
                session.run(made.initializer)
                assert session.run(made.lookup({"a": ids(1)}))["a"].tolist() == [[0]]


class TestWrongUse:
    def test_outside_of_a_graph(self):
        with pytest.raises(InvalidArgumentError, match=r"want a call within `with tf.Graph\(\).as_default\(\)`"):
            make_table(1)
        with pytest.raises(InvalidArgumentError, match="no default graph"):
            MultiHashTable.from_configs({"a": generate_test_hash_table_config(1)})

    @pytest.mark.parametrize("module", ["hash_table_ops", "multi_hash_table_ops", "hash_filter_ops", "save_utils"])
    def test_without_tensorflow(self, module):
        code = f"import sys; sys.modules['tensorflow'] = None; import mexport_pb.runtime.{module}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "mexport_pb.errors.MexportError: mexport_pb.runtime: tensorflow is not" in done.stderr

    def test_values_of_another_type(self):
        with in_session():
            table = make_table(2)
            with pytest.raises(InvalidArgumentError, match="MonolithHashTableLookup"):
                table.lookup(["a"])
            with pytest.raises(InvalidArgumentError, match="MonolithHashTableAssign"):
                table.assign(ids(1), [["a", "b"]])

    def test_values_of_another_dimension(self):
        with in_session() as run:
            table = make_table(2)
            with pytest.raises(tf.errors.InvalidArgumentError, match="got 1 floats, want 2"):
                run(table.assign(ids(1), [[1.0]]).as_op())

    def test_rates_for_another_number_of_segments(self):
        config = generate_test_hash_table_config(1)
        for rates in ([], [1.0, 2.0]):
            with in_session(), pytest.raises(InvalidArgumentError, match="Size of learning_rate_fns and size of seg"):
                hash_table_ops.hash_table_from_config(mx.HashTableConfigInstance(config.table_config, rates))

    def test_a_configuration_without_rates(self):
        config = generate_test_hash_table_config(1).table_config
        with in_session():
            with pytest.raises(InvalidArgumentError, match="got EmbeddingHashTableConfig, want a HashTableConfigInst"):
                hash_table_ops.hash_table_from_config(config)
            with pytest.raises(InvalidArgumentError, match="table 'a': got int, want a HashTableConfigInstance"):
                MultiHashTable.from_configs({"a": 1})

    def test_a_scope_that_is_not_in_the_graph(self):
        with in_session():
            proto = make_table(1).to_proto()
            with pytest.raises(InvalidArgumentError, match="elsewhere/MonolithHashTable_test"):
                hash_table_ops.HashTable.from_proto(proto, import_scope="elsewhere")
