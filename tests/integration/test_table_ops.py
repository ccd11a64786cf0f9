"""The ops on one table, run by TensorFlow."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb.errors import MexportError  # noqa: E402
from mexport_pb.runtime import ops  # noqa: E402
from tests.support.table_ops import (  # noqa: E402
    entry,
    ids,
    in_session,
    multi_config,
    table,
    table_config,
    threshold,
)

pytestmark = pytest.mark.tensorflow
errors = tf.errors


def lookup(handle, *values, dim=1, **attrs):
    return ops.hash_table_lookup(handle, ids(*values), dim_size=dim, **attrs)


def optimize(handle, id_values, gradients, rates=(1.0,), time=0, step=0, **attrs):
    return ops.hash_table_optimize(
        handle, ids(*id_values), np.array(gradients, np.float32), list(rates), np.int64(time), np.int64(step), **attrs
    )


def assign(handle, id_values, values, time=0):
    return ops.hash_table_assign(handle, ids(*id_values), np.array(values, np.float32), np.int64(time))


def assign_add(handle, id_values, values, time=0):
    return ops.hash_table_assign_add(handle, ids(*id_values), np.array(values, np.float32), np.int64(time))


def test_assign_add_and_lookup():
    with in_session() as run:
        handle = table(table_config())
        added = assign_add(handle, [0, 1], [[1], [1]])
        assert run(lookup(added, 0, 1, 2)).tolist() == [[1], [1], [0]]
        assert run(ops.hash_table_size(handle)) == 2
        # A lookup makes no entry.
        run(lookup(handle, 7))
        assert run(ops.hash_table_size(handle)) == 2


def test_assign_overrides_and_the_last_value_wins():
    with in_session() as run:
        handle = table(table_config(2))
        run(assign(handle, [0, 1], [[1, 2], [2, 3]]))
        run(assign(handle, [1, 1], [[5, 5], [6, 7]]))
        assert run(lookup(handle, 0, 1, dim=2)).tolist() == [[1, 2], [6, 7]]


def test_lookup_flattens_ids_and_its_shape_is_known():
    with in_session() as run:
        handle = table(table_config(3))
        run(assign(handle, [1], [[1, 2, 3]]))
        looked_up = ops.hash_table_lookup(handle, tf.constant([[1, 2], [3, 1]], tf.int64), dim_size=3)
        assert looked_up.shape == (4, 3)
        assert run(looked_up).tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0], [1, 2, 3]]
        unknown = tf.compat.v1.placeholder(tf.int64, None)
        assert ops.hash_table_lookup(handle, unknown, dim_size=3).shape.as_list() == [None, 3]
        assert ops.hash_table_lookup(handle, ids(1, 2), dim_size=3).shape == (2, 3)


@pytest.mark.parametrize("threads", [False, True])
def test_many_ids_on_several_threads(threads):
    rng = np.random.default_rng(5)
    keys = rng.permutation(200_000).astype(np.int64) - 100_000
    values = rng.normal(size=(len(keys), 4)).astype(np.float32)
    with in_session() as run:
        handle = table(table_config(4))
        run(ops.hash_table_assign(handle, keys, values, np.int64(0)))
        got = run(ops.hash_table_lookup(handle, keys[::-1], dim_size=4, use_multi_threads=threads))
        np.testing.assert_array_equal(got, values[::-1])
        run(ops.hash_table_optimize(handle, keys, values, [1.0], np.int64(0), np.int64(0), use_multi_threads=threads))
        got = run(ops.hash_table_lookup(handle, keys, dim_size=4, use_multi_threads=threads))
        np.testing.assert_array_equal(got, np.zeros_like(values))


def test_lookup_entry():
    with in_session() as run:
        handle = table(table_config(2, optimizer=mx.AdagradOptimizer(initial_accumulator_value=0.5)))
        run(assign(handle, [3], [[1, 2]], time=77))
        found, missing = run(ops.hash_table_lookup_entry(handle, ids(3, 4)))
        dump = entry(found)
        assert not dump.HasField("id")
        assert list(dump.num) == [1, 2]
        assert dump.last_update_ts_sec == 77
        assert list(dump.opt.dump[0].adagrad.norm) == [0.5, 0.5]
        assert missing == b""


def test_a_serving_table_gives_empty_entries_and_refuses_training(tmp_path):
    with in_session() as run:
        handle = table(table_config(serving=True), "served")
        run(assign(handle, [1], [[2]]))
        assert run(lookup(handle, 1)).tolist() == [[2]]
        assert run(ops.hash_table_lookup_entry(handle, ids(1, 2))).tolist() == [b"", b""]
        with pytest.raises(errors.InvalidArgumentError, match="table 'served': optimizing: got a serving table"):
            run(optimize(handle, [1], [[1]]))
        with pytest.raises(errors.ResourceExhaustedError, match="'served' is a serving table"):
            run(ops.hash_table_save(handle, str(tmp_path / "served")))
        with pytest.raises(errors.ResourceExhaustedError, match="table 'served'"):
            run(ops.hash_table_save_as_tensor(handle, 0, 1, np.int64(1), np.int64(0)))
        assert list(tmp_path.iterdir()) == []


def test_gradients_are_steps_one_after_another_or_summed():
    norm = {"optimizer": mx.AdagradOptimizer(initial_accumulator_value=1.0)}
    with in_session() as run:
        handle = table(table_config())
        run(optimize(handle, [0, 1, 0], [[1], [1], [1]], rates=[0.1]))
        np.testing.assert_allclose(run(lookup(handle, 0, 1)), [[-0.2], [-0.1]], rtol=1e-6)
        each, summed = table(table_config(**norm), "each"), table(table_config(**norm), "summed")
        run(optimize(each, [0, 0], [[1], [1]]))
        run(optimize(summed, [0, 0], [[1], [1]], enable_dedup=True))
        np.testing.assert_allclose(run(lookup(each, 0)), [[-(2**-0.5) - 3**-0.5]], rtol=1e-6)
        np.testing.assert_allclose(run(lookup(summed, 0)), [[-2 / 5**0.5]], rtol=1e-6)


def test_queue_size_changes_nothing():
    with in_session() as run:
        handle = table(table_config())
        run(optimize(handle, [0], [[1]], queue_size=3))
        assert run(lookup(handle, 0)).tolist() == [[-1]]
        with pytest.raises(errors.InvalidArgumentError, match="queue_size: got -1"):
            run(optimize(handle, [0], [[1]], queue_size=-1))


def test_learning_rates_are_one_for_each_segment():
    segments = [
        mx.CombineAsSegment(1, mx.ZerosInitializer(), mx.SgdOptimizer(), mx.Fp32Compressor()),
        mx.CombineAsSegment(2, mx.ZerosInitializer(), mx.SgdOptimizer(), mx.Fp32Compressor()),
    ]
    config = mx.CuckooHashTableConfig(mx.entry_config(*segments)).as_proto().SerializeToString()
    with in_session() as run:
        handle = table(config, "two")
        run(optimize(handle, [5], [[1, 1, 1]], rates=[1, 10]))
        assert run(lookup(handle, 5, dim=3)).tolist() == [[-1, -10, -10]]
        with pytest.raises(errors.InvalidArgumentError, match="table 'two': learning rates: got 1, want 2"):
            run(optimize(handle, [5], [[1, 1, 1]]))


def test_batch_softmax_learns_the_interval():
    config = table_config(optimizer=mx.BatchSoftmaxOptimizer(), initializer=mx.BatchSoftmaxInitializer(1.0))
    with in_session() as run:
        handle = table(config)
        step = tf.compat.v1.placeholder(tf.int64, [])
        every = tf.compat.v1.placeholder(tf.int64, [None])
        train = ops.hash_table_optimize(handle, every, tf.zeros([tf.size(every), 1]), [0.1], np.int64(0), step)
        for now in range(1, 1001):
            due = [i for i, interval in ((5, 5), (10, 10)) if now % interval == 0]
            if due:
                run(train, {step: now, every: due})
        np.testing.assert_allclose(run(lookup(handle, 5, 10)), [[5], [10]], rtol=1e-3)


def test_filter_counts_occurrences_of_new_ids_only():
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=1000, split_num=7, config=threshold(3), shared_name="filter")
        handle = table(table_config(), hash_filter=hash_filter)
        step = optimize(handle, [0, 0, 1], [[-0.1], [-0.1], [-0.1]])
        seen = []
        for _ in range(4):
            run(step)
            seen.append(run(lookup(handle, 0, 1)).ravel())
        np.testing.assert_allclose(np.transpose(seen), [[0, 0.1, 0.3, 0.5], [0, 0, 0, 0.1]], atol=1e-6)
        # Ids with an entry are not asked for any more, nor is a restored or assigned one.
        run(assign_add(handle, [0], [[1]]))
        np.testing.assert_allclose(run(lookup(handle, 0)), [[1.5]], rtol=1e-6)


def test_filter_counts_with_the_number_of_duplicates():
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=1000, split_num=7, config=threshold(2), shared_name="filter")
        handle = table(table_config(), hash_filter=hash_filter)
        step = optimize(handle, [0, 0], [[-1], [-1]], enable_dedup=True)
        run(step)
        assert run(ops.hash_table_size(handle)) == 0
        run(step)  # two occurrences before this one
        assert run(lookup(handle, 0)).tolist() == [[2]]


def test_probabilistic_filter_admits_some():
    with in_session() as run:
        hash_filter = ops.probabilistic_filter(config=threshold(4), shared_name="filter")
        handle = table(table_config(), hash_filter=hash_filter)
        run(assign_add(handle, range(10_000), np.ones((10_000, 1))))
        assert 2300 < run(ops.hash_table_size(handle)) < 2700


def test_lookup_gradient():
    with in_session() as run:
        grads = np.array([[1, 2], [3, 4]], np.float32)
        indices = np.array([[1, 0], [0, 0], [1, 1]], np.int64)
        got = ops.hash_table_lookup_gradient(indices, ids(7, 8, 9), grads)
        assert [tensor.shape.as_list() for tensor in got] == [[3], [3, 2]]
        values, rows = run(got)
        assert values.tolist() == [7, 8, 9]
        assert rows.tolist() == [[3, 4], [1, 2], [3, 4]]
        feed = tf.compat.v1.placeholder_with_default(np.array([[2, 0]], np.int64), [None, 2])
        with pytest.raises(errors.InvalidArgumentError, match=r"id_indices\[0, 0\]: got 2"):
            run(ops.hash_table_lookup_gradient(feed, ids(7), grads))
        some = tf.compat.v1.placeholder_with_default(ids(7, 8), [None])
        with pytest.raises(errors.InvalidArgumentError, match="should be same: got 1 and 2"):
            run(ops.hash_table_lookup_gradient(feed, some, grads))


def fused_tables(dims):
    return [table(table_config(dim), f"table{i}") for i, dim in enumerate(dims)]


def test_fused_lookup():
    with in_session() as run:
        tables = fused_tables([1, 1, 2])
        run([assign_add(t, [0, 1, 3, 4, 6, 7], np.full((6, d), d)) for t, d in zip(tables, [1, 1, 2], strict=True)])
        got = ops.hash_table_fused_lookup(tables, ids(0, 4, 6, 1, 3, 7), [1] * 6, np.int64(0), num_of_shards=2)
        assert [tensor.shape.as_list() for tensor in got] == [[None], [2], [7], [7], [6]]
        got = run(got)
        assert got.embeddings.tolist() == [1, 1, 2, 2, 1, 1, 2, 2]
        assert got.embedding_splits.tolist() == [4, 4]
        assert got.id_offsets.tolist() == list(range(7))
        assert got.embedding_offsets.tolist() == [0, 1, 2, 4, 5, 6, 8]
        assert got.indices.tolist() == [0, 4, 6, 1, 3, 7]


def test_fused_optimize():
    with in_session() as run:
        tables = fused_tables([1, 2])
        sizes = [1, 1, 1, 1]
        looked_up = ops.hash_table_fused_lookup(tables, ids(0, 1, 2, 3), sizes, np.int64(0), num_of_shards=2)
        assert run(looked_up.embedding_splits).tolist() == [3, 3]
        updated = ops.hash_table_fused_optimize(
            tables,
            ids(0, 1, 2, 3),
            looked_up.indices,
            sizes,
            np.array([-1, -2, -3, -4, -5, -6], np.float32),
            looked_up.id_offsets,
            looked_up.embedding_offsets,
            np.array([1, 0.5], np.float32),
            np.int64(0),
            np.int64(0),
            num_of_shards=2,
        )
        assert len(updated) == 2
        again = ops.hash_table_fused_lookup(updated, ids(0, 1, 2, 3), sizes, np.int64(0), num_of_shards=2)
        assert run(again.embeddings).tolist() == [1, 1, 1.5, 4, 2.5, 3]


@pytest.mark.parametrize("summed", [False, True])
def test_fused_optimize_with_repeated_ids(summed):
    optimizer = mx.AdagradOptimizer(initial_accumulator_value=1.0)
    with in_session() as run:
        handle = table(table_config(optimizer=optimizer))
        run(
            ops.hash_table_fused_optimize(
                [handle], ids(4, 4), ids(4, 4), [2], np.ones(2, np.float32), [0], [0], [1.0], np.int64(0), np.int64(0),
                num_of_shards=1, enable_grad_accumulation=summed,
            )
        )  # fmt: skip
        want = -2 / 5**0.5 if summed else -(2**-0.5) - 3**-0.5
        np.testing.assert_allclose(run(lookup(handle, 4)), [[want]], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [1, -1]}, r"fused_slot_size\[1\]: got -1"),
        ({"sizes": [3, 0]}, r"id_offsets\[0\]: got 0 for 3 ids, want them within the 2 there are"),
        ({"id_offsets": [0, 2]}, r"id_offsets\[1\]: got 2 for 1 ids"),
        ({"id_offsets": [-1, 1]}, r"id_offsets\[0\]: got -1"),
        ({"grad_offsets": [0, 3]}, r"grad_offsets\[1\]: got 3 for 2 floats, want them within the 4"),
        ({"grad_offsets": [0]}, "grad_offsets: got 1 elements, want 2"),
        ({"rates": [1.0, 2.0]}, "learning rates: got 2, want 1"),
        ({"rates": []}, "`learning_rate` is too short: got 0, want 1"),
        ({"time": -1}, "table 'table': update time: got -1"),
        ({"step": -1}, "table 'table': global step: got -1"),
    ],
)
def test_fused_optimize_checks_its_arguments(change, message):
    given = {"sizes": [1, 1], "id_offsets": [0, 1], "grad_offsets": [0, 2], "rates": [1.0], "time": 0, "step": 0}
    given |= change
    with in_session() as run:
        handle = table(table_config(2))
        step = ops.hash_table_fused_optimize(
            [handle], ids(1, 2), ids(1, 2), given["sizes"], np.ones(4, np.float32),
            np.array(given["id_offsets"], np.int32), np.array(given["grad_offsets"], np.int32),
            np.array(given["rates"], np.float32), np.int64(given["time"]), np.int64(given["step"]), num_of_shards=2,
        )  # fmt: skip
        with pytest.raises(errors.InvalidArgumentError, match=message):
            run(step)
        assert run(ops.hash_table_size(handle)) == 0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([1, 2], "add up to 3, want 2"), ([3, -1], r"fused_slot_size\[1\]: got -1"), ([2], "must be 2|got 1 elements")],
)
def test_fused_lookup_checks_its_sizes(sizes, message):
    with in_session() as run:
        handle = table(table_config())
        fed = tf.compat.v1.placeholder(tf.int32, [None])
        step = ops.hash_table_fused_lookup([handle], ids(1, 2), fed, np.int64(0), num_of_shards=2)
        with pytest.raises(errors.InvalidArgumentError, match=message):
            run(step, {fed: sizes})


def test_fused_shape_functions_refuse_a_wrong_number_of_sizes():
    with in_session():
        handle = table(table_config())
        with pytest.raises(ValueError, match="must be 2"):
            ops.hash_table_fused_lookup([handle], ids(1), [1, 0, 0], np.int64(0), num_of_shards=2)


@pytest.mark.parametrize("shards", [1, 10])
def test_save_as_tensor_goes_through_the_table_in_pieces(shards):
    with in_session() as run:
        handle = table(table_config(2, optimizer=mx.AdagradOptimizer(initial_accumulator_value=0.5)))
        run(assign(handle, range(100), np.arange(200).reshape(100, 2), time=9))
        shard, offset = (tf.compat.v1.placeholder(dtype, []) for dtype in (tf.int32, tf.int64))
        step = ops.hash_table_save_as_tensor(handle, shard, shards, np.int64(2), offset)
        found = {}
        for i in range(shards):
            at, entries = 0, [b"", b""]
            while len(entries) == 2:
                at, entries = run(step, {shard: i, offset: at})
                for data in entries:
                    dump = entry(data)
                    assert dump.id not in found
                    found[dump.id] = list(dump.num)
                    assert dump.last_update_ts_sec == 9
                    assert list(dump.opt.dump[0].adagrad.norm) == [0.5, 0.5]
            assert run(step, {shard: i, offset: at})[1].size == 0
        assert found == {i: [2 * i, 2 * i + 1] for i in range(100)}


@pytest.mark.parametrize(("shard", "shards", "limit"), [(1, 1, 1), (-1, 1, 1), (0, 0, 1), (0, 1, -1)])
def test_save_as_tensor_checks_its_arguments(shard, shards, limit):
    with in_session() as run:
        handle = table(table_config())
        with pytest.raises(errors.InvalidArgumentError, match=f"got shard {shard} of {shards} and a limit of {limit}"):
            run(ops.hash_table_save_as_tensor(handle, shard, shards, np.int64(limit), np.int64(0)))
        # A limit asks for no memory.
        assert run(ops.hash_table_save_as_tensor(handle, 0, 1, np.int64(2**62), np.int64(0)))[1].size == 0


def test_extract_slot_from_entry():
    from mexport_pb._proto import hash_table_pb2

    def dump(value):
        return hash_table_pb2.EntryDump(id=value).SerializeToString()

    with in_session() as run:
        entries = tf.constant([[dump(1 << 48)], [dump(-1)], [b""], [b"\xff"]])
        second = ops.extract_slot_from_entry(entries, fid_v2=True)
        assert second.shape == (4, 1)
        assert run(second).tolist() == [[1], [32767], [0], [0]]
        assert run(ops.extract_slot_from_entry(tf.constant([dump(3 << 54)]), fid_v2=False)).tolist() == [3]


@pytest.mark.parametrize("update", [assign, assign_add])
@pytest.mark.parametrize(
    ("values", "time", "message"),
    [
        ([[1, 2, 3]], 0, "table 'table': values: The dim doesn't match expectation: got 3 floats, want 2"),
        ([[1]], 0, "got 1 floats, want 2"),
        ([[1, 2]], -1, "table 'table': update time: got -1"),
        ([[1, 2]], 2**32, "update time: got 4294967296"),
    ],
)
def test_updates_check_their_arguments(update, values, time, message):
    with in_session() as run:
        handle = table(table_config(2))
        with pytest.raises(errors.InvalidArgumentError, match=message):
            run(update(handle, [1], values, time))
        assert run(ops.hash_table_size(handle)) == 0


def test_lookup_of_another_dimension():
    with in_session() as run:
        handle = table(table_config(2), "here")
        with pytest.raises(errors.InvalidArgumentError, match="table 'here': dim_size should match hash table size"):
            run(lookup(handle, 1, dim=3))


def test_a_config_that_makes_no_table():
    with in_session() as run:
        with pytest.raises(errors.InvalidArgumentError, match="table config"):
            run(table(b"\xff\xff"))
        with pytest.raises(errors.InvalidArgumentError, match="type"):
            run(table(b""))
        broken = multi_config({"a": table_config()})[:-1]
        client = ops.dummy_sync_client(shared_name="client")
        made = ops.create_multi_hash_table(broken, ops.dummy_hash_filter(shared_name="f"), client, shared_name="m")
        with pytest.raises(errors.InvalidArgumentError, match="table config"):
            run(made)


def test_handles_of_other_resources_are_refused():
    with in_session() as run:
        client = ops.dummy_sync_client(shared_name="client")
        with pytest.raises(errors.InvalidArgumentError, match=r"using the wrong type.*SyncClientResource"):
            run(lookup(client, 1))
        read = ops.read_multi_hash_table(shared_name="never made")
        with pytest.raises(errors.NotFoundError, match="never made"):
            run(ops.multi_hash_table_lookup(read, ids(1), ids(0, 1)))


def test_updates_from_many_threads_are_all_there():
    with in_session() as run:
        handle = table(table_config(8))
        fed = tf.compat.v1.placeholder(tf.int64, [None])
        add = ops.hash_table_assign_add(handle, fed, tf.ones([tf.size(fed), 8]), np.int64(0))
        looked_up = ops.hash_table_lookup(handle, fed, dim_size=8)
        failures = []

        def work(seed):
            try:
                for i in range(20):
                    some = np.random.default_rng(seed * 100 + i).permutation(2000).astype(np.int64)
                    run(add.op, {fed: some})
                    # A row is written as a whole.
                    rows = run(looked_up, {fed: some})
                    assert (rows == rows[:, :1]).all()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert (run(looked_up, {fed: np.arange(2000)}) == 80).all()


def test_expired_entries_are_evicted_where_the_config_asks_for_it():
    from mexport_pb._proto import hash_table_pb2

    def config(hours):
        message = hash_table_pb2.EmbeddingHashTableConfig.FromString(table_config())
        message.slot_expire_time_config.default_expire_time = 1
        if hours is not None:
            message.enable_feature_eviction = True
            message.feature_evict_every_n_hours = hours
        return message.SerializeToString()

    with in_session() as run:
        for hours, left in ((24, [0, 1, 1]), (25, [5, 1, 1]), (None, [5, 1, 1])):
            handle = table(config(hours), f"every {hours} hours")
            run(assign(handle, [1], [[5]], time=100))
            run(assign_add(handle, [2], [[1]], time=101))
            run(optimize(handle, [3], [[-1]], time=86400 + 100))
            assert run(lookup(handle, 1, 2, 3)).ravel().tolist() == left


def test_eager_and_functions():
    handle = table(table_config(), "eager table")
    assign_add(handle, [1], [[2]])

    @tf.function
    def train(id_values):
        updated = ops.hash_table_assign_add(handle, id_values, tf.ones([tf.size(id_values), 1]), np.int64(0))
        return ops.hash_table_lookup(updated, id_values, dim_size=1)

    assert train(tf.constant([1, 5], tf.int64)).numpy().tolist() == [[3], [1]]
    assert ops.hash_table_size(handle).numpy() == 2


def test_a_library_is_used_from_where_it_was_loaded_and_no_second_one_is(tmp_path):
    script = """
import shutil, sys
from mexport_pb.errors import MexportError
from mexport_pb.runtime import load_op_library, ops, ops_build
other = sys.argv[1] + "/other.so"
shutil.copy(ops_build.find_ops_library(), other)
load_op_library(other)
assert ops.hash_table_size  # by the library that is there
ops.dummy_hash_filter(shared_name="f")
try:
    load_op_library(ops_build.find_ops_library())
except MexportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert "want one library of them in a process" in done.stdout


def test_a_library_for_another_tensorflow_names_the_command(tmp_path, monkeypatch):
    from mexport_pb.runtime import ops_build

    broken = tmp_path / "_table_ops.tf2.21.0.so"
    broken.write_bytes(b"no library")
    with pytest.raises(MexportError, match=r"cannot load it.*run `mexport build-ops`"):
        ops.load_op_library(broken)
    monkeypatch.setattr(ops_build, "_HERE", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken.rename(tmp_path / "_table_ops.tf1.15.0.so")
    with pytest.raises(MexportError, match=r"got _table_ops.tf1.15.0.so, want one for .*run `mexport build-ops`"):
        ops_build.find_ops_library()
