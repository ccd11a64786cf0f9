"""TensorBundle: the ``variables.index`` and ``variables.data-*`` of checkpoints and SavedModels.

Written byte for byte as TensorFlow writes them, see docs/formats/bundle.md.
"""

from mexport_pb.bundle.copy import BundleItem, CopyReport, copy_bundle, copy_to_shards
from mexport_pb.bundle.files import data_path, index_path
from mexport_pb.bundle.merge import merge_bundles
from mexport_pb.bundle.reader import BundleReader
from mexport_pb.bundle.slices import TensorSlice, format_shape_and_slice, parse_shape_and_slice
from mexport_pb.bundle.writer import BundleWriter

__all__ = [
    "BundleItem",
    "BundleReader",
    "BundleWriter",
    "CopyReport",
    "TensorSlice",
    "copy_bundle",
    "copy_to_shards",
    "data_path",
    "format_shape_and_slice",
    "index_path",
    "merge_bundles",
    "parse_shape_and_slice",
]
