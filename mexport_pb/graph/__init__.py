"""Graphs as protobufs: build them, add savers, prune them, freeze them, strip them. No TensorFlow takes part."""

from mexport_pb.graph.builder import GRAPH_PRODUCER, GraphBuilder
from mexport_pb.graph.checkpoint_match import check_match
from mexport_pb.graph.default import get_default_graph, has_default_graph
from mexport_pb.graph.features import FixedLenFeature, FixedLenSequenceFeature, RaggedFeature, VarLenFeature
from mexport_pb.graph.freeze_graph import freeze
from mexport_pb.graph.graph_variables import has_variables
from mexport_pb.graph.main_op import add_main_op, set_main_op
from mexport_pb.graph.nested import NestedTensors
from mexport_pb.graph.ops_feature import LookupTable
from mexport_pb.graph.ops_segment import RaggedTensor, SparseTensor
from mexport_pb.graph.prune import prune_to_signatures
from mexport_pb.graph.save_plan import SaveItem, SavePlan, save_plan
from mexport_pb.graph.saver import add_saver
from mexport_pb.graph.slices import SaveSlice
from mexport_pb.graph.strip import clear_devices, op_list, strip_default_attrs
from mexport_pb.graph.tensor import Operation, Tensor
from mexport_pb.graph.tensor_infos import tensor_info_of
from mexport_pb.graph.unsaved import unsaved_variables
from mexport_pb.graph.variable import Variable
from mexport_pb.messages.op_defs import op_def

__all__ = [
    "GRAPH_PRODUCER",
    "FixedLenFeature",
    "FixedLenSequenceFeature",
    "GraphBuilder",
    "LookupTable",
    "NestedTensors",
    "Operation",
    "RaggedFeature",
    "RaggedTensor",
    "SaveItem",
    "SavePlan",
    "SaveSlice",
    "SparseTensor",
    "Tensor",
    "VarLenFeature",
    "Variable",
    "add_main_op",
    "add_saver",
    "check_match",
    "clear_devices",
    "freeze",
    "get_default_graph",
    "has_default_graph",
    "has_variables",
    "op_def",
    "op_list",
    "prune_to_signatures",
    "save_plan",
    "set_main_op",
    "strip_default_attrs",
    "tensor_info_of",
    "unsaved_variables",
]
