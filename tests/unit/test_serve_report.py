"""The report of a check: what counts as a failure, percentiles, text and JSON."""

import json

import pytest

from mexport_pb.check import Problem
from mexport_pb.errors import ValidationError
from mexport_pb.runtime.serve_report import Latency, ModelReport, RequestReport, ServeReport, TensorReport
from mexport_pb.runtime.serving_rpc import ServedCall

FAILED_CALL = ServedCall("ctr:ps_0", "", 0.5, "INTERNAL", "it broke")


def request(number=0, *, code="OK", error="", seconds=0.25, calls=(), outputs=None):
    outputs = {"y": TensorReport("float32", [2], [1.5, "nan"])} if outputs is None else outputs
    return RequestReport(number, "random", "entry", "predict", "k", 2, seconds, code, error, outputs, list(calls))


@pytest.mark.parametrize(
    ("seconds", "want"),
    [
        ([], (0, 0, 0)),
        ([3], (3, 3, 3)),
        ([2, 1], (2, 2, 2)),
        (range(1, 21), (11, 19, 20)),
        (range(100, 0, -1), (51, 95, 100)),
    ],
)
def test_percentiles(seconds, want):
    latency = Latency.of(list(seconds))
    assert (latency.p50, latency.p95, latency.max) == want


def report(*requests, problems=(), models=()):
    return ServeReport("/base", 7, list(models), list(problems), list(requests), {"ps_0": (2, 1)})


def test_only_errors_are_failures():
    good = report(request(), problems=[Problem("warning", "w", "m")], models=[ModelReport("e", "p", 0, 0, [])])
    assert good.ok
    assert good.failures == []
    good.raise_if_bad()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (report(request(3, code="INTERNAL", error="no")), "/base: random #3 predict 'k' batch 2: INTERNAL: no$"),
        (
            report(request(calls=[FAILED_CALL])),
            r"float32\[2\]; ctr:ps_0 'serving_default' said INTERNAL: it broke$",
        ),
        (report(problems=[Problem("error", "there", "wrong")]), "/base: error: there: wrong$"),
        (report(models=[ModelReport("ps_0", "p", 0, 0, [], "gone")]), "/base: ps_0: gone$"),
        (report(*[request(code="INTERNAL")] * 5), r"\(and 2 more\)$"),
    ],
)
def test_failures(bad, message):
    assert not bad.ok
    with pytest.raises(ValidationError, match=message):
        bad.raise_if_bad()


def test_failed_requests_do_not_count_for_latency():
    assert report(request(seconds=1), request(seconds=9, code="INTERNAL")).latency.max == 1


def test_text():
    lines = list(
        report(
            request(),
            request(1, outputs={}),
            request(2, code="INTERNAL", error="no"),
            models=[ModelReport("entry", "/p", 1.25, 3 << 20, []), ModelReport("ps_0", "/q", 0, 0, [], "gone")],
            problems=[Problem("warning", "w", "m")],
        ).to_text(show=True)
    )
    assert lines == [
        "model entry: /p: loaded in 1.25 s, 3 MiB",
        "model ps_0: FAILED: gone",
        "warning: w: m",
        "request random #0 predict 'k' batch 2: ok in 250.00 ms: y float32[2]",
        "  y: 1.5 nan",
        "request random #1 predict 'k' batch 2: ok in 250.00 ms: no outputs",
        "request FAILED random #2 predict 'k' batch 2: INTERNAL: no",
        "  y: 1.5 nan",
        "calls of ps_0: 2, failed: 1",
        "FAILED: 3 requests, 1 failed; latency p50 250.00 ms, p95 250.00 ms, max 250.00 ms",
    ]


def test_json():
    lines = [json.loads(line) for line in report(request(calls=[FAILED_CALL])).to_json()]
    assert [list(line) for line in lines] == [["request"], ["summary"]]
    assert lines[0]["request"]["failed_calls"][0]["error"] == "it broke"
    assert lines[0]["request"]["outputs"]["y"] == {"dtype": "float32", "shape": [2], "values": [1.5, "nan"]}
    assert lines[1]["summary"]["calls"] == {"ps_0": {"failed": 1, "requests": 2}}
    assert (lines[1]["summary"]["ok"], lines[1]["summary"]["failed"]) == (False, 1)
