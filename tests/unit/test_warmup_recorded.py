"""``mexport warmup from-requests``: folders, record files and framed streams of what was recorded."""

import os
import random
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.instance_pb2 import Instance
from mexport_pb._proto.monolith_example_pb2 import Example, ExampleBatch
from mexport_pb.cli import main
from mexport_pb.messages import serialize
from mexport_pb.warmup.framed import FrameFormat
from tests.support.records import compress, encode
from tests.support.warmup import log_of, logs_of_all_kinds, model, predict_log

ROOT = Path(__file__).resolve().parents[2]


def numbered(count):
    """Requests that differ."""
    return [predict_log(ids=np.array([i])).predict_log.request for i in range(count)]


def numbers(path):
    return [mx.tensor_proto_to_array(log.predict_log.request.inputs["ids"]).item() for log in mx.read_warmup(path)]


def make(tmp_path, source, **options):
    """What a source becomes."""
    mx.warmup_from_requests(source, tmp_path / "out", force=True, **options)
    return list(mx.read_warmup(tmp_path / "out"))


def test_a_folder_of_requests(tmp_path):
    folder = tmp_path / "folder"
    (folder / "subfolder").mkdir(parents=True)
    requests = numbered(12)
    for i, request in enumerate(requests):
        (folder / f"{i:02}.pb").write_bytes(serialize(request))
    assert make(tmp_path, folder) == [log_of(request) for request in requests]
    assert mx.warmup_from_requests(folder, tmp_path / "checked", model(), model_name="other") == 12
    assert {log.predict_log.request.model_spec.name for log in mx.read_warmup(tmp_path / "checked")} == {"other"}
    (folder / "03.pb").write_bytes(b"\xff")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(mx.WarmupError, match=r"03.pb: not a PredictRequest in 1 bytes"):
        mx.warmup_from_requests(folder, tmp_path / "bad")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("compression", ["", "gzip", "snappy"])
def test_records_of_both_kinds(tmp_path, compression):
    logs = logs_of_all_kinds()
    answered = type(logs["predict_log"])()
    answered.CopyFrom(logs["predict_log"])
    answered.predict_log.response.outputs["y"].dtype = 1
    answered.log_metadata.dc = "x"
    records = [serialize(log) for log in (*logs.values(), answered, logs["predict_log"].predict_log.request)]
    (tmp_path / "log").write_bytes(compress(encode(records), compression))
    assert make(tmp_path, tmp_path / "log") == [*logs.values(), logs["predict_log"], logs["predict_log"]]


@pytest.mark.parametrize("bad", [b"", b"\xff\xff", b"\x0a\x03abc\x7f", serialize(mx.make_tensor_proto([1, 2, 3]))])
def test_records_of_neither_kind(tmp_path, bad):
    good = serialize(predict_log())
    (tmp_path / "log").write_bytes(encode([good, bad]))
    with pytest.raises(mx.WarmupError, match=f"log: offset {len(good) + 16}: record 1: neither a PredictionLog nor"):
        make(tmp_path, tmp_path / "log")
    assert os.listdir(tmp_path) == ["log"]


def test_damaged_and_empty_sources(tmp_path):
    data = encode([serialize(predict_log())] * 2)
    (tmp_path / "log").write_bytes(data[:-1])
    with pytest.raises(mx.RecordError, match="record 1: "):
        make(tmp_path, tmp_path / "log")
    (tmp_path / "log").write_bytes(b"")
    with pytest.raises(mx.WarmupError, match="log: no request in it"):
        make(tmp_path, tmp_path / "log")
    assert os.listdir(tmp_path) == ["log"]


def test_requests_that_the_model_refuses(tmp_path):
    mx.write_records(tmp_path / "log", [serialize(predict_log()), serialize(predict_log(x=None))])
    with pytest.raises(mx.WarmupError, match="record 1: signature 'serving_default': input 'x': is missing"):
        mx.warmup_from_requests(tmp_path / "log", tmp_path / "out", model())
    assert os.listdir(tmp_path) == ["log"]


def test_too_many_requests_want_a_choice(tmp_path):
    mx.write_records(tmp_path / "log", map(serialize, numbered(1200)))
    with pytest.raises(mx.WarmupError, match="record 1000: too many records"):
        make(tmp_path, tmp_path / "log")
    make(tmp_path, tmp_path / "log", max_records=1000)
    assert numbers(tmp_path / "out") == list(range(1000))
    make(tmp_path, tmp_path / "log", sample=1000)
    drawn = numbers(tmp_path / "out")
    assert len(set(drawn)) == 1000
    assert drawn == sorted(drawn)
    assert drawn != list(range(1000))


