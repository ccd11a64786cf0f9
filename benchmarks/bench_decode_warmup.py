"""Decoding a warmup file: start-up and throughput, beside a decoder on TensorFlow's reader."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mexport_pb as mx
from benchmarks.sizes import Sizes, from_command_line

ROOT = Path(__file__).resolve().parent.parent

# What one would write without this package.
RIVAL = """
import re, sys
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
for i, record in enumerate(tf.data.TFRecordDataset(sys.argv[1])):
    request = PredictionLog.FromString(record.numpy()).predict_log.request
    text = re.sub("string_val:.*", "string_val: ...", text_format.MessageToString(request))
    print(f"{i}th model_spec:\\n" + text, end="")
"""


def run(*command: object) -> tuple[float, int, bytes]:
    """Run a command: seconds, the peak of its resident memory in bytes, and what it printed."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(list(map(str, command)), env=environment, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command[0])
        output.seek(0)
        return seconds, usage.ru_maxrss * 1024, output.read()


def compare(title: str, path: Path, repeats: int) -> None:
    ours = [sys.executable, ROOT / "scripts/decode_warmup.py", "--file_name", path]
    print(f"\n{title}: {path.stat().st_size / 1e6:,.1f} MB")
    outputs = []
    for name, command in (("tensorflow", [sys.executable, "-c", RIVAL, path]), ("decode_warmup.py", ours)):
        results = [run(*command) for _ in range(repeats)]
        outputs.append(results[0][2])
        seconds, memory = min(result[0] for result in results), max(result[1] for result in results)
        print(f"  {name:<20}{seconds:>9.3f} s{memory / 1e6:>9.0f} MB")
    if outputs[0] != outputs[1]:
        raise AssertionError("the two print different text")


def main(sizes: Sizes) -> None:
    rng = np.random.default_rng(0)
    spec = mx.make_model_spec("m")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small")
        mx.write_warmup(small, [mx.make_predict_request(spec, {"x": np.float32(1)})])
        compare("start-up, one record", small, sizes.repeats)
        large = Path(folder, "large")
        records = min(1000, sizes.python_records)
        strings = [rng.bytes(1000) for _ in range(max(1, sizes.bundle_bytes // records // 1000))]
        request = mx.make_predict_request(spec, {"instances": np.array(strings, object)})
        mx.write_warmup(large, [request] * records)
        compare(f"{records} records of {len(strings)} strings", large, 1)


if __name__ == "__main__":
    main(from_command_line(__doc__))
