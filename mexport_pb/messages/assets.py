"""AssetFileDef: a file beside the graph and the tensor that is fed with its path."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from mexport_pb._proto.saved_model_pb2 import AssetFileDef
from mexport_pb.errors import SavedModelError
from mexport_pb.messages.constants import ANY_ASSET_TYPE_URL
from mexport_pb.messages.wire import parse, serialize, to_message

__all__ = ["make_asset_file_def", "pack_asset_file_def", "unpack_asset_file_def"]


def make_asset_file_def(tensor_name: str, filename: str) -> AssetFileDef:
    """An AssetFileDef.

    The tensor's dtype and shape are left out, as in the files of ``tf.compat.v1.saved_model.Builder``.

    Args:
        tensor_name: The string tensor to feed, "node:0".
        filename: Below assets/ of the export; "./" feeds the path of assets/ itself.
    """
    asset = AssetFileDef(filename=filename)
    asset.tensor_info.name = tensor_name
    return asset


def pack_asset_file_def(asset: Message) -> AnyMessage:
    """The asset as an element of the collection "saved_model_assets".

    The type URL is set by hand, for the reader looks for TensorFlow's name of the message.
    """
    return AnyMessage(type_url=ANY_ASSET_TYPE_URL, value=serialize(to_message(asset, AssetFileDef)))


def unpack_asset_file_def(packed: Message) -> AssetFileDef:
    """The asset in an element of the collection "saved_model_assets".

    Raises:
        SavedModelError: the element is of another type, or damaged.
    """
    element = to_message(packed, AnyMessage)
    # Whatever comes before the last slash names a registry of types, not the type.
    if element.type_url.rpartition("/")[2] != ANY_ASSET_TYPE_URL.rpartition("/")[2]:
        raise SavedModelError(f"not an asset: got type {element.type_url!r}, want {ANY_ASSET_TYPE_URL!r}")
    return parse(AssetFileDef, element.value)
