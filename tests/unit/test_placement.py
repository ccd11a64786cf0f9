import pytest

import mexport_pb as mx
from mexport_pb.graph.placement import place_on_cpu


def placed(build, **options):
    graph = mx.GraphBuilder()
    with graph.as_default():
        build(graph)
    before = graph.to_meta_graph()
    kept = before.SerializeToString(deterministic=True)
    after = place_on_cpu(before, **options)
    assert before.SerializeToString(deterministic=True) == kept
    return {node.name: node.device for node in after.graph_def.node}


@pytest.mark.parametrize(
    ("device", "cpu", "gpu"),
    [
        (None, "/device:CPU:0", ""),
        ("/gpu:1", "/device:CPU:0", "/device:GPU:1"),
        ("/job:ps/task:3", "/job:ps/task:3/device:CPU:0", "/job:ps/task:3"),
        ("/job:ps/task:3/gpu:*", "/job:ps/task:3/device:CPU:0", "/job:ps/task:3/device:GPU:*"),
        ("/cpu:2", "/device:CPU:2", "/device:CPU:2"),
    ],
)
def test_nodes_go_to_the_cpu_of_their_task(device, cpu, gpu):
    def build(graph):
        with graph.device(device):
            graph.const(1.0, name="number")
            graph.const(b"text", name="text")

    assert placed(build) == {"number": cpu, "text": cpu}
    assert placed(build, allow_gpu=True) == {"number": gpu, "text": cpu}


def test_summaries_and_mates_of_other_nodes():
    def build(graph):
        graph.op("ScalarSummary", [graph.const(b"tag", name="tag"), graph.const(1.0, name="value")], name="summary")
        with graph.colocate_with(graph.const(2.0, name="mate")):
            graph.const(b"text", name="text")

    assert placed(build, allow_gpu=True) == {
        "tag": "/device:CPU:0",
        "value": "",
        "summary": "/device:CPU:0",
        "mate": "",
        "text": "",
    }


def test_a_malformed_device_is_an_error():
    graph = mx.GraphBuilder()
    graph.const(1.0)
    message = graph.to_meta_graph()
    message.graph_def.node[0].device = "/nowhere"
    with pytest.raises(mx.InvalidArgumentError, match="unknown part 'nowhere' of a device"):
        place_on_cpu(message)
