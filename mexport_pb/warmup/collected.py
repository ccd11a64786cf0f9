"""What a graph's collections say of the requests that warm its model up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mexport_pb import dtypes
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.warmup.features import FeatureMeta, id_features
from mexport_pb.warmup.generate import DEFAULT_BATCH_SIZE, DEFAULT_MAX_RECORDS, DEFAULT_MODEL_NAME, Variant

__all__ = ["WarmupPlan", "collected_warmup_plan"]

_Number = TypeVar("_Number", int, float)

_VARIANTS: Final[dict[str, Variant]] = {
    "instance": "instance",
    "example": "example",
    "example_batch": "example_batch",
    "examplebatch": "example_batch",
}


@dataclass(frozen=True, slots=True)
class WarmupPlan:
    """Arguments of :func:`~mexport_pb.warmup.gen_warmup_file`."""

    features: list[FeatureMeta]
    variant: Variant | None
    batch_size: int
    max_records: int
    model_name: str
    drop_rate: float


def collected_warmup_plan(collection: Callable[[str], list[Any]]) -> WarmupPlan | None:
    """The plan in a graph's collections; None if they name no features.

    Collections are ``fidv1_features`` (slots), ``fidv2_features`` (names), ``dense_features`` with
    ``dense_feature_shapes`` and ``dense_feature_types``, ``extra_features`` (of line ids) with
    ``extra_feature_shapes``, ``variant_type``, ``model_name``, ``batch_size``, ``max_records`` and ``drop_rate``.
    The last element counts; features may also be elements of their own. Which signatures are asked is not among them:
    the collection ``signature_name`` also has those of other graphs.

    Raises:
        InvalidArgumentError: They do not go together.
    """
    dense = [str(name) for name in _list(collection, "dense_features")]
    shapes = _beside(collection, "dense_feature_shapes", dense)
    types = _beside(collection, "dense_feature_types", dense)
    extra = [str(name) for name in _list(collection, "extra_features")]
    extra_shapes = _beside(collection, "extra_feature_shapes", extra)
    features = [
        FeatureMeta(f"slot_{slot}", slot, fid_version=1)
        for slot in (_number("fidv1_features", one, int) for one in _list(collection, "fidv1_features"))
    ]
    features += id_features(str(name) for name in _list(collection, "fidv2_features"))
    features += [
        FeatureMeta(
            name,
            shape=_size("dense_feature_shapes", shape),
            dtype=None if kind is None else dtypes.name_of(dtypes.datatype_of(kind)),
        )
        for name, shape, kind in zip(dense, shapes, types, strict=True)
    ]
    features += [
        FeatureMeta(name, shape=_size("extra_feature_shapes", shape), in_line_id=True)
        for name, shape in zip(extra, extra_shapes, strict=True)
    ]
    if not features:
        return None
    variant = _last(collection, "variant_type", None)
    if variant is not None and variant not in _VARIANTS:
        raise InvalidArgumentError(f"variant_type: got {variant!r}, want one of {', '.join(_VARIANTS)}")
    return WarmupPlan(
        features=features,
        variant=None if variant is None else _VARIANTS[variant],
        batch_size=_number("batch_size", _last(collection, "batch_size", DEFAULT_BATCH_SIZE), int),
        max_records=_number("max_records", _last(collection, "max_records", DEFAULT_MAX_RECORDS), int),
        model_name=str(_last(collection, "model_name", DEFAULT_MODEL_NAME)),
        drop_rate=_number("drop_rate", _last(collection, "drop_rate", 0.5), float),
    )


def _last(collection: Callable[[str], list[Any]], name: str, default: Any) -> Any:
    values = collection(name)
    return values[-1] if values else default


def _list(collection: Callable[[str], list[Any]], name: str) -> list[Any]:
    values = collection(name)
    if values and isinstance(values[-1], list | tuple):
        return list(values[-1])
    return values


def _beside(collection: Callable[[str], list[Any]], name: str, features: list[str]) -> list[Any]:
    values = _list(collection, name) or [None] * len(features)
    if len(values) != len(features):
        raise InvalidArgumentError(f"{name}: got {len(values)} values for {len(features)} features")
    return values


def _size(name: str, shape: Any) -> int | None:
    return None if shape is None else _number(name, shape, int)


def _number(name: str, value: Any, kind: type[_Number]) -> _Number:
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"collection {name!r}: got {value!r}, want numbers: {error}") from None
