"""Train the demo's model and leave a checkpoint: ``python -m demo.train --model-dir D [--embedding-rows N]``.

The directory then holds ``model.ckpt-<step>.{index,data-00000-of-00001,meta}``, ``checkpoint``, ``params.json`` and
``held_out.npz``: inputs ``user``, ``item``, ``item_id`` with the predictions ``logits`` and ``score`` of the training
graph. One JSON line on stdout tells the prefix and the first and last loss.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from demo.model import model_fn, serving_features
from demo.params import HELD_OUT, ITEM_FEATURES, USER_FEATURES, Params

__all__ = ["make_batch", "train"]

_v1 = tf.compat.v1
_BATCH = 256


def make_batch(rng: np.random.Generator, rows: int, size: int) -> dict[str, np.ndarray]:
    """Draw requests and clicks: a user's taste meets an item's features, and every seventh item is liked by all."""
    user = rng.normal(size=(size, USER_FEATURES)).astype(np.float32)
    item = rng.normal(size=(size, ITEM_FEATURES)).astype(np.float32)
    item_id = rng.integers(0, rows, size)
    taste = (user[:, :ITEM_FEATURES] * item).sum(1) + 2.0 * (item_id % 7 == 0) - 0.3
    clicked = (rng.random(size) < 1 / (1 + np.exp(-taste))).astype(np.float32)
    return {"user": user, "item": item, "item_id": item_id, "clicked": clicked}


def train(model_dir: Path, params: Params, *, steps: int = 200, seed: int = 1) -> dict[str, object]:
    """Train from scratch and save; the data depend on ``seed`` alone. Returns what is printed."""
    model_dir.mkdir(parents=True, exist_ok=True)
    params.save(model_dir)
    rng = np.random.default_rng(seed)
    with tf.Graph().as_default() as graph:
        _v1.set_random_seed(seed)
        features = {**serving_features(), "clicked": _v1.placeholder(tf.float32, [None], name="clicked")}
        model = model_fn(features, "train", params=params)
        saver = _v1.train.Saver(sharded=True)
        with _v1.Session(graph=graph) as session:
            session.run(_v1.global_variables_initializer())
            losses = []
            for _ in range(steps):
                batch = make_batch(rng, params.embedding_rows, _BATCH)
                feeds = {features[key]: value for key, value in batch.items()}
                losses.append(float(session.run([model["loss"], model["train_op"]], feeds)[0]))
            held_out = make_batch(rng, params.embedding_rows, _BATCH)
            del held_out["clicked"]
            feeds = {features[key]: value for key, value in held_out.items()}
            predictions = session.run({key: model[key] for key in ("logits", "score")}, feeds)
            prefix = saver.save(session, str(model_dir / "model.ckpt"), global_step=_v1.train.get_global_step())
    np.savez(model_dir / HELD_OUT, allow_pickle=False, **held_out, **predictions)
    return {"checkpoint": prefix, "steps": steps, "first_loss": losses[0], "last_loss": losses[-1]}


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--embedding-rows", type=int, default=Params.embedding_rows)
    parser.add_argument("--embedding-parts", type=int, default=Params.embedding_parts)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    params = Params(embedding_rows=args.embedding_rows, embedding_parts=args.embedding_parts)
    print(json.dumps(train(args.model_dir, params, steps=args.steps, seed=args.seed)))


if __name__ == "__main__":
    main()
