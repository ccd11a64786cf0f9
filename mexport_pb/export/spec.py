"""What a model_fn gets and returns: the estimator API's terms, without TensorFlow.

TensorFlow 2.16 removed ``tf.estimator``; model functions written for it keep working with these. Tensors are whatever
the graph's source makes: symbols of a :class:`~mexport_pb.graph.GraphBuilder` or of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mexport_pb.errors import InvalidArgumentError

__all__ = [
    "ClassificationOutput",
    "EstimatorSpec",
    "ExportOutput",
    "ModeKeys",
    "ModelFn",
    "PredictOutput",
    "ReceiverFn",
    "RegressionOutput",
    "RunConfig",
    "ServingInputReceiver",
]

Tensor: TypeAlias = Any
"""A symbolic tensor of the graph's source."""

SINGLE_FEATURE_KEY = "feature"
SINGLE_RECEIVER_KEY = "input"
SINGLE_OUTPUT_KEY = "output"


class ModeKeys:
    """What a model_fn is called for."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


@dataclass(frozen=True)
class RunConfig:
    """What a model_fn may ask about the run; exporters fill only the model's folder."""

    model_dir: str | None = None


@dataclass(frozen=True)
class PredictOutput:
    """Outputs of a predict signature.

    Attributes:
        outputs: Tensors by key; a single tensor gets the key "output".
    """

    outputs: Any

    def named(self) -> dict[str, Tensor]:
        """The tensors by key."""
        return _as_named(self.outputs, SINGLE_OUTPUT_KEY)


@dataclass(frozen=True)
class ClassificationOutput:
    """Outputs of a classify signature: scores float [batch, n], classes string [batch, n], or both.

    Raises:
        InvalidArgumentError: Neither was given.
    """

    scores: Tensor | None = None
    classes: Tensor | None = None

    def __post_init__(self) -> None:
        if self.scores is None and self.classes is None:
            raise InvalidArgumentError("a classification output needs scores, classes or both, got neither")


@dataclass(frozen=True)
class RegressionOutput:
    """Output of a regress signature: a float value per instance."""

    value: Tensor


ExportOutput: TypeAlias = PredictOutput | ClassificationOutput | RegressionOutput


@dataclass(frozen=True)
class EstimatorSpec:
    """What a model_fn returns.

    Attributes:
        mode: One of :class:`ModeKeys`.
        predictions: A tensor, or tensors by key.
        loss: The training loss; not exported.
        train_op: The training step; not exported.
        export_outputs: Outputs by signature name. None: ``predictions`` under ``serving_default``.
        training_hooks: Hooks of the training loop; not exported.
    """

    mode: str
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    export_outputs: Mapping[str, ExportOutput] | None = None
    training_hooks: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ServingInputReceiver:
    """What a serving_input_receiver_fn returns.

    Attributes:
        features: What the model_fn gets. A single tensor becomes ``{"feature": tensor}``.
        receiver_tensors: What a request feeds, by key. A single tensor gets the key "input".
        receiver_tensors_alternatives: Further ways to feed the graph, by name; each adds signatures named
            ``<name>:<signature>``.
    """

    features: Any
    receiver_tensors: Any
    receiver_tensors_alternatives: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.features is not None and not isinstance(self.features, Mapping):
            object.__setattr__(self, "features", {SINGLE_FEATURE_KEY: self.features})
        object.__setattr__(self, "receiver_tensors", _as_named(self.receiver_tensors, SINGLE_RECEIVER_KEY))
        alternatives = self.receiver_tensors_alternatives or {}
        if not isinstance(alternatives, Mapping):
            raise InvalidArgumentError(
                f"receiver_tensors_alternatives: got {type(alternatives).__name__}, want a mapping from name to tensors"
            )
        named = {name: _as_named(tensors, SINGLE_RECEIVER_KEY) for name, tensors in alternatives.items()}
        object.__setattr__(self, "receiver_tensors_alternatives", named)


ModelFn: TypeAlias = Callable[..., EstimatorSpec]
ReceiverFn: TypeAlias = Callable[[], ServingInputReceiver]


def _as_named(tensors: Any, single_key: str) -> dict[str, Tensor]:
    if not isinstance(tensors, Mapping):
        return {single_key: tensors}
    for key in tensors:
        if not isinstance(key, str):
            raise InvalidArgumentError(f"tensor keys: got {key!r}, want strings")
    return dict(tensors)
