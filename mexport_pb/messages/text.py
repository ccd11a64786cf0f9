"""The text form of messages, as ``.pbtxt`` files hold it.

TensorFlow prints a google.protobuf.Any expanded, under its own name of the packed message::

    [type.googleapis.com/tensorflow.AssetFileDef] { filename: "vocab.txt" }

Our classes carry another package name, so these names are looked up in a private pool that holds our schemas under
TensorFlow's. The default pool stays free for TensorFlow itself.
"""

from __future__ import annotations

import functools
import os
from typing import Final, TypeVar

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, text_format, wrappers_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError, Message

from mexport_pb._proto import saved_model_pb2
from mexport_pb.errors import SavedModelError

__all__ = ["from_text", "to_text"]

M = TypeVar("M", bound=Message)

_OUR_PACKAGE: Final = "mexport.tensorflow"
_THEIR_PACKAGE: Final = "tensorflow"


def to_text(message: Message) -> str:
    """The message as text, with sorted maps; the same for equal messages. TensorFlow's loaders read it.

    Raises:
        SavedModelError: an Any whose type is known, but whose bytes are damaged.
    """
    try:
        return text_format.MessageToString(message, descriptor_pool=_pool())
    except DecodeError as error:
        raise SavedModelError(f"{message.DESCRIPTOR.name}: a damaged Any: {error}") from None


def from_text(text: str | bytes, cls: type[M], path: str | os.PathLike[str] | None = None) -> M:
    """The message of class `cls` that `text` prints; `path` is only named in errors.

    Raises:
        SavedModelError: the text is not a `cls`, or holds an Any of an unknown type.
    """
    try:
        return text_format.Parse(text if isinstance(text, str) else text.decode(), cls(), descriptor_pool=_pool())
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start}: {error.reason}"
        raise SavedModelError(f"not a {cls.DESCRIPTOR.name} in text form: {reason}", path=path) from None
    except (text_format.ParseError, DecodeError, ValueError, RecursionError) as error:
        raise SavedModelError(f"not a {cls.DESCRIPTOR.name} in text form: {error}", path=path) from None


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    """All that saved_model.proto needs, under TensorFlow's package name."""
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    added = {any_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name}

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        renamed = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
        renamed.package = _THEIR_PACKAGE
        for message in renamed.message_type:
            _rename_types(message)
        pool.AddSerializedFile(renamed.SerializeToString())

    add(saved_model_pb2.DESCRIPTOR)
    return pool


def _rename_types(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        if field.type_name.startswith(f".{_OUR_PACKAGE}."):
            field.type_name = f".{_THEIR_PACKAGE}." + field.type_name.removeprefix(f".{_OUR_PACKAGE}.")
    for nested in message.nested_type:
        _rename_types(nested)
