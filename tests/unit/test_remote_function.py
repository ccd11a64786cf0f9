"""Parts of a model that become models of their own."""

import pytest

import mexport_pb as mx
from mexport_pb.messages import tensor_proto_to_array


@pytest.fixture
def exporting():
    graph = mx.GraphBuilder()
    with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED) as context, graph.as_default():
        yield context, graph


def call_of(graph):
    (op,) = [op for op in graph.operations if op.type == "TfServingRemotePredict"]
    keys, *sent, wanted = op.inputs
    read = lambda tensor: [one.decode() for one in tensor_proto_to_array(tensor.op.node_def.attr["value"].tensor)]  # noqa: E731
    return op, read(keys), sent, read(wanted)


def test_a_function_of_two_tensors(exporting):
    context, entry = exporting
    a, b = entry.placeholder("float32", [None, 2], name="s/a"), entry.placeholder("float32", [2, 1], name="b")
    seen = []

    def remote(inputs):
        seen.append(inputs)
        graph = mx.get_default_graph()
        return {"y": graph.matmul(inputs["a"], inputs["b"], name="out/y"), "constant": 3}

    sub_graph = context.sub_graph("dense_0")
    with sub_graph.as_default():
        helper = mx.RemotePredictHelper("dense", {"a": a, "b": b}, remote)
    assert [(one.name, one.shape) for one in seen[0].values()] == [
        ("s/a_0_remote_input_ph:0", [None, 2]),
        ("b_0_remote_input_ph:0", [2, 1]),
    ]
    (signature,) = context.signatures(sub_graph)
    assert (signature.name, signature.method_name) == ("dense", mx.PREDICT_METHOD)
    assert list(signature.inputs) == ["s/a_0", "b_0"]
    assert list(signature.outputs) == ["out/y_0"]

    result = helper.call_remote_predict("m:dense_0", old_model_name="dense_0", max_rpc_deadline_millis=7)
    assert result["constant"] == 3
    assert result["y"].graph is entry
    assert result["y"].shape == [None, 1]
    op, keys, sent, wanted = call_of(entry)
    assert (keys, sent, wanted) == (["s/a_0", "b_0"], [a, b], ["out/y_0"])
    assert {key: op.node_def.attr[key].s.decode() for key in ("model_name", "old_model_name", "signature_name")} == {
        "model_name": "m:dense_0",
        "old_model_name": "dense_0",
        "signature_name": "dense",
    }
    assert (op.node_def.attr["task"].i, op.node_def.attr["max_rpc_deadline_millis"].i) == (0, 7)


def test_constants_as_inputs_in_one_graph(exporting):
    # As upstream: the function is in the graph that calls it, if the caller does not say another one.
    context, entry = exporting
    inputs = {"a": entry.const(1.0), "b": entry.const(2.0)}
    helper = mx.RemotePredictHelper("f", inputs, lambda given: entry.add(given["a"], given["b"]))
    assert isinstance(helper.call_remote_predict("m"), mx.Tensor)
    assert [one.name for one in context.signatures(entry)] == ["f"]


def test_other_inputs(exporting):
    _, entry = exporting
    a, b = entry.placeholder("float32", [None], name="a"), entry.placeholder("float32", [None], name="b")
    helper = mx.RemotePredictHelper("f", [a], lambda inputs: entry.identity(inputs[0]))
    helper.call_remote_predict("m", [b])
    assert call_of(entry)[2] == [b]
    for wrong in ([a, b], [entry.const(1, "int64")]):
        with pytest.raises(mx.InvalidArgumentError, match="remote function 'f': got inputs of the types"):
            helper.call_remote_predict("m", wrong)
    with pytest.raises(mx.InvalidArgumentError, match="model_name: got None"):
        helper.call_remote_predict(None)


