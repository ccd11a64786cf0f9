import threading

import pytest

import mexport_pb as mx


def test_modes_are_seen_inside_the_block_only():
    assert not mx.is_exporting()
    assert mx.get_current_export_ctx() is None
    context = mx.ExportContext()
    with mx.enter_export_mode(mx.ExportMode.STANDALONE, context) as entered:
        assert entered is context is mx.get_current_export_ctx()
        assert mx.is_exporting()
        assert mx.is_exporting_standalone()
        assert not mx.is_exporting_distributed()
    assert mx.get_current_export_mode() is mx.ExportMode.NONE
    with mx.enter_export_mode(mx.ExportMode.DISTRIBUTED):
        assert mx.is_exporting_distributed()
        assert not mx.is_exporting_standalone()


def test_modes_do_not_nest_and_are_left_on_errors():
    with mx.enter_export_mode(mx.ExportMode.STANDALONE):
        again = mx.enter_export_mode(mx.ExportMode.STANDALONE)
        with pytest.raises(mx.InvalidArgumentError, match="export mode can't be nested"), again:
            pass
        assert mx.is_exporting_standalone()
    with pytest.raises(KeyError), mx.enter_export_mode(mx.ExportMode.STANDALONE):
        raise KeyError
    assert not mx.is_exporting()


def test_other_threads_do_not_see_the_mode():
    seen = []
    with mx.enter_export_mode(mx.ExportMode.STANDALONE):
        thread = threading.Thread(target=lambda: seen.append(mx.is_exporting()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_signatures_are_kept_by_graph_replaced_and_merged():
    context = mx.ExportContext()
    one, other = mx.GraphBuilder(), mx.GraphBuilder()
    with one.as_default():
        x = one.placeholder("float32", [None], name="x")
        y = one.identity(x, name="y")
        context.add_signature(one, "a", {"x": x}, {"y": y})
        context.add_signature(one, "b", {"x": x}, {"y": y})
        context.add_signature(one, "a", {"z": x}, {"y": y})
        context.merge_signature(one, "b", {"more": x}, {})
        context.merge_signature(one, "c", {}, {"y": y})
    assert [s.name for s in context.signatures(one)] == ["a", "b", "c"]
    assert [sorted(s.inputs) for s in context.signatures(one)] == [["z"], ["more", "x"], []]
    assert context.signatures(other) == []
    # Merging is for parts of a signature that is announced elsewhere.
    assert one.get_collection("signature_name") == ["a", "b", "a"]


def test_sub_graphs_are_made_once_by_the_source():
    context = mx.ExportContext(with_remote_gpu=True)
    assert context.with_remote_gpu
    graph = context.sub_graph("ps_0")
    assert isinstance(graph, mx.GraphBuilder)
    assert context.sub_graph("ps_0") is graph
    assert context.dense_sub_graph("dense_0") is not graph
    assert context.sub_graph_num == 1
    assert list(context.sub_graphs) == ["ps_0"]
    assert list(context.dense_sub_graphs) == ["dense_0"]
