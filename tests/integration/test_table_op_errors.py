"""Each table op, given a handle of something else, a handle of nothing, or inputs at random: a status and no crash."""

from __future__ import annotations

import re

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from mexport_pb._proto.tensor_pb2 import DT_RESOURCE, DT_STRING  # noqa: E402
from mexport_pb.messages.table_ops import table_op_defs  # noqa: E402
from mexport_pb.runtime import load_op_library, ops  # noqa: E402
from tests.support.table_ops import multi_config, table_config  # noqa: E402

pytestmark = pytest.mark.tensorflow

SCALARS = {"req_time", "update_time", "global_step", "limit", "offset", "shard_idx", "num_shards", "basename",
           "table_name", "config", "config_str"}  # fmt: skip
MANY = multi_config({"a": table_config(1), "b": table_config(2)})
ROUNDS = 100
ATTRS = {"dim_size": 1, "num_of_shards": 1, "fid_v2": True, "address": "x", "config": b""}
# It hands its embeddings on, whatever the filter.
LOOKS_AT_NO_HANDLE = {"MonolithHashFilterInterceptGradient", "IsHashTableInitialized"}


def takes_a_handle(op):
    return any(arg.type == DT_RESOURCE for arg in op.input_arg)


OPS = {name: op for name, op in table_op_defs().items() if takes_a_handle(op) and name not in LOOKS_AT_NO_HANDLE}


def run(op, handle, values):
    """Runs an op in eager mode, where no shape function looks at the inputs before."""
    given = {}
    for arg in op.input_arg:
        value = handle() if arg.type == DT_RESOURCE else values(arg)
        given[arg.name] = [value] if arg.number_attr else value
    attrs = {attr.name: ATTRS[attr.name] for attr in op.attr if not attr.HasField("default_value") and attr.name != "N"}
    if "config" in attrs and op.name == "MonolithHashTable":
        attrs["config"] = table_config(1)
    function = re.sub(r"(?<!^)(?=[A-Z])", "_", op.name).lower()
    return getattr(load_op_library(), function)(**given, **attrs)


def plain(arg):
    shape = [] if arg.name in SCALARS else [1]
    if arg.type == DT_STRING:
        return tf.fill(shape, MANY if arg.name == "config" else b"x")
    return tf.zeros(shape, tf.as_dtype(arg.type))


@pytest.mark.parametrize("name", OPS)
def test_a_handle_of_something_else(name):
    variable = tf.Variable([1.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="using the wrong type"):
        run(OPS[name], lambda: variable.handle, plain)


@pytest.mark.parametrize("name", [name for name in OPS if "MultiHashTable" in name and "Create" not in name])
def test_tables_that_were_never_made(name):
    with pytest.raises(tf.errors.NotFoundError, match="never made"):
        run(OPS[name], lambda: ops.read_multi_hash_table(shared_name="never made"), plain)


def test_inputs_at_random(tmp_path):
    rng = np.random.default_rng(3)
    client = ops.dummy_sync_client(shared_name="random c")
    dummy = ops.dummy_hash_filter(shared_name="random f")
    handles = [
        *(ops.hash_table(dummy, client, config=table_config(dim), shared_name=f"random t{dim}") for dim in (1, 2)),
        ops.create_multi_hash_table(MANY, dummy, client, shared_name="random m"),
        ops.hash_filter(capacity=300, shared_name="random h"),
    ]
    numbers = [0, 1, 2, 3, -1, 2**31 - 1, -(2**31)]

    def values(arg):
        shape = [(), (0,), (1,), (2,), (3,), (2, 2)][rng.integers(6)]
        if arg.type == DT_STRING:
            return tf.fill(shape, f"{tmp_path}/{rng.integers(3)}")
        return tf.constant(rng.choice(numbers[: rng.integers(1, 8)], shape), tf.as_dtype(arg.type))

    refused = 0
    for op in list(OPS.values()) * ROUNDS:
        try:
            run(op, lambda: handles[rng.integers(len(handles))], values)
        except tf.errors.OpError:
            refused += 1
    # The process is still there, the tables work, and some of it was right.
    assert 0 < refused < ROUNDS * len(OPS)
    changed = ops.hash_table_assign(handles[0], [77], [[5.0]], 0)
    assert ops.hash_table_lookup(changed, [77], dim_size=1).numpy().tolist() == [[5.0]]
