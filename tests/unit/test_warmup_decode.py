"""``mexport decode-warmup``, and the stream of records beneath it."""

import base64
import io
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.cli import main
from mexport_pb.errors import RecordError, RecordLengthCrcError, RecordTooLargeError, RecordTruncatedError
from mexport_pb.messages import serialize
from mexport_pb.record import detect_compression
from mexport_pb.record.stream import RecordStream
from tests.support.records import COMPRESSIONS, compress, encode, header, some_records, starts
from tests.support.warmup import logs_of_all_kinds, predict_log

ROOT = Path(__file__).resolve().parents[2]
LOGS = list(logs_of_all_kinds().values())
RECORDS = [serialize(log) for log in LOGS]
STREAM = encode(RECORDS)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "warmup"
    path.write_bytes(STREAM)
    return path


def run(capsys, *arguments):
    status = main(["decode-warmup", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


PREDICT = """\
0th model_spec:
model_spec {
  name: "m"
}
inputs {
  key: "ids"
  value {
    dtype: DT_INT64
    tensor_shape {
      dim {
        size: 2
      }
    }
    tensor_content: "\\001\\000\\000\\000\\000\\000\\000\\000\\002\\000\\000\\000\\000\\000\\000\\000"
  }
}
inputs {
  key: "text"
  value {
    dtype: DT_STRING
    tensor_shape {
      dim {
        size: 2
      }
    }
    string_val: ...
    string_val: ...
  }
}
"""


def test_text(file, capsys):
    status, out, err = run(capsys, file)
    assert (status, err) == (0, "")
    assert out.startswith(PREDICT)
    assert "secret" not in out
    heads = [line for line in out.splitlines() if "model_spec:" in line]
    assert heads == [
        "0th model_spec:",
        "1th model_spec: classify_log",
        "2th model_spec: regress_log",
        "3th model_spec: multi_inference_log",
        "4th model_spec: session_run_log",
    ]
    assert 'method_name: "tensorflow/serving/classify"' in out
    assert 'output_filter: "y"' in out
    assert 'fetch: "y:0"' in out
    status, raw, _ = run(capsys, file, "--raw")
    assert raw.replace('"secret"', "...").replace('string_val: "a"', "string_val: ...") == out


def test_json(file, capsys):
    status, out, err = run(capsys, file, "--json")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["kind"] for line in lines] == list(logs_of_all_kinds())
    assert [line["record"] for line in lines] == list(range(5))
    assert [line["offset"] for line in lines] == starts(RECORDS)[:-1]
    assert [line["bytes"] for line in lines] == list(map(len, RECORDS))
    assert lines[0]["requests"][0]["inputs"]["text"]["string_val"] == ["...", "..."]
    assert lines[4]["requests"][0]["feed"][1]["tensor"]["string_val"] == ["..."]
    assert base64.b64encode(b"secret").decode() not in out
    _, raw, _ = run(capsys, file, "--json", "--raw", "--limit", 1)
    strings = json.loads(raw)["requests"][0]["inputs"]["text"]["string_val"]
    assert list(map(base64.b64decode, strings)) == [b"a", b"secret"]


def test_numbers_that_json_has_not(tmp_path, capsys):
    x = np.array([[np.nan]], np.float32)
    mx.write_warmup(tmp_path / "w", [predict_log(x=x)])
    _, out, _ = run(capsys, tmp_path / "w", "--json")
    assert json.loads(out, parse_constant=lambda _: 1 / 0)["requests"][0]["inputs"]["x"]["float_val"] == ["NaN"]


def test_limit_and_index(file, capsys):
    def numbers(*options):
        status, out, err = run(capsys, file, "--json", *options)
        assert (status, err) == (0, "")
        return [(line["record"], line["offset"]) for line in map(json.loads, out.splitlines())]

    every = list(enumerate(starts(RECORDS)[:-1]))
    assert numbers() == every
    assert numbers("--limit", 2) == every[:2]
    assert numbers("--limit", 0) == []
    assert numbers("--index", 0) == every[:1]
    for i in range(5):
        assert numbers("--index", i) == every[i : i + 1]
        assert numbers("--index", i, "--limit", 3) == every[i : i + 3]
    status, out, err = run(capsys, file, "--index", 5)
    assert (status, out, err) == (2, "", f"mexport: {file}: index: got 5, but the file has 5 records\n")
    assert run(capsys, file, "--index", -1)[0] == 2
    assert run(capsys, file, "--limit", -1)[0] == 2


def test_an_index_does_not_read_what_is_before(file, capsys):
    data = bytearray(STREAM)
    data[20] ^= 1  # of the first record's data
    file.write_bytes(data)
    status, out, _ = run(capsys, file, "--index", 1)
    assert (status, out[:15]) == (0, "1th model_spec:")
    assert run(capsys, file, "--index", 0)[0] == 1
    data[0] ^= 1  # its length
    file.write_bytes(data)
    status, out, err = run(capsys, file, "--index", 3)
    assert (status, out) == (1, "")
    assert err.startswith(f"mexport: {file}: offset 0: record 0: checksum of a record's length")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed(tmp_path, capsys, compression):
    plain, file = tmp_path / "plain", tmp_path / "file"
    plain.write_bytes(STREAM)
    file.write_bytes(compress(STREAM, compression))
    want = run(capsys, plain)
    assert run(capsys, file) == want
    assert run(capsys, file, "--compression", compression or "none") == want
    assert run(capsys, file, "--index", 2) == run(capsys, plain, "--index", 2)
    if compression:
        assert run(capsys, file, "--compression", "none")[0] == 1


def in_fresh_process(*arguments, **options):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/decode_warmup.py", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        **options,
    )