def test_samples_are_seeded_and_fair(tmp_path):
    mx.write_records(tmp_path / "log", map(serialize, numbered(10)))
    drawn = Counter()
    texts = set()
    for seed in range(300):
        make(tmp_path, tmp_path / "log", sample=3, seed=seed)
        first = (tmp_path / "out").read_bytes()
        texts.add(first)
        drawn.update(numbers(tmp_path / "out"))
        if seed < 3:
            make(tmp_path, tmp_path / "log", sample=3, seed=seed)
            assert (tmp_path / "out").read_bytes() == first
    assert len(texts) > 80  # of 120
    # Each is drawn 90 times on the average; the deviation is 8.
    assert all(60 < drawn[i] < 120 for i in range(10))
    make(tmp_path, tmp_path / "log", sample=100)
    assert numbers(tmp_path / "out") == list(range(10))


def test_equal_requests_once(tmp_path):
    requests = numbered(3)
    mx.write_records(tmp_path / "log", [serialize(requests[i]) for i in (0, 1, 0, 2, 1, 0)])
    make(tmp_path, tmp_path / "log")
    assert numbers(tmp_path / "out") == [0, 1, 0, 2, 1, 0]
    make(tmp_path, tmp_path / "log", unique=True)
    assert numbers(tmp_path / "out") == [0, 1, 2]
    make(tmp_path, tmp_path / "log", unique=True, max_records=2)
    assert numbers(tmp_path / "out") == [0, 1]


def test_signatures_in_turn(tmp_path):
    mx.write_records(tmp_path / "log", map(serialize, numbered(5)))
    logs = make(tmp_path, tmp_path / "log", signatures=["a", "b"])
    assert [log.predict_log.request.model_spec.signature_name for log in logs] == ["a", "b", "a", "b", "a"]


def test_arguments_that_do_not_go_together(tmp_path):
    (tmp_path / "log").write_bytes(encode([serialize(predict_log())]))
    frames = FrameFormat("instance")
    for options in (
        {"source_format": "framed"},
        {"frames": frames},
        {"source_format": "requests"},
        {"source_format": "what"},
        {"sample": 0},
        {"sample": 1001},
        {"max_records": 0},
        {"batch_size": 0},
    ):
        with pytest.raises(mx.InvalidArgumentError):
            make(tmp_path, tmp_path / "log", **options)
    for wrong in (
        {"body": "what"},
        {"body": "instance", "kafka_dump_prefix": True},
        {"body": "instance", "lagrangex_header": True, "has_sort_id": True},
    ):
        with pytest.raises(mx.InvalidArgumentError):
            FrameFormat(**wrong)


# --- framed streams ---

HEADERS = {
    "none": ({}, b""),
    "lagrangex": ({"lagrangex_header": True}, b"\x00abc\x00\x00\x00\x00"),
    "empty sort id": ({"has_sort_id": True}, bytes(8)),
    "sort id": ({"has_sort_id": True}, struct.pack("<Q", 3) + b"key"),
    "dump": ({"has_sort_id": True, "kafka_dump": True}, struct.pack("<Q", 3) + b"key" + b"12345678"),
    "dump of zeros": ({"has_sort_id": True, "kafka_dump": True}, bytes(16)),
    "prefix": ({"has_sort_id": True, "kafka_dump_prefix": True}, struct.pack("<Q", 3) + b"key"),
    "prefix of 0": (
        {"has_sort_id": True, "kafka_dump_prefix": True},
        bytes(8) + b"12345678" + struct.pack("<Q", 3) + b"key",
    ),
    "prefix of zeros": ({"has_sort_id": True, "kafka_dump_prefix": True}, bytes(24)),
}


def bodies(cls, count):
    made = []
    for i in range(count):
        message = cls()
        if cls is Instance:
            message.fid.extend(range(i))
        elif cls is Example:
            message.label.append(i)
        else:
            message.batch_size = i + 1
        made.append(message.SerializeToString())
    return made


def framed(header, messages):
    return b"".join(header + struct.pack("<Q", len(message)) + message for message in messages)


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(
    ("body", "cls", "key"), [("instance", Instance, "instances"), ("example", Example, "examples")]
)
def test_framed_batches(tmp_path, name, body, cls, key):
    options, header = HEADERS[name]
    messages = bodies(cls, 10)
    (tmp_path / "data").write_bytes(framed(header, messages))
    logs = make(tmp_path, tmp_path / "data", source_format="framed", frames=FrameFormat(body, **options), batch_size=4)
    requests = [log.predict_log.request for log in logs]
    assert [list(request.inputs) for request in requests] == [[key]] * 3
    values = [mx.tensor_proto_to_array(request.inputs[key]) for request in requests]
    assert [value.shape for value in values] == [(4,), (4,), (2,)]
    assert [one for value in values for one in value] == messages
    assert {(r.model_spec.name, r.model_spec.signature_name) for r in requests} == {("default", "serving_default")}


