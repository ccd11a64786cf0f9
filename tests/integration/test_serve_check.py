"""Models are served to tensorflow-serving's own client, checked with requests, and their warmup files replayed."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")

from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
    session_service_pb2,
)

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto import saved_model_pb2  # noqa: E402
from mexport_pb._proto.serving_pb2 import PredictionLog  # noqa: E402
from mexport_pb.cli import main  # noqa: E402
from mexport_pb.errors import InvalidArgumentError, SavedModelError, ServingError, ValidationError  # noqa: E402
from mexport_pb.messages import (  # noqa: E402
    make_classify_request,
    make_inference_task,
    make_model_spec,
    make_multi_inference_request,
    make_predict_request,
    make_regress_request,
    make_session_run_request,
)
from mexport_pb.runtime import (  # noqa: E402
    ModelServer,
    PredictionClient,
    ServedModel,
    TensorFlowSource,
    execute_restore,
    replay_warmup,
    serve_check,
)
from mexport_pb.runtime.serve_facts import address  # noqa: E402
from tests.support import table_exports  # noqa: E402
from tests.support.served_models import example, examples_requests, write_examples_model  # noqa: E402
from tests.support.tensorflow_models import write_dense_model  # noqa: E402

pytestmark = pytest.mark.tensorflow

WARMUP = "assets.extra/tf_serving_warmup_requests"


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A model that TensorFlow's Builder wrote, in a base folder with two versions."""
    base = tmp_path_factory.mktemp("dense") / "ctr"
    answer = write_dense_model(base / "3")
    shutil.copytree(base / "3", base / "12")
    return base, answer


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    path = tmp_path_factory.mktemp("examples") / "1"
    write_examples_model(path)
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A model of GraphBuilder with embedding tables."""
    folder = tmp_path_factory.mktemp("tables")
    checkpoint = table_exports.make_checkpoint(folder)
    path, _ = table_exports.export(folder, checkpoint)
    return Path(path)


@pytest.fixture(scope="module")
def served_dense(dense):
    with ServedModel(dense[0] / "12", version=12) as model:
        yield model, dense[1]


@pytest.fixture(scope="module")
def served_examples(examples):
    with ServedModel(examples) as model:
        yield model


@pytest.fixture(scope="module")
def server(served_dense, served_examples):
    with ModelServer({"ctr": served_dense[0], "examples": served_examples}) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


def dense_request(inputs, key="", **spec):
    return make_predict_request(make_model_spec("ctr", signature_name=key, **spec), inputs)


def predicted(response):
    return {key: mx.tensor_proto_to_array(proto) for key, proto in response.outputs.items()}


class TestServedModel:
    def test_predict(self, served_dense):
        model, answer = served_dense
        response = model.handle(dense_request(answer.inputs))
        np.testing.assert_allclose(predicted(response)["answer"], answer.outputs["answer"], rtol=1e-5, atol=1e-6)
        spec = response.model_spec
        assert (spec.name, spec.signature_name, spec.version.value) == ("ctr", "serving_default", 12)

    def test_inputs_with_default_values(self, dense, tmp_path):
        path = Path(shutil.copytree(dense[0] / "12", tmp_path / "1"))
        model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        signature = model.meta_graphs[0].signature_def["serving_default"]
        signature.defaults["item"].CopyFrom(mx.make_tensor_proto(dense[1].inputs["item"]))
        (path / "saved_model.pb").write_bytes(model.SerializeToString())
        with ServedModel(path) as served:
            response = served.handle(dense_request({"features": dense[1].inputs["features"]}))
        np.testing.assert_allclose(predicted(response)["answer"], dense[1].outputs["answer"], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        ("change", "code", "message"),
        [
            ({"key": "other"}, "FAILED_PRECONDITION", 'signature key "other" not found; there are'),
            ({"version": 3}, "NOT_FOUND", r"Specific\(ctr, 3\); it is 12"),
            ({"drop": "item"}, "INVALID_ARGUMENT", r"missing: \['item'\]"),
            ({"extra": np.float32(1)}, "INVALID_ARGUMENT", r"sent extra: \['extra'\]"),
            ({"item": np.zeros(6, np.float32)}, "INVALID_ARGUMENT", "got float32, want int64"),
            ({"features": np.zeros((6, 3), np.float32)}, "INVALID_ARGUMENT", r"shape \(6, 3\)"),
            ({"item": np.full(6, 99)}, "INVALID_ARGUMENT", r"indices\[0\] = 99 is not in \[0, 10\)"),
            ({"item": np.zeros(5, np.int64)}, "INVALID_ARGUMENT", "(?i)dimension"),
            ({"filter": ["nothing"]}, "INVALID_ARGUMENT", "output filter: got 'nothing', want of"),
            ({"filter": ["answer", "answer"]}, "INVALID_ARGUMENT", "twice"),
        ],
    )
    def test_refused_predictions(self, change, code, message, served_dense):
        model, answer = served_dense
        change = dict(change)
        spec = {k: change.pop(k) for k in ("key", "version") if k in change}
        output_filter = change.pop("filter", [])
        inputs = {**answer.inputs, **change}
        inputs.pop(inputs.pop("drop", ""), None)
        request = dense_request(inputs, **spec)
        request.output_filter.extend(output_filter)
        with pytest.raises(ServingError, match=message) as failure:
            model.handle(request)
        assert failure.value.code == code

    def test_a_value_that_stands_for_terabytes(self, served_dense):
        request = dense_request({**served_dense[1].inputs, "item": np.int64(1)})
        request.inputs["item"].tensor_shape.dim.add(size=2**40)
        with pytest.raises(ServingError, match=r"INVALID_ARGUMENT: input 'item': got shape \(1099511627776,\)"):
            served_dense[0].handle(request)

    def test_a_tensor_that_does_not_parse(self, served_dense):
        request = dense_request(served_dense[1].inputs)
        request.inputs["item"].tensor_shape.dim[0].size = 2**40
        with pytest.raises(ServingError, match="INVALID_ARGUMENT: input 'item'"):
            served_dense[0].handle(request)

    def test_classify_regress_and_several_at_once(self, served_examples):
        answers = {kind: served_examples.handle(request) for kind, request in examples_requests().items()}
        assert predicted(answers["predict"])["age"].tolist() == [1, 2]
        rows = answers["classify"].result.classifications
        assert [[(c.label, c.score) for c in row.classes] for row in rows] == [
            [("a", 1), ("x", 2)],
            [("a", 2), ("b", 4)],
        ]
        assert [r.value for r in answers["regress"].result.regressions] == [3, 6]
        regressed, classified = answers["multi_inference"].results
        assert regressed.regression_result == answers["regress"].result
        assert classified.classification_result == answers["classify"].result
        assert mx.tensor_proto_to_array(answers["session_run"].tensor[0].tensor).tolist() == [1, 2]

    def test_the_context_counts_for_all_examples(self, served_examples):
        spec = make_model_spec("m", signature_name="classify")
        response = served_examples.handle(make_classify_request(spec, [example(1), example(2, "own")], example(9, "z")))
        rows = response.result.classifications
        assert [[(c.label, c.score) for c in row.classes] for row in rows] == [
            [("a", 1), ("z", 2)],
            [("a", 2), ("own", 4)],
        ]

    @pytest.mark.parametrize(
        ("request_", "code", "message"),
        [
            (make_classify_request(make_model_spec("m", signature_name="no"), [example(1)]), "INVALID_ARGUMENT", "no;"),
            (
                make_regress_request(make_model_spec("m", signature_name="classify"), [example(1)]),
                "INVALID_ARGUMENT",
                "got method tensorflow/serving/classify, want tensorflow/serving/regress",
            ),
            (make_regress_request(make_model_spec("m", signature_name="regress"), []), "INVALID_ARGUMENT", "is empty"),
            (
                make_classify_request(make_model_spec("m", signature_name="flat"), [example(1)]),
                "INVALID_ARGUMENT",
                r"'scores': got shape \(1,\), want \[batch, classes\]",
            ),
            (
                make_multi_inference_request([make_inference_task(make_model_spec(""), mx.REGRESS_METHOD)], []),
                "INVALID_ARGUMENT",
                "no model name",
            ),
            (
                make_multi_inference_request([make_inference_task(make_model_spec("m"), mx.REGRESS_METHOD)] * 2, []),
                "INVALID_ARGUMENT",
                "twice",
            ),
            (
                make_multi_inference_request([make_inference_task(make_model_spec("m"), mx.PREDICT_METHOD)], []),
                "UNIMPLEMENTED",
                "predict",
            ),
            (make_session_run_request("m", {}, ["nothing:0"]), "NOT_FOUND", "'nothing:0' is not in the graph"),
            (make_session_run_request("m", {}, ["age"]), "INVALID_ARGUMENT", "must feed a value"),
            (
                make_session_run_request("m", {"x": 1}, ["age"], tensor_name_is_alias=True),
                "INVALID_ARGUMENT",
                r"alias: got 'x', want one of \['examples'\]",
            ),
            (PredictionLog(), "UNIMPLEMENTED", "PredictionLog"),
        ],
    )
    def test_other_refused_requests(self, request_, code, message, served_examples):
        with pytest.raises(ServingError, match=message) as failure:
            served_examples.handle(request_)
        assert failure.value.code == code

    def test_a_session_run_by_aliases(self, served_examples):
        strings = np.array([example(4).SerializeToString()], object)
        request = make_session_run_request("m", {"examples": strings}, ["age"], tensor_name_is_alias=True)
        (named,) = served_examples.handle(request).tensor
        assert (named.name, mx.tensor_proto_to_array(named.tensor).tolist()) == ("age", [4])

    def test_scalar_strings_keep_their_zeros(self, tmp_path):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.string, [], name="x")
            tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": x + x})
        with ServedModel(tmp_path / "1") as model:
            response = model.handle(make_predict_request("m", {"x": b"a\0"}))
        assert predicted(response)["y"][()] == b"a\0a\0"
        outputs = execute_restore(tmp_path / "1", signature="serving_default", feeds={"x": b"a\0"})
        assert outputs is not None
        assert outputs["y"][()] == b"a\0a\0"

    def test_a_model_that_cannot_be_loaded(self, tmp_path):
        with pytest.raises(ValidationError, match="cannot load it"):
            ServedModel(tmp_path)
        with pytest.raises(InvalidArgumentError, match="tags: got the string 'serve'"):
            ServedModel(tmp_path, tags="serve")


class TestServer:
    """The client is tensorflow-serving's own stub, with its own messages."""

    def test_predict(self, channel, dense):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "ctr"
        for key, value in dense[1].inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        response = stub.Predict(request, timeout=20)
        np.testing.assert_allclose(
            tf.make_ndarray(response.outputs["answer"]), dense[1].outputs["answer"], rtol=1e-5, atol=1e-6
        )
        assert response.model_spec.version.value == 12

    def test_the_other_kinds(self, channel):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        ours = examples_requests()
        del ours["predict"]
        theirs = {}
        for kind, cls in {
            "classify": classification_pb2.ClassificationRequest,
            "regress": regression_pb2.RegressionRequest,
            "multi_inference": inference_pb2.MultiInferenceRequest,
            "session_run": session_service_pb2.SessionRunRequest,
        }.items():
            address(ours[kind], "examples")
            theirs[kind] = cls.FromString(ours[kind].SerializeToString())
        response = stub.Classify(theirs["classify"], timeout=20)
        assert response.result.classifications[0].classes[1].label == "x"
        assert [r.value for r in stub.Regress(theirs["regress"], timeout=20).result.regressions] == [3, 6]
        first, second = stub.MultiInference(theirs["multi_inference"], timeout=20).results
        assert second.classification_result == response.result
        assert first.model_spec.signature_name == "regress"
        session_run = channel.unary_unary(
            "/tensorflow.serving.SessionService/SessionRun",
            request_serializer=session_service_pb2.SessionRunRequest.SerializeToString,
            response_deserializer=session_service_pb2.SessionRunResponse.FromString,
        )
        (named,) = session_run(theirs["session_run"], timeout=20).tensor
        assert tf.make_ndarray(named.tensor).tolist() == [1, 2]

    def test_what_it_tells_of_its_models(self, channel):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "ctr"
        response = stub.GetModelMetadata(request, timeout=20)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        assert sorted(signatures.signature_def["serving_default"].inputs) == ["features", "item"]
        assert response.model_spec.version.value == 12
        request.metadata_field.append("other")
        with pytest.raises(grpc.RpcError, match="metadata field: got"):
            stub.GetModelMetadata(request, timeout=20)

        models = model_service_pb2_grpc.ModelServiceStub(channel)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "ctr"
        (version,) = models.GetModelStatus(status, timeout=20).model_version_status
        assert (version.version, version.state, version.status.error_code) == (12, version.AVAILABLE, 0)
        status.model_spec.name = "absent"
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            models.GetModelStatus(status, timeout=20)

    @pytest.mark.parametrize(
        ("name", "code", "details"),
        [("absent", "NOT_FOUND", "Latest(absent)"), ("ctr", "INVALID_ARGUMENT", "missing: ['features', 'item']")],
    )
    def test_failures_have_their_status(self, name, code, details, channel):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        with pytest.raises(grpc.RpcError) as failure:
            stub.Predict(request, timeout=20)
        assert failure.value.code() is getattr(grpc.StatusCode, code)
        assert details in failure.value.details()

    def test_messages_larger_than_the_usual_limit(self, server):
        strings = np.array([example(1, "n" * 5_000_000).SerializeToString()], object)
        request = make_session_run_request("examples", {"examples:0": strings}, ["examples:0"])
        with PredictionClient(server.address) as client:
            (named,) = client.handle(request, timeout=30).tensor
        assert mx.tensor_proto_to_array(named.tensor)[0] == strings[0]

    def test_what_the_server_tells_of_its_calls(self, served_examples):
        calls = []
        with ModelServer({"m": served_examples}, on_call=calls.append) as own, PredictionClient(own.address) as client:
            for name in ("m", "n"):
                request = examples_requests()["predict"]
                request.model_spec.name = name
                if name == "n":
                    with pytest.raises(ServingError, match=r"NOT_FOUND: servable not found"):
                        client.handle(request, timeout=20)
                else:
                    client.handle(request, timeout=20)
        assert [(call.model, call.code) for call in calls] == [("m", "OK"), ("n", "NOT_FOUND")]

    def test_a_server_that_is_gone(self, served_examples):
        server = ModelServer({"m": served_examples})
        server.close()
        server.close()
        with PredictionClient(server.address) as client, pytest.raises(ServingError, match="UNAVAILABLE"):
            client.handle(examples_requests()["predict"], timeout=20)


