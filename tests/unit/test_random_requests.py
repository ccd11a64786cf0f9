"""Random requests: what signatures ask for, the same for the same seed; and requests out of files."""

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.example_pb2 import Example
from mexport_pb._proto.instance_pb2 import Instance
from mexport_pb._proto.serving_pb2 import ClassificationRequest, PredictionLog, PredictRequest
from mexport_pb.errors import InvalidArgumentError, ServingError, UnsupportedError
from mexport_pb.messages import (
    make_classify_request,
    make_model_spec,
    make_multi_inference_request,
    make_predict_request,
    make_session_run_request,
)
from mexport_pb.warmup import random_predict_request, random_signatures
from mexport_pb.warmup.read_requests import MAX_WARMUP_RECORDS, read_requests, read_warmup


def signature(**inputs):
    infos = {key: mx.make_tensor_info(f"{key}:0", dtype, shape) for key, (dtype, shape) in inputs.items()}
    return mx.make_signature_def(infos, {"y": mx.make_tensor_info("y:0", "float32", [None])})


def values(request):
    return {key: mx.tensor_proto_to_array(proto) for key, proto in request.inputs.items()}


ALL = signature(
    i=("int64", [None, 3]),
    narrow=("int8", [100]),
    u=("uint16", []),
    f=("float32", [None]),
    h=("float16", [2]),
    half=("bfloat16", [None]),
    b=("bool", [None]),
    c=("complex64", [None]),
    s=("string", [None]),
    unknown=("float64", None),
)


def test_values_are_what_the_signature_asks_for():
    request = random_predict_request(ALL, "k", model_name="m", batch_size=4, integers=(-5, 200))
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "k")
    got = values(request)
    shapes = {"i": (4, 3), "narrow": (100,), "u": (), "f": (4,), "h": (2,), "half": (4,), "b": (4,), "c": (4,)}
    assert {key: value.shape for key, value in got.items()} == {**shapes, "s": (4,), "unknown": (4,)}
    assert {str(got[key].dtype) for key in ("i", "narrow", "u", "h", "b")} == {
        "int64",
        "int8",
        "uint16",
        "float16",
        "bool",
    }
    assert got["i"].min() >= -5
    assert got["i"].max() < 200
    assert 50 < got["narrow"].max() <= 127
    assert ((got["f"] >= 0) & (got["f"] < 1)).all()


def test_strings_are_instances():
    for element in values(random_predict_request(ALL, "k", slots=3, ids_per_slot=2))["s"]:
        ids = Instance.FromString(element).fid
        assert [fid >> 54 for fid in ids] == [0, 0, 1, 1, 2, 2]
        assert all(
            slot * 2 <= fid & (2**54 - 1) < slot * 2 + 2 for slot, fid in zip([0, 0, 1, 1, 2, 2], ids, strict=True)
        )


def test_the_seed_makes_the_bytes():
    def make(seed):
        return random_predict_request(ALL, "k", seed=seed).SerializeToString(deterministic=True)

    assert make(3) == make(3) == make([3])
    assert len({make(3), make(4), make((3, 1)), make((3, 2))}) == 4


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ({}, {"batch_size": 0}, InvalidArgumentError, "batch size: got 0"),
        ({}, {"integers": (3, 3)}, InvalidArgumentError, r"got \(3, 3\)"),
        ({"x": ("float32", [None, 2**30])}, {}, InvalidArgumentError, r"input 'x': got 8589934592 elements"),
        (
            {"x": ("string", [None, 2**20])},
            {},
            InvalidArgumentError,
            "got 8388608 elements, want <= 1048576",
        ),
        ({"x": ("resource", [])}, {}, UnsupportedError, "input 'x'"),
        ({"x": ("qint8", [])}, {}, UnsupportedError, "no random values of dtype qint8"),
    ],
)
def test_what_is_refused(inputs, options, error, message):
    with pytest.raises(error, match=message):
        random_predict_request(signature(**inputs), "k", **options)


