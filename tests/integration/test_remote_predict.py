"""The op that asks other models, in sessions, against a gRPC server with TensorFlow Serving's own messages."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")

from tensorflow.core.framework.tensor_pb2 import TensorProto  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402

from mexport_pb import InvalidArgumentError  # noqa: E402
from mexport_pb.runtime import ops  # noqa: E402
from mexport_pb.runtime.remote_predict import remote_predict, set_predict_servers  # noqa: E402
from tests.support.predict_server import predict_server  # noqa: E402
from tests.support.table_ops import in_session  # noqa: E402

pytestmark = pytest.mark.tensorflow

errors = tf.errors
LONG = 60_000  # milliseconds: no test waits so long

VALUES = {
    "float32": np.array([[1.5, -2.5], [np.inf, 0]], np.float32),
    "float64": np.array([1e300, -0.0]),
    "float16": np.array([1.5, 65504], np.float16),
    "bfloat16": np.array([1.5, -3], tf.bfloat16.as_numpy_dtype),
    "int8": np.array([-128, 127], np.int8),
    "uint8": np.array([0, 255], np.uint8),
    "int16": np.array([-(2**15), 2**15 - 1], np.int16),
    "uint16": np.array([0, 2**16 - 1], np.uint16),
    "int32": np.array([-(2**31), 2**31 - 1], np.int32),
    "uint32": np.array([0, 2**32 - 1], np.uint32),
    "int64": np.array([[-(2**63)], [2**63 - 1], [0]], np.int64),
    "uint64": np.array([0, 2**64 - 1], np.uint64),
    "bool": np.array([True, False]),
    "complex64": np.array([1 + 2j], np.complex64),
    "complex128": np.array([1 - 2j], np.complex128),
    "string": np.array([b"", b"\x00\xff", b"x" * 300], object),
    "scalar": np.float32(7),
    "no elements": np.zeros([0, 3], np.float32),
    "no strings": np.array([], object),
    "large": np.arange(1 << 20, dtype=np.float32),
}


@pytest.fixture(autouse=True)
def no_servers():
    yield
    set_predict_servers(None)


def proto(value):
    dtype = tf.string if np.asarray(value).dtype == object else None
    return tf.make_tensor_proto(value, dtype)


def response(**outputs):
    return predict_pb2.PredictResponse(outputs={name: proto(value) for name, value in outputs.items()})


def echo(request, context):
    outputs = {name: request.inputs[name] for name in request.output_filter}
    return predict_pb2.PredictResponse(outputs=outputs)


def ask(tensors, outputs=("x",), types=(tf.float32,), **attrs):
    attrs = {"model_name": "m", "max_rpc_deadline_millis": LONG, **attrs}
    return ops.tf_serving_remote_predict(
        list(tensors), list(tensors.values()), list(outputs), output_types=list(types), **attrs
    )


def one(value=1.0):
    return {"x": tf.constant([value])}


def test_every_type_goes_and_comes_back():
    with predict_server(echo) as server, in_session() as run:
        set_predict_servers({"m": [server.address]})
        given = {name: tf.constant(value) for name, value in VALUES.items()}
        predicted = ask(given, VALUES, [tensor.dtype for tensor in given.values()], model_version=3)
        code, message, got = run([predicted.status_code, predicted.status_error_message, predicted.output_tensors])
    assert (code, message) == (0, b"")
    for value, back in zip(VALUES.values(), got, strict=True):
        np.testing.assert_array_equal(value, back)
        assert np.asarray(value).dtype == np.asarray(back).dtype
    (request,) = server.requests
    assert request.model_spec.name == "m"
    assert request.model_spec.version.value == 3
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.output_filter) == list(VALUES)
    for name, value in VALUES.items():
        np.testing.assert_array_equal(tf.make_ndarray(request.inputs[name]), value)


@pytest.mark.parametrize("name", VALUES)
def test_answers_in_every_form(name):
    # As TensorFlow Serving writes them: in the fields of the types, not as content.
    from tensorflow.python.framework.tensor_util import GetNumpyAppendFn

    value = np.asarray(VALUES[name])
    made = proto(value[:0] if value.ndim else value)
    made.tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
    if value.ndim:
        GetNumpyAppendFn(value.dtype)(made, value.ravel())
    assert not made.tensor_content
    with predict_server(lambda request, context: predict_pb2.PredictResponse(outputs={"x": made})) as server:
        set_predict_servers({"m": [server.address]})
        (got,) = ask(one(), types=[made.dtype]).output_tensors
    np.testing.assert_array_equal(got.numpy(), value)


def test_a_version_is_named_only_if_there_is_one():
    with predict_server(echo) as server:
        set_predict_servers({"m": [server.address]})
        ask(one(), signature_name="other")
        ask(one(), model_version=0)
    without, zero = (request.model_spec for request in server.requests)
    assert not without.HasField("version")
    assert without.signature_name == "other"
    assert zero.HasField("version")
    assert zero.version.value == 0


def test_the_python_face():
    with predict_server(echo) as server:
        set_predict_servers({"m": [server.address]})
        (got,) = remote_predict(["x"], [[2.0]], ["x"], "m", max_rpc_deadline_millis=LONG, output_types=[tf.float32])
    assert got.numpy().tolist() == [2.0]
    with pytest.raises(ValueError, match="model_name: got None"):
        remote_predict(["x"], [[2.0]], ["x"], None, output_types=[tf.float32])


# Deadlines and errors of calls.


@pytest.fixture
def sleeper():
    """A server that does not answer before the test is over."""
    over = threading.Event()

    def sleep(request, context):
        over.wait(30)
        return echo(request, context)

    with predict_server(sleep) as server:
        yield server
        over.set()


def test_the_deadline_is_kept(sleeper):
    set_predict_servers({"m": [sleeper.address]})
    with in_session() as run:
        predicted = ask(one(), max_rpc_deadline_millis=200)
        begin = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError, match=f"model 'm' at {sleeper.address}, signature 'serving_d"):
            run(predicted.output_tensors)
        assert 0.2 <= time.monotonic() - begin < 5


def test_a_cancelled_step_does_not_wait(sleeper):
    set_predict_servers({"m": [sleeper.address]})
    with in_session() as run:
        predicted = ask(one())
        begin = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError):
            run(predicted.output_tensors, options=tf.compat.v1.RunOptions(timeout_in_ms=300))
        assert time.monotonic() - begin < 10


def test_an_error_of_the_server():
    def fail(request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such signature: é")

    with predict_server(fail) as server:
        set_predict_servers({"m": [server.address]})
        with pytest.raises(errors.NotFoundError, match=r"remote predict of model 'm' at .*: no such signature: é"):
            ask(one())
        types = [tf.float32, tf.string, tf.int64]
        code, message, outputs = ask(one(), "xyz", types, fail_op_on_rpc_error=False)
    assert code.numpy() == 5
    assert b"no such signature" in message.numpy()
    assert [(output.dtype, output.shape.as_list()) for output in outputs] == [(dtype, [0]) for dtype in types]


def free_address():
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        return f"localhost:{bound.getsockname()[1]}"


def test_a_refused_connection():
    set_predict_servers({"m": [free_address()]})
    with pytest.raises(errors.UnavailableError, match="remote predict of model 'm' at localhost"):
        ask(one())
    assert ask(one(), fail_op_on_rpc_error=False).status_code.numpy() == 14


def test_another_replica_answers_for_one_that_is_gone():
    with predict_server(echo) as left, predict_server(echo) as right:
        set_predict_servers({"m": [free_address(), left.address, free_address(), right.address]})
        for _ in range(40):
            ask(one())
    assert len(left.requests) + len(right.requests) == 40
    assert left.requests
    assert right.requests


def answers(*bad):
    """The errors of answers that are bytes or messages."""
    left = list(bad)
    found = []
    with predict_server(lambda request, context: left.pop(0)) as server:
        set_predict_servers({"m": [server.address]})
        for _ in bad:
            code, message, outputs = ask(one(), fail_op_on_rpc_error=False)
            assert outputs[0].shape == [0]
            found.append((code.numpy(), message.numpy().decode()))
    return found


def test_answers_that_do_not_fit():
    found = answers(response(), response(y=1.0, z=2.0), response(x=[1, 2]))
    assert [code for code, _ in found] == [9, 9, 9]
    for (_, message), want in zip(
        found, ["no output 'x': got none", "no output 'x': got 'y', 'z'", "output 'x': got dtype int32, want float"],
        strict=True,
    ):  # fmt: skip
        assert want in message


def test_answers_that_are_none():
    def tensor(**fields):
        fields.setdefault("tensor_shape", {"dim": [{"size": 2}]})
        return predict_pb2.PredictResponse(outputs={"x": TensorProto(dtype=1, **fields)})

    whole = response(x=np.zeros(100, np.float32)).SerializeToString()
    huge = {"dim": [{"size": 1 << 40}]}
    bad = [
        b"\xff\xff\xff",
        whole[:-1],
        b"\x0a\x7f" + whole[2:],
        tensor(tensor_content=b"123"),
        tensor(tensor_shape={"unknown_rank": True}, float_val=[1]),
        tensor(tensor_shape={"dim": [{"size": -1}]}, float_val=[1]),
        tensor(tensor_shape=huge, float_val=[1]),
        tensor(tensor_shape=huge),
        tensor(tensor_shape={"dim": [{"size": 1 << 62}] * 3}),
        tensor(tensor_shape={"dim": [{"size": 1}] * 255}, float_val=[1]),
        tensor(tensor_content=b"1" * 12),
    ]
    assert [code for code, _ in answers(*bad)] == [13] * len(bad)


def test_an_answer_with_one_value_for_all_elements():
    filled = tf.compat.v1.make_tensor_proto(5.0, shape=[1000])
    with predict_server(lambda request, context: predict_pb2.PredictResponse(outputs={"x": filled})) as server:
        set_predict_servers({"m": [server.address]})
        (got,) = ask(one()).output_tensors
    np.testing.assert_array_equal(got, np.full(1000, 5, np.float32))


def test_random_damage_is_told():
    rng = np.random.default_rng(5)
    whole = response(x=np.arange(10, dtype=np.float32), y=[b"a", b"bc"]).SerializeToString()

    def damage(request, context):
        broken = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 4)):
            broken[at] = rng.integers(256)
        return bytes(broken)

    with predict_server(damage) as server:
        set_predict_servers({"m": [server.address]})
        codes = {
            int(ask(one(), "xy", [tf.float32, tf.string], fail_op_on_rpc_error=False).status_code) for _ in range(300)
        }
    assert {0, 9, 13} <= codes


def test_many_calls_at_once():
    with predict_server(echo) as server, in_session() as run:
        set_predict_servers({"m": [server.address]})
        fed = tf.compat.v1.placeholder(tf.float32, [None])
        asked = [ask({"x": fed + i}).output_tensors[0] for i in range(40)]
        threads = []
        wrong = []

        def work(k):
            got = run(asked, {fed: [k]})
            wrong.extend(i for i, value in enumerate(got) if value.tolist() != [k + i])

        for k in range(4):
            threads.append(threading.Thread(target=work, args=(k * 1000,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(server.requests) == 160


# Inputs of the op.


def test_aliases_must_be_as_many_as_tensors():
    with pytest.raises(errors.InvalidArgumentError, match="input_tensor_aliases: got shape"):
        ops.tf_serving_remote_predict(["a", "b"], [1.0], ["x"], output_types=[tf.float32], model_name="m")
    with pytest.raises(errors.InvalidArgumentError, match="output_tensor_aliases: got shape"):
        ops.tf_serving_remote_predict(["a"], [1.0], [["x"]], output_types=[tf.float32], model_name="m")
    with pytest.raises(errors.InvalidArgumentError, match="'a' comes twice"):
        ops.tf_serving_remote_predict(["a", "a"], [1.0, 2.0], ["x"], output_types=[tf.float32], model_name="m")
    with tf.Graph().as_default(), pytest.raises(ValueError, match="got 2 aliases, want 1, one for each tensor"):
        ops.tf_serving_remote_predict(["a", "b"], [1.0], ["x"], output_types=[tf.float32], model_name="m")


@pytest.mark.parametrize("attrs", [{"max_rpc_deadline_millis": 0}, {"types": [tf.resource]}, {"types": [tf.variant]}])
def test_attributes_that_cannot_be(attrs):
    with pytest.raises(
        errors.InvalidArgumentError, match=r"max_rpc_deadline_millis: got 0|cannot go to another server"
    ):
        ask(one(), **attrs)


def test_static_shapes():
    with tf.Graph().as_default():
        code, message, outputs = ask(one(), "xy", [tf.float32, tf.string])
    assert code.shape == []
    assert message.shape == []
    assert [output.shape.rank for output in outputs] == [None, None]


# Which servers.


def served_as(servers, **attrs):
    """The name under which the one server of a map is asked; SERVER in the map stands for it."""
    with predict_server(echo) as server:
        set_predict_servers({key: [server.address] * count for key, count in servers.items()})
        ask(one(), **attrs)
    return server.requests[0].model_spec.name


def test_names_in_the_map():
    assert (
        served_as({"ranker:ps_0": 1, "ranker:ps_1": 0}, model_name="ranker:ps_0", old_model_name="x_1") == "ranker:ps_0"
    )
    assert served_as({"ranker:ps_0": 0, "m": 1}) == "m"
    assert served_as({"ps:3": 1}, model_name="ranker:ps_3", old_model_name="ps_3") == "ps_3"
    assert served_as({"ps:3_x": 1}, model_name="ranker:ps_3", old_model_name="ps_3_x") == "ps_3_x"
    assert served_as({"ps:2": 1}, model_name="ranker:ps_2", task=2) == "ranker:ps_2"


@pytest.mark.parametrize(
    ("servers", "attrs", "message"),
    [
        ({}, {}, "want addresses of 'm' nor 'ps:-1', got no such name in the map of set_predict_servers"),
        ({"m": []}, {}, "want addresses of 'm', got an empty list"),
        ({"a:ps_0": ["h:1"]}, {"model_name": "b:ps_0", "old_model_name": "ps_0"}, "want addresses of 'b:ps_0', got no"),
    ],
)
def test_no_servers(servers, attrs, message):
    set_predict_servers(servers)
    with pytest.raises(errors.UnavailableError, match=f"No available remote servers: {message}"):
        ask(one(), **attrs)
    assert ask(one(), fail_op_on_rpc_error=False, **attrs).status_code.numpy() == 14


@pytest.mark.parametrize(
    "servers",
    [{"m": "h:1"}, {"m": [1]}, {1: ["h:1"]}, {"m": ["no address"]}, {"m": ["h:99999"]}, {"m": [""]}, [("m", ["h:1"])]],
)
def test_maps_that_are_none(servers):
    with predict_server(echo) as server:
        set_predict_servers({"m": [server.address]})
        with pytest.raises(InvalidArgumentError):
            set_predict_servers(servers)
        ask(one())  # what was set before stays


def test_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MEXPORT_PREDICT_SERVERS", raising=False)
    with pytest.raises(errors.UnavailableError, match="MEXPORT_PREDICT_SERVERS, which is not set"):
        ask(one())
    with predict_server(echo) as server, predict_server(echo) as other:
        monkeypatch.setenv("MEXPORT_PREDICT_SERVERS", json.dumps({"m": [server.address], "é\n\U0001f600": []}))
        ask(one())
        path = tmp_path / "servers.json"
        path.write_text(json.dumps({"m": [other.address]}))
        monkeypatch.setenv("MEXPORT_PREDICT_SERVERS", f"@{path}")
        ask(one())
        ask(one())
        (tmp_path / "next").write_text(json.dumps({"m": [server.address]}))
        os.replace(tmp_path / "next", path)
        ask(one())
        assert (len(server.requests), len(other.requests)) == (2, 2)
        set_predict_servers({"m": [other.address]})
        ask(one())
        assert len(other.requests) == 3
        set_predict_servers(None)
        path.write_text("{}")
        with pytest.raises(errors.UnavailableError, match=f"in the map of MEXPORT_PREDICT_SERVERS: {path}"):
            ask(one())


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"m": ["h:1"]} x', '{"m": "h:1"}', '{"m": ["h:1",]}', '{"m": [], "m": []}', '{"m": ["\\ud800"]}',
     '{"m": ["h:1"', '{m: []}', '{"m": ["\\q"]}', '{"m": ["h"]}', "@/no/such/file"],
)  # fmt: skip
def test_a_malformed_environment_is_told(monkeypatch, text):
    monkeypatch.setenv("MEXPORT_PREDICT_SERVERS", text)
    with pytest.raises(errors.InvalidArgumentError, match=r"remote predict of model 'm'.*MEXPORT_PREDICT_SERVERS: "):
        ask(one())