def logs(*requests):
    return [mx.make_prediction_log(request).SerializeToString() for request in requests]


class TestServeCheck:
    def test_given_requests(self, dense):
        base, answer = dense
        good = dense_request(answer.inputs, version=99)
        theirs = predict_pb2.PredictRequest.FromString(good.SerializeToString())
        bad = dense_request({**answer.inputs, "item": np.full(6, 99)})
        report = serve_check(base, requests=[good, bad, theirs], keep_values=True)
        assert (report.version, [m.name for m in report.models]) == (12, ["ctr"])
        assert [(r.source, r.number, r.kind, r.batch, r.code) for r in report.requests] == [
            ("given", 0, "predict", 6, "OK"),
            ("given", 1, "predict", 6, "INVALID_ARGUMENT"),
            ("given", 2, "predict", 6, "OK"),
        ]
        outputs = report.requests[0].outputs["answer"]
        assert (outputs.dtype, outputs.shape) == ("float32", [6, 3])
        np.testing.assert_allclose(outputs.values, answer.outputs["answer"], rtol=1e-5, atol=1e-6)
        assert not report.ok
        with pytest.raises(ValidationError, match=r"given #1 predict 'serving_default' batch 6: INVALID_ARGUMENT.*99"):
            report.raise_if_bad()
        assert 0 < report.latency.p50 <= report.latency.p95 <= report.latency.max < 60

    def test_random_requests(self, tables):
        report = serve_check(tables, random=3, batch_size=5, seed=1)
        assert report.ok, report.failures
        (outputs,) = {str({k: (t.dtype, t.shape) for k, t in r.outputs.items()}) for r in report.requests}
        assert outputs == str({"a": ("float32", [5, 2]), "b": ("float32", [5, 3]), "slot": ("float32", [5, 4])})
        assert [r.signature for r in report.requests] == ["serving_default"] * 3
        report.raise_if_bad()

    def test_answers_are_those_of_the_tables(self, tables):
        ids = np.arange(60)
        report = serve_check(tables, requests=[make_predict_request("m", {"ids": ids})], keep_values=True)
        got = report.requests[0].outputs["slot"].values
        want = table_exports.looked_up(tables, table_exports.SINGLE, ids)[table_exports.SINGLE]
        np.testing.assert_array_equal(np.array(got, np.float32), want)

    def test_without_requests_the_warmup_file_is_sent(self, dense, tmp_path):
        path = Path(shutil.copytree(dense[0] / "12", tmp_path / "12"))
        assert [r.source for r in serve_check(path, integers=(0, 10)).requests] == ["random"]
        (path / "assets.extra").mkdir()
        mx.write_records(path / WARMUP, logs(dense_request(dense[1].inputs)))
        report = serve_check(path)
        assert report.ok
        assert [r.source for r in report.requests] == [str(path / WARMUP)]

    def test_requests_of_every_kind_from_a_file(self, examples, tmp_path):
        mx.write_records(tmp_path / "f", [*logs(*examples_requests().values()), b"\xff"])
        report = serve_check(examples, requests=[tmp_path / "f"], keep_values=True)
        assert [(r.kind, r.signature, r.batch, r.code) for r in report.requests] == [
            ("predict", "serving_default", 2, "OK"),
            ("classify", "classify", 2, "OK"),
            ("regress", "regress", 2, "OK"),
            ("multi_inference", "regress,classify", 2, "OK"),
            ("session_run", "", 2, "OK"),
            ("", "", 0, "INVALID_ARGUMENT"),
        ]
        assert report.requests[3].outputs["classify/classes"].values == [["a", "x"], ["a", "b"]]
        assert report.requests[3].outputs["regress/outputs"].values == [3, 6]
        assert len(report.failures) == 1

    def test_a_request_that_takes_too_long(self, tmp_path):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x = tf.compat.v1.placeholder(tf.int64, [], name="x")
            (y,) = tf.while_loop(lambda i: i < x, lambda i: i + 1, [tf.constant(0, tf.int64)], parallel_iterations=1)
            tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
        slow = make_predict_request("m", {"x": np.int64(2**62)})
        report = serve_check(tmp_path / "1", requests=[slow], timeout=0.3)
        assert [r.code for r in report.requests] == ["DEADLINE_EXCEEDED"]
        assert report.requests[0].seconds < 10

    def test_models_that_cannot_be_loaded(self, dense, tmp_path):
        path = Path(shutil.copytree(dense[0] / "12", tmp_path / "12"))
        (path / "variables" / "variables.index").unlink()
        report = serve_check(path)
        assert not report.requests
        assert "cannot load it" in report.models[0].error
        assert not report.ok

    def test_nothing_to_send(self, dense):
        report = serve_check(dense[0], random=0)
        assert [str(p) for p in report.problems] == ["error: ctr: there is no request to send"]

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"random": -1}, InvalidArgumentError, "random: got -1"),
            ({"batch_size": 0}, InvalidArgumentError, "batch size: got 0"),
            ({"seed": -1}, InvalidArgumentError, "seed: got -1"),
            ({"timeout": 0}, InvalidArgumentError, "timeout: got 0"),
            # gRPC takes these for a time that has passed.
            ({"timeout": float("inf")}, InvalidArgumentError, "timeout: got inf, want seconds > 0 and <= "),
            ({"timeout": 1e300}, InvalidArgumentError, r"timeout: got 1e\+300"),
            ({"integers": (1, 1)}, InvalidArgumentError, "integers"),
            ({"signatures": ["no"]}, InvalidArgumentError, r"signature: got 'no', want one of \['serving_default'\]"),
            ({"requests": [PredictionLog()]}, InvalidArgumentError, "not a request: got mexport.serving.PredictionLog"),
            ({"requests": ["absent"]}, FileNotFoundError, "no such file: absent"),
            ({"version": 4}, FileNotFoundError, r"no version 4, want one of \[3, 12\]"),
        ],
    )
    def test_wrong_use(self, options, error, message, dense):
        with pytest.raises(error, match=message):
            serve_check(dense[0], **options)

    def test_no_export(self, tmp_path):
        with pytest.raises(SavedModelError, match="no version"):
            serve_check(tmp_path)

    def test_a_version_in_a_folder_called_entry(self, dense, tmp_path):
        """One directory is one model, whatever the folder around it is called."""
        shutil.copytree(dense[0] / "12", tmp_path / "entry" / "12")
        report = serve_check(tmp_path / "entry" / "12", requests=[dense_request(dense[1].inputs)])
        assert report.ok, report.failures
        assert [(request.model, request.code) for request in report.requests] == [("model", "OK")]
        assert report.problems == []


