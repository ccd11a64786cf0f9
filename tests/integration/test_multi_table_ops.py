"""The ops on several tables by name, run by TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb.runtime import ops  # noqa: E402
from tests.support.table_ops import (  # noqa: E402
    entry,
    ids,
    in_session,
    multi_config,
    multi_table,
    table_config,
    threshold,
)

pytestmark = pytest.mark.tensorflow
errors = tf.errors

CONFIGS = {"slot0": table_config(1), "slot1": table_config(2)}


def floats(*values):
    return np.array(values, np.float32)


def lookup(handle, split, *values):
    return ops.multi_hash_table_lookup(handle, ids(*values), ids(*split))


def assign(handle, split, values, update, *, add=False, time=0):
    op = ops.multi_hash_table_assign_add if add else ops.multi_hash_table_assign
    return op(handle, ids(*values), ids(*split), floats(*update), np.int64(time))


def test_assign_add_lookup_and_reinitialize():
    with in_session() as run:
        handle = multi_table(CONFIGS)
        added = assign(handle, [0, 1, 3], [1, 2, 3], [1, 2, 2, 3, 3], add=True)
        assert run(lookup(added, [0, 1, 3], 1, 2, 3)).tolist() == [1, 2, 2, 3, 3]
        updated, status = ops.multi_hash_table_reinitialize(added, "slot1", [[1], [2], [3]])
        assert status.shape == (3, 1)
        values = run([status, lookup(updated, [0, 1, 3], 1, 2, 3)])
        assert values[0].tolist() == [[0], [1], [1]]
        assert run(lookup(handle, [0, 1, 3], 1, 2, 3))[1:].tolist() == [0, 0, 0, 0]
        assert run(ops.multi_hash_table_reinitialize(handle, "none", ids(1, 2))[1]).tolist() == [-1, -1]


def test_assign_overrides():
    with in_session() as run:
        handle = multi_table(CONFIGS)
        run(assign(handle, [0, 2, 2], [1, 2], [1, 2]))
        run(assign(handle, [0, 1, 2], [2, 2], [5, 6, 7]))
        assert run(lookup(handle, [0, 2, 3], 1, 2, 2)).tolist() == [1, 5, 6, 7]


def test_gradients():
    with in_session() as run:
        handle = multi_table(CONFIGS)
        run(
            ops.multi_hash_table_optimize(
                handle, ids(1, 1, 2), ids(0, 2, 3), floats(1, 1, 2, 3), floats(0.5, 10), np.int64(0), np.int64(0)
            )
        )
        assert run(lookup(handle, [0, 1, 2], 1, 2)).tolist() == [-1, -20, -30]


def test_lookup_of_several_requests():
    with in_session() as run:
        handle = multi_table(CONFIGS)
        run(assign(handle, [0, 2, 4], [1, 2, 3, 4], [1, 2, 3, 3, 4, 4]))
        got = run(lookup(handle, [0, 1, 2, 3, 4], 1, 3, 2, 4))
        assert got.tolist() == [1, 3, 3, 2, 4, 4]
        assert run(lookup(handle, [0])).tolist() == []


def test_lookup_entry():
    with in_session() as run:
        handle = multi_table(CONFIGS)
        run(assign(handle, [0, 1, 2], [1, 2], [5, 6, 7], time=8))
        entries = ops.multi_hash_table_lookup_entry(handle, ids(1, 9, 2), ids(0, 2, 3))
        assert entries.shape == (3,)
        first, missing, last = run(entries)
        assert (list(entry(first).num), entry(first).last_update_ts_sec) == ([5], 8)
        assert missing == b""
        assert list(entry(last).num) == [6, 7]


def test_serving_tables_refuse_training():
    with in_session() as run:
        handle = multi_table({"a": table_config(serving=True)}, "served")
        run(assign(handle, [0, 1], [1], [5]))
        assert run(lookup(handle, [0, 1], 1)).tolist() == [5]
        with pytest.raises(errors.InvalidArgumentError, match="table 'a': reading entries: got a serving table"):
            run(ops.multi_hash_table_lookup_entry(handle, ids(1), ids(0, 1)))
        with pytest.raises(errors.InvalidArgumentError, match="table 'a': optimizing: got a serving table"):
            run(
                ops.multi_hash_table_optimize(handle, ids(1), ids(0, 1), floats(1), floats(1), np.int64(0), np.int64(0))
            )


def test_tables_are_in_the_order_of_the_config():
    with in_session() as run:
        handle = multi_table({"z": table_config(1), "a": table_config(2)})
        run(assign(handle, [0, 1, 2], [1, 1], [1, 2, 3]))
        assert run(lookup(handle, [0, 1, 2], 1, 1)).tolist() == [1, 2, 3]
        assert run(ops.multi_hash_table_reinitialize(handle, "a", ids(1))[1]).tolist() == [1]


def test_fused_lookup_and_optimize():
    with in_session() as run:
        handle = multi_table({"a": table_config(1), "b": table_config(1), "c": table_config(2)})
        run(assign(handle, [0, 2, 4, 6], [0, 1, 3, 4, 6, 7], [1, 1, 1, 1, 2, 2, 2, 2]))
        fed = ids(0, 4, 6, 1, 3, 7)
        looked_up = ops.multi_hash_table_fused_lookup(handle, fed, [1] * 6, np.int64(0), num_of_shards=2)
        assert [tensor.shape.as_list() for tensor in looked_up] == [[None], [2], [7], [7], [6]]
        got = run(looked_up)
        assert got.embeddings.tolist() == [1, 1, 2, 2, 1, 1, 2, 2]
        assert got.embedding_splits.tolist() == [4, 4]
        assert got.embedding_offsets.tolist() == [0, 1, 2, 4, 5, 6, 8]
        updated = ops.multi_hash_table_fused_optimize(
            handle, fed, looked_up.indices, [1] * 6, -looked_up.embeddings, looked_up.id_offsets,
            looked_up.embedding_offsets, floats(1, 2, 3), np.int64(0), np.int64(0), num_of_shards=2,
        )  # fmt: skip
        again = ops.multi_hash_table_fused_lookup(updated, fed, [1] * 6, np.int64(0), num_of_shards=2)
        assert run(again.embeddings).tolist() == [2, 3, 8, 8, 2, 3, 8, 8]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ([0, 1], "table size: 2. Error id_split size: got 2"),
        ([0, 1, 1, 1], "Error id_split size: got 4"),
        ([], "Error id_split size: got 0"),
        ([0, 2, 3], r"id_split\[1\]: got 2 to 3, want them to ascend within the 2 ids"),
        ([1, 0, 2], r"id_split\[0\]: got 1 to 0"),
        ([-1, 0, 2], r"id_split\[0\]: got -1 to 0"),
    ],
)
@pytest.mark.parametrize("kind", ["lookup", "entry", "assign"])
def test_splits_are_checked(split, message, kind):
    with in_session() as run:
        handle = multi_table(CONFIGS)
        step = {
            "lookup": lambda: lookup(handle, split, 1, 2),
            "entry": lambda: ops.multi_hash_table_lookup_entry(handle, ids(1, 2), ids(*split)),
            "assign": lambda: assign(handle, split, [1, 2], [1, 2, 3]),
        }[kind]()
        with pytest.raises(errors.InvalidArgumentError, match=message):
            run(step)


def test_lengths_are_checked_before_any_table_changes():
    with in_session() as run:
        handle = multi_table(CONFIGS)
        with pytest.raises(errors.InvalidArgumentError, match="`value` is too short: got 2 floats, want 3"):
            run(assign(handle, [0, 1, 2], [1, 2], [1, 2]))
        with pytest.raises(errors.InvalidArgumentError, match="value: got 4 floats, want 3"):
            run(assign(handle, [0, 1, 2], [1, 2], [1, 2, 3, 4]))
        with pytest.raises(errors.InvalidArgumentError, match="`id` doesn't equal to table num"):
            run(assign(handle, [0, 1, 2, 2, 2], [1, 2], [1, 2, 3]))
        for rates, message in (([1], "`learning_rate` is too short: got 1, want 2"), ([1, 1, 1], "got 3, want 2")):
            step = ops.multi_hash_table_optimize(
                handle, ids(1, 2), ids(0, 1, 2), floats(1, 2, 3), floats(*rates), np.int64(0), np.int64(0)
            )
            with pytest.raises(errors.InvalidArgumentError, match=message):
                run(step)
        assert run(lookup(handle, [0, 1, 2], 1, 2)).tolist() == [0, 0, 0]


def test_initialization():
    with in_session() as run:
        read = ops.read_multi_hash_table(shared_name="later")
        ready = ops.is_hash_table_initialized(read)
        assert ready.shape == ()
        assert not run(ready)
        with pytest.raises(errors.NotFoundError, match="later"):
            run(lookup(read, [0, 1, 2], 1, 2))
        made = multi_table(CONFIGS, "later")
        run(made.op)
        assert run(ready)
        run(assign(read, [0, 1, 1], [1], [4]))
        assert run(lookup(made, [0, 1, 1], 1)).tolist() == [4]
        # Making it again finds it as it is.
        run(multi_table({"other": table_config(3)}, "later").op)
        assert run(lookup(read, [0, 1, 1], 1)).tolist() == [4]


def test_configs_that_make_no_tables():
    from mexport_pb._proto import hash_table_pb2

    with in_session() as run:
        client, nothing = ops.dummy_sync_client(shared_name="c"), ops.dummy_hash_filter(shared_name="f")
        message = hash_table_pb2.MultiEmbeddingHashTableConfig.FromString(multi_config(CONFIGS))
        message.names.append("more")
        for config, want in (
            (message.SerializeToString(), "names"),
            (multi_config({"a": b""}), "type"),
        ):
            made = ops.create_multi_hash_table(config, nothing, client, shared_name="m")
            with pytest.raises(errors.InvalidArgumentError, match=want):
                run(made.op)
        twice = hash_table_pb2.MultiEmbeddingHashTableConfig.FromString(multi_config(CONFIGS))
        twice.names[1] = "slot0"
        made = ops.create_multi_hash_table(twice.SerializeToString(), nothing, client, shared_name="m")
        with pytest.raises(errors.InvalidArgumentError, match="two tables are named 'slot0'"):
            run(made.op)


def test_filter_is_asked_of_new_ids_only():
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=1000, config=threshold(2), shared_name="filter")
        handle = multi_table({"a": table_config(1)}, hash_filter=hash_filter)
        seen = []
        for _ in range(4):
            run(assign(handle, [0, 1], [1], [1], add=True))
            seen.append(run(lookup(handle, [0, 1], 1))[0])
        assert seen == [0, 0, 1, 2]
        # An entry that a reinitialisation made was never counted.
        run(ops.multi_hash_table_reinitialize(handle, "a", ids(7))[1])
        run(assign(handle, [0, 1], [7], [3], add=True))
        assert run(lookup(handle, [0, 1], 7)).tolist() == [3]


def test_save_and_restore_skips_and_ignores(tmp_path):
    def config(*names):
        return {name: table_config(1, optimizer=mx.AdagradOptimizer()) for name in names}

    base = str(tmp_path / "sub" / "tables")
    with in_session() as run:
        handle = multi_table(config("slot0", "slot1", "slot2"), "MonolithMultiHashTable_")
        run(assign(handle, [0, 1, 2, 3], [1, 2, 3], [1, 2, 3], time=5))
        run(ops.multi_hash_table_save(handle, base, nshards=2))
        assert sorted(p.name for p in (tmp_path / "sub").iterdir()) == [
            f"tables{meta}-0000{i}-of-00002" for meta in ("", ".meta") for i in (0, 1)
        ]
        names, counts = run(ops.multi_hash_table_feature_stat(base))
        assert names.tolist() == [b"slot0", b"slot1", b"slot2"]
        assert counts.tolist() == [1, 1, 1]
    with in_session() as run:
        handle = multi_table(config("slot0", "slot2", "slot3"))
        run(assign(handle, [0, 2, 2, 3], [1, 8, 4], [10, 80, 40]))
        run(ops.multi_hash_table_restore(handle, base))
        # Merged: the dump's entries replace those of their ids, others stay.
        assert run(lookup(handle, [0, 2, 3, 5], 1, 8, 3, 4, 2)).tolist() == [1, 80, 3, 40, 0]
        found = entry(run(ops.multi_hash_table_lookup_entry(handle, ids(1), ids(0, 1, 1, 1)))[0])
        assert found.last_update_ts_sec == 5


def test_one_expiry_for_all_tables(tmp_path):
    from tests.support.table_ops import expire_config

    day = 86400
    base = str(tmp_path / "tables")
    with in_session() as run:
        handle = multi_table({"a": table_config(), "b": table_config()})
        run(assign(handle, [0, 1, 2], [1, 1], [1, 1], time=0))
        run(assign(handle, [0, 1, 1], [2], [2], time=day))
        # The time of a step counts for all its tables, those without ids in it too.
        run(assign(handle, [0, 0, 1], [(3 << 48) | 2], [2], time=1))
        run(ops.multi_hash_table_save(handle, base, slot_expire_time_config=expire_config(1, s3=2)))
        assert run(ops.multi_hash_table_feature_stat(base)[1]).tolist() == [1, 1]
    dumps = mx.read_multi_table(base)
    assert dumps["a"].ids.tolist() == [2]
    assert dumps["b"].ids.tolist() == [(3 << 48) | 2]