def test_the_script_and_standard_input(file, capsys):
    _, want, _ = run(capsys, file)
    done = in_fresh_process("--file_name", file)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, want, b"")
    done = in_fresh_process("--file_name", "-", input=compress(STREAM, "gzip"))
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, want, b"")
    done = in_fresh_process("--file_name", "-", "--index", 1, input=STREAM[:-1])
    assert (done.returncode, done.stderr) == (0, b"")
    done = in_fresh_process("--file_name", "-", input=STREAM[:-1])
    assert done.returncode == 1
    assert done.stdout.startswith(PREDICT.encode())
    start = starts(RECORDS)[4]
    assert done.stderr.startswith(f"mexport: standard input: offset {start}: record 4: the file ends".encode())
    assert done.stderr.count(b"\n") == 1
    assert in_fresh_process("--file_name", "-", input=b"").returncode == 0


def test_it_loads_nothing_heavy(file):
    code = (
        "import sys; from mexport_pb.cli import main; status = main(sys.argv[1:]);"
        "heavy = [m for m in ('numpy', 'tensorflow', 'ml_dtypes', 'fsspec') if m in sys.modules];"
        "print(heavy, status, file=sys.stderr)"
    )
    for form in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "decode-warmup", file, *form],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.stderr == "[] 0\n"


def test_every_cut(file, capsys):
    begins = starts(RECORDS)
    for size in range(len(STREAM)):
        file.write_bytes(STREAM[:size])
        status, out, err = run(capsys, file, "--json")
        whole = sum(end <= size for end in begins[1:])
        assert len(out.splitlines()) == whole
        if size in begins:
            assert (status, err) == (0, "")
        else:
            assert status == 1
            assert err.startswith(f"mexport: {file}: offset {begins[whole]}: record {whole}: ")
            assert err.count("\n") == 1


def test_every_flipped_bit(file):
    rng = random.Random(0)
    begins = starts(RECORDS)
    for position in range(len(STREAM)):
        data = bytearray(STREAM)
        data[position] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        record = sum(begin <= position for begin in begins) - 1
        got = []
        with pytest.raises(RecordError, match=f"offset {begins[record]}: record {record}: "):
            got.extend(mx.read_warmup(file))
        assert got == LOGS[:record]
        got = []
        with pytest.raises(RecordError, match=f"offset {begins[record]}: record {record}: "):
            for log in mx.read_warmup(file, None):
                got.append(log)
        assert got == LOGS[:record]


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 2**31, 100_000])
def test_huge_lengths(file, length):
    file.write_bytes(STREAM + header(length) + bytes(100))
    records = mx.read_warmup(file)
    assert [next(records) for _ in LOGS] == LOGS
    with pytest.raises(RecordTooLargeError, match="record 5: length of a record"):
        next(records)
    with fsspec.open("memory://folder/huge", "wb") as out:
        out.write(file.read_bytes())
    records = mx.read_warmup("memory://folder/huge")
    assert [next(records) for _ in LOGS] == LOGS
    with pytest.raises((RecordTooLargeError, RecordTruncatedError), match=f"huge: offset {len(STREAM)}: record 5: "):
        next(records)


def test_records_that_are_something_else(tmp_path, capsys):
    file = tmp_path / "w"
    rng = random.Random(1)
    for _ in range(300):
        junk = rng.randbytes(rng.randrange(1, 60))
        file.write_bytes(encode([RECORDS[0], junk]))
        status, out, err = run(capsys, file)
        assert out.startswith(PREDICT)
        assert (status, err) == (0, "") or (status == 1 and f"offset {len(RECORDS[0]) + 16}: record 1: " in err)
        assert err.count("\n") <= 1
    request = LOGS[0].predict_log.request
    file.write_bytes(encode([RECORDS[0], serialize(request)]))
    status, out, err = run(capsys, file)
    assert status == 1
    assert "record 1: got a bare PredictRequest, want a PredictionLog (mexport warmup from-requests" in err


def test_streamed_logs_and_logs_of_no_kind(tmp_path, capsys):
    from mexport_pb._proto.serving_pb2 import PredictionLog

    streamed = PredictionLog()
    for _ in range(2):
        streamed.predict_streamed_log.request.add().CopyFrom(LOGS[0].predict_log.request)
    mx.write_records(tmp_path / "w", [serialize(streamed), b""])
    _, out, _ = run(capsys, tmp_path / "w")
    assert out.startswith("0th model_spec: predict_streamed_log\nmodel_spec {")
    assert out.count("string_val: ...") == 4
    assert out.endswith("1th model_spec: no log\n")
    _, out, _ = run(capsys, tmp_path / "w", "--json")
    lines = list(map(json.loads, out.splitlines()))
    assert [len(line["requests"]) for line in lines] == [2, 0]
    assert [line["kind"] for line in lines] == ["predict_streamed_log", None]