class TestCommand:
    def test_text(self, dense, capsys):
        assert main(["serve-check", str(dense[0]), "--random", "2", "--integers", "0:10", "--show"]) == 0
        first, *requests, last = capsys.readouterr().out.splitlines()
        assert first.startswith(f"model ctr: {dense[0]}/12: loaded in ")
        assert [line.startswith("request random #") for line in requests] == [True, False, True, False]
        assert requests[1].startswith("  answer: ")
        assert last.startswith("ok: 2 requests, 0 failed; latency p50 ")

    def test_failures(self, dense, tmp_path, capsys):
        mx.write_records(tmp_path / "f", logs(dense_request({}), dense_request(dense[1].inputs)))
        assert main(["serve-check", str(dense[0]), "--requests", str(tmp_path / "f"), "--json"]) == 1
        said = capsys.readouterr()
        lines = [json.loads(line) for line in said.out.splitlines()]
        assert [next(iter(line)) for line in lines] == ["model", "request", "request", "summary"]
        assert [line["request"]["code"] for line in lines[1:3]] == ["INVALID_ARGUMENT", "OK"]
        summary = lines[-1]["summary"]
        assert (summary["ok"], summary["requests"], summary["failed"], summary["version"]) == (False, 2, 1, 12)
        assert "the check failed: 1 failures" in said.err

    def test_replay(self, dense, tmp_path, capsys):
        mx.write_records(tmp_path / "f", logs(dense_request(dense[1].inputs)))
        arguments = ["serve-check", str(dense[0]), "--replay"]
        assert main([*arguments, "--requests", str(tmp_path / "f"), "--version", "3"]) == 0
        out = capsys.readouterr().out
        assert f"request {tmp_path}/f #0 predict 'serving_default' batch 6: ok in" in out
        assert "/3: loaded" in out
        assert main(arguments) == 2
        assert "there is no warmup file to replay" in capsys.readouterr().err
        assert main([*arguments, "--random", "3"]) == 2
        assert "--replay takes no --random" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "status"),
        [(["--batch-size", "0"], 2), (["--version", "4"], 1), (["--requests", "absent"], 1)],
    )
    def test_wrong_use(self, arguments, status, dense, capsys):
        assert main(["serve-check", str(dense[0]), *arguments]) == status
        assert capsys.readouterr().err.startswith("mexport: ")

    def test_a_range_that_is_none(self, dense, capsys):
        with pytest.raises(SystemExit, match="2"):
            main(["serve-check", str(dense[0]), "--integers", "5"])
        assert "argument --integers: got '5', want FIRST:END" in capsys.readouterr().err


