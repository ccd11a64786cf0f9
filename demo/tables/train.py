"""Train the demo's second model and leave a checkpoint: ``python -m demo.tables.train --model-dir D``.

The directory then holds ``model.ckpt-<step>.{index,data-…,meta}``, ``model.ckpt-<step>.assets/`` with the tables, and
``held_out.npz``: requests with the training graph's ``score``, half of them like those of the last step, half with ids
that training never saw. Time runs at six hours a step. One JSON line on stdout tells the prefix, the losses, the last
second and the rows of the single tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from demo.params import HELD_OUT
from demo.tables.model import features, train_graph
from demo.tables.params import DENSE, SLOTS, TRAFFIC
from mexport_pb.runtime.hash_table_ops import HashTableCheckpointSaverListener
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTableCheckpointSaverListener
from mexport_pb.runtime.save_utils import NoFirstSaveCheckpointSaverHook

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


def train(model_dir: Path, *, steps: int = 80, seed: int = 1) -> dict[str, object]:
    """Train from scratch and save, tables by the checkpoint's listeners. Returns what is printed."""
    model_dir.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    basename = model_dir / "model.ckpt"
    with tf.Graph().as_default():
        _v1.set_random_seed(seed)
        fed = {
            **features(),
            "clicked": _v1.placeholder(tf.float32, [None], name="clicked"),
            "time": _v1.placeholder(tf.int64, [], name="time"),
        }
        model = train_graph(fed, fed["clicked"], fed["time"])
        saver = NoFirstSaveCheckpointSaverHook(
            str(model_dir),
            save_steps=steps,
            listeners=[HashTableCheckpointSaverListener(basename), MultiHashTableCheckpointSaverListener(basename)],
            saver=_v1.train.Saver(sharded=True),
        )
        losses = []
        with _v1.train.SingularMonitoredSession(hooks=[saver]) as session:
            for step in range(steps):
                batch = make_batch(rng, _BATCH)
                now = _EPOCH + step * _SECONDS_A_STEP
                feeds = {fed[key]: value for key, value in batch.items()}
                losses.append(float(session.run([model["loss"], model["train_op"]], {**feeds, fed["time"]: now})[0]))
            held_out = {key: np.concatenate([batch[key][:128], _unseen(key, 128)]) for key in (*SLOTS, "dense")}
            feeds = {fed[key]: value for key, value in held_out.items()}
            score, rows = session.run([model["score"], model["rows"]], feeds)
    np.savez(model_dir / HELD_OUT, allow_pickle=False, **held_out, score=score)
    return {
        "checkpoint": f"{basename}-{steps}",
        "steps": steps,
        "first_loss": losses[0],
        "last_loss": float(np.mean(losses[-5:])),
        "time": now,
        "rows": [int(count) for count in rows],
    }


def _unseen(key: str, size: int) -> np.ndarray:
    """Ids beyond those of the world, and dense features."""
    if key == "dense":
        return np.random.default_rng(7).normal(size=(size, DENSE)).astype(np.float32)
    return (SLOTS[key] << 48) | ((1 << 48) - 1 - np.arange(size))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(train(args.model_dir, steps=args.steps, seed=args.seed)))


if __name__ == "__main__":
    main()
