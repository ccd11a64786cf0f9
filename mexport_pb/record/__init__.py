"""TFRecord files: a writer that makes TensorFlow's bytes, a reader that trusts none, and the checksum of both.

The layout and every edge case are in ``docs/formats/tfrecord.md``.
"""

from __future__ import annotations

from mexport_pb.record.checksum import crc32c, mask_crc, masked_crc32c, unmask_crc
from mexport_pb.record.compression import detect_compression
from mexport_pb.record.reader import RecordBatch, RecordReader, read_records
from mexport_pb.record.stream import RecordStream
from mexport_pb.record.writer import RecordWriter, write_records

__all__ = [
    "RecordBatch",
    "RecordReader",
    "RecordStream",
    "RecordWriter",
    "crc32c",
    "detect_compression",
    "mask_crc",
    "masked_crc32c",
    "read_records",
    "unmask_crc",
    "write_records",
]