class TestReplay:
    @pytest.fixture
    def copy(self, examples, tmp_path):
        path = Path(shutil.copytree(examples, tmp_path / "1"))
        (path / "assets.extra").mkdir()
        return path

    def good(self):
        requests = examples_requests()
        requests["predict"].model_spec.version.value = 77  # servers do not look at it here
        del requests["session_run"]
        return list(requests.values())

    def test_good(self, copy):
        mx.write_records(copy / WARMUP, [*logs(*self.good()), b""])
        report = replay_warmup(copy)
        assert report.ok, report.failures
        assert [r.kind for r in report.requests] == ["predict", "classify", "regress", "multi_inference", ""]
        assert all(r.seconds > 0 for r in report.requests[:4])

    def test_bad_records(self, copy):
        requests = examples_requests()
        bad = make_classify_request(make_model_spec("m", signature_name="regress"), [example(1)])
        mx.write_records(copy / WARMUP, logs(requests["session_run"], requests["predict"], bad, requests["regress"]))
        report = replay_warmup(copy)
        assert [r.code for r in report.requests] == ["UNIMPLEMENTED", "OK", "INVALID_ARGUMENT", "OK"]
        assert "#2 classify 'regress' batch 1: INVALID_ARGUMENT: signature 'regress': got method" in report.failures[1]
        assert len(replay_warmup(copy, stop_at_failure=True).requests) == 1

    def test_given_files_take_the_place_of_the_models_own(self, copy, tmp_path):
        for name, request in (("a", "predict"), ("b", "regress")):
            mx.write_records(tmp_path / name, logs(examples_requests()[request]))
        report = replay_warmup({"model": copy}, [tmp_path / "a", str(tmp_path / "b")])
        assert [(Path(r.source).name, r.kind) for r in report.requests] == [("a", "predict"), ("b", "regress")]

    def test_nothing_to_replay(self, copy, tmp_path):
        with pytest.raises(InvalidArgumentError, match=r"tf_serving_warmup_requests: is missing"):
            replay_warmup(copy)
        with pytest.raises(FileNotFoundError, match="no such file"):
            replay_warmup(copy, tmp_path / "absent")
        with pytest.raises(InvalidArgumentError, match=r"got \['a', 'b'\], want 'entry' among them"):
            replay_warmup({"a": copy, "b": copy})
        mx.write_records(copy / WARMUP, [])
        assert "has no record" in replay_warmup(copy).failures[0]

    def test_a_model_that_cannot_be_loaded(self, copy):
        mx.write_records(copy / WARMUP, logs(*self.good()))
        (copy / "saved_model.pb").write_bytes(b"\xff")
        report = replay_warmup(copy)
        assert (len(report.failures), report.requests) == (1, [])


