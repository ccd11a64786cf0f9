"""The tables of the demo's second model, and how they are configured; free of TensorFlow.

====================  ====  ==========  =======  =======================================================
table                 dim   optimizer   expires  in the graph
====================  ====  ==========  =======  =======================================================
``user``              16    adagrad     7 days   a table by itself
``item``              16    ftrl, l1    never    a table by itself; l1 makes vectors of zeros
``ad``, ``site``      8     adagrad     never    a set of two behind one handle, as many tables would be
====================  ====  ==========  =======  =======================================================
"""

from __future__ import annotations

import mexport_pb as mx

__all__ = ["DAY", "DENSE", "HIDDEN", "SET", "SINGLE", "SLOTS", "TRAFFIC", "configuration", "signature_inputs"]

DAY = 86400
SINGLE = {"user": 16, "item": 16}
SET = {"ad": 8, "site": 8}
SLOTS = {"user": 1, "item": 2, "ad": 3, "site": 4}
"""An id is its slot, shifted by 48 bits, and a hash."""
TRAFFIC = {"user": 1_000_000, "item": 300_000, "ad": 50_000, "site": 20_000}
"""How many different ids there are in the world."""
DENSE = 4
HIDDEN = 32

_EXPIRES = {"user": 7}


def configuration(name: str) -> mx.HashTableConfigInstance:
    """A table's configuration: one segment."""
    dim = {**SINGLE, **SET}[name]
    optimizer = (
        mx.FtrlOptimizer(initial_accumulator_value=0.1, beta=1.0, l1_regularization_strength=0.15)
        if name == "item"
        else mx.AdagradOptimizer(initial_accumulator_value=0.1)
    )
    segment = mx.CombineAsSegment(dim, mx.ZerosInitializer(), optimizer, mx.Fp32Compressor())
    config = mx.CuckooHashTableConfig(mx.entry_config(segment)).as_proto()
    if name in _EXPIRES:
        config.slot_expire_time_config.default_expire_time = _EXPIRES[name]
    return mx.HashTableConfigInstance(config, [0.1])


def signature_inputs() -> list[str]:
    """The keys of a request: an id for each table, and the dense features."""
    return [*SINGLE, *SET, "dense"]