def test_files_that_are_not_there(tmp_path, capsys):
    status, out, err = run(capsys, tmp_path / "none")
    assert (status, out) == (1, "")
    assert str(tmp_path / "none") in err
    assert run(capsys, tmp_path)[0] == 1
    assert run(capsys, "nothing://x/y")[0] == 2


# --- the stream ---


def test_compression_is_told_for_whatever_is_written():
    rng = random.Random(2)
    sets = [some_records(rng.randrange(1, 5), size, seed) for seed in range(60) for size in (2, 30, 500)]
    for records in [*sets, [b"a" * 300_000], some_records(1, 300_000)]:
        for compression in COMPRESSIONS:
            file = compress(encode(records), compression)
            assert detect_compression(file[:12]) == (compression or None)
    for head in (b"", b"\x05", header(5)[:11], b"\x78\x9c"[:1], b"not a record file"):
        assert detect_compression(head) is None
    assert detect_compression(compress(b"", "gzip")[:12]) == "gzip"
    assert detect_compression(compress(b"", "zlib")[:12]) == "zlib"
    # Damaged plain files stay plain: lengths whose bytes look like zlib's magic number or a block's size.
    for length in (0x9C78, 0x0178, 0x100, 0x20000):
        assert detect_compression(length.to_bytes(8, "little") + b"none") is None


def test_pipes_and_urls_give_the_records_of_files(tmp_path):
    records = some_records(50, 20_000)
    for compression in COMPRESSIONS:
        data = compress(encode(records), compression)
        with fsspec.open("memory://folder/file", "wb") as out:
            out.write(data)
        fifo = tmp_path / f"fifo{compression}"
        os.mkfifo(fifo)
        threading.Thread(target=fifo.write_bytes, args=(data,)).start()
        for where in (fifo, "memory://folder/file"):
            with RecordStream(where) as stream:
                assert list(stream) == records
                assert stream.offset == starts(records)[-1]
                assert stream.compression == (compression or None)


def test_what_goes_wrong_in_a_pipe_is_told_of_its_source(tmp_path):
    data = encode([b"a" * 100, b"b" * 100])
    with fsspec.open("memory://folder/cut", "wb") as out:
        out.write(data[:-1])
    with RecordStream("memory://folder/cut") as stream:
        next(stream)
        with pytest.raises(RecordTruncatedError, match=r"^memory://folder/cut: offset 116: the file ends") as caught:
            next(stream)
    assert (caught.value.path, caught.value.offset) == ("memory://folder/cut", 116)
    with pytest.raises(FileNotFoundError):
        RecordStream("memory://folder/nothing")
    with pytest.raises(mx.InvalidArgumentError, match="compression"):
        RecordStream("memory://folder/cut", "lzma")


def test_a_source_that_fails_is_an_os_error(monkeypatch):
    class Source(io.BytesIO):
        def read(self, size=-1):
            piece = super().read(30)
            if not piece:
                raise RuntimeError("the network is down")
            return piece

    data = encode([b"a" * 100, b"b" * 100])
    for size in (len(data), len(data) - 50):
        monkeypatch.setattr("mexport_pb.record.stream.open_bytes", lambda _, size=size: Source(data[:size]))
        with RecordStream("store://x") as stream:
            assert next(stream) == b"a" * 100
            with pytest.raises(OSError, match="store://x: the network is down"):
                list(stream)


def test_a_stream_that_is_left_early_ends_its_thread(tmp_path):
    mx.write_records(tmp_path / "f", [bytes(1000)] * 5000)
    with fsspec.open("memory://folder/long", "wb") as out:
        out.write((tmp_path / "f").read_bytes())
    before = threading.active_count()
    with RecordStream("memory://folder/long") as stream:
        next(stream)
    assert threading.active_count() == before


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_skip(tmp_path, compression):
    records = some_records(20, 3000)
    path = tmp_path / "f"
    path.write_bytes(compress(encode(records), compression))
    for count in (0, 1, 7, 19, 20, 21):
        with RecordStream(path) as stream:
            assert stream.skip(count) == min(count, 20)
            assert stream.offset == starts(records)[min(count, 20)]
            assert list(stream) == records[count:]


def test_errors_after_a_skip_have_their_offset(tmp_path):
    records = some_records(20, 3000)
    data = bytearray(encode(records))
    data[starts(records)[12]] ^= 1
    path = tmp_path / "f"
    path.write_bytes(data)
    for count in (5, 12, 15):
        with RecordStream(path) as stream:
            assert stream.skip(count) == min(count, 12)
            with pytest.raises(RecordLengthCrcError, match=f"^{path}: offset {starts(records)[12]}: "):
                list(stream)
    path.write_bytes(encode(records)[:-1])
    with RecordStream(path) as stream:
        assert stream.skip(20) == 19
