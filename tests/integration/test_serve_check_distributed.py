"""A distributed export runs: entry, remote predict, parameter servers, all in one check; and what breaks is named."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("grpc")

import mexport_pb as mx
from mexport_pb._proto import saved_model_pb2
from mexport_pb.cli import main
from mexport_pb.errors import InvalidArgumentError, ValidationError
from mexport_pb.messages import make_predict_request
from mexport_pb.runtime import execute_restore, replay_warmup, serve_check
from mexport_pb.runtime.served_export import ServedExport
from tests.support import remote_model
from tests.support.remote_model import STEP

pytestmark = pytest.mark.tensorflow

IDS = np.arange(30)
REQUEST = make_predict_request("whatever", {"ids": IDS})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a checkpoint."""
    folder = tmp_path_factory.mktemp("remote")
    remote_model.make_checkpoint(folder, servers=remote_model.SERVERS)
    return folder


@pytest.fixture(scope="module")
def base(folder):
    return remote_model.export(folder)


@pytest.fixture
def copy(base, tmp_path):
    return Path(shutil.copytree(base, tmp_path / "copy"))


def change_graph(base, name, change):
    path = base / name / str(STEP) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(model.meta_graphs[0])
    path.write_bytes(model.SerializeToString())


def test_answers_come_from_the_tables_of_the_servers(base):
    report = serve_check(base, requests=[REQUEST, REQUEST], keep_values=True, model_name="ctr")
    assert report.ok, report.failures
    assert report.problems == []
    assert [m.name for m in report.models] == ["entry", "ps_0", "ps_1"]
    for request in report.requests:
        np.testing.assert_array_equal(
            np.array(request.outputs["y"].values, np.float32), remote_model.expected(base, IDS)
        )
    assert report.calls == {"ps_0": (2, 0), "ps_1": (2, 0)}


def test_names_of_old(folder, tmp_path):
    """Without the new names, calls go by the old ones, or by the number of the server."""
    base = remote_model.export(folder, tmp_path.name, call={"everywhere": True, "model_name": ""})
    report = serve_check(base, requests=[REQUEST], keep_values=True)
    assert report.ok, report.failures
    assert report.calls == {"ps_0": (1, 0), "ps_1": (1, 0)}
    got = np.array(report.requests[0].outputs["y"].values, np.float32)
    np.testing.assert_array_equal(got, remote_model.expected(base, IDS))


def test_random_requests_and_the_command(base, capsys):
    assert main(["serve-check", str(base), "--random", "3", "--batch-size", "5", "--model-name", "ctr"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["model entry", "model ps_0", "model ps_1"]
    assert sum("y float32[5, 4]" in line for line in lines) == 3
    assert "calls of ps_1: 3, failed: 0" in lines


def test_the_addresses_are_gone_afterwards(base):
    assert serve_check(base, random=1).ok
    with pytest.raises(ValidationError, match="No available remote servers"):
        execute_restore(base / "entry" / str(STEP), signature="serving_default", feeds={"ids": IDS})


def test_one_export_at_a_time(base):
    models = {name: base / name / str(STEP) for name in ("entry", "ps_0", "ps_1")}
    with ServedExport(models, "entry") as served:
        assert served.entry is not None
        with pytest.raises(InvalidArgumentError, match="serves another export"), ServedExport(models, "entry"):
            pass
        served.entry.handle(REQUEST)
        assert {call.model: call.code for call in served.take_calls()} == {"ctr:ps_0": "OK", "ctr:ps_1": "OK"}


def test_checks_in_two_threads_wait_for_one_another(base):
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda _: serve_check(base, random=1), range(2)))
    assert [report.failures for report in reports] == [[], []]


