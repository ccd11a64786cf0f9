"""The export as TensorFlow does it: ``python -m demo.rival --model-dir D --export-base B``.

A serving graph is traced, a session restores the checkpoint into it, and ``tf.compat.v1.saved_model.Builder`` saves it
from there. Prints one JSON line: the path, seconds of the export by itself, of importing TensorFlow and of the whole
process, and the peak of the process's memory in MiB.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from demo.measure import peak_rss_mib, process_age
from demo.params import Params, latest_checkpoint

__all__ = ["export"]


def export(model_dir: Path, export_dir: Path) -> None:
    """Write the saved model of the latest checkpoint to ``export_dir``, which must not exist."""
    import tensorflow as tf

    from demo.model import model_fn, serving_features

    v1 = tf.compat.v1
    checkpoint = latest_checkpoint(model_dir)
    with tf.Graph().as_default() as graph:
        features = serving_features()
        predictions = model_fn(features, "infer", params=Params.load(model_dir))
        signature = v1.saved_model.build_signature_def(
            {key: v1.saved_model.build_tensor_info(value) for key, value in features.items()},
            {key: v1.saved_model.build_tensor_info(value) for key, value in predictions.items()},
            v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        saver = v1.train.Saver(sharded=True)
        with v1.Session(graph=graph) as session:
            saver.restore(session, str(checkpoint))
            builder = v1.saved_model.Builder(str(export_dir))
            builder.add_meta_graph_and_variables(
                session,
                [v1.saved_model.tag_constants.SERVING],
                {v1.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature},
                saver=saver,
                main_op=tf.no_op(name="main_op"),
                strip_default_attrs=True,
            )
            builder.save()


def main() -> None:
    """Parse the command line, export and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--export-base", type=Path, required=True)
    args = parser.parse_args()
    began = time.perf_counter()
    import tensorflow  # noqa: F401 - so that the import is timed by itself

    imported = time.perf_counter()
    path = args.export_base / str(int(time.time()))
    export(args.model_dir, path)
    report = {
        "path": str(path),
        "export_seconds": round(time.perf_counter() - imported, 3),
        "import_seconds": round(imported - began, 3),
        "process_seconds": round(process_age(), 3),
        "peak_rss_mib": round(peak_rss_mib(), 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
