"""Memory stays flat while hundreds of megabytes pass, and does not follow what a damaged file asks for."""

import os
import subprocess
import sys
import textwrap
import zlib

import pytest

from tests.support.records import COMPRESSIONS, compress, encode, header

pytestmark = pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")

MIB = 1 << 20
# How far the peak may rise above what the process had after its imports and a small file.
ALLOWED = 32 * MIB


def peak_growth(code, *arguments):
    """Run `code` in a fresh process; return how many bytes its peak of resident memory rose within its `work`."""
    script = """
        import sys
        import numpy as np
        import cramjam, zlib
        from mexport_pb import _core
        from mexport_pb.errors import *
        from mexport_pb.record import *
        {code}
        from tests.support.memory import peak_rss
        before = peak_rss()
        work(*sys.argv[1:])
        print(peak_rss() - before)
    """
    script = textwrap.dedent(script).replace("{code}", textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


WRITE = """
    def work(path, compression, size):
        # Repetitive, because deflate takes minutes for noise.
        record = np.resize(np.random.default_rng(0).integers(0, 256, 700, dtype=np.uint8), int(size))
        with RecordWriter(path, compression) as writer:
            for i in range(300_000_000 // len(record)):
                writer.write(record)
"""

READ = """
    def work(path, compression, size):
        total = 0
        with RecordReader(path, compression) as reader:
            for record in reader:
                total += len(record)
                if total > 100_000_000:
                    break
            while batch := reader.read_batch():
                total += len(batch.data)
        assert total == 300_000_000 // int(size) * int(size), total
"""


@pytest.mark.parametrize(
    ("compression", "size"), [("", 1000), ("snappy", 1000), ("gzip", 100_000), ("zlib", 3_000_000)]
)
def test_streaming(tmp_path, compression, size):
    path = tmp_path / "records"
    assert peak_growth(WRITE, path, compression, size) < ALLOWED
    assert peak_growth(READ, path, compression, size) < ALLOWED


def test_the_measure_sees_memory():
    code = """
        def work():
            bytes(bytearray(b"x") * 100_000_000)
    """
    assert peak_growth(code) > 90_000_000


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_length_that_the_data_does_not_keep(tmp_path, compression):
    """A valid header asks for almost 2 GiB; a megabyte comes."""
    path = tmp_path / "records"
    path.write_bytes(compress(header(2**31 - 1) + bytes(MIB), compression))
    code = """
        def work(path, compression):
            for read in (lambda r: next(r), lambda r: r.read_batch(), lambda r: list(r)):
                try:
                    read(RecordReader(path, compression))
                except (RecordTruncatedError, RecordTooLargeError):
                    continue
                raise AssertionError
    """
    assert peak_growth(code, path, compression) < ALLOWED


@pytest.mark.parametrize("compression", ["zlib", "gzip", "snappy"])
def test_bomb(tmp_path, compression):
    """A small file of a gigabyte of zeros: more than the reader's limit."""
    path = tmp_path / "records"
    if compression == "snappy":
        path.write_bytes(compress(header(2**30), compression) + compress(bytes(MIB), compression) * 1024)
    else:
        encoder = zlib.compressobj(wbits=15 if compression == "zlib" else 31)
        pieces = [
            encoder.compress(header(2**30)),
            *(encoder.compress(bytes(MIB)) for _ in range(1024)),
            encoder.flush(),
        ]
        path.write_bytes(b"".join(pieces))
    code = """
        def work(path, compression):
            try:
                next(RecordReader(path, compression, max_record_bytes=1_000_000))
            except RecordTooLargeError:
                return
            raise AssertionError
    """
    assert peak_growth(code, path, compression) < ALLOWED


def test_bomb_of_one_snappy_block(tmp_path):
    """It is as large as the reader's limit allows, or refused before anybody makes room for it."""
    path = tmp_path / "records"
    path.write_bytes(compress(encode([b"x"]) + bytes(256 * MIB), "snappy", block=10**9))
    code = """
        def work(path):
            try:
                next(RecordReader(path, "snappy", max_record_bytes=1000))
            except RecordTooLargeError:
                return
            raise AssertionError
    """
    assert peak_growth(code, path) < ALLOWED


def test_snappy_block_that_claims_much(tmp_path):
    """The varint says 4 GiB."""
    path = tmp_path / "records"
    path.write_bytes(bytes.fromhex("00000009 ffffffff0f 00000000"))
    code = """
        def work(path):
            try:
                next(RecordReader(path, "snappy"))
            except RecordCompressionError:
                return
            raise AssertionError
    """
    assert peak_growth(code, path) < ALLOWED
