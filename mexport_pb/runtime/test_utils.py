"""For tests of code that uses embedding tables."""

from __future__ import annotations

from mexport_pb.table import (
    CombineAsSegment,
    CuckooHashTableConfig,
    Fp16Compressor,
    Fp32Compressor,
    HashTableConfigInstance,
    SgdOptimizer,
    ZerosInitializer,
    entry_config,
)

__all__ = ["generate_test_hash_table_config"]


def generate_test_hash_table_config(
    dim: int = 2, use_float16: bool = False, learning_rate: float = 1.0
) -> HashTableConfigInstance:
    """The configuration of a table of one segment of `dim` floats: zeros at first, sgd.

    Args:
        dim: The floats of a vector.
        use_float16: Whether a serving table has them in half precision.
        learning_rate: Of sgd.
    """
    compressor = Fp16Compressor() if use_float16 else Fp32Compressor()
    segment = CombineAsSegment(dim, ZerosInitializer(), SgdOptimizer(), compressor)
    return HashTableConfigInstance(CuckooHashTableConfig(entry_config(segment)).as_proto(), [learning_rate])