def test_a_ragged_tensor_goes_and_comes(exporting):
    context, entry = exporting
    ragged = mx.RaggedTensor(
        entry.placeholder("int64", [None], name="v"), entry.placeholder("int64", [None], name="splits")
    )
    with context.sub_graph("dense_0").as_default():
        helper = mx.RemotePredictHelper("f", ragged, lambda one: one)
    result = helper.call_remote_predict("m")
    assert isinstance(result, mx.RaggedTensor)
    assert (result.values.shape, result.row_splits.shape) == ([None], [None])
    (signature,) = context.signatures(context.sub_graph("dense_0"))
    assert list(signature.inputs) == ["v_0", "splits_0"]
    assert list(signature.outputs) == ["v_0_remote_input_ph_0", "splits_0_remote_input_ph_0"]


def test_a_call_that_may_fail_promises_no_shape(exporting):
    _, entry = exporting
    helper = mx.RemotePredictHelper("f", [entry.const([1.0])], lambda inputs: inputs[0])
    assert helper.call_remote_predict("m", fail_op_on_rpc_error=False).shape is None


def test_refused(exporting):
    context, entry = exporting
    other = mx.GraphBuilder()
    twins = [entry.const(1.0, name="x"), other.const(1.0, name="x")]
    with pytest.raises(mx.InvalidArgumentError, match="input: two tensors have the key 'x_0'"):
        mx.RemotePredictHelper("f", twins, lambda inputs: inputs[0])
    with pytest.raises(mx.InvalidArgumentError, match="it returned no tensor"):
        mx.RemotePredictHelper("f", twins[0], lambda _: 3)
    with (
        context.sub_graph("ps_0").as_default(),
        pytest.raises(mx.InvalidArgumentError, match="x:0 is of another graph"),
    ):
        mx.RemotePredictHelper("f", twins[0], lambda _: twins[0])


def test_outside_of_an_export():
    graph = mx.GraphBuilder()
    with graph.as_default(), pytest.raises(mx.InvalidArgumentError, match="want an export that is running"):
        mx.RemotePredictHelper("f", graph.const(1.0), lambda one: one)


class TestDensePart:
    @staticmethod
    def dense(inputs):
        graph = mx.get_default_graph()
        return {"y": graph.matmul(inputs["x"], graph.variable("w", [2, 1]))}

    @pytest.mark.parametrize(
        ("mode", "remote_gpu"),
        [(mx.ExportMode.NONE, True), (mx.ExportMode.STANDALONE, True), (mx.ExportMode.DISTRIBUTED, False)],
    )
    def test_in_the_graph_itself(self, mode, remote_gpu):
        graph = mx.GraphBuilder()
        context = mx.ExportContext(remote_gpu)
        with graph.as_default():
            x = graph.placeholder("float32", [None, 2])
            if mode is mx.ExportMode.NONE:
                result = mx.call_dense_part(self.dense, {"x": x})
            else:
                with mx.enter_export_mode(mode, context):
                    result = mx.call_dense_part(self.dense, {"x": x})
        assert result["y"].op.type == "MatMul"
        assert context.sub_graph_num == 0

    def test_in_a_sub_graph_on_a_gpu(self):
        graph = mx.GraphBuilder()
        context = mx.ExportContext(with_remote_gpu=True)
        with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED, context), graph.as_default():
            x = graph.placeholder("float32", [None, 2], name="x")
            result = mx.call_dense_part(self.dense, {"x": x}, model_name="ctr")
        assert result["y"].shape == [None, 1]
        op, keys, _, _ = call_of(graph)
        assert keys == ["x_0"]
        assert op.node_def.attr["model_name"].s == b"ctr:dense_0"
        assert op.node_def.attr["signature_name"].s == b"gpu_remote_call"
        sub_graph = context.sub_graph("dense_0")
        assert {one.device for one in sub_graph.operations if one.type == "MatMul"} == {"/device:GPU:0"}
        assert not [one for one in graph.operations if one.type == "MatMul"]
