"""Train the distributed demo and leave a checkpoint: ``python -m demo.distributed.train --model-dir D``.

Five parameter servers and a worker run in this process, each with devices of its own. The directory then holds
``model.ckpt-<step>.{index,data-…,meta}``, ``model.ckpt-<step>.assets/`` with the tables of each server, and
``held_out.tfrecord``: serialised Instances, half of them with fids that training never saw, and ``held_out.npz``
with the training graph's predictions for them. One JSON line on stdout tells the prefix and the losses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import mexport_pb as mx
from demo.distributed.model import make_model_fn, parse_instances
from demo.distributed.params import INSTANCES, NUM_PS, SLOT_SHIFT, make_fids, make_instances
from demo.params import HELD_OUT
from mexport_pb.runtime.distributed_ps import ps_device
from mexport_pb.runtime.hash_table_ops import HashTableCheckpointSaverListener
from mexport_pb.runtime.multi_hash_table_ops import MultiHashTableCheckpointSaverListener
from mexport_pb.runtime.save_utils import NoFirstSaveCheckpointSaverHook

__all__ = ["start_cluster", "train"]

_v1 = tf.compat.v1
_BATCH = 128
_HELD_OUT = 64


def start_cluster(num_ps: int) -> list[Any]:
    """Start servers in this process, the worker's first. They stay until the process ends."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_ps + 1)]
        for one in sockets:
            one.bind(("localhost", 0))
        worker, *servers = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    # Servers cannot be told of ports that the system chooses when they start.
    cluster = tf.train.ClusterSpec({"worker": [worker], **({"ps": servers} if servers else {})})
    jobs = [("worker", 0), *(("ps", i) for i in range(num_ps))]
    return [tf.distribute.Server(cluster, job_name=job, task_index=index) for job, index in jobs]


def train(
    model_dir: Path,
    *,
    num_ps: int = NUM_PS,
    native: bool = False,
    cluster: bool = True,
    steps: int = 60,
    seed: int = 1,
) -> dict[str, Any]:
    """Train from scratch and save, tables by the checkpoint's listeners.

    Args:
        model_dir: The folder of checkpoints.
        num_ps: How many parameter servers.
        native: Whether a server's tables are many behind one handle.
        cluster: Whether they are servers, and not only tables in one.
        steps: How many batches.
        seed: Of the data. Tables begin with random numbers of their own.

    Returns:
        What is printed.
    """
    model_dir.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    basename = model_dir / "model.ckpt"
    master = start_cluster(num_ps)[0].target if cluster else ""
    with tf.Graph().as_default():
        instances = _v1.placeholder(tf.string, [None], name="instances")
        labels = _v1.placeholder(tf.float32, [None], name="labels")
        model_fn = make_model_fn(num_ps, native=native, device=ps_device if cluster else None)
        spec = model_fn(parse_instances(instances), mx.ModeKeys.TRAIN, labels)
        saver = NoFirstSaveCheckpointSaverHook(
            str(model_dir),
            save_steps=steps,
            listeners=[HashTableCheckpointSaverListener(basename), MultiHashTableCheckpointSaverListener(basename)],
            saver=_v1.train.Saver(sharded=True),
        )
        losses = []
        with _v1.train.SingularMonitoredSession(hooks=[saver], master=master) as session:
            for _ in range(steps):
                fids = make_fids(rng, _BATCH)
                feeds = {instances: make_instances(fids), labels: _clicks(rng, fids)}
                losses.append(float(session.run([spec.loss, spec.train_op], feeds)[0]))
            fids = make_fids(rng, _HELD_OUT // 2) + make_fids(rng, _HELD_OUT // 2, unseen=True)
            held_out = make_instances(fids)
            predictions = session.run(spec.predictions, {instances: held_out})
    mx.write_records(model_dir / INSTANCES, held_out)
    np.savez(model_dir / HELD_OUT, allow_pickle=False, predictions=predictions)
    return {
        "checkpoint": f"{basename}-{steps}",
        "steps": steps,
        "first_loss": losses[0],
        "last_loss": float(np.mean(losses[-5:])),
    }


def _clicks(rng: np.random.Generator, fids: list[list[int]]) -> np.ndarray:
    """Each fid has a taste of its own."""
    taste = np.array([sum(np.sin(12.9898 * (fid % 1000) + 7 * (fid >> SLOT_SHIFT)) for fid in one) for one in fids])
    clicked: np.ndarray = rng.random(len(fids)) < 1 / (1 + np.exp(-2 * taste))
    return clicked.astype(np.float32)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(train(args.model_dir, steps=args.steps, seed=args.seed)))


if __name__ == "__main__":
    main()
