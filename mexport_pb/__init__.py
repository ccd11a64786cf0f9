"""mexport_pb: TensorFlow SavedModels for serving, written as protobufs and bytes from a training checkpoint.

The public names are here and nowhere else. Importing this package loads no TensorFlow; only
:mod:`mexport_pb.runtime` does.
"""

__version__ = "0.1.0"