class TestValidation:
    """An exporter replays the warmup file against the staged model, and publishes nothing that fails."""

    def export(self, tmp_path, warmup):
        checkpoint = table_exports.make_checkpoint(tmp_path)
        return table_exports.export(tmp_path, checkpoint, validate="warmup", warmup_file=warmup)

    def test_good(self, tmp_path):
        mx.write_records(tmp_path / "w", logs(make_predict_request("m", {"ids": np.arange(3)})))
        path, _ = self.export(tmp_path, tmp_path / "w")
        assert (Path(path) / WARMUP).read_bytes() == (tmp_path / "w").read_bytes()

    def test_bad(self, tmp_path):
        good, bad = (make_predict_request("m", {"ids": np.zeros(3, dtype)}) for dtype in (np.int64, np.int32))
        mx.write_records(tmp_path / "w", logs(good, bad, bad))
        with pytest.raises(ValidationError, match=r"#1 predict 'serving_default' batch 3: .*got int32, want int64$"):
            self.export(tmp_path, tmp_path / "w")
        assert not (tmp_path / "models").exists()

    def test_a_model_that_tensorflow_traced(self, tmp_path):
        table_exports.make_checkpoint(tmp_path)
        for name, value in (("good", 2), ("bad", b"text")):
            mx.write_records(tmp_path / name, logs(make_predict_request("m", {"x": [value]})))

        def model_fn(features, mode):
            return mx.EstimatorSpec(mode, {"y": features["x"] * 2})

        def receiver_fn():
            x = tf.compat.v1.placeholder(tf.int32, [None], name="x")
            return mx.ServingInputReceiver({"x": x}, {"x": x})

        exporter = partial(
            mx.StandaloneExporter, model_fn, tmp_path / "train", source=TensorFlowSource(), validate="warmup"
        )
        path = exporter(tmp_path / "models", warmup_file=tmp_path / "good").export_saved_model(receiver_fn).decode()
        assert serve_check(path, keep_values=True).requests[0].outputs["y"].values == [4]
        with pytest.raises(ValidationError, match="got string, want int32"):
            exporter(tmp_path / "none", warmup_file=tmp_path / "bad").export_saved_model(receiver_fn)
        assert not (tmp_path / "none").exists()

    def test_no_warmup_file(self, tmp_path):
        with pytest.raises(ValidationError, match=r"validate='warmup': .*is missing"):
            self.export(tmp_path, None)
        assert not (tmp_path / "models").exists()
