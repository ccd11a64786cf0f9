"""Configurations of tables, written the way of Monolith's Python layer.

Each class is a dataclass; ``as_proto()`` makes its message. Every attribute that is not None is written out, defaults
included, so that a configuration reads the same by every version of the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from mexport_pb._proto import hash_table_compressor_pb2, hash_table_initializer_pb2, hash_table_optimizer_pb2
from mexport_pb._proto.hash_table_pb2 import EmbeddingHashTableConfig, EntryConfig
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.messages.wire import serialize, to_message

__all__ = [
    "AdadeltaOptimizer",
    "AdagradOptimizer",
    "AdamOptimizer",
    "AmsgradOptimizer",
    "BatchSoftmaxInitializer",
    "BatchSoftmaxOptimizer",
    "CombineAsSegment",
    "ConstantsInitializer",
    "CuckooHashTableConfig",
    "FixedR8Compressor",
    "Fp16Compressor",
    "Fp32Compressor",
    "FtrlOptimizer",
    "GroupAdaGradOptimizer",
    "HashTableConfigInstance",
    "MomentumOptimizer",
    "MovingAverageOptimizer",
    "OneBitCompressor",
    "OnesInitializer",
    "RandomUniformInitializer",
    "RmspropOptimizer",
    "RmspropV2Optimizer",
    "SgdOptimizer",
    "StochasticRoundingFloat16OptimizerWrapper",
    "ZerosInitializer",
    "entry_config",
]

InitializerConfig = hash_table_initializer_pb2.InitializerConfig
OptimizerConfig = hash_table_optimizer_pb2.OptimizerConfig
FloatCompressorConfig = hash_table_compressor_pb2.FloatCompressorConfig


M = TypeVar("M", bound=Message)


class _Wrapper(Protocol):
    def as_proto(self) -> Message: ...


def _fill(message: Message, wrapper: object) -> None:
    # A sub-message without attributes must be set all the same.
    message.SetInParent()
    for field in fields(wrapper):  # type: ignore[arg-type]
        value = getattr(wrapper, field.name)
        if value is not None:
            setattr(message, field.name, value)


class _Initializer:
    _field: ClassVar[str]

    def as_proto(self) -> InitializerConfig:
        """The InitializerConfig."""
        config = InitializerConfig()
        _fill(getattr(config, self._field), self)
        return config


class _Optimizer:
    _field: ClassVar[str]

    def as_proto(self) -> OptimizerConfig:
        """The OptimizerConfig."""
        config = OptimizerConfig()
        _fill(getattr(config, self._field), self)
        return config


class _Compressor:
    _field: ClassVar[str]

    def as_proto(self) -> FloatCompressorConfig:
        """The FloatCompressorConfig."""
        config = FloatCompressorConfig()
        _fill(getattr(config, self._field), self)
        return config


@dataclass(frozen=True)
class ZerosInitializer(_Initializer):
    """Zeros."""

    _field = "zeros"


@dataclass(frozen=True)
class OnesInitializer(_Initializer):
    """Ones."""

    _field = "ones"


@dataclass(frozen=True)
class ConstantsInitializer(_Initializer):
    """One number everywhere."""

    _field = "constants"
    constant: float


@dataclass(frozen=True)
class RandomUniformInitializer(_Initializer):
    """Random numbers in [minval, maxval)."""

    _field = "random_uniform"
    minval: float | None = None
    maxval: float | None = None


class BatchSoftmaxInitializer(ConstantsInitializer):
    """The expected interval between two occurrences of an id, in steps; at least 1.

    Raises:
        InvalidArgumentError: it is less.
    """

    def __init__(self, init_step_interval: float) -> None:
        if not init_step_interval >= 1:
            raise InvalidArgumentError(f"init_step_interval: got {init_step_interval}, want at least 1")
        super().__init__(init_step_interval)


@dataclass(frozen=True)
class SgdOptimizer(_Optimizer):
    """w -= rate * g."""

    _field = "sgd"
    learning_rate: float | None = None


@dataclass(frozen=True)
class AdagradOptimizer(_Optimizer):
    """Rates that shrink with the sum of squared gradients."""

    _field = "adagrad"
    learning_rate: float | None = None
    initial_accumulator_value: float | None = None
    hessian_compression_times: int = 1
    warmup_steps: int = 0
    weight_decay_factor: float = 0.0


@dataclass(frozen=True)
class FtrlOptimizer(_Optimizer):
    """Follow the regularised leader."""

    _field = "ftrl"
    learning_rate: float | None = None
    initial_accumulator_value: float | None = None
    beta: float | None = None
    warmup_steps: int = 0
    l1_regularization_strength: float | None = None
    l2_regularization_strength: float | None = None


@dataclass(frozen=True)
class GroupAdaGradOptimizer(_Optimizer):
    """Adagrad with one accumulator for a segment, which l2 may set to zero as a whole."""

    _field = "group_adagrad"
    learning_rate: float | None = None
    beta: float | None = None
    initial_accumulator_value: float | None = None
    l2_regularization_strength: float | None = None
    weight_decay_factor: float = 0.0
    warmup_steps: int = 0


@dataclass(frozen=True)
class AdadeltaOptimizer(_Optimizer):
    """Adadelta."""

    _field = "adadelta"
    learning_rate: float | None = None
    weight_decay_factor: float = 0.0
    averaging_ratio: float = 0.9
    epsilon: float = 0.01
    warmup_steps: int = 0


@dataclass(frozen=True)
class AdamOptimizer(_Optimizer):
    """Adam. ``use_beta1_warmup`` is written and has no effect."""

    _field = "adam"
    learning_rate: float | None = None
    beta1: float = 0.9
    beta2: float = 0.99
    use_beta1_warmup: bool = False
    weight_decay_factor: float = 0.0
    use_nesterov: bool = False
    epsilon: float = 0.01
    warmup_steps: int = 0


@dataclass(frozen=True)
class AmsgradOptimizer(_Optimizer):
    """Adam that divides by the largest second moment so far."""

    _field = "amsgrad"
    learning_rate: float | None = None
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay_factor: float = 0.0
    use_nesterov: bool = False
    epsilon: float = 0.01
    warmup_steps: int = 0


@dataclass(frozen=True)
class MomentumOptimizer(_Optimizer):
    """Momentum."""

    _field = "momentum"
    learning_rate: float | None = None
    weight_decay_factor: float = 0.0
    use_nesterov: bool = False
    momentum: float = 0.9
    warmup_steps: int = 0


@dataclass(frozen=True)
class MovingAverageOptimizer(_Optimizer):
    """The moving average of what is given as gradients."""

    _field = "moving_average"
    momentum: float = 0.9


@dataclass(frozen=True)
class RmspropOptimizer(_Optimizer):
    """RMSProp with a decaying mean; takes this learning rate, not that of the call."""

    _field = "rmsprop"
    learning_rate: float | None = None
    weight_decay_factor: float = 0.0
    momentum: float = 0.9


@dataclass(frozen=True)
class RmspropV2Optimizer(_Optimizer):
    """RMSProp with a decaying sum."""

    _field = "rmspropv2"
    learning_rate: float | None = None
    weight_decay_factor: float = 0.0
    momentum: float = 0.9


@dataclass(frozen=True)
class BatchSoftmaxOptimizer(_Optimizer):
    """The interval between two occurrences of an id, in steps; for segments of one float."""

    _field = "batch_softmax"
    learning_rate: float | None = None


@dataclass(frozen=True)
class StochasticRoundingFloat16OptimizerWrapper:
    """Rounds what another optimizer makes of the vector to half precision, up or down at random."""

    optimizer: _Optimizer | OptimizerConfig

    def as_proto(self) -> OptimizerConfig:
        """The OptimizerConfig."""
        config = _message(self.optimizer, OptimizerConfig)
        config.stochastic_rounding_float16 = True
        return config


@dataclass(frozen=True)
class Fp32Compressor(_Compressor):
    """Four bytes a float: the float."""

    _field = "fp32"


@dataclass(frozen=True)
class Fp16Compressor(_Compressor):
    """Two bytes a float: half precision."""

    _field = "fp16"


@dataclass(frozen=True)
class FixedR8Compressor(_Compressor):
    """One byte a float: a multiple of r / 128."""

    _field = "fixed_r8"
    r: float = 1.0


@dataclass(frozen=True)
class OneBitCompressor(_Compressor):
    """One byte a float: plus or minus `amplitude`."""

    _field = "one_bit"
    step_size: int = 200
    amplitude: float = 0.05


Initializer: TypeAlias = _Initializer | InitializerConfig
Optimizer: TypeAlias = _Optimizer | StochasticRoundingFloat16OptimizerWrapper | OptimizerConfig
Compressor: TypeAlias = _Compressor | FloatCompressorConfig


def _message(value: _Wrapper | Message, cls: type[M]) -> M:
    return to_message(value if isinstance(value, Message) else value.as_proto(), cls)


def CombineAsSegment(  # noqa: N802  the name that users of Monolith know
    dim_size: int, initializer: Initializer, optimizer: Optimizer, compressor: Compressor
) -> EntryConfig.Segment:
    """Make a segment of `dim_size` floats from wrappers or messages."""
    return EntryConfig.Segment(
        dim_size=dim_size,
        init_config=_message(initializer, InitializerConfig),
        opt_config=_message(optimizer, OptimizerConfig),
        comp_config=_message(compressor, FloatCompressorConfig),
    )


def entry_config(*segments: EntryConfig.Segment, serving: bool = False) -> EntryConfig:
    """Make the EntryConfig of a training table, or of a serving one."""
    return EntryConfig(segments=segments, entry_type=EntryConfig.SERVING if serving else EntryConfig.TRAINING)


@dataclass(frozen=True)
class CuckooHashTableConfig:
    """Configures a table; of an :func:`entry_config` it makes the whole configuration.

    Attributes:
        entry: What an entry holds; may be left to whoever knows.
        initial_capacity: For so many ids no room needs to be made later; a hint.
        feature_evict_every_n_hours: Above 0, entries that expired are dropped so often.
        skip_zero_embedding: Serving tables only: a vector of zeros takes no room.
    """

    entry: EntryConfig | None = None
    initial_capacity: int = 1
    feature_evict_every_n_hours: int = 0
    skip_zero_embedding: bool = False

    def as_proto(self) -> EmbeddingHashTableConfig:
        """The EmbeddingHashTableConfig."""
        config = EmbeddingHashTableConfig(initial_capacity=self.initial_capacity)
        config.cuckoo.SetInParent()
        if self.entry is not None:
            config.entry_config.CopyFrom(self.entry)
        if self.feature_evict_every_n_hours > 0:
            config.enable_feature_eviction = True
            config.feature_evict_every_n_hours = self.feature_evict_every_n_hours
        if self.skip_zero_embedding:
            config.skip_zero_embedding = True
        return config


@dataclass(frozen=True)
class HashTableConfigInstance:
    """A table's configuration with the learning rate of each segment.

    Attributes:
        table_config: The configuration.
        learning_rate_fns: For each segment a number, or a function that returns one.
        extra_restore_names: Names that older checkpoints have the table under.
    """

    table_config: EmbeddingHashTableConfig
    learning_rate_fns: Sequence[float | Callable[[], float]]
    extra_restore_names: Sequence[str] = ()

    def as_proto(self) -> EmbeddingHashTableConfig:
        """The configuration without the rates."""
        return to_message(self.table_config, EmbeddingHashTableConfig)

    def call_learning_rate_fns(self) -> list[float]:
        """Return the present learning rate of each segment.

        Raises:
            InvalidArgumentError: there are none.
        """
        if not self.learning_rate_fns:
            raise InvalidArgumentError("learning_rate_fns: got none, want one for each segment")
        return [float(fn()) if callable(fn) else float(fn) for fn in self.learning_rate_fns]

    def __str__(self) -> str:
        """Tables with the same text may be merged into one."""
        return repr((serialize(self.table_config), list(self.learning_rate_fns)))
