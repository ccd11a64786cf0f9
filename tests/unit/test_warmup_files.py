"""Writing, reading and checking warmup files."""

import errno
import json
import os

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.serving_pb2 import PredictionLog, PredictRequest
from mexport_pb.cli import main
from mexport_pb.messages import serialize
from mexport_pb.record import masked_crc32c
from mexport_pb.warmup.logs import parse_log
from tests.support.records import encode
from tests.support.warmup import log_of, logs_of_all_kinds, model, predict_log


@pytest.fixture(scope="module")
def meta_graph():
    return model()


@pytest.fixture(scope="module")
def export(meta_graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "1"
    mx.write_saved_model(meta_graph, path)
    return path


def spec(key="", name="m"):
    return mx.make_model_spec(name, signature_name=key)


def test_the_worked_example_of_the_format(tmp_path):
    path = tmp_path / "warmup"
    mx.write_warmup(path, [mx.make_predict_request(spec("s"), {"x": np.float32(1)})])
    data = bytes.fromhex("321b0a190a060a016d1a0173120f0a0178120a080112002a040000803f")
    assert path.read_bytes() == encode([data])
    assert masked_crc32c(data) == int.from_bytes(bytes.fromhex("633df4a5"), "little")


def test_every_kind_comes_back(tmp_path, meta_graph, export):
    path = tmp_path / "new" / "warmup"
    logs = logs_of_all_kinds()
    assert mx.write_warmup(path, logs.values(), meta_graph) == 5
    read = list(mx.read_warmup(path))
    assert read == list(logs.values())
    assert [log.WhichOneof("log_type") for log in read] == list(logs)
    problems = mx.check_warmup(path, export)
    assert [str(problem) for problem in problems] == ["warning: record 4: a session_run_log: servers do not replay it"]
    assert os.listdir(path.parent) == ["warmup"]
    other = tmp_path / "other"
    with mx.WarmupWriter(other, export, model_name="m") as writer:
        for log in logs.values():
            writer.write(serialize(log))
        assert writer.count == 5
        assert not other.exists()
    assert other.read_bytes() == path.read_bytes()


def test_models_are_taken_in_every_form(tmp_path, meta_graph, export):
    saved_model = mx.read_saved_model(export)
    for number, form in enumerate([export, str(export), saved_model, meta_graph, dict(meta_graph.signature_def)]):
        bad = predict_log(x=None)
        with pytest.raises(mx.WarmupError, match="input 'x': is missing"):
            mx.write_warmup(tmp_path / str(number), [bad], form)
    assert os.listdir(tmp_path) == []
    with pytest.raises(mx.InvalidArgumentError, match="no meta graph with these tags"):
        mx.write_warmup(tmp_path / "x", [bad], export, tags=["train"])
    with pytest.raises(mx.InvalidArgumentError, match="model: got int"):
        mx.write_warmup(tmp_path / "x", [bad], 7)
    assert mx.write_warmup(tmp_path / "x", [bad]) == 1


def tensor(**fields):
    from mexport_pb._proto.tensor_pb2 import TensorProto

    proto = TensorProto(dtype=fields.pop("dtype", 1), **fields)
    return proto


def shaped(*sizes, **fields):
    proto = tensor(**fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


def unknown_rank():
    proto = tensor()
    proto.tensor_shape.unknown_rank = True
    return proto


EXAMPLES = [mx.make_example({"a": 1})]
TASK = mx.make_inference_task


def multi(*tasks, examples=EXAMPLES):
    return log_of(mx.make_multi_inference_request([TASK(spec(key), method) for key, method in tasks], examples))


def run(feeds, fetches=("y:0",), targets=(), **options):
    return log_of(mx.make_session_run_request(spec(options.pop("key", "")), feeds, fetches, targets, **options))


X = np.zeros((1, 3), np.float32)
TWICE = run({"x:0": X})
TWICE.session_run_log.request.feed.append(TWICE.session_run_log.request.feed[0])
BAD = [
    (
        predict_log("nothing"),
        "nothing",
        "model_spec.signature_name",
        "the model has no such signature; it has 'classify'",
    ),
    (predict_log("uncalled"), "uncalled", None, "method: got '', want one for predict or classify or regress"),
    (predict_log(x=None), "serving_default", "input 'x'", "is missing"),
    (predict_log(w=1), "serving_default", "input 'w'", "the signature has no such input; it has 'ids', 'text', 'x'"),
    (predict_log(x=np.zeros((2, 3))), "serving_default", "input 'x'", "dtype: got float64, want float32"),
    (predict_log(x=tensor(dtype=0)), "serving_default", "input 'x'", "dtype: got none, want float32"),
    (predict_log(ids=tensor(dtype=777)), "serving_default", "input 'ids'", "dtype: got 777, want int64"),
    (predict_log(x=np.zeros(3, np.float32)), "serving_default", "input 'x'", "shape: got [3], want [?, 3]"),
    (predict_log(x=np.zeros((2, 4), np.float32)), "serving_default", "input 'x'", "shape: got [2, 4], want [?, 3]"),
    (predict_log(x=unknown_rank()), "serving_default", "input 'x'", "value: got an unknown rank"),
    (predict_log(x=shaped(-1, 3)), "serving_default", "input 'x'", "value: got shape [-1, 3]"),
    (predict_log(x=shaped(2**40, 3)), "serving_default", "input 'x'", "value: got 13194139533312 bytes"),
    (predict_log(text=shaped(2**30, dtype=7)), "serving_default", "input 'text'", "value: got 25769803776 bytes"),
    (
        predict_log(x=shaped(2, 3, tensor_content=bytes(23))),
        "serving_default",
        "input 'x'",
        "value: tensor of 6 float32 elements: got 23 bytes of tensor_content, want 24",
    ),
    (predict_log(x=shaped(1, 3, float_val=[0] * 4)), "serving_default", "input 'x'", "got 4 values, want <= 3"),
    (predict_log("sparse", ids=None, text=None), "sparse", "input 'x'", "is sparse or composite"),
    (predict_log(output_filter=["no"]), "serving_default", "output_filter 'no'", "has no such output; it has 'y', 'z'"),
    (predict_log(output_filter=["y", "z", "y"]), "serving_default", "output_filter 'y'", "is there twice"),
    (log_of(mx.make_classify_request(spec("regress"), EXAMPLES)), "regress", None, "want one for classify"),
    (log_of(mx.make_regress_request(spec("classify"), EXAMPLES)), "classify", None, "want one for regress"),
    (log_of(mx.make_regress_request(spec("regress_two"), EXAMPLES)), "regress_two", None, "inputs: got 2, want 1"),
    (log_of(mx.make_classify_request(spec("classify"), [])), "classify", "input", "got no examples"),
    (log_of(mx.make_regress_request(spec("regress"), [], EXAMPLES[0])), "regress", "input", "got no examples"),
    (multi(), None, "tasks", "got no tasks"),
    (multi(("classify", mx.PREDICT_METHOD)), "classify", "task 0", "method: got 'tensorflow/serving/predict'"),
    (multi(("classify", mx.REGRESS_METHOD)), "classify", "task 0", "want one for regress"),
    (multi(("regress", mx.REGRESS_METHOD), ("regress", mx.REGRESS_METHOD)), "regress", "task 1", "asked twice"),
    (
        multi(("regress", mx.REGRESS_METHOD), ("regress_other", mx.REGRESS_METHOD)),
        "regress_other",
        "task 1",
        "takes tensor 'other:0', but earlier tasks 'examples:0'",
    ),
    (multi(("regress", mx.REGRESS_METHOD), examples=[]), None, "input", "got no examples"),
    (run({"x:0": X}, []), None, "fetch", "got neither a fetch nor a target"),
    (run({"w:0": X}), None, "feed 'w:0'", "the graph has no node 'w'"),
    (run({"x:first": X}), None, "feed 'x:first'", "want the name of a tensor"),
    (run({"x:0": np.zeros((1, 4), np.float32)}), None, "feed 'x:0'", "shape: got [1, 4], want [?, 3]"),
    (run({"x:0": np.zeros((1, 3))}), None, "feed 'x:0'", "dtype: got float64, want float32"),
    (run({"x:0": X}, ["w:0"]), None, "fetch 'w:0'", "the graph has no node 'w'"),
    (run({"x:0": X}, targets=["w"]), None, "target 'w'", "the graph has no such operation"),
    (TWICE, None, "feed 'x:0'", "is there twice"),
    (run({"w": X}, ["y"], tensor_name_is_alias=True), "serving_default", "feed 'w'", "has no such input"),
    (
        run({"ids": X}, ["y"], tensor_name_is_alias=True),
        "serving_default",
        "feed 'ids'",
        "dtype: got float32, want int64",
    ),
    (run({"x": X}, ["w"], tensor_name_is_alias=True), "serving_default", "fetch 'w'", "has no such output"),
    (run({}, ["y"], tensor_name_is_alias=True, key="no"), "no", "model_spec.signature_name", "no such signature"),
]


@pytest.mark.parametrize(("log", "signature", "field", "message"), BAD, ids=lambda x: x if isinstance(x, str) else "")
def test_one_bad_record_is_refused_by_name(tmp_path, meta_graph, log, signature, field, message):
    path = tmp_path / "warmup"
    good = predict_log()
    with pytest.raises(mx.WarmupError) as caught:
        mx.write_warmup(path, [good, good, log, good], meta_graph)
    error = caught.value
    assert (error.record, error.signature, error.field, error.path) == (2, signature, field, str(path))
    assert message in str(error)
    assert f"{path}: record 2: " in str(error)
    assert os.listdir(tmp_path) == []

    # The same from a file that somebody else wrote.
    mx.write_records(path, [serialize(one) for one in (good, good, log, good)])
    problems = [p for p in mx.check_warmup(path, meta_graph) if p.severity == "error"]
    assert len(problems) == 1
    assert (problems[0].record, problems[0].signature, problems[0].field) == (2, signature, field)
    assert problems[0].offset == 2 * (len(serialize(good)) + 16)
    assert message in problems[0].message


@pytest.mark.parametrize(
    "log",
    [
        predict_log(),
        predict_log("serving_default", x=np.zeros((0, 3), np.float32)),
        predict_log(x=shaped(5, 3, float_val=[1])),
        predict_log(x=shaped(5, 3)),
        predict_log(text=shaped(2, dtype=7, tensor_content=b"\x01\x02abc")),
        predict_log("optional", ids=None, text=None),
        predict_log("optional", ids=None, text=None, scalar=np.float32(2)),
        predict_log("none", x=None, ids=None, text=None),
        predict_log("regress", x=None, ids=None, text=None, inputs=["a"]),
        run({}, [], ["y"]),
        run({"y:0": np.zeros(7, np.float32)}, ["y"]),
        run({"x": X}, ["y"], tensor_name_is_alias=True),
    ],
)
def test_legal_requests(tmp_path, meta_graph, log):
    assert mx.write_warmup(tmp_path / "w", [log], meta_graph) == 1


def test_at_most_a_thousand_records(tmp_path, meta_graph):
    path = tmp_path / "warmup"
    assert mx.write_warmup(path, [predict_log()] * 1000, meta_graph) == 1000
    assert mx.check_warmup(path, meta_graph) == []
    with pytest.raises(mx.WarmupError, match="record 1000: too many records: want at most 1000"):
        mx.write_warmup(tmp_path / "more", [predict_log()] * 1001, meta_graph)
    assert os.listdir(tmp_path) == ["warmup"]
    data = serialize(predict_log())
    mx.write_records(path, [data] * 1500)
    assert [str(p) for p in mx.check_warmup(path)] == ["error: record 1000: too many records: want at most 1000"]


def test_model_names(tmp_path):
    with pytest.raises(mx.WarmupError, match=r"record 1: model_spec.name: got 'n', want 'm'"):
        mx.write_warmup(tmp_path / "w", [predict_log(), predict_log(name="n")])
    with pytest.raises(mx.WarmupError, match=r"record 0: model_spec.name: got 'm', want 'n'"):
        mx.write_warmup(tmp_path / "w", [predict_log()], model_name="n")
    mx.write_warmup(tmp_path / "w", [predict_log(name="")])
    (problem,) = mx.check_warmup(tmp_path / "w")
    assert (problem.severity, problem.field) == ("warning", "model_spec.name")


def test_a_writer_goes_on_after_a_bad_record(tmp_path, meta_graph):
    path = tmp_path / "warmup"
    with mx.WarmupWriter(path, meta_graph) as writer:
        with pytest.raises(mx.WarmupError, match="record 0"):
            writer.write(predict_log(x=None, name="other"))
        writer.write(predict_log())
    assert list(mx.read_warmup(path)) == [predict_log()]


def test_what_is_no_record(tmp_path):
    path = tmp_path / "warmup"
    streamed = PredictionLog()
    streamed.predict_streamed_log.request.add()
    for bad, message in (
        (PredictionLog(), "log: got no kind, want one of predict_log"),
        (streamed, "log: got predict_streamed_log"),
        (b"\xff", "not a PredictionLog"),
    ):
        with pytest.raises(mx.WarmupError, match=f"record 0: .*{message}"):
            mx.write_warmup(path, [bad])
    for bad in (mx.make_tensor_proto(1), 3, "text"):
        with pytest.raises(mx.InvalidArgumentError):
            mx.write_warmup(path, [bad])
    assert os.listdir(tmp_path) == []
    mx.write_records(path, [serialize(streamed), b""])
    messages = [str(p) for p in mx.check_warmup(path, model())]
    assert messages[-2:] == [
        "error: record 0: a predict_streamed_log: servers do not replay it",
        "warning: record 1: a log of no kind: servers pass over it",
    ]


def test_a_bare_request_is_called_so(tmp_path):
    request = predict_log().predict_log.request
    assert PredictionLog.FromString(b"") == parse_log(b"")
    path = tmp_path / "requests"
    mx.write_records(path, [serialize(predict_log()), serialize(request)])
    records = mx.read_warmup(path)
    assert next(records) == predict_log()
    offset = len(serialize(predict_log())) + 16
    with pytest.raises(mx.WarmupError, match=f"offset {offset}: record 1: got a bare PredictRequest"):
        next(records)


@pytest.mark.parametrize("key", [bytes([a, b]).decode("latin1") for a in range(8, 128, 3) for b in (0, 8, 65, 120)])
def test_whatever_the_input_is_called(key):
    request = PredictRequest()
    request.inputs[key].dtype = 1
    with pytest.raises(mx.WarmupError, match="bare PredictRequest"):
        parse_log(serialize(request))


def test_real_logs_are_no_bare_requests():
    for log in logs_of_all_kinds().values():
        assert parse_log(serialize(log)) == log


def test_a_file_that_is_there_stays(tmp_path):
    path = tmp_path / "warmup"
    path.write_bytes(b"old")
    with pytest.raises(mx.InvalidArgumentError, match="is there already"):
        mx.write_warmup(path, [predict_log()])
    assert path.read_bytes() == b"old"
    mx.write_warmup(path, [predict_log()], force=True)
    assert list(mx.read_warmup(path)) == [predict_log()]
    with pytest.raises(mx.WarmupError):
        mx.write_warmup(path, [b"\xff"], force=True)
    assert list(mx.read_warmup(path)) == [predict_log()]


def test_an_iterator_that_fails_leaves_nothing(tmp_path):
    def logs():
        yield predict_log()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mx.write_warmup(tmp_path / "w", logs())
    assert os.listdir(tmp_path) == []


def test_a_failing_sync_leaves_nothing(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "broken")

    writer = mx.WarmupWriter(tmp_path / "w")
    writer.write(predict_log())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken"):
        writer.close()
    assert os.listdir(tmp_path) == []
    writer.close()
    with pytest.raises(mx.InvalidArgumentError, match="closed"):
        writer.write(predict_log())


def test_check_of_damaged_and_compressed_files(tmp_path, meta_graph):
    path = tmp_path / "warmup"
    mx.write_warmup(path, [predict_log()] * 3)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    (problem,) = mx.check_warmup(path, meta_graph)
    assert (problem.record, problem.offset) == (2, len(data) // 3 * 2)
    assert "record" in problem.message
    mx.write_records(path, [serialize(predict_log())], "gzip")
    assert [str(p) for p in mx.check_warmup(path, meta_graph)] == [
        "error: file: is compressed (gzip): servers read plain files only"
    ]
    path.write_bytes(b"")
    assert [str(p) for p in mx.check_warmup(path)] == ["warning: file: no record in it"]


def test_command_line(tmp_path, export, capsys):
    path = tmp_path / "warmup"
    mx.write_records(path, [serialize(predict_log(x=None, ids=None)), serialize(predict_log(name=""))])
    assert main(["warmup", "check", str(path), "--model", str(export)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "error: record 0: signature 'serving_default': input 'ids': is missing",
        "error: record 0: signature 'serving_default': input 'x': is missing",
        "warning: record 1: model_spec.name: is empty: servers replay the record, but nobody else can send it",
        "error: record 1: model_spec.name: got '', want 'm'",
    ]
    assert err == f"mexport: {path}: 3 errors\n"
    assert main(["warmup", "check", str(path), "--model", str(export), "--json"]) == 1
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {
        "message": "is missing",
        "severity": "error",
        "record": 0,
        "signature": "serving_default",
        "field": "input 'ids'",
        "offset": 0,
    }
    assert main(["warmup", "check"]) == 2
    assert main(["warmup", "check", "--model", str(export)]) == 1
    assert "tf_serving_warmup_requests" in capsys.readouterr().err
    mx.write_warmup(export / "assets.extra" / "tf_serving_warmup_requests", [predict_log()], export, force=True)
    assert main(["warmup", "check", "--model", str(export), "--model-name", "m"]) == 0
    assert capsys.readouterr().out == ""


def test_examples():
    example = mx.make_example(
        {"i": np.uint8([[1, 2], [3, 4]]), "b": True, "f": 0.5, "d": np.float64([1, 2]), "s": ["ä", b"\0"], "none": []}
    )
    features = example.features.feature
    assert list(features["i"].int64_list.value) == [1, 2, 3, 4]
    assert list(features["b"].int64_list.value) == [1]
    assert list(features["f"].float_list.value) == [0.5]
    assert list(features["d"].float_list.value) == [1, 2]
    assert list(features["s"].bytes_list.value) == ["ä".encode(), b"\0"]
    assert "none" in features
    for bad in (np.uint64(2**63), 1j, object()):
        with pytest.raises(mx.InvalidArgumentError, match="feature 'x'"):
            mx.make_example({"x": bad})
