"""Writes the seeds of the fuzzers' corpora, from the project's own writers; ``--check`` compares instead.

Usage: python scripts/make_fuzz_seeds.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mexport_pb import _core
from mexport_pb._proto import hash_table_optimizer_pb2, hash_table_pb2

CORPUS = Path(__file__).resolve().parent.parent / "cpp" / "fuzz" / "corpus"

# fuzz_record.cc: its flags
SNAPPY, KNOWS_SIZE, REPAIR, SMALL_LIMIT = 1, 2, 4, 8
# fuzz_table.cc: its choices
SHARD, SHARD_REPAIRED, SEVERAL, CONFIG = range(4)
# fuzz_bundle.cc: its choices
TABLE, TABLE_REPAIRED, SLICE_KEY, STORED, STORED_REPAIRED, BOX = range(6)
FIXED, STRINGS, VARIANTS = range(3)
# fuzz_http2.cc: its choices
BLOCKS, CLIENT, SERVER = range(3)


def record_file(records: list[bytes]) -> bytes:
    """Returns a plain record file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records")
        writer = _core.RecordWriter(str(path), "")
        writer.write_many(records)
        writer.close()
        return path.read_bytes()


def snappy_block(data: bytes) -> bytes:
    """Returns a block of one literal. REQUIRES: 1 to 60 bytes."""
    block = bytes([len(data), (len(data) - 1) << 2]) + data
    return len(block).to_bytes(4, "big") + block


