"""Hash filters, run by TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto import hash_table_pb2  # noqa: E402
from mexport_pb.runtime import ops  # noqa: E402
from tests.support.table_ops import ids, in_session, threshold  # noqa: E402

pytestmark = pytest.mark.tensorflow
errors = tf.errors


def gradient(hash_filter, *values, dim=2):
    embeddings = tf.zeros([len(values), dim])
    same = ops.hash_filter_intercept_gradient(hash_filter, ids(*values), embeddings)
    assert same.shape == (len(values), dim)
    (grad,) = tf.gradients(same, embeddings)
    return grad


def passed(rows):
    assert (rows == rows[:, :1]).all()
    return rows[:, 0].tolist()


def metas(base, splits):
    found = []
    for i in range(splits):
        records = list(mx.read_records(f"{base}-{i:05d}-of-{splits:05d}"))
        found.append(hash_table_pb2.HashFilterSplitMetaDump.FromString(records[0]))
    return found


def test_an_id_passes_after_its_threshold():
    with in_session() as run:
        grad = gradient(ops.hash_filter(capacity=100, split_num=7, config=threshold(3)), 1, 3 << 17, 1)
        assert [passed(run(grad)) for _ in range(4)] == [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]]


def test_thresholds_by_slot_and_the_most_that_is_counted():
    with in_session() as run:
        config = threshold(0, s1=2, s2=15, s3=16)
        grad = gradient(ops.hash_filter(capacity=1000, config=config), 5, (1 << 48) | 5, (2 << 48) | 6, (3 << 48) | 7)
        seen = np.array([passed(run(grad)) for _ in range(40)])
        assert seen.argmax(axis=0).tolist() == [0, 2, 15, 0]
        assert not seen[:, 3].any()


def test_the_embeddings_pass_unchanged():
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=100, config=threshold(3))
        got = run(ops.hash_filter_intercept_gradient(hash_filter, ids(1, 2), [[1.0, 2], [3, 4]]))
        assert got.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("make", [ops.dummy_hash_filter, lambda: ops.probabilistic_filter(config=threshold(9))])
def test_filters_that_pass_all_gradients_and_have_no_files(make, tmp_path):
    base = str(tmp_path / "filter")
    with in_session() as run:
        hash_filter = make()
        assert passed(run(gradient(hash_filter, 1, 3 << 17, 1))) == [1, 1, 1]
        run(ops.hash_filter_save(hash_filter, base))
        run(ops.hash_filter_restore(hash_filter, base))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("equal", [False, True])
def test_probabilities(equal):
    from tests.support.table_ops import table, table_config

    with in_session() as run:
        config = threshold(3, s1=0)
        handle = table(table_config(), hash_filter=ops.probabilistic_filter(equal_probability=equal, config=config))
        count = 20_000
        keys = np.arange(count, dtype=np.int64)
        for _ in range(3 if equal else 1):
            run(ops.hash_table_assign_add(handle, keys, np.ones((count, 1)), np.int64(0)))
        share = run(ops.hash_table_size(handle)) / count
        assert share == pytest.approx(0.95 if equal else 1 / 3, abs=0.02)
        run(ops.hash_table_assign_add(handle, keys[:100] + (1 << 48), np.ones((100, 1)), np.int64(0)))
        assert run(ops.hash_table_size(handle)) == round(share * count) + 100


def test_save_and_restore(tmp_path):
    first, second = str(tmp_path / "a" / "first"), str(tmp_path / "second")
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=100, split_num=7, config=threshold(3))
        grad = gradient(hash_filter, 1, 3 << 17, 1)
        run(ops.hash_filter_save(hash_filter, first))
        assert len(list((tmp_path / "a").iterdir())) == 7
        run(grad)
        run(ops.hash_filter_restore(hash_filter, first))
        assert [passed(run(grad)) for _ in range(2)] == [[0, 0, 0], [0, 0, 1]]
        run(ops.hash_filter_save(hash_filter, second))
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=100, split_num=7, config=threshold(3))
        grad = gradient(hash_filter, 1, 3 << 17, 1)
        run(ops.hash_filter_restore(hash_filter, second))
        assert [passed(run(grad)) for _ in range(2)] == [[1, 0, 1], [1, 1, 1]]


def test_counts_move_on_through_the_splits(tmp_path):
    empty, full = str(tmp_path / "empty"), str(tmp_path / "full")
    with in_session() as run:
        # Three ids a split, of which the last place is never used.
        hash_filter = ops.hash_filter(capacity=300, split_num=100, config=threshold(2))
        grad = gradient(hash_filter, 1, 1 << 17, 2 << 17, 1)
        run(ops.hash_filter_save(hash_filter, empty))
        for meta in metas(empty, 100):
            assert (meta.total_size, meta.num_elements, meta.fill_rate) == (3, 0, 1.2)
            assert meta.sliding_hash_filter_meta.split_num == 100
            assert meta.sliding_hash_filter_meta.max_forward_step == 2
            assert meta.sliding_hash_filter_meta.max_backward_step == 98
            assert meta.sliding_hash_filter_meta.max_step == 16
            assert meta.sliding_hash_filter_meta.head == 0
        assert [passed(run(grad)) for _ in range(2)] == [[0, 0, 0, 0], [1, 0, 0, 1]]
        run(ops.hash_filter_save(hash_filter, full))
        for i, meta in enumerate(metas(full, 100)):
            assert meta.num_elements == (2 if i < 4 else 0)
            assert meta.sliding_hash_filter_meta.head == 4
            assert meta.sliding_hash_filter_meta.head_increment == 4
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=300, split_num=100, config=threshold(2))
        grad = gradient(hash_filter, 1, 1 << 17, 2 << 17, 1)
        run(ops.hash_filter_restore(hash_filter, full))
        assert [passed(run(grad)) for _ in range(2)] == [[1, 1, 1, 1], [1, 1, 1, 1]]


def test_old_splits_are_forgotten():
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=300, split_num=5, config=threshold(1))
        fed = tf.compat.v1.placeholder(tf.int64, [None])
        count = ops.hash_filter_intercept_gradient_gradient(hash_filter, fed, tf.ones([tf.size(fed), 1]))
        run(count, {fed: [1]})
        assert run(count, {fed: [1]}).tolist() == [[1]]
        run(count, {fed: np.arange(10, 5000) << 17})
        assert run(count, {fed: [1]}).tolist() == [[0]]


def test_a_dump_in_cells(tmp_path):
    base = str(tmp_path / "filter")
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=80_000, split_num=5, config=threshold(1))
        run(gradient(hash_filter, *(i << 17 for i in range(1, 101))))
        run(ops.hash_filter_save(hash_filter, base))
    records = list(mx.read_records(f"{base}-00000-of-00005"))[1:]
    dumps = [hash_table_pb2.HashFilterSplitDataDump.FromString(record) for record in records]
    assert [dump.offset for dump in dumps] == [0, 10000, 20000]
    cells = [cell for dump in dumps for cell in dump.data]
    assert len(cells) == 24000 + 64
    assert sorted(cell for cell in cells if cell) == [i << 4 | 1 for i in range(1, 101)]
    # What protobuf itself writes, packed or not, is read as well.
    repacked = [hash_table_pb2.HashFilterSplitDataDump(offset=d.offset, data=d.data).SerializeToString() for d in dumps]
    assert repacked == records


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 100, "split_num": 8}, "split_num: got 7, want 8"),
        ({"capacity": 1000, "split_num": 7}, "total_size: got 60, want 199"),
    ],
)
def test_a_dump_of_another_filter(settings, message, tmp_path):
    base = str(tmp_path / "filter")
    with in_session() as run:
        run(ops.hash_filter_save(ops.hash_filter(capacity=100, split_num=7), base))
    with in_session() as run:
        hash_filter = ops.hash_filter(**settings, config=threshold(1))
        run(gradient(hash_filter, 1))
        with pytest.raises(errors.ResourceExhaustedError, match=message):
            run(ops.hash_filter_restore(hash_filter, base))
        assert passed(run(gradient(hash_filter, 1))) == [1]


def test_damage(tmp_path):
    base = str(tmp_path / "filter")
    with in_session() as run:
        hash_filter = ops.hash_filter(capacity=100, split_num=7, config=threshold(1))
        restore = ops.hash_filter_restore(hash_filter, base)
        with pytest.raises(errors.InvalidArgumentError, match="There is no valid sharded files"):
            run(restore)
        run(ops.hash_filter_save(hash_filter, base))
        path = tmp_path / "filter-00003-of-00007"
        whole = path.read_bytes()
        meta, *cells = mx.read_records(path)

        def fails(kind, message):
            with pytest.raises(kind, match=message):
                run(restore)

        path.write_bytes(whole[:-1])
        fails(errors.DataLossError, "filter-00003-of-00007: offset .* the file ends within")
        path.write_bytes(b"")
        fails(errors.DataLossError, "filter-00003-of-00007: the file is empty")
        mx.write_records(path, [b"\xff", *cells])
        fails(errors.FailedPreconditionError, "filter-00003-of-00007: offset 0")
        mx.write_records(path, [meta, b"\x08\xff\xff\x03\x10\x01"])
        fails(errors.FailedPreconditionError, "cell: got number 65535, want less than")
        mx.write_records(path, [meta])
        fails(errors.FailedPreconditionError, "cells of a split: got 0, want")
        path.unlink()
        fails(errors.InvalidArgumentError, "shard 3 of 7 doesn't show up")
        path.write_bytes(whole)
        run(restore)


def test_arguments():
    with in_session() as run:
        with pytest.raises(errors.InvalidArgumentError, match="no SlotOccurrenceThresholdConfig"):
            run(ops.hash_filter(config=b"\xff"))
        with pytest.raises(errors.InvalidArgumentError, match="slot: got 32768, want less than 32768"):
            run(ops.probabilistic_filter(config=threshold(0, s32768=1)))
        with pytest.raises(errors.InvalidArgumentError, match="hash filter: got a capacity of"):
            run(ops.hash_filter(capacity=2**62))
        hash_filter = ops.hash_filter(capacity=100, config=threshold(1))
        fed = tf.compat.v1.placeholder(tf.float32, None)
        step = ops.hash_filter_intercept_gradient_gradient(hash_filter, ids(1, 2), fed)
        with pytest.raises(errors.InvalidArgumentError, match="grad: got 3 floats, want a multiple of 2"):
            run(step, {fed: [1, 2, 3]})
        none = tf.compat.v1.placeholder(tf.int64, [None])
        step = ops.hash_filter_intercept_gradient_gradient(hash_filter, none, tf.zeros([0, 4]))
        assert run(step, {none: []}).shape == (0, 4)
