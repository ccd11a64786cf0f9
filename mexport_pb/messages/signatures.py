"""TensorInfo and SignatureDef: how a graph is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, overload

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.saved_model_pb2 import SignatureDef, TensorInfo
from mexport_pb._proto.tensor_pb2 import DataType
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.constants import INIT_OP_SIGNATURE, PREDICT_METHOD
from mexport_pb.messages.shapes import ShapeLike, make_tensor_shape
from mexport_pb.messages.wire import to_message

__all__ = ["make_init_op_signature", "make_signature_def", "make_tensor_info"]


@overload
def make_tensor_info(name: str, dtype: dtypes.DTypeLike, shape: ShapeLike) -> TensorInfo: ...


@overload
def make_tensor_info(name: Any) -> TensorInfo: ...


def make_tensor_info(name: Any, dtype: dtypes.DTypeLike = None, shape: ShapeLike = None) -> TensorInfo:
    """The TensorInfo of a tensor.

    Args:
        name: The tensor's name, "node:0". Or, alone: a TensorInfo, which is copied; an object with the attributes
            ``name``, ``dtype`` and ``shape`` (a tf.Tensor, a tensor of a GraphBuilder); or one with ``values``,
            ``indices``, ``dense_shape``, ``dtype`` and ``shape`` (a tf.SparseTensor).
        dtype: See :data:`mexport_pb.dtypes.DTypeLike`.
        shape: See :data:`~mexport_pb.messages.shapes.ShapeLike`; None means an unknown rank.

    Raises:
        InvalidArgumentError: a name without a dtype, or neither a name nor such an object.
    """
    if isinstance(name, str):
        if dtype is None:
            raise InvalidArgumentError(f"tensor info of {name!r}: got no dtype")
        number = cast(DataType, dtypes.datatype_of(dtype))
        return TensorInfo(name=name, dtype=number, tensor_shape=make_tensor_shape(shape))
    if dtype is not None or shape is not None:
        raise InvalidArgumentError(f"tensor info: got {name!r} with dtype and shape, want a name with them")
    if isinstance(name, Message):
        return to_message(name, TensorInfo)
    if _has(name, "values", "indices", "dense_shape", "dtype", "shape"):
        info = make_tensor_info("", name.dtype, name.shape)
        info.coo_sparse.values_tensor_name = name.values.name
        info.coo_sparse.indices_tensor_name = name.indices.name
        info.coo_sparse.dense_shape_tensor_name = name.dense_shape.name
        return info
    if not _has(name, "name", "dtype", "shape"):
        raise InvalidArgumentError(f"tensor info: got {name!r}, want a name, a TensorInfo or a tensor")
    return make_tensor_info(str(name.name), name.dtype, name.shape)


def make_signature_def(
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    method_name: str = PREDICT_METHOD,
) -> SignatureDef:
    """A SignatureDef.

    Args:
        inputs: By the key that requests use: a TensorInfo or a tensor, see :func:`make_tensor_info`.
        outputs: Likewise, by the key that responses use.
        method_name: One of PREDICT_METHOD, CLASSIFY_METHOD and REGRESS_METHOD, or "" for a signature that no server
            calls.

    Raises:
        InvalidArgumentError: a value is no tensor.
    """
    signature = SignatureDef(method_name=method_name)
    for target, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for key, tensor in sorted((tensors or {}).items()):
            target[key].CopyFrom(make_tensor_info(tensor))
    return signature


def make_init_op_signature(op_name: str) -> SignatureDef:
    """The signature that, under the key INIT_OP_SIGNATURE, names the operation to run once after the restore."""
    signature = SignatureDef()
    signature.outputs[INIT_OP_SIGNATURE].name = op_name
    signature.outputs[INIT_OP_SIGNATURE].tensor_shape.unknown_rank = True
    return signature


def _has(value: object, *attributes: str) -> bool:
    return all(hasattr(value, attribute) for attribute in attributes)
