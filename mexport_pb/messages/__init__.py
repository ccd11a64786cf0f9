"""Builders of protobuf messages: plain values in, plain messages out.

They check types and nothing else; whether a message is legal is for :mod:`mexport_pb.check`.
"""

from mexport_pb.messages.assets import make_asset_file_def, pack_asset_file_def, unpack_asset_file_def
from mexport_pb.messages.attrs import make_attr_value
from mexport_pb.messages.collection_defs import (
    make_any_list,
    make_bytes_list,
    make_float_list,
    make_int64_list,
    make_node_list,
    make_variable_def,
)
from mexport_pb.messages.constants import (
    CLASSIFY_METHOD,
    DEFAULT_SIGNATURE,
    INIT_OP_SIGNATURE,
    PREDICT_METHOD,
    REGRESS_METHOD,
    SERVING_TAG,
    TRAIN_OP_SIGNATURE,
)
from mexport_pb.messages.examples import make_example
from mexport_pb.messages.models import make_meta_graph_def, make_saved_model
from mexport_pb.messages.nodes import make_node_def
from mexport_pb.messages.prediction_log import (
    make_classify_request,
    make_inference_task,
    make_model_spec,
    make_multi_inference_request,
    make_predict_request,
    make_prediction_log,
    make_regress_request,
    make_session_run_request,
)
from mexport_pb.messages.saved_model_file import read_meta_graph, read_saved_model, select_meta_graph
from mexport_pb.messages.shapes import ShapeLike, make_tensor_shape, shape_to_list
from mexport_pb.messages.signatures import make_init_op_signature, make_signature_def, make_tensor_info
from mexport_pb.messages.tensors import make_tensor_proto, tensor_proto_to_array
from mexport_pb.messages.text import from_text, to_text
from mexport_pb.messages.wire import parse, serialize, to_message

__all__ = [
    "CLASSIFY_METHOD",
    "DEFAULT_SIGNATURE",
    "INIT_OP_SIGNATURE",
    "PREDICT_METHOD",
    "REGRESS_METHOD",
    "SERVING_TAG",
    "TRAIN_OP_SIGNATURE",
    "ShapeLike",
    "from_text",
    "make_any_list",
    "make_asset_file_def",
    "make_attr_value",
    "make_bytes_list",
    "make_classify_request",
    "make_example",
    "make_float_list",
    "make_inference_task",
    "make_init_op_signature",
    "make_int64_list",
    "make_meta_graph_def",
    "make_model_spec",
    "make_multi_inference_request",
    "make_node_def",
    "make_node_list",
    "make_predict_request",
    "make_prediction_log",
    "make_regress_request",
    "make_saved_model",
    "make_session_run_request",
    "make_signature_def",
    "make_tensor_info",
    "make_tensor_proto",
    "make_tensor_shape",
    "make_variable_def",
    "pack_asset_file_def",
    "parse",
    "read_meta_graph",
    "read_saved_model",
    "select_meta_graph",
    "serialize",
    "shape_to_list",
    "tensor_proto_to_array",
    "to_message",
    "to_text",
    "unpack_asset_file_def",
]
