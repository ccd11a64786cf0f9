"""Train the demo's second model and leave a checkpoint: ``python -m demo.tables.train --model-dir D``.

The directory then holds ``model.ckpt-<step>.{index,data-…,meta}``, ``model.ckpt-<step>.assets/`` with the tables, and
``held_out.npz``: requests with the training graph's ``score``. Time runs at six hours a step. One JSON line on stdout
tells the prefix, the losses and the last second.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from demo.tables.params import DENSE, SLOTS, TRAFFIC

__all__ = ["make_batch", "train"]

_v1 = tf.compat.v1
_BATCH = 4096
_SECONDS_A_STEP = 6 * 3600
_EPOCH = 1_700_000_000
_SKEW = 3.0


def make_batch(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    """Draw requests and clicks. A few ids come often, most hardly ever; each has a taste of its own."""
    batch: dict[str, np.ndarray] = {}
    taste = np.zeros(size)
    for name, slot in SLOTS.items():
        rank = (TRAFFIC[name] * rng.random(size) ** _SKEW).astype(np.int64)
        spread = (rank * 0x9E3779B97F4A7C1) % (1 << 48)
        batch[name] = (slot << 48) | spread
        taste += np.sin(rank * 12.9898 + slot)
    dense = rng.normal(size=(size, DENSE)).astype(np.float32)
    taste += dense[:, 0]
    batch["dense"] = dense
    batch["clicked"] = (rng.random(size) < 1 / (1 + np.exp(-2 * taste))).astype(np.float32)
    return batch