def stored_strings(strings: list[bytes]) -> bytes:
    """Returns a string tensor as a data file holds it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        writer = _core.BundleDataWriter(str(path))
        writer.append_strings(strings)
        writer.close()
        return path.read_bytes()


def number(value: int) -> bytes:
    """Returns what FuzzInput::TakeNumber() reads as `value`."""
    size = (value.bit_length() + 7) // 8
    return bytes([size]) + value.to_bytes(size, "big")


def record_seeds() -> dict[str, bytes]:
    """Returns the seeds of fuzz_record by name."""
    small = record_file([b"", b"hello"])
    large = record_file([bytes(range(120)), b"", b"x" * 40])
    blocks = b"".join(snappy_block(large[i : i + 60]) for i in range(0, len(large), 60))
    return {
        "empty": bytes([0, 0]),
        "plain": bytes([KNOWS_SIZE, 0]) + large,
        "pipe": bytes([0, 7]) + small,
        "limit": bytes([SMALL_LIMIT, 0]) + large,
        "cut": bytes([KNOWS_SIZE, 1]) + large[:-3],
        "repair": bytes([REPAIR, 5]) + small,
        "snappy": bytes([SNAPPY, 9]) + blocks,
        "snappy_repair": bytes([SNAPPY | REPAIR, 0]) + large,
        "huge_length": bytes([REPAIR, 0]) + b"\xf8" + b"\xff" * 7 + bytes(30),
    }


def bundle_seeds() -> dict[str, bytes]:
    """Returns the seeds of fuzz_bundle by name."""
    table = _core.write_sstable([(b"", b"\x08\x01"), *((b"layer/%02d" % i, bytes([i] * i)) for i in range(20))])
    two_blocks = _core.write_sstable([(b"a", bytes(300_000)), (b"b", b"")])[300_000:]
    strings = stored_strings([b"ab", b"", b"x" * 200])
    return {
        "table": bytes([TABLE]) + table,
        "table_repaired": bytes([TABLE_REPAIRED]) + table,
        "table_cut": bytes([TABLE_REPAIRED]) + two_blocks,
        "table_empty": bytes([TABLE]) + _core.write_sstable([]),
        "slice_key": bytes([SLICE_KEY]) + _core.encode_slice_key(b"p\x00\xff", [(0, -1), (70000, 2**62)]),
        "fixed": bytes([STORED, FIXED, 3]) + number(4) + number(0) + bytes(16),
        "strings": bytes([STORED, STRINGS, 0]) + number(3) + number(0) + strings,
        "strings_repaired": bytes([STORED_REPAIRED, STRINGS, 2]) + number(3) + number(0) + strings,
        "variant": bytes([STORED, VARIANTS, 0]) + number(1) + number(0) + b"\x03xyz" + bytes(4),
        "box": bytes([BOX, 3, 3]) + b"".join(map(number, (4, 1, 2, 5, 0, 5, 300, 7, 200))),
    }


def entry(dim: int, **state: object) -> bytes:
    """Returns an entry whose dump holds the given state of each named optimizer."""
    dumps = [hash_table_optimizer_pb2.SingleOptimizerDump(**{kind: value}) for kind, value in state.items()]
    message = hash_table_pb2.EntryDump(id=-7, num=[i / 8 for i in range(dim)], last_update_ts_sec=1_600_000_000)
    if dumps:
        message.opt.dump.extend(dumps)
    return message.SerializeToString(deterministic=True)


def entry_seeds() -> dict[str, bytes]:
    """Returns the seeds of fuzz_entry by name; a first byte of 0 means that the record tells its own layout."""
    adagrad = entry(4, adagrad={"norm": [0.5] * 4})
    adam = {"m": [1.0] * 2, "v": [2.0] * 2, "beta1_power": 0.9, "beta2_power": 0.99}
    packed = b"\x09" + bytes(8) + b"\x12\x08" + bytes(8)  # an id, then two values as one packed field
    return {
        "bare": b"\0" + entry(3),
        "sgd": b"\0" + entry(1, sgd={}),
        "adagrad": b"\0" + adagrad,
        "two_segments": b"\0" + entry(6, ftrl={"zero": [0.0] * 4, "norm": [1.0] * 4}, adam=adam),
        "integer": b"\0" + entry(2, dynamic_wd_adagrad={"norm": [1.0] * 2, "last_update_step": -1}),
        "softmax": b"\0" + entry(2, batch_softmax={"global_step": 300}),
        "packed": b"\0" + packed,
        "group": b"\0" + entry(2) + b"\x7b\x08\x01\x7c",
        "other_layout": bytes([len(adagrad)]) + adagrad + entry(4, momentum={"n": [0.5] * 4}),
        "same_layout": bytes([len(adagrad)]) + adagrad + adagrad,
    }


def table_seeds() -> dict[str, bytes]:
    """Returns the seeds of fuzz_table by name."""
    state = {"adagrad": {"norm": [0.5] * 2}}
    small = [entry(2, **state)] * 3
    mixed = [small[0], small[0][:-5] + b"\x00", small[0]]  # timestamps of two sizes
    sgd = entry(1, sgd={})
    segment = {
        "init_config": {"random_uniform": {"minval": -1, "maxval": 1}},
        "opt_config": {"adam": {"use_nesterov": True}, "stochastic_rounding_float16": True},
        "comp_config": {"one_bit": {"step_size": 7}},
        "dim_size": 4,
    }
    expire = {"slot_expire_times": [{"slot": 1, "expire_time": 2}], "default_expire_time": 3}
    config = hash_table_pb2.EmbeddingHashTableConfig(
        entry_config={"segments": [segment]}, slot_expire_time_config=expire, cuckoo={}, initial_capacity=8
    )
    several = hash_table_pb2.MultiEmbeddingHashTableConfig(names=["a"], configs=[config])
    return {
        "shard": bytes([SHARD]) + record_file(small),
        "shard_mixed": bytes([SHARD_REPAIRED]) + record_file(mixed),
        "shard_cut": bytes([SHARD]) + record_file(small)[:-7],
        "shard_other": bytes([SHARD_REPAIRED]) + record_file([*small, sgd]),
        "shard_short": bytes([SHARD_REPAIRED]) + record_file([small[0], b"\x09"]),
        "several": bytes([SEVERAL, 2, 0]) + number(3) + bytes([1]) + number(1) + record_file([*small, sgd]),
        "several_wrong": bytes([SEVERAL, 1, 0]) + number(1 << 60) + record_file(small),
        "config": bytes([CONFIG]) + config.SerializeToString(deterministic=True),
        "configs": bytes([CONFIG]) + several.SerializeToString(deterministic=True),
        "expire": bytes([CONFIG]) + config.slot_expire_time_config.SerializeToString(deterministic=True),
    }


def snappy_seeds() -> dict[str, bytes]:
    """Returns the seeds of fuzz_snappy by name: blocks with each form of literals and copies."""
    return {
        "literal": b"\x03\x08abc",
        "long_literal": b"\x64\xf0\x63" + bytes(range(100)),
        "copies": b"\x22\x0cabcd" + b"\x01\x04" + b"\x16\x04\x00" + b"\x4f\x02\x00\x00\x00",
        "run": b"\x41\x00a\xfe\x01\x00",
        "text": b"the cat sat on the mat, the other cat sat on the other mat",
    }


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns an HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def http2_seeds() -> dict[str, bytes]:
    """Returns the seeds of fuzz_http2 by name."""
    data, headers, _, reset, settings, _, ping, goaway, window, continuation = range(10)
    end_stream, end_headers, padded, priority = 1, 4, 8, 32
    post = bytes.fromhex("8386 0404 2f532f4d 0f10 10 6170706c69636174696f6e2f67727063")
    huffman = bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff 408825a849e95ba97d7f8925a849e95bb8e8b4bf")
    ok = bytes.fromhex("88 5f10 6170706c69636174696f6e2f67727063")
    status = bytes.fromhex("40 0b 677270632d737461747573 01 30")
    message = bytes.fromhex("00 00000002 6869")
    greeting = frame(settings, 0, 0, bytes.fromhex("0004 00000003 0005 00004000 0001 00000000"))
    cut = (
        frame(headers, padded | priority, 1, b"\x02prior" + post[:3] + b"pp")
        + frame(continuation, 0, 1, post[3:9])
        + frame(continuation, end_headers, 1, post[9:])
        + frame(data, padded, 1, b"\x01" + message[:4] + b"p")
        + frame(data, end_stream, 1, message[4:])
    )
    control = (
        frame(ping, 0, 0, bytes(8)) + frame(window, 0, 0, b"\0\0\0\7") + frame(goaway, 0, 0, bytes(8)) + frame(99, 7, 1)
    )
    several = b"".join(
        frame(headers, end_headers, stream, post) + frame(data, end_stream, stream, message) for stream in (1, 3)
    )
    return {
        "block": bytes([BLOCKS]) + post + b"\x20" + huffman,
        "block_table": bytes([BLOCKS]) + b"\x3f\x21" + huffman + status + b"\xbe\xbf",
        "block_bomb": bytes([BLOCKS]) + b"\x40\x01a\x7f\xa1\x1e" + bytes(4000) + b"\xbe" * 40,
        "client": bytes([CLIENT]) + greeting + cut + frame(window, 0, 1, b"\0\0\0\x20"),
        "client_several": bytes([CLIENT]) + several + control + frame(reset, 0, 3, b"\0\0\0\x08"),
        "client_early": bytes([CLIENT]) + frame(headers, end_headers, 1, post) + frame(data, 0, 1, b"\1\0\0\0\0"),
        "server": bytes([SERVER])
        + greeting
        + frame(headers, end_headers, 1, ok)
        + frame(data, 0, 1, message)
        + frame(headers, end_headers | end_stream, 1, status),
        "server_only": bytes([SERVER]) + greeting + control + frame(headers, end_headers | end_stream, 1, ok + status),
        "server_reset": bytes([SERVER]) + greeting + frame(reset, 0, 1, b"\0\0\0\x07"),
    }


def main() -> int:
    """Writes or compares; returns the exit status."""
    wrong = []
    targets = {
        "fuzz_record": record_seeds(),
        "fuzz_bundle": bundle_seeds(),
        "fuzz_entry": entry_seeds(),
        "fuzz_table": table_seeds(),
        "fuzz_snappy": snappy_seeds(),
        "fuzz_http2": http2_seeds(),
    }
    for target, seeds in targets.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            path = folder / f"seed_{name}"
            if "--check" not in sys.argv:
                path.write_bytes(content)
            elif not path.is_file() or path.read_bytes() != content:
                wrong.append(path)
    for path in wrong:
        print(f"{path}: not what the writers make: run python scripts/make_fuzz_seeds.py", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