def test_a_server_that_is_missing(copy, capsys):
    shutil.rmtree(copy / "ps_1")
    assert main(["serve-check", str(copy), "--random", "1", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (problem,) = [line["problem"] for line in lines if "problem" in line]
    assert problem["where"] == "entry: remote call 'ask_1'"
    assert "nothing serves the model 'ctr:ps_1': got ['entry', 'ps_0']" in problem["message"]
    (request,) = [line["request"] for line in lines if "request" in line]
    # TensorFlow hides this status of ops.
    assert request["code"] == "INTERNAL"
    assert "No available remote servers: want addresses of 'ctr:ps_1'" in request["error"]
    assert "UnavailableError" in request["error"]


def test_a_server_of_another_version(copy):
    (copy / "ps_1" / str(STEP)).rename(copy / "ps_1" / str(STEP + 1))
    report = serve_check(copy, random=1)
    assert str(report.problems[0]) == f"error: ps_1: got versions ['{STEP + 1}'], want {STEP}"
    assert not report.requests[0].ok


def test_a_server_that_cannot_be_loaded(copy):
    shutil.rmtree(copy / "ps_0" / str(STEP) / "assets")
    report = serve_check(copy, random=1)
    (failed,) = [model for model in report.models if model.error]
    assert failed.name == "ps_0"
    assert report.problems == []
    assert not report.requests[0].ok


def test_a_signature_that_is_gone(copy):
    change_graph(copy, "ps_1", lambda graph: graph.signature_def.pop("lookup"))
    report = serve_check(copy, random=1)
    assert "error: entry: remote call 'ask_1': ps_1 has no signature 'lookup'" in str(report.problems[0])
    (request,) = report.requests
    assert request.code == "FAILED_PRECONDITION"
    (failed,) = request.failed_calls
    assert (failed.model, failed.signature, failed.code) == ("ctr:ps_1", "lookup", "FAILED_PRECONDITION")
    assert "ctr:ps_1 'lookup' said FAILED_PRECONDITION: serving signature key" in str(request)
    # The other server may not have answered yet when the request failed, but it is counted.
    assert report.calls["ps_1"] == (1, 1)


@pytest.fixture
def unchecked(monkeypatch):
    """Exports of this test are not checked for fit."""
    monkeypatch.setattr("mexport_pb.export.distributed.check_fit", lambda models: None)


@pytest.mark.parametrize(
    ("call", "problem", "code"),
    [
        ({"sends": "int32"}, "input 'ids': got int32, want int64", "INVALID_ARGUMENT"),
        ({"alias": "other"}, "output 'other': the signature has", "INVALID_ARGUMENT"),
        ({"model_version": 5}, f"asks for a version: got 5, want {STEP}", "NOT_FOUND"),
        ({"model_name": "ctr:ps_7"}, "nothing serves the model 'ctr:ps_7'", "INTERNAL"),
    ],
)
def test_calls_that_do_not_fit(call, problem, code, folder, tmp_path, unchecked):
    base = remote_model.export(folder, tmp_path.name, call=call)
    report = serve_check(base, random=1)
    assert any(problem in str(found) for found in report.problems), report.problems
    assert [request.code for request in report.requests] == [code]


def test_an_exporter_refuses_calls_that_do_not_fit(folder, tmp_path):
    with pytest.raises(ValidationError, match="entry: remote call 'ask_1' to ps_1 signature 'lookup' output 'other'"):
        remote_model.export(folder, tmp_path.name, call={"alias": "other"})
    assert list((folder / tmp_path.name).glob("*/*")) == []


def test_an_exporter_lets_calls_of_other_models_pass(folder, tmp_path):
    base = remote_model.export(folder, tmp_path.name, call={"model_name": "other_team"})
    assert len(list(base.glob("*/*"))) == 3


def test_a_failure_of_the_servers_graph_is_told_in_its_words(folder, tmp_path):
    base = remote_model.export(folder, tmp_path.name, call={"fail_op_on_rpc_error": False})

    def break_lookup(graph):
        (node,) = [node for node in graph.graph_def.node if node.op == "MonolithHashTableLookup"]
        extra = graph.graph_def.node.add(name="guard", op="CheckNumerics", input=[node.name])
        extra.attr["T"].type = 1
        extra.attr["message"].s = b"the guard says no"
        nan = graph.graph_def.node.add(name="nan", op="Const")
        nan.attr["dtype"].type = 1
        nan.attr["value"].tensor.CopyFrom(mx.make_tensor_proto(np.float32("nan")))
        extra.input[0] = "nan"
        graph.signature_def["lookup"].outputs["slot"].name = "guard:0"

    change_graph(base, "ps_1", break_lookup)
    report = serve_check(base, random=1)
    (request,) = report.requests
    (call,) = request.failed_calls
    assert (call.model, call.code) == ("ctr:ps_1", "INVALID_ARGUMENT")
    assert "the guard says no" in call.error
    # The graph passes over it; a check does not.
    assert not report.ok
    assert "the guard says no" in report.failures[0]


def test_the_deadline_of_a_call(folder, tmp_path):
    base = remote_model.export(folder, tmp_path.name, call={"max_rpc_deadline_millis": 1})
    big = make_predict_request("m", {"ids": np.zeros(3_000_000, np.int64)})
    (request,) = serve_check(base, requests=[big], timeout=60).requests
    assert request.code == "DEADLINE_EXCEEDED"
    assert "ps_1" in request.error


class TestWarmup:
    @pytest.fixture
    def warmup(self, tmp_path):
        good = make_predict_request("m", {"ids": IDS})
        bad = make_predict_request("m", {"ids": IDS}, ["absent"])
        for name, requests in (("good", [good]), ("bad", [good, bad])):
            mx.write_records(tmp_path / name, [mx.make_prediction_log(r).SerializeToString() for r in requests])
        return tmp_path

    def test_an_export_whose_warmup_requests_are_answered_is_published(self, folder, warmup):
        base = remote_model.export(folder, warmup.name, validate="warmup", warmup_file=warmup / "good")
        assert sorted(path.name for path in base.glob("*/*")) == [str(STEP)] * 3
        report = replay_warmup(base)
        assert report.ok
        assert report.calls == {"ps_0": (1, 0), "ps_1": (1, 0)}

    def test_each_model_has_its_own_file(self, copy, warmup):
        for name, file in (("entry", "good"), ("ps_1", "bad")):
            extra = copy / name / str(STEP) / "assets.extra"
            extra.mkdir()
            shutil.copy(warmup / file, extra / "tf_serving_warmup_requests")
        report = replay_warmup(copy)
        assert [(r.model, r.code) for r in report.requests] == [
            ("ps_1", "FAILED_PRECONDITION"),  # it has no serving_default
            ("ps_1", "FAILED_PRECONDITION"),
            ("entry", "OK"),
        ]

    @pytest.mark.parametrize(
        ("call", "file", "message"),
        [
            (None, "bad", "#1 predict 'serving_default' batch 30: INVALID_ARGUMENT: .*'absent'"),
            (None, None, "validate='warmup': .*is missing"),
            ({"signature_name": "lost"}, "good", "ps_1 has no signature 'lost'"),
        ],
    )
    def test_else_nothing_is(self, call, file, message, folder, warmup):
        path = None if file is None else warmup / file
        name = f"{warmup.name}_refused"
        with pytest.raises(ValidationError, match=message):
            remote_model.export(folder, name, call=call, validate="warmup", warmup_file=path)
        assert list((folder / name).glob("*/*")) == []

    def test_models_that_are_there_already_take_part(self, folder, warmup):
        options = {"validate": "warmup", "warmup_file": warmup / "good"}
        base = remote_model.export(folder, warmup.name)
        shutil.rmtree(base / "entry")
        remote_model.export(folder, warmup.name, **options)
        assert (base / "entry" / str(STEP) / "assets.extra" / "tf_serving_warmup_requests").is_file()
