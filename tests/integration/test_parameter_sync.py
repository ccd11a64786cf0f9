"""Pushes of what training changed, to a server of grpcio with TensorFlow Serving's own messages and to the ops' own."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
grpc = pytest.importorskip("grpc")

from google.protobuf import json_format  # noqa: E402
from tensorflow_serving.apis import predict_pb2  # noqa: E402

from mexport_pb._proto.parameter_sync_pb2 import ClientConfig, PushResult  # noqa: E402
from mexport_pb.runtime import distributed_serving_ops, hash_table_ops, multi_hash_table_ops, ops  # noqa: E402
from tests.support.predict_server import predict_server  # noqa: E402
from tests.support.table_exports import config  # noqa: E402
from tests.support.table_ops import in_session, multi_config, table_config  # noqa: E402

pytestmark = pytest.mark.tensorflow

errors = tf.errors
RATE = 0.5


@pytest.fixture
def server():
    with predict_server(lambda request, context: predict_pb2.PredictResponse()) as served:
        yield served


def push_config(*targets, **fields):
    return ClientConfig(model_name="m", targets=targets, timeout_in_ms=10_000, **fields).SerializeToString()


def result(pushed):
    return json_format.Parse(pushed[0].decode(), PushResult()).responses


@pytest.fixture
def training():
    """A client, its table `t` of dimension 2 and its tables `m` of dimensions 1 and 2, and what can be done to them."""
    with in_session() as run:
        client = ops.parameter_sync_client(config=push_config(), shared_name="client")
        nothing = ops.dummy_hash_filter(shared_name="f")
        table = ops.hash_table(nothing, client, config=table_config(2), shared_name="t")
        made = ops.create_multi_hash_table(
            multi_config({"a": table_config(1), "b": table_config(2)}), nothing, client, shared_name="m"
        )
        run([table, made])
        where = tf.compat.v1.placeholder(tf.string, [])
        pushed = ops.parameter_sync(client, where)
        ids = tf.compat.v1.placeholder(tf.int64, [None])
        split = tf.compat.v1.placeholder(tf.int64, [None])
        values = tf.compat.v1.placeholder(tf.float32, None)
        optimized = ops.hash_table_optimize(table, ids, values, [RATE], np.int64(0), np.int64(0))
        assigned = ops.hash_table_assign(table, ids, values, np.int64(0))
        many = ops.multi_hash_table_optimize(made, ids, split, values, [RATE, RATE], np.int64(0), np.int64(0))
        again = ops.multi_hash_table_reinitialize(made, "b", ids)

        yield SimpleNamespace(
            run=run,
            client=client,
            table=table,
            push=lambda *targets: result(run(pushed, {where: push_config(*targets)})),
            push_again=lambda: result(run(pushed, {where: b""})),
            optimize=lambda i, gradients: run(optimized, {ids: i, values: gradients}),
            assign=lambda i, vectors: run(assigned, {ids: i, values: vectors}),
            optimize_many=lambda i, s, gradients: run(many, {ids: i, split: s, values: gradients}),
            reinitialize=lambda i: run(again, {ids: i}),
        )


def inputs(request):
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


def check(got, **want):
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_touched_entries_are_pushed_once(training, server):
    assert not training.push(server.address)
    training.optimize([3, -1, 3], [[1, 2], [3, 4], [1, 2]])
    (response,) = training.push(server.address)
    assert (response.status_code, response.error_message) == (0, "")
    assert (response.target, response.update_num) == (server.address, 2)
    (request,) = server.requests
    assert request.model_spec.name == "m"
    assert not request.model_spec.HasField("version")
    assert request.model_spec.signature_name == "hashtable_assign"
    check(inputs(request), t_id=[-1, 3], t_value=[[-1.5, -2], [-1, -2]])
    assert list(request.inputs["t_id"].int64_val) == [-1, 3]
    assert len(request.inputs["t_value"].float_val) == 4
    assert inputs(request)["t_id"].dtype == np.int64
    assert not training.push(server.address)


def test_assigned_entries_are_not_pushed(training, server):
    training.assign([1], [[1, 2]])
    assert not training.push(server.address)
    training.optimize([2], [[2, 2]])
    training.assign([2], [[8, 9]])
    training.push(server.address)
    check(inputs(server.requests[0]), t_id=[2], t_value=[[8, 9]])


def test_tables_of_one_name_go_together(training, server):
    training.optimize_many([5, 6, 7], [0, 2, 3], [2, 4, 6, 8])
    training.reinitialize([9])
    (response,) = training.push(server.address)
    assert response.update_num == 4
    (request,) = server.requests
    assert request.model_spec.signature_name == "m/raw_assign"
    check(inputs(request), id=[5, 6, 7, 9], id_split=[0, 2, 4], flat_value=[-1, -2, -3, -4, 0, 0])


def test_both_kinds_in_one_push(training, server):
    training.optimize([1], [[2, 2]])
    training.optimize_many([5], [0, 1, 1], [2])
    assert [response.update_num for response in training.push(server.address)] == [1, 1]
    assert [request.model_spec.signature_name for request in server.requests] == ["hashtable_assign", "m/raw_assign"]
    check(inputs(server.requests[1]), id=[5], id_split=[0, 1, 1], flat_value=[-1])


def test_every_single_table_is_in_the_request(training, server):
    other = ops.hash_table(ops.dummy_hash_filter(), training.client, config=table_config(3), shared_name="other")
    training.run(other)
    training.optimize([1], [[2, 2]])
    training.push(server.address)
    check(
        inputs(server.requests[0]), t_id=[1], t_value=[[-1, -1]], other_id=np.zeros([0]), other_value=np.zeros([0, 3])
    )
    assert server.requests[0].inputs["other_value"].dtype == tf.float32.as_datatype_enum


def test_fused_steps_touch(server):
    with in_session() as run:
        client = ops.parameter_sync_client(config=push_config(server.address), shared_name="client")
        nothing = ops.dummy_hash_filter(shared_name="f")
        tables = [ops.hash_table(nothing, client, config=table_config(1), shared_name=name) for name in "ab"]
        arguments = [[1, 2, 3], [1, 2, 3], [1, 2], [2.0, 4.0, 6.0], [0, 1], [0, 1], [RATE, RATE]]
        types = [tf.int64, tf.int64, tf.int32, tf.float32, tf.int32, tf.int32, tf.float32]
        fused = ops.hash_table_fused_optimize(
            tables, *(tf.constant(*pair) for pair in zip(arguments, types, strict=True)), np.int64(0), np.int64(0),
            num_of_shards=1,
        )  # fmt: skip
        run(fused)
        run(ops.parameter_sync(client, b""))
    check(inputs(server.requests[0]), a_id=[1], a_value=[[-1]], b_id=[2, 3], b_value=[[-2], [-3]])


def test_ids_that_a_filter_left_out_are_not_pushed(server):
    from tests.support.table_ops import threshold

    with in_session() as run:
        client = ops.parameter_sync_client(config=push_config(server.address), shared_name="client")
        counting = ops.hash_filter(capacity=1000, split_num=7, config=threshold(1), shared_name="f")
        table = ops.hash_table(counting, client, config=table_config(1), shared_name="t")
        gradients = tf.ones([3, 1])
        run(ops.hash_table_optimize(table, np.int64([1, 2, 2]), gradients, [RATE], np.int64(0), np.int64(0)))
        run(ops.parameter_sync(client, b""))
    check(inputs(server.requests[0]), t_id=[2], t_value=[[-0.5]])


def test_large_pushes_are_divided(training, server):
    # 8 bytes of floats and up to 3 of an id each: a little more than twice the limit.
    n = 1_000_003
    training.optimize(np.arange(n), np.full([n, 2], 2.0))
    responses = training.push(server.address)
    whole = predict_pb2.PredictRequest()
    whole.model_spec.name, whole.model_spec.signature_name = "m", "hashtable_assign"
    whole.inputs["t_id"].CopyFrom(ids_proto(np.arange(n)))
    whole.inputs["t_value"].CopyFrom(floats_proto(np.full([n, 2], -1.0, np.float32)))
    parts = -(-whole.ByteSize() // (4 << 20))
    assert parts == 3
    assert [response.update_num for response in responses] == [n // 3, n // 3, n - 2 * (n // 3)]
    got = [inputs(request) for request in server.requests]
    np.testing.assert_array_equal(np.concatenate([one["t_id"] for one in got]), np.arange(n))
    assert all((one["t_value"] == -1).all() for one in got)
    assert [len(one["t_value"]) for one in got] == [response.update_num for response in responses]


def ids_proto(ids):
    proto = tf.make_tensor_proto(np.zeros([0], np.int64), shape=[0])
    proto.tensor_shape.dim[0].size = len(ids)
    proto.int64_val.extend(ids.tolist())
    return proto


def floats_proto(values):
    proto = tf.make_tensor_proto(np.zeros([0], np.float32), shape=[0])
    proto.tensor_shape.CopyFrom(tf.TensorShape(values.shape).as_proto())
    proto.float_val.extend(values.ravel().tolist())
    return proto


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_the_limit_is_exact(training, server, rows):
    # A request of just the limit goes as it is; one row more divides it.
    ids = np.full([400_000], 1) * np.arange(400_000) + (1 << 30)

    def size(n):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "m", "hashtable_assign"
        request.inputs["t_id"].CopyFrom(ids_proto(ids[:n]))
        request.inputs["t_value"].CopyFrom(floats_proto(np.ones([n, 2], np.float32)))
        return request.ByteSize()

    n = (4 << 20) // 13
    while size(n) > 4 << 20:
        n -= 1
    n += rows
    training.optimize(ids[:n], np.ones([n, 2]))
    assert len(training.push(server.address)) == (1 if size(n) <= 4 << 20 else 2)


def free_address():
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        return f"localhost:{bound.getsockname()[1]}"


def test_what_a_target_did_not_take_is_pushed_to_it_again(training, server):
    gone = free_address()
    training.optimize([1], [[2, 2]])
    responses = {response.target: response for response in training.push(server.address, gone)}
    assert responses[server.address].status_code == 0
    assert responses[gone].status_code == 14
    assert responses[gone].update_num == 0
    assert responses[gone].error_message
    training.optimize([2], [[4, 4]])
    with predict_server(lambda request, context: predict_pb2.PredictResponse(), gone) as late:
        assert [response.status_code for response in training.push(server.address, gone)] == [0, 0]
        check(inputs(late.requests[0]), t_id=[1, 2], t_value=[[-1, -1], [-2, -2]])
    check(inputs(server.requests[1]), t_id=[2], t_value=[[-2, -2]])


def test_what_a_target_refuses_is_told(training):
    def refuse(request, context):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, 'no "table" <t>\né')

    with predict_server(refuse) as server:
        training.optimize([1], [[2, 2]])
        (response,) = training.push(server.address)
        assert (response.status_code, response.error_message) == (3, 'no "table" <t>\né')
        assert len(training.push(server.address)) == 1


def test_targets_are_those_of_the_last_config(training, server):
    training.optimize([1], [[2, 2]])
    assert not training.push()  # nobody to push to: it waits
    (response,) = training.push(server.address)
    assert response.update_num == 1
    training.optimize([1], [[2, 2]])
    (response,) = training.push_again()
    assert response.target == server.address
    (response,) = [training.optimize([1], [[2, 2]]), training.push("no address")][1]
    assert response.status_code == 3


def test_a_config_that_is_none(training):
    sync = ops.parameter_sync(training.client, b"\xff")
    with pytest.raises(errors.InvalidArgumentError, match="no ClientConfig"):
        training.run(sync)
    timeout = ops.parameter_sync(training.client, ClientConfig(timeout_in_ms=0).SerializeToString())
    with pytest.raises(errors.InvalidArgumentError, match="timeout_in_ms: got 0"):
        training.run(timeout)
    with pytest.raises(errors.InvalidArgumentError, match="no ClientConfig"):
        training.run(ops.parameter_sync_client(config=b"\xff"))


def test_dummy_clients_push_nothing():
    with in_session() as run:
        assert run(ops.parameter_sync(ops.dummy_sync_client(), push_config("localhost:1"))).tolist() == [b"{}"]


# The server of the ops, and the faces.


def test_tables_of_the_faces_push_to_the_dummy_server():
    with in_session() as run:
        server = distributed_serving_ops.create_dummy_sync_server("localhost:0")
        port = run(ops.dummy_sync_server_get_port(server))
        target = distributed_serving_ops.make_sync_config("m", [f"localhost:{port}"])
        (handle,) = distributed_serving_ops.create_parameter_sync_clients(0)
        client = distributed_serving_ops.ParameterSyncClient(handle)
        table = hash_table_ops.test_hash_table(2, sync_client=client.handle)
        tables = multi_hash_table_ops.MultiHashTable.from_configs(
            {"a": config(1), "b": config(2)}, name_suffix="x", sync_client=client.handle
        )
        run(tables.initializer)
        run(table.apply_gradients(tf.constant([1, 2], tf.int64), tf.ones([2, 2]), tf.constant(0, tf.int64)).as_op())
        looked_up = tables.lookup({"a": tf.constant([5], tf.int64), "b": tf.constant([5, 6], tf.int64)})
        gradients = {name: (ids, tf.ones_like(looked_up[name])) for name, ids in
                     {"a": tf.constant([5], tf.int64), "b": tf.constant([5, 6], tf.int64)}.items()}  # fmt: skip
        run(tables.apply_gradients(gradients, tf.constant(0, tf.int64)).as_op())
        sync = client.create_sync_op(target)
        assert sorted(response.update_num for response in result(run(sync))) == [2, 3]
        run(table.apply_gradients(tf.constant([2, 3], tf.int64), tf.ones([2, 2]), tf.constant(0, tf.int64)).as_op())
        assert [response.update_num for response in result(run(sync))] == [2]
        assert run(ops.dummy_sync_server_shutdown(server)) == 6
        assert run(ops.dummy_sync_server_shutdown(server)) == 6
        run(table.apply_gradients(tf.constant([2], tf.int64), tf.ones([1, 2]), tf.constant(0, tf.int64)).as_op())
        (response,) = result(run(sync))
        assert response.status_code == 14


def test_the_dummy_server_refuses_what_is_no_push():
    with in_session() as run:
        server = distributed_serving_ops.create_dummy_sync_server("localhost:0")
        address = f"localhost:{run(ops.dummy_sync_server_get_port(server))}"
        good = {"t_id": np.arange(2), "t_value": np.zeros([2, 1], np.float32)}
        bad = [
            {"t_id": np.arange(2)},
            good | {"t_value": np.zeros([3, 1], np.float32)},
            good | {"t_value": np.zeros([2, 1])},
            good | {"t_id": np.arange(2, dtype=np.int32)},
        ]
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

            def code(tensors, signature="hashtable_assign"):
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = signature
                for name, value in tensors.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
                try:
                    call(request.SerializeToString())
                except grpc.RpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

            assert {code(tensors) for tensors in bad} == {grpc.StatusCode.INVALID_ARGUMENT}
            assert code(good) == grpc.StatusCode.OK
            many = {"id": np.arange(2), "flat_value": np.zeros([2], np.float32)}
            assert code(many | {"id_split": np.int64([0, 3, 2])}, "m/raw_assign") == grpc.StatusCode.INVALID_ARGUMENT
            assert code(many | {"id_split": np.int64([0, 1, 2])}, "m/raw_assign") == grpc.StatusCode.OK
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                channel.unary_unary("/a.b/C")(b"")
        assert run(ops.dummy_sync_server_shutdown(server)) == 4


def test_an_address_that_cannot_be_listened_on():
    with in_session() as run, pytest.raises(errors.InvalidArgumentError, match="sync server"):
        run(ops.dummy_sync_server(address="nowhere"))


def test_clients_of_parameter_servers():
    with tf.Graph().as_default():
        clients = distributed_serving_ops.create_parameter_sync_clients(2)
        distributed_serving_ops.parameter_sync_client_from_config(ClientConfig(model_name="m"))
    assert [client.op.name for client in clients] == ["MonolithSyncClient_0", "MonolithSyncClient_1"]
    assert [client.op.get_attr("shared_name") for client in clients] == [
        b"MonolithSyncClient_0",
        b"MonolithSyncClient_1",
    ]
    assert [client.device for client in clients] == [f"/job:ps/task:{i}/device:CPU:0" for i in range(2)]
