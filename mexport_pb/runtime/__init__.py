"""The only room that needs TensorFlow: to trace a model that is written in it, and to execute a finished export.

Importing this package loads nothing; TensorFlow is imported when something here is first used. Modules for code that
uses TensorFlow import it at once: ``hash_table_ops``, ``multi_hash_table_ops`` and ``hash_filter_ops`` (tables and
filters in a ``tf.Graph``), ``basic_restore_hook`` and ``save_utils`` (their checkpoints), ``distributed_serving_ops``
(pushes to servers), ``test_utils``. ``remote_predict`` asks other models.
"""

from mexport_pb.runtime.execute import execute_restore
from mexport_pb.runtime.ops import load_op_library
from mexport_pb.runtime.ops_build import build_ops
from mexport_pb.runtime.preflight import replay_warmup, serve_check
from mexport_pb.runtime.serve_report import ServeReport
from mexport_pb.runtime.serving import ServedModel
from mexport_pb.runtime.serving_rpc import ModelServer, PredictionClient
from mexport_pb.runtime.source import TensorFlowSource

__all__ = [
    "ModelServer",
    "PredictionClient",
    "ServeReport",
    "ServedModel",
    "TensorFlowSource",
    "build_ops",
    "execute_restore",
    "load_op_library",
    "replay_warmup",
    "serve_check",
]
