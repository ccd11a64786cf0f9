"""Whether a MetaGraphDef, or a whole SavedModel, is legal.

The one place for legality: builders make what they are told to, and this package says what loaders would refuse or get
wrong, before anything is published. It reads messages only; files are checked by those who write them.

An *error* is something that at least one of TensorFlow's loaders refuses, that makes it restore or feed the wrong
thing, or that makes every request by a signature fail. A *warning* loads, but is hardly meant, or asks for something
of the server. Nodes, those of functions too, are held against the OpDefs that the message lists, and else against those
of TensorFlow; what only shape inference or a kernel finds is not found here. The time is linear in the size of the
message.
"""

from mexport_pb.check.collection import check_asset_filename
from mexport_pb.check.model import (
    check_meta_graph,
    check_meta_graphs,
    check_saved_model_message,
    find_problems,
    find_saved_model_problems,
)
from mexport_pb.check.problems import MAX_PROBLEMS, Problem

__all__ = [
    "MAX_PROBLEMS",
    "Problem",
    "check_asset_filename",
    "check_meta_graph",
    "check_meta_graphs",
    "check_saved_model_message",
    "find_problems",
    "find_saved_model_problems",
]
