"""The registered table ops against the table that the package builds and checks graphs with."""

from __future__ import annotations

import pytest

from mexport_pb.messages.table_ops import table_op_defs

tf = pytest.importorskip("tensorflow")

from tensorflow.python.client import pywrap_tf_session  # noqa: E402
from tensorflow.python.framework import kernels, op_def_registry  # noqa: E402

from mexport_pb._proto import graph_pb2  # noqa: E402
from mexport_pb.runtime import load_op_library  # noqa: E402

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module", autouse=True)
def library():
    return load_op_library()


@pytest.mark.parametrize("name", table_op_defs())
def test_op_is_registered_as_in_the_table(name):
    registered = graph_pb2.OpDef.FromString(op_def_registry.get(name).SerializeToString())
    for described in (registered, *registered.input_arg, *registered.output_arg, *registered.attr):
        described.ClearField("description")
    registered.ClearField("summary")
    assert registered == table_op_defs()[name]


def test_the_table_has_all_ops_of_the_library():
    data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    registered = {op.name for op in graph_pb2.OpList.FromString(data).op}
    ours = {name for name in registered if "Monolith" in name} | {"IsHashTableInitialized", "TfServingRemotePredict"}
    assert ours == set(table_op_defs())


def test_every_op_has_a_kernel():
    assert all(kernels.get_registered_kernels_for_op(name).kernel for name in table_op_defs())
