"""A saved_model.pb in pieces is the whole message's bytes."""

from __future__ import annotations

import numpy as np
import pytest

from mexport_pb import messages as mm
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages import pieces
from mexport_pb.messages.pieces import SavedModelPieces


def whole():
    """A meta graph with every field that comes before, beside and after the nodes."""
    meta_graph = MetaGraphDef()
    meta_graph.meta_info_def.tags.append("serve")
    for size in (0, 1, 40, 127, 128, 20_000):
        node = meta_graph.graph_def.node.add(name="n" * size, op="Const", input=["a", "^b"])
        node.attr["value"].tensor.CopyFrom(mm.make_tensor_proto(np.zeros(size, np.int8)))
        for key in ("T", "Tin", "a", "aa"):
            node.attr[key].i = size
    meta_graph.graph_def.library.function.add().signature.name = "f"
    meta_graph.graph_def.versions.producer = 7
    meta_graph.saver_def.restore_op_name = "r"
    for key in ("b", "ba", "a"):
        meta_graph.collection_def[key].node_list.value.append("n")
        meta_graph.signature_def[key].method_name = key
    meta_graph.asset_file_def.add(filename="f")
    return meta_graph


def only(field):
    meta_graph = MetaGraphDef()
    getattr(meta_graph, field).SetInParent()
    return meta_graph


def with_unknown_fields():
    """Field 1000, of a newer TensorFlow, in four places."""
    unknown = b"\xc2\x3e\x02hi"
    meta_graph = whole()
    for message in (meta_graph.graph_def.node[1], meta_graph.graph_def, meta_graph.meta_info_def, meta_graph):
        message.MergeFromString(unknown)
    assert mm.serialize(meta_graph).count(unknown) == 4
    return meta_graph


MODELS = {
    "no graph": [],
    "nothing in it": [MetaGraphDef()],
    "empty graph": [only("graph_def")],
    "empty info": [only("meta_info_def")],
    "no meta info": [MetaGraphDef(graph_def={"node": [NodeDef(name="a")]})],
    "all": [whole()],
    "two": [whole(), MetaGraphDef(), whole()],
    "unknown fields": [with_unknown_fields()],
}


@pytest.mark.parametrize("graphs", MODELS.values(), ids=MODELS)
def test_the_pieces_are_the_whole(graphs):
    want = mm.serialize(mm.make_saved_model(graphs))
    taken = [mm.to_message(graph, MetaGraphDef) for graph in graphs]
    model = SavedModelPieces(taken)
    assert not any(graph.ListFields() for graph in taken)
    assert b"".join(model) == want
    assert model.size == len(want)
    assert b"".join(model) == want


def test_nothing_too_large_is_begun(monkeypatch):
    size = len(mm.serialize(mm.make_saved_model([whole()])))
    monkeypatch.setattr(pieces, "MAX_MESSAGE_BYTES", size)
    SavedModelPieces([whole()])
    monkeypatch.setattr(pieces, "MAX_MESSAGE_BYTES", size - 1)
    with pytest.raises(InvalidArgumentError, match=f"model is too large .*: got {size} bytes, want <= {size - 1}"):
        SavedModelPieces([whole()])
