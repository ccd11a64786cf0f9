"""Random training data: Instances, Examples and ExampleBatches of Monolith, made of a list of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np

from mexport_pb._proto.instance_pb2 import Instance
from mexport_pb._proto.line_id_pb2 import LineId
from mexport_pb._proto.monolith_example_pb2 import Example, ExampleBatch, Feature
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.warmup.features import LABEL, FeatureMeta
from mexport_pb.warmup.framed import Body
from mexport_pb.warmup.line_ids import random_fid, random_line_id

__all__ = ["DEFAULT_REQ_TIME", "RandomData"]

DEFAULT_REQ_TIME: Final = 1_600_000_000
"""Seconds; fixed, so that the same seed is the same bytes."""

_LARGE: Final = 2**63 - 1
_ALWAYS: Final = (1, 200)  # the slots of user and item
_RARE_METHODS: Final = ("combine", "vectortopstring")


@dataclass(slots=True)
class RandomData:
    """Makes training data.

    Args:
        features: All of them; names are different.
        drop_rate: The share of ids that may be absent and are.
        req_time: Of all line ids, in seconds.

    Raises:
        InvalidArgumentError: No feature, a name that is there twice, or a rate that is none.
    """

    features: Sequence[FeatureMeta]
    drop_rate: float = 0.5
    req_time: int = DEFAULT_REQ_TIME
    _sparse: list[FeatureMeta] = field(init=False)
    _dense: list[FeatureMeta] = field(init=False)
    _label: FeatureMeta | None = field(init=False, default=None)
    _line_id: list[FeatureMeta] = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.drop_rate <= 1:
            raise InvalidArgumentError(f"drop rate: got {self.drop_rate}, want 0 to 1")
        if not self.features:
            raise InvalidArgumentError("features: got none, want at least one")
        self._sparse, self._dense, self._line_id = [], [], []
        seen: set[tuple[str, bool]] = set()
        for feature in self.features:
            key = (feature.name, feature.in_line_id)
            if key in seen:
                raise InvalidArgumentError(f"feature {feature.name!r}: is there twice")
            seen.add(key)
            if feature.slot is not None:
                self._sparse.append(feature)
            elif feature.in_line_id:
                self._line_id.append(feature)
            elif feature.name == LABEL:
                self._label = feature
            else:
                self._dense.append(feature)

    def body(self, random: np.random.Generator, body: Body) -> bytes:
        """A serialised Instance or Example."""
        if body not in get_args(Body) or body == "example_batch":
            raise InvalidArgumentError(f"body: got {body!r}, want instance or example")
        message = self.instance(random) if body == "instance" else self.example(random)
        return message.SerializeToString(deterministic=True)

    def instance(self, random: np.random.Generator) -> Instance:
        """An Instance: ids of the first version without names, everything else as named features."""
        message = Instance()
        for feature in self._sparse:
            assert feature.slot is not None
            if feature.fid_version == 1:
                count = 1 if feature.slot in _ALWAYS else int(random.integers(0, 4))
                message.fid.extend(random_fid(random, feature.slot, 1) for _ in range(count))
            else:
                message.feature.add(name=feature.name, fid=self._instance_ids(random, feature))
        for feature in self._dense:
            named = message.feature.add(name=feature.name)
            if feature.dtype == "int64":
                named.int64_value.extend(_integers(random, feature))
            else:
                named.float_value.extend(_floats(random, feature))
        message.line_id.CopyFrom(self._random_line_id(random))
        message.label.extend(self._labels(random))
        return message

    def example(self, random: np.random.Generator) -> Example:
        """An Example with all features by their names."""
        message = Example()
        for feature in (*self._sparse, *self._dense):
            named = message.named_feature.add(name=feature.name, id=feature.slot or 0)
            named.feature.CopyFrom(self._feature(random, feature))
        message.line_id.CopyFrom(self._random_line_id(random))
        message.label.extend(self._labels(random))
        return message

    def example_batch(self, random: np.random.Generator, size: int) -> ExampleBatch:
        """An ExampleBatch of so many rows; line ids and labels are the features ``__LINE_ID__`` and ``__LABEL__``."""
        message = ExampleBatch(batch_size=size)
        for feature in (*self._sparse, *self._dense):
            named = message.named_feature_list.add(name=feature.name, id=feature.slot or 0)
            named.feature.extend(self._feature(random, feature) for _ in range(size))
        line_ids = message.named_feature_list.add(name="__LINE_ID__")
        for _ in range(size):
            line_id = self._random_line_id(random).SerializeToString(deterministic=True)
            line_ids.feature.add().bytes_list.value.append(line_id)
        labels = message.named_feature_list.add(name="__LABEL__")
        for row in range(size):
            values = [float(row % 2)] if self._label is None else self._labels(random)
            labels.feature.add().float_list.value.extend(values)
        return message

    def _random_line_id(self, random: np.random.Generator) -> LineId:
        version = 1 if any(feature.fid_version == 1 for feature in self._sparse) else 2
        return random_line_id(random, self._line_id, fid_version=version, req_time=self.req_time)

    def _labels(self, random: np.random.Generator) -> list[float]:
        count = 1 if self._label is None else self._label.count
        return [float(value) for value in random.integers(0, 2, count)]

    def _feature(self, random: np.random.Generator, feature: FeatureMeta) -> Feature:
        message = Feature()
        if feature.slot is not None:
            ids = self._example_ids(random, feature)
            target = message.fid_v1_list if feature.fid_version == 1 else message.fid_v2_list
            target.SetInParent()
            target.value.extend(ids)
            return message
        if feature.dtype == "int64":
            message.int64_list.value.extend(_integers(random, feature))
        elif feature.dtype == "float64":
            message.double_list.value.extend(_floats(random, feature))
        else:
            message.float_list.value.extend(_floats(random, feature))
        return message

    def _example_ids(self, random: np.random.Generator, feature: FeatureMeta) -> list[int]:
        assert feature.slot is not None
        if "_recent" in feature.name or "_cp" in feature.name or feature.method.lower() in _RARE_METHODS:
            count = int(random.integers(0, 3)) if self._stays(random) else 0
        else:
            count = 1 if feature.slot in _ALWAYS or self._stays(random) else 0
        return [random_fid(random, feature.slot, feature.fid_version) for _ in range(count)]

    def _instance_ids(self, random: np.random.Generator, feature: FeatureMeta) -> list[int]:
        assert feature.slot is not None
        count = 1
        if "_recent" in feature.name or "_cp" in feature.name or "-" in feature.name:
            count = int(random.integers(0, 3)) if self._stays(random) else 0
        return [random_fid(random, feature.slot, feature.fid_version) for _ in range(count)]

    def _stays(self, random: np.random.Generator) -> bool:
        return bool(random.random() >= self.drop_rate)


def _integers(random: np.random.Generator, feature: FeatureMeta) -> list[int]:
    return [int(value) for value in random.integers(_LARGE // 2, _LARGE, feature.count, endpoint=True)]


def _floats(random: np.random.Generator, feature: FeatureMeta) -> list[float]:
    return [float(value) for value in random.random(feature.count)]