def test_framed_example_batches(tmp_path):
    messages = bodies(ExampleBatch, 3)
    (tmp_path / "data").write_bytes(framed(b"", messages))
    logs = make(tmp_path, tmp_path / "data", source_format="framed", frames=FrameFormat("example_batch"))
    values = [mx.tensor_proto_to_array(log.predict_log.request.inputs["example_batch"]) for log in logs]
    assert [value.tolist() for value in values] == [[message] for message in messages]


def test_every_cut_of_a_framed_stream(tmp_path):
    options, header = HEADERS["prefix of 0"]
    data = framed(header, bodies(Instance, 3))
    ends = {len(framed(header, bodies(Instance, n))) for n in range(4)}
    frames = FrameFormat("instance", **options)
    for size in range(1, len(data)):
        (tmp_path / "data").write_bytes(data[:size])
        if size in ends:
            make(tmp_path, tmp_path / "data", source_format="framed", frames=frames)
            continue
        start = max(end for end in ends if end < size)
        with pytest.raises(mx.WarmupError, match=f"data: offset {start}: frame .*the stream ends within a frame"):
            make(tmp_path, tmp_path / "data", source_format="framed", frames=frames)


def test_junk_in_a_framed_stream(tmp_path):
    rng = random.Random(3)
    frames = FrameFormat("instance")
    for _ in range(200):
        (tmp_path / "data").write_bytes(framed(b"", bodies(Instance, 1)) + rng.randbytes(rng.randrange(1, 60)))
        with pytest.raises(mx.WarmupError, match=r"frame 1: size: got .*are the headers as was said|the stream ends"):
            make(tmp_path, tmp_path / "data", source_format="framed", frames=frames)
    (tmp_path / "data").write_bytes(framed(b"", [*bodies(Instance, 2), b"\xff\xff"]))
    with pytest.raises(mx.WarmupError, match="frame 2: not a Monolith Instance in 2 bytes"):
        make(tmp_path, tmp_path / "data", source_format="framed", frames=frames)


# --- the command ---


def test_command_line(tmp_path, capsys):
    mx.write_records(tmp_path / "log", map(serialize, numbered(50)))
    graph = tmp_path / "model"
    mx.write_saved_model(model(), graph)
    out = tmp_path / "out"
    arguments = ["warmup", "from-requests", str(tmp_path / "log"), "-o", str(out), "--model", str(graph)]
    assert main([*arguments, "--sample", "5", "--seed", "7", "--unique", "--model-name", "ctr"]) == 0
    assert capsys.readouterr().out == f"{out}: 5 records\n"
    assert [problem.severity for problem in mx.check_warmup(out, graph, model_name="ctr")] == []
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*arguments, "--force", "--signature", "none"]) == 1
    assert "signature 'none': input 'ids': the signature has no such input" in capsys.readouterr().err
    assert len(numbers(out)) == 5
    assert main([*arguments, "--force", "--format", "framed"]) == 2


def test_standard_input(tmp_path):
    options, header = HEADERS["sort id"]
    arguments = ["warmup", "from-requests", "-", "--format", "framed", "--body", "instance", "--has-sort-id"]
    arguments += ["--batch-size", "4", "-o"]
    done = subprocess.run(
        [sys.executable, "-m", "mexport_pb", *arguments, tmp_path / "out"],
        input=framed(header, bodies(Instance, 10)),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(mx.read_warmup(tmp_path / "out"))) == 3
    assert options == {"has_sort_id": True}


@pytest.mark.parametrize("name", ["sort id", "lagrangex", "prefix of 0"])
def test_the_script_with_monolith_s_flags(tmp_path, name):
    options, header = HEADERS[name]
    (tmp_path / "data").write_bytes(framed(header, bodies(Example, 10)))
    flags = ["--file_name", tmp_path / "data", "--output_path", tmp_path / "out", "--variant_type", "example"]
    flags += ["--batch_size", "3", "--max_records=3", "--signature_names", "b,a"]
    flags += [f"--{option}=True" for option in options]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/warmup_data_gen.py", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    requests = [log.predict_log.request for log in mx.read_warmup(tmp_path / "out")]
    assert [r.model_spec.signature_name for r in requests] == ["b", "a", "serving_default"]
    assert [len(r.inputs["examples"].string_val) for r in requests] == [3, 3, 3]
