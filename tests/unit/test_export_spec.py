import pytest

import mexport_pb as mx
from mexport_pb.export.signatures import build_signature_defs, export_outputs_of, signatures_of
from mexport_pb.export.source import ProtobufSource


@pytest.fixture
def graph():
    builder = mx.GraphBuilder()
    with builder.as_default():
        yield builder


def signature_defs(receiver, outputs):
    source, graph = ProtobufSource(), mx.get_default_graph()
    return build_signature_defs(signatures_of(receiver, outputs, source, graph), source, graph)


def test_single_tensors_get_the_default_keys(graph):
    x = graph.placeholder("float32", [None], name="x")
    receiver = mx.ServingInputReceiver(x, x)
    assert receiver.features == {"feature": x}
    assert receiver.receiver_tensors == {"input": x}
    (signature,) = signature_defs(receiver, {"serving_default": mx.PredictOutput(x)}).values()
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.inputs["input"].name == "x:0"
    assert signature.outputs["output"].name == "x:0"


def test_keys_must_be_strings(graph):
    x = graph.placeholder("float32", [None], name="x")
    with pytest.raises(mx.InvalidArgumentError, match="tensor keys: got 1, want strings"):
        mx.ServingInputReceiver({}, {1: x})
    with pytest.raises(mx.InvalidArgumentError, match="want a mapping from name to tensors"):
        mx.ServingInputReceiver({}, x, [x])


def test_predictions_are_the_default_output(graph):
    x = graph.placeholder("float32", [None], name="x")
    outputs = export_outputs_of(mx.EstimatorSpec(mx.ModeKeys.PREDICT, predictions={"p": x}))
    assert outputs == {"serving_default": mx.PredictOutput({"p": x})}


def test_a_single_output_becomes_the_default_too(graph):
    output = mx.PredictOutput(graph.placeholder("float32", [None]))
    outputs = export_outputs_of(mx.EstimatorSpec("infer", export_outputs={"mine": output}))
    assert outputs == {"mine": output, "serving_default": output}


def test_several_outputs_need_a_default(graph):
    output = mx.PredictOutput(graph.placeholder("float32", [None]))
    with pytest.raises(mx.InvalidArgumentError, match="got 2 outputs and none named 'serving_default'"):
        export_outputs_of(mx.EstimatorSpec("infer", export_outputs={"a": output, "b": output}))


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(mx.InvalidArgumentError, match="neither predictions nor export_outputs"):
        export_outputs_of(mx.EstimatorSpec("infer"))
    with pytest.raises(mx.InvalidArgumentError, match="export_outputs: got list, want a mapping"):
        export_outputs_of(mx.EstimatorSpec("infer", export_outputs=[]))
    with pytest.raises(mx.InvalidArgumentError, match=r"export_outputs\['a'\]: got int"):
        export_outputs_of(mx.EstimatorSpec("infer", export_outputs={"a": 1}))
    with pytest.raises(mx.InvalidArgumentError, match="scores, classes or both"):
        mx.ClassificationOutput()


def test_outputs_of_other_makers_are_taken_by_their_attributes(graph):
    class Foreign:
        def __init__(self, **attributes):
            self.__dict__.update(attributes)

    x = graph.placeholder("float32", [None])
    spec = mx.EstimatorSpec(
        "infer",
        export_outputs={
            "serving_default": Foreign(outputs={"o": x}),
            "r": Foreign(value=x),
            "c": Foreign(scores=x, classes=None),
        },
    )
    assert export_outputs_of(spec) == {
        "serving_default": mx.PredictOutput({"o": x}),
        "r": mx.RegressionOutput(x),
        "c": mx.ClassificationOutput(scores=x),
    }


def test_classify_and_regress_signatures(graph):
    examples = graph.placeholder("string", [None], name="examples")
    scores = graph.placeholder("float32", [None, 3], name="scores")
    classes = graph.placeholder("string", [None, 3], name="classes")
    receiver = mx.ServingInputReceiver({}, {"anything": examples})
    built = signature_defs(
        receiver,
        {"c": mx.ClassificationOutput(scores, classes), "r": mx.RegressionOutput(scores)},
    )
    assert built["c"].method_name == mx.CLASSIFY_METHOD
    assert {k: v.name for k, v in built["c"].inputs.items()} == {"inputs": "examples:0"}
    assert {k: v.name for k, v in built["c"].outputs.items()} == {"classes": "classes:0", "scores": "scores:0"}
    assert built["r"].method_name == mx.REGRESS_METHOD
    assert {k: v.name for k, v in built["r"].outputs.items()} == {"outputs": "scores:0"}


def test_signatures_that_no_request_can_call_are_left_out(graph, caplog):
    number = graph.placeholder("float32", [None], name="number")
    examples = graph.placeholder("string", [None], name="examples")
    receiver = mx.ServingInputReceiver({}, {"number": number}, {"raw": examples})
    built = signature_defs(receiver, {"serving_default": mx.PredictOutput(number), "r": mx.RegressionOutput(number)})
    assert sorted(built) == ["raw:r", "raw:serving_default", "serving_default"]
    assert "signature 'r' left out: input: got DT_FLOAT, want DT_STRING" in caplog.text
    only_numbers = mx.ServingInputReceiver({}, {"number": number})
    with pytest.raises(mx.InvalidArgumentError, match="none of the outputs can be served: 'r': input: got DT_FLOAT"):
        signature_defs(only_numbers, {"r": mx.RegressionOutput(number)})


def test_tensors_of_another_graph_are_refused(graph):
    x = graph.placeholder("float32", [None], name="x")
    other = mx.GraphBuilder()
    with other.as_default():
        namesake = other.placeholder("float32", [None], name="x")
    receiver = mx.ServingInputReceiver({}, {"x": x})
    with pytest.raises(mx.InvalidArgumentError, match="is not a tensor of the graph that is exported"):
        signature_defs(receiver, {"serving_default": mx.PredictOutput(namesake)})


def test_tensor_infos_in_signatures_are_kept(graph):
    info = mx.make_tensor_info("x:0", "int64", [None, 4])
    signature = mx.SavedModelSignature("s", {"x": info}, {"x": info})
    built = build_signature_defs([signature], ProtobufSource(), graph)
    assert built["s"].inputs["x"] == info
