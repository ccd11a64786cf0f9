"""tf.Example, which classify, regress and multi-inference requests hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mexport_pb._proto.example_pb2 import Example
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.tensors import make_tensor_proto, tensor_proto_to_array

__all__ = ["make_example"]


def make_example(features: Mapping[str, Any]) -> Example:
    """An Example.

    Args:
        features: By name: a number, text or bytes, lists or a numpy array of them, which is taken row by row. Integers
            and booleans go to the int64 list, floats (of any width) to the float list, text as UTF-8 to the bytes list.

    Raises:
        InvalidArgumentError: another kind of value, or an unsigned number that int64 cannot hold.
    """
    example = Example()
    for name, value in sorted(features.items()):
        feature = example.features.feature[name]
        try:
            array = tensor_proto_to_array(make_tensor_proto(value)).ravel()
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"feature {name!r}: {error}") from None
        if array.dtype.kind == "O":
            feature.bytes_list.value.extend(array.tolist())
        elif array.dtype.kind in "iub":
            if array.dtype == np.uint64 and array.size and array.max() >= 2**63:
                raise InvalidArgumentError(f"feature {name!r}: got {array.max()}, want an integer below 2**63")
            feature.int64_list.value.extend(array.astype(np.int64).tolist())
        elif array.dtype.kind == "f":
            feature.float_list.value.extend(array.astype(np.float32).tolist())
        else:
            raise InvalidArgumentError(f"feature {name!r}: got {array.dtype}, want integers, floats or text")
        feature.SetInParent()
    return example
