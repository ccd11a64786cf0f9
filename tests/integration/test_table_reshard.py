"""A checkpoint that was resharded is one that training restores."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb.runtime import hash_table_ops, multi_hash_table_ops  # noqa: E402
from mexport_pb.runtime.hash_table_ops import (  # noqa: E402
    HashTableCheckpointRestorerListener,
    HashTableCheckpointSaverListener,
)
from mexport_pb.runtime.multi_hash_table_ops import (  # noqa: E402
    MultiHashTableCheckpointRestorerListener,
    MultiHashTableCheckpointSaverListener,
)
from mexport_pb.runtime.test_utils import generate_test_hash_table_config  # noqa: E402
from mexport_pb.table.partition import ps_of  # noqa: E402
from tests.support.table_jobs import global_step, sessions  # noqa: E402
from tests.support.tables import files_of  # noqa: E402

pytestmark = pytest.mark.tensorflow

v1 = tf.compat.v1
IDS = np.array([0, 1, 2, 3, 5, 7, 8, 11, 2**62 + 3, -1, -2, -(2**63)], np.int64)
ROWS = np.arange(2 * len(IDS), dtype=np.float32).reshape(-1, 2)


def tables_of(num_ps):
    """For each server its table and its set of tables."""
    config = generate_test_hash_table_config(2)
    singles = [hash_table_ops.test_hash_table(2, name_suffix=f"slots_{ps}") for ps in range(num_ps)]
    sets = [
        multi_hash_table_ops.MultiHashTable.from_configs({"a": config, "b": config}, name_suffix=str(ps))
        for ps in range(num_ps)
    ]
    return singles, sets


def listeners(folder):
    basename = str(folder / "model.ckpt")
    return {
        "savers": [HashTableCheckpointSaverListener(basename), MultiHashTableCheckpointSaverListener(basename)],
        "restorers": [
            HashTableCheckpointRestorerListener(basename),
            MultiHashTableCheckpointRestorerListener(basename),
        ],
    }


@pytest.mark.parametrize("num_ps", [1, 3])
def test_lookups_on_other_servers_give_the_same_rows(tmp_path, num_ps):
    old, new = tmp_path / "old", tmp_path / "new"
    with tf.Graph().as_default():
        step = global_step()
        changed = []
        for ps, (single, several) in enumerate(zip(*tables_of(5), strict=True)):
            own = ps_of(IDS, 5) == ps
            changed.append(single.assign(tf.constant(IDS[own]), tf.constant(ROWS[own])).as_op())
            entries = (tf.constant(IDS[own]), tf.constant(-ROWS[own]))
            changed.append(several.assign({"b": entries}).as_op())
        with tf.control_dependencies(changed):
            train_op = v1.assign_add(step, 1)
        with sessions(old, savers=listeners(old)["savers"]) as session:
            session.run(train_op)
    records = {}
    mx.reshard_checkpoint(old / "model.ckpt-1", num_ps, new / "model.ckpt-1", workers=1)
    mx.reshard_checkpoint(new / "model.ckpt-1", 5, tmp_path / "back", workers=1)
    first, back = files_of(old / "model.ckpt-1.assets"), files_of(tmp_path / "back.assets")
    assert first.keys() == back.keys()
    for name, data in first.items():
        if "Multi" in name and ".meta" not in name:
            # TensorFlow's snappy makes other bytes of the same records.
            for folder in (old / "model.ckpt-1.assets", tmp_path / "back.assets"):
                with mx.RecordReader(folder / name, "snappy") as reader:
                    records.setdefault(name, []).append(list(reader))
            assert records[name][0] == records[name][1]
        else:
            assert back[name] == data
    with tf.Graph().as_default():
        step = global_step()
        singles, sets = tables_of(num_ps)
        found = [
            (one.lookup(tf.constant(IDS)), many.lookup({"b": tf.constant(IDS)})["b"])
            for one, many in zip(singles, sets, strict=True)
        ]
        with sessions(new, **listeners(new)) as session:
            assert session.run(step) == 1
            rows = session.run(found)
    for ps, (single, several) in enumerate(rows):
        own = (ps_of(IDS, num_ps) == ps)[:, None]
        assert np.array_equal(single, np.where(own, ROWS, 0))
        assert np.array_equal(several, np.where(own, -ROWS, 0))