def test_sparse_inputs_are_refused():
    sparse = signature(x=("float32", [None]))
    sparse.inputs["x"].coo_sparse.values_tensor_name = "v:0"
    with pytest.raises(UnsupportedError, match="sparse"):
        random_predict_request(sparse, "k")


def test_signatures_that_push_are_left_alone():
    signatures = dict.fromkeys(["b", "hashtable_assign", "m/raw_assign", "raw_lookup", "a"], signature())
    signatures["c"] = mx.make_signature_def(
        {"inputs": mx.make_tensor_info("x:0", "string", [None])},
        {"outputs": mx.make_tensor_info("y:0", "float32", [None])},
        mx.REGRESS_METHOD,
    )
    assert random_signatures(signatures) == ["a", "b"]


PREDICT = make_predict_request(make_model_spec("m"), {"x": np.float32(1)})


def write(tmp_path, *records):
    mx.write_records(tmp_path / "f", [r if isinstance(r, bytes) else r.SerializeToString() for r in records])
    return tmp_path / "f"


class TestFiles:
    def test_logs_and_bare_requests_are_told_apart(self, tmp_path):
        classify = make_classify_request("m", [Example()])
        session = make_session_run_request("m", {"x:0": 1}, ["y:0"])
        multi = make_multi_inference_request([], [])
        logs = [mx.make_prediction_log(r) for r in (PREDICT, classify, session, multi)]
        bare = [
            make_predict_request(make_model_spec(name, signature_name=key, version=version), {alias: [1, 2]}, ["o"])
            for name in ("", "m", "default", "x" * 200)
            for key in ("", "serving_default")
            for version in (None, 3)
            for alias in ("x", "ids", "\n")
        ]
        got = list(read_requests(write(tmp_path, *logs, *bare)))
        assert got == [PREDICT, classify, session, multi, *bare]
        assert isinstance(got[1], ClassificationRequest)
        assert all(isinstance(r, PredictRequest) for r in got[4:])

    @pytest.mark.parametrize("record", [b"", b"\xff\xff", b"\x0a\x02\x08\x01", b"\xf8\x07\x01"])
    def test_records_that_are_neither(self, record, tmp_path):
        (error,) = read_requests(write(tmp_path, record))
        assert isinstance(error, ServingError)
        assert "neither a PredictionLog nor a PredictRequest" in str(error)

    def test_what_a_server_does_with_its_warmup_file(self, tmp_path):
        streamed = PredictionLog()
        streamed.predict_streamed_log.SetInParent()
        session = mx.make_prediction_log(make_session_run_request("m", {}, ["y:0"]))
        got = list(
            read_warmup(write(tmp_path, mx.make_prediction_log(PREDICT), PredictionLog(), session, streamed, b"\xff"))
        )
        assert got[:2] == [PREDICT, None]
        assert [error.code for error in got[2:]] == ["UNIMPLEMENTED", "UNIMPLEMENTED", "INVALID_ARGUMENT"]
        assert "session_run_log" in str(got[2])

    def test_more_records_than_a_server_takes(self, tmp_path):
        log = mx.make_prediction_log(PREDICT)
        assert list(read_warmup(write(tmp_path, *[log] * MAX_WARMUP_RECORDS))) == [PREDICT] * MAX_WARMUP_RECORDS
        *good, error = read_warmup(write(tmp_path, *[log] * (MAX_WARMUP_RECORDS + 1)))
        assert len(good) == MAX_WARMUP_RECORDS
        assert "want <= 1000 records" in str(error)

    @pytest.mark.parametrize("read", [read_warmup, read_requests])
    def test_a_damaged_file(self, read, tmp_path):
        path = write(tmp_path, *[mx.make_prediction_log(PREDICT)] * 2)
        path.write_bytes(path.read_bytes()[:-3])
        good, error = read(path)
        assert good == PREDICT
        assert (error.code, "offset" in str(error)) == ("DATA_LOSS", True)
