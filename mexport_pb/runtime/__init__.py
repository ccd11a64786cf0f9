"""The only room that needs TensorFlow: to trace a model that is written in it, and to execute a finished export.

Importing this package loads nothing; TensorFlow is imported when something here is first used.
"""

from mexport_pb.runtime.execute import execute_restore
from mexport_pb.runtime.ops import load_op_library
from mexport_pb.runtime.ops_build import build_ops
from mexport_pb.runtime.source import TensorFlowSource

__all__ = ["TensorFlowSource", "build_ops", "execute_restore", "load_op_library"]
