"""Predict requests with random values, made of what a signature says of its inputs.

The same arguments give the same bytes. Values mean nothing: they find out whether a model answers, not what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from mexport_pb import dtypes
from mexport_pb._proto import tensor_pb2
from mexport_pb._proto.instance_pb2 import Instance
from mexport_pb._proto.saved_model_pb2 import SignatureDef, TensorInfo
from mexport_pb._proto.serving_pb2 import PredictRequest
from mexport_pb.errors import InvalidArgumentError, UnsupportedError
from mexport_pb.messages import make_model_spec, make_predict_request
from mexport_pb.messages.constants import PREDICT_METHOD

__all__ = ["random_predict_request", "random_signatures"]

MAX_ELEMENTS: Final = 1 << 26
MAX_STRINGS: Final = 1 << 20
"""The largest tensors that are made. A signature may ask for any."""

# Signatures that push values into tables, and those whose inputs depend on one another: random ones are refused.
_NOT_RANDOM: Final = ("hashtable_assign", "raw_assign", "raw_lookup")

_SLOT_SHIFT: Final = 54  # an id of the first version: its slot above the number


def random_signatures(signatures: Mapping[str, SignatureDef]) -> list[str]:
    """The keys of the signatures that random requests can try: Predict, and none that pushes values into tables."""
    return sorted(
        key
        for key, signature in signatures.items()
        if signature.method_name == PREDICT_METHOD and key.rpartition("/")[2] not in _NOT_RANDOM
    )


def random_predict_request(
    signature: SignatureDef,
    signature_name: str,
    *,
    model_name: str = "",
    batch_size: int = 8,
    seed: int | Iterable[int] = 0,
    integers: tuple[int, int] = (0, 30),
    slots: int = 6,
    ids_per_slot: int = 5,
) -> PredictRequest:
    """A request with a random value for every input.

    Integers are drawn from a range, floats from [0, 1), booleans are either. A string is a serialised Instance with
    ids of the first version in the slots 0 to ``slots - 1``; graphs that parse another message refuse it, and want
    requests that were recorded.

    Args:
        signature: A signature.
        signature_name: Its key.
        model_name: The name in the request's model spec.
        batch_size: The size of dimensions that are not known; an input of unknown rank is a vector of it.
        seed: An integer or several.
        integers: The first, and the one behind the last; cut to the range of narrow dtypes.
        slots: Slots of an Instance.
        ids_per_slot: Ids in each of them; those of slot s are in ``[s * n, s * n + n)``.

    Raises:
        InvalidArgumentError: A batch size below 1, an empty range, or more than 2**26 elements (2**20 strings).
        UnsupportedError: An input that is sparse, ragged, or of a dtype without random values.
    """
    if batch_size < 1:
        raise InvalidArgumentError(f"batch size: got {batch_size}, want >= 1")
    if integers[0] >= integers[1]:
        raise InvalidArgumentError(f"integers: got {integers}, want a range that is not empty")
    entropy = [seed] if isinstance(seed, int) else list(seed)
    random = np.random.default_rng(entropy)
    inputs = {}
    for key, info in sorted(signature.inputs.items()):
        where = f"signature {signature_name!r}: input {key!r}"
        if info.WhichOneof("encoding") != "name":
            raise UnsupportedError(f"{where}: is sparse or ragged, want a dense tensor")
        shape = _shape(where, info, batch_size)
        inputs[key] = _value(where, info.dtype, shape, random, integers, slots, ids_per_slot)
    return make_predict_request(make_model_spec(model_name, signature_name=signature_name), inputs)


def _shape(where: str, info: TensorInfo, batch_size: int) -> tuple[int, ...]:
    if not info.HasField("tensor_shape") or info.tensor_shape.unknown_rank:
        return (batch_size,)
    shape = tuple(batch_size if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    elements = 1
    for size in shape:
        elements *= size
    limit = MAX_STRINGS if info.dtype == tensor_pb2.DT_STRING else MAX_ELEMENTS
    if elements > limit:
        raise InvalidArgumentError(f"{where}: got {elements} elements, want <= {limit}")
    return shape


def _value(
    where: str,
    datatype: int,
    shape: tuple[int, ...],
    random: np.random.Generator,
    integers: tuple[int, int],
    slots: int,
    ids_per_slot: int,
) -> np.ndarray:
    if datatype == tensor_pb2.DT_STRING:
        value = np.empty(shape, object)
        for index in np.ndindex(shape):
            value[index] = _instance(random, slots, ids_per_slot)
        return value
    try:
        dtype = dtypes.numpy_dtype(datatype)
    except InvalidArgumentError as error:
        raise UnsupportedError(f"{where}: {error}") from None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        first = min(max(integers[0], int(limits.min)), int(limits.max))
        last = max(min(integers[1] - 1, int(limits.max)), first)
        return random.integers(first, last, shape, dtype=dtype, endpoint=True)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "fc" or datatype == tensor_pb2.DT_BFLOAT16:
        return random.random(shape).astype(dtype)
    raise UnsupportedError(f"{where}: no random values of dtype {dtypes.name_of(datatype)}")


def _instance(random: np.random.Generator, slots: int, ids_per_slot: int) -> bytes:
    ids = [
        (slot << _SLOT_SHIFT) | int(number)
        for slot in range(slots)
        for number in random.integers(slot * ids_per_slot, (slot + 1) * ids_per_slot, ids_per_slot)
    ]
    return Instance(fid=ids).SerializeToString(deterministic=True)
