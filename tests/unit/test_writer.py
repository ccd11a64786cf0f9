"""Writing SavedModels without TensorFlow: what is written, what is refused, and that nothing is left behind."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.export import publish

W = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


def tree(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


@pytest.fixture
def checkpoint(tmp_path):
    prefix = tmp_path / "train" / "model.ckpt-12"
    with mx.BundleWriter(prefix) as writer:
        writer.add("b", np.zeros(2, np.float32))
        writer.add("global_step", np.array(12, np.int64))
        writer.add("w", W)
        writer.add("w/Adam", W)
    return prefix


def build(shape=(2, 2), dtype="float32", name="w", tags=(), asset=None, step=False):
    graph = mx.GraphBuilder()
    with graph.as_default():
        x = graph.placeholder(dtype, [None, 2], name="x")
        w = graph.variable(name, list(shape), dtype)
        y = graph.matmul(x, w, name="y")
        if step:
            graph.global_step()
        if asset is not None:
            for path in asset:
                graph.add_to_collection("asset_filepaths", graph.const(str(path), name="asset"))
    return graph.to_meta_graph(tags=tags, signatures={"serving_default": mx.make_signature_def({"x": x}, {"y": y})})


def test_a_model_is_written_whole(tmp_path, checkpoint):
    path = mx.write_saved_model(build(), tmp_path / "models" / "1", checkpoint)
    assert path == tmp_path / "models" / "1"
    assert tree(path) == [
        "saved_model.pb",
        "variables",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    assert os.listdir(tmp_path / "models") == ["1"]
    report = mx.check_saved_model(path)
    assert report.ok
    assert report.tag_sets == [["serve"]]
    assert (report.variables, report.variable_bytes) == (1, 16)
    with mx.BundleReader(path / "variables" / "variables") as bundle:
        np.testing.assert_array_equal(bundle.read("w"), W)


def test_a_graph_without_variables_needs_no_checkpoint(tmp_path):
    graph = mx.GraphBuilder()
    with graph.as_default():
        x = graph.placeholder("float32", [None], name="x")
        y = graph.negative(x, name="y")
    meta_graph = graph.to_meta_graph(signatures={"serving_default": mx.make_signature_def({"x": x}, {"y": y})})
    path = mx.write_saved_model(meta_graph, tmp_path / "1")
    assert tree(path) == ["saved_model.pb", "variables"]
    assert mx.check_saved_model(path).ok


def test_variables_without_a_checkpoint_are_refused(tmp_path):
    with pytest.raises(mx.InvalidArgumentError, match="the graph has variables: pass variables="):
        mx.write_saved_model(build(), tmp_path / "1")
    assert tree(tmp_path) == []


def test_several_graphs_with_tags_of_their_own(tmp_path, checkpoint):
    graphs = [build(tags=["serve"]), build(tags=["serve", "gpu"])]
    path = mx.write_saved_model(graphs, tmp_path / "1", checkpoint)
    assert mx.check_saved_model(path).tag_sets == [["serve"], ["serve", "gpu"]]


def test_variables_of_later_graphs_come_too(tmp_path, checkpoint):
    graphs = [build(tags=["serve"]), build(tags=["other"], name="w/Adam")]
    path = mx.write_saved_model(graphs, tmp_path / "1", checkpoint)
    report = mx.check_saved_model(path)
    assert report.ok
    assert report.variables == 2


def test_two_graphs_with_the_same_tags_are_refused(tmp_path, checkpoint):
    with pytest.raises(mx.InvalidArgumentError, match="tags"):
        mx.write_saved_model([build(), build()], tmp_path / "1", checkpoint)


def test_tags_can_be_given_for_a_graph_without(tmp_path, checkpoint):
    path = mx.write_saved_model(build(), tmp_path / "1", checkpoint, tags=["serve", "tpu"])
    assert mx.check_saved_model(path).tag_sets == [["serve", "tpu"]]
    with pytest.raises(mx.InvalidArgumentError, match="tags are for a single meta graph without tags"):
        mx.write_saved_model(build(tags=["a"]), tmp_path / "2", checkpoint, tags=["b"])


def test_text_form(tmp_path, checkpoint):
    binary = mx.write_saved_model(build(), tmp_path / "1", checkpoint)
    text = mx.write_saved_model(build(), tmp_path / "2", checkpoint, as_text=True)
    assert "saved_model.pbtxt" in tree(text)
    assert "saved_model.pb" not in tree(text)
    assert mx.read_saved_model(text) == mx.read_saved_model(binary)
    assert mx.check_saved_model(text).ok


def test_the_same_inputs_give_the_same_bytes(tmp_path, checkpoint):
    one = mx.write_saved_model(build(), tmp_path / "1", checkpoint)
    two = mx.write_saved_model(build(), tmp_path / "elsewhere" / "2", checkpoint)
    assert tree(one) == tree(two)
    for name in tree(one):
        if (one / name).is_file():
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_a_missing_variable_is_named_with_what_is_near(tmp_path, checkpoint):
    with pytest.raises(mx.MissingVariableError) as raised:
        mx.write_saved_model(build(name="w/Adm"), tmp_path / "models" / "1", checkpoint)
    message = str(raised.value)
    assert message.startswith(f"{checkpoint}: the checkpoint, which has 4 variables, lacks variable of the graph: ")
    assert "'w/Adm' (near it: 'w/Adam'" in message
    assert isinstance(raised.value, ValueError)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (2, 3)}, r"variable 'w': got shape \[2, 2\] in the checkpoint, want \[2, 3\]"),
        ({"dtype": "float64"}, r"variable 'w': got float32 in the checkpoint, want float64"),
    ],
)
def test_a_variable_that_differs_is_refused(tmp_path, checkpoint, arguments, message):
    with pytest.raises(mx.MismatchError, match=message):
        mx.write_saved_model(build(**arguments), tmp_path / "models" / "1", checkpoint)
    assert not (tmp_path / "models").exists()


def test_global_step_is_written_where_the_checkpoint_has_none(tmp_path, checkpoint):
    bare = tmp_path / "bare"
    mx.copy_bundle(checkpoint, bare, ["w"])
    with pytest.raises(mx.MissingVariableError, match="'global_step'"):
        mx.write_saved_model(build(step=True), tmp_path / "1", bare)
    path = mx.write_saved_model(build(step=True), tmp_path / "1", bare, global_step=77)
    with mx.BundleReader(path / "variables" / "variables") as bundle:
        step = bundle.read("global_step")
    assert (step.dtype, step.shape, int(step)) == (np.dtype(np.int64), (), 77)
    path = mx.write_saved_model(build(step=True), tmp_path / "2", checkpoint, global_step=77)
    with mx.BundleReader(path / "variables" / "variables") as bundle:
        assert int(bundle.read("global_step")) == 12


@pytest.mark.parametrize("damage", ["data", "index", "no data", "no index"])
def test_a_damaged_checkpoint_leaves_nothing(tmp_path, checkpoint, damage):
    data, index = f"{checkpoint}.data-00000-of-00001", f"{checkpoint}.index"
    if damage.startswith("no"):
        os.remove(data if damage == "no data" else index)
        expected = FileNotFoundError
    else:
        target = Path(data if damage == "data" else index)
        content = bytearray(target.read_bytes())
        content[-20 if damage == "data" else 10] ^= 1
        target.write_bytes(content)
        expected = mx.BundleError
    with pytest.raises(expected):
        mx.write_saved_model(build(), tmp_path / "models" / "1", checkpoint)
    assert tree(tmp_path / "models") == [] if (tmp_path / "models").exists() else True


def test_assets_are_copied_and_named_by_the_builders_rule(tmp_path, checkpoint):
    for folder, content in (("a", "one"), ("b", "two"), ("c", "one"), ("d", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "vocab.txt").write_text(content)
    paths = [tmp_path / folder / "vocab.txt" for folder in "abcd"]
    path = mx.write_saved_model(build(asset=paths), tmp_path / "1", checkpoint)
    files = {p.name: p.read_text() for p in (path / "assets").iterdir()}
    # The third is equal to the first, which has the plain name; the fourth is not, though equal to the second.
    assert files == {"vocab.txt": "one", "vocab.txt_1": "two", "vocab.txt_2": "two"}
    (graph,) = mx.read_saved_model(path).meta_graphs
    assert len(graph.collection_def["saved_model_assets"].any_list.value) == 4
    assert mx.check_saved_model(path).ok


def test_a_missing_asset_source_is_an_error(tmp_path, checkpoint):
    with pytest.raises(mx.MismatchError, match=r"its source .*nowhere\.txt does not exist"):
        mx.write_saved_model(build(asset=[tmp_path / "nowhere.txt"]), tmp_path / "models" / "1", checkpoint)
    with pytest.raises(mx.MismatchError, match="is a directory"):
        mx.write_saved_model(build(asset=[tmp_path]), tmp_path / "models" / "1", checkpoint)


def test_assets_of_a_graph_that_names_them_already(tmp_path, checkpoint):
    source = tmp_path / "vocab.txt"
    source.write_text("words")
    first = mx.write_saved_model(build(asset=[source]), tmp_path / "1", checkpoint)
    (graph,) = mx.read_saved_model(first).meta_graphs
    del graph.collection_def["asset_filepaths"]
    with pytest.raises(mx.MismatchError, match=r"the graph has an asset 'vocab.txt', but no file was given"):
        mx.write_saved_model(graph, tmp_path / "2", checkpoint)
    with pytest.raises(mx.MismatchError, match="a file was given for the asset 'other'"):
        mx.write_saved_model(graph, tmp_path / "2", checkpoint, assets={"vocab.txt": source, "other": source})
    second = mx.write_saved_model(graph, tmp_path / "2", checkpoint, assets={"vocab.txt": source})
    assert (second / "assets" / "vocab.txt").read_text() == "words"


def test_a_saved_model_is_written_again_from_its_own_files(tmp_path, checkpoint):
    source = tmp_path / "vocab.txt"
    source.write_text("words")
    first = mx.write_saved_model(build(asset=[source]), tmp_path / "1", checkpoint)
    (graph,) = mx.read_saved_model(first).meta_graphs
    assets = {"vocab.txt": first / "assets" / "vocab.txt"}
    second = mx.write_saved_model(graph, tmp_path / "2", first / "variables" / "variables", assets=assets)
    assert tree(first) == tree(second)
    assert (first / "saved_model.pb").read_bytes() == (second / "saved_model.pb").read_bytes()


def test_extra_assets(tmp_path, checkpoint):
    source = tmp_path / "warm"
    source.write_text("w")
    extra = {"tf_serving_warmup_requests": source, "sub/notes.txt": source}
    path = mx.write_saved_model(build(), tmp_path / "1", checkpoint, assets_extra=extra)
    assert (path / "assets.extra" / "tf_serving_warmup_requests").read_text() == "w"
    assert (path / "assets.extra" / "sub" / "notes.txt").read_text() == "w"


@pytest.mark.parametrize("name", ["", "/abs", "../up", "a/../../b", "a//b", "./a", "a/", "a\0b", "."])
def test_extra_assets_stay_in_their_folder(tmp_path, checkpoint, name):
    source = tmp_path / "warm"
    source.write_text("w")
    with pytest.raises(mx.InvalidArgumentError):
        mx.write_saved_model(build(), tmp_path / "models" / "1", checkpoint, assets_extra={name: source})
    assert not (tmp_path / "models").exists()


def test_an_illegal_graph_is_refused_before_anything_is_made(tmp_path, checkpoint):
    graph = build()
    graph.signature_def["serving_default"].inputs["x"].name = "nothing:0"
    with pytest.raises(mx.InvalidArgumentError, match="nothing"):
        mx.write_saved_model(graph, tmp_path / "models" / "1", checkpoint)
    assert not (tmp_path / "models").exists()


def test_an_existing_target_is_not_touched(tmp_path, checkpoint):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "mine").touch()
    with pytest.raises(mx.VersionExistsError):
        mx.write_saved_model(build(), tmp_path / "1", checkpoint)
    assert tree(tmp_path / "1") == ["mine"]


def test_wrong_arguments_are_refused(tmp_path, checkpoint):
    with pytest.raises(mx.InvalidArgumentError, match="got no meta graph"):
        mx.write_saved_model([], tmp_path / "1", checkpoint)
    with pytest.raises(mx.InvalidArgumentError, match="validate: got 'never'"):
        mx.write_saved_model(build(), tmp_path / "1", checkpoint, validate="never")
    with pytest.raises(mx.InvalidArgumentError, match="tags: got the string 'serve'"):
        mx.write_saved_model(build(), tmp_path / "1", checkpoint, tags="serve")
    with pytest.raises(mx.InvalidArgumentError, match="want a name that is a unix second"):
        mx.write_saved_model(build(), tmp_path / "x", checkpoint, timestamped=True)
    with pytest.raises(mx.InvalidArgumentError, match="a value was given for 'global_step', which is no variable"):
        mx.write_saved_model(build(), tmp_path / "1", checkpoint, global_step=3)
    with pytest.raises(mx.InvalidArgumentError, match="'x' is an extra asset itself"):
        source = Path(f"{checkpoint}.index")
        mx.write_saved_model(build(), tmp_path / "1", checkpoint, assets_extra={"x": source, "x/y": source})
    assert not (tmp_path / "1").exists()


def test_graphs_with_damaged_tables_are_refused(tmp_path, checkpoint):
    graph = build()
    graph.collection_def["monolith_multi_hash_tables"].bytes_list.value.append(b"t")
    with pytest.raises(mx.SavedModelError, match="'monolith_multi_hash_tables' element 0: not a MultiHashTableProto"):
        mx.write_saved_model(graph, tmp_path / "models" / "1", checkpoint)
    with pytest.raises(mx.SavedModelError, match="'monolith_multi_hash_tables' element 0: not a MultiHashTableProto"):
        mx.export_meta_graph(graph, checkpoint, tmp_path / "models" / "1", prune=False)
    assert not (tmp_path / "models").exists()


def test_objects_whose_content_would_be_lost_are_refused(tmp_path, checkpoint):
    graph = build()
    graph.graph_def.node.add(name="mutable", op="NoOp")
    graph.collection_def["saveable_objects"].node_list.value.append("mutable")
    with pytest.raises(mx.UnsupportedError, match="mutable lookup tables; their content would be lost"):
        mx.write_saved_model(graph, tmp_path / "1", checkpoint)
    assert not (tmp_path / "1").exists()


def test_lookup_tables_without_a_main_op_are_refused(tmp_path, checkpoint):
    graph = build()
    graph.graph_def.node.add(name="fill", op="NoOp")
    graph.collection_def["table_initializer"].node_list.value.append("fill")
    with pytest.raises(mx.InvalidArgumentError, match="no main op to fill them: pass it through add_main_op"):
        mx.write_saved_model(graph, tmp_path / "1", checkpoint)
    mx.write_saved_model(mx.add_main_op(graph), tmp_path / "1", checkpoint)


def test_assets_of_several_graphs(tmp_path, checkpoint):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("a")
    second.write_text("b")
    graphs = [build(tags=["a"], asset=[first]), build(tags=["b"], asset=[second])]
    path = mx.write_saved_model(graphs, tmp_path / "1", checkpoint)
    again = list(mx.read_saved_model(path).meta_graphs)
    assets = {"a.txt": first, "b.txt": second}
    copy = mx.write_saved_model(again, tmp_path / "2", checkpoint, assets=assets)
    assert tree(copy) == tree(path)
    with pytest.raises(mx.MismatchError, match="a file was given for the asset 'c'"):
        mx.write_saved_model(again, tmp_path / "3", checkpoint, assets={**assets, "c": first})


def test_an_asset_that_has_moved_is_found_by_name_or_tensor(tmp_path, checkpoint):
    moved = tmp_path / "moved.txt"
    moved.write_text("words")
    graph = build(asset=["/training/machine/vocab.txt"])
    path = mx.write_saved_model(graph, tmp_path / "1", checkpoint, assets={"vocab.txt": moved})
    assert (path / "assets" / "vocab.txt").read_text() == "words"
    path = mx.write_saved_model(graph, tmp_path / "2", checkpoint, assets={"asset:0": moved})
    assert (path / "assets" / "vocab.txt").read_text() == "words"


def test_one_graph_whole_and_another_in_parts(tmp_path, checkpoint):
    parts = mx.GraphBuilder()
    with parts.as_default():
        x = parts.placeholder("float32", [None, 2], name="x")
        halves = [parts.variable(f"w/part_{i}", [1, 2], save_slice=mx.SaveSlice("w", [2, 2], [i, 0])) for i in range(2)]
        y = parts.matmul(x, parts.concat(halves, 0), name="y")
    signature = {"serving_default": mx.make_signature_def({"x": x}, {"y": y})}
    in_parts = parts.to_meta_graph(tags=["parts"], signatures=signature)
    for graphs in ([build(tags=["whole"]), in_parts], [in_parts, build(tags=["whole"])]):
        path = mx.write_saved_model(graphs, tmp_path / graphs[0].meta_info_def.tags[0], checkpoint)
        assert mx.check_saved_model(path).ok
        with mx.BundleReader(path / "variables" / "variables") as bundle:
            np.testing.assert_array_equal(bundle.read("w"), W)


def test_an_object_based_checkpoint_is_recognised(tmp_path):
    with mx.BundleWriter(tmp_path / "ck") as writer:
        writer.add("_CHECKPOINTABLE_OBJECT_GRAPH", b"")
        writer.add("w/.ATTRIBUTES/VARIABLE_VALUE", W)
    with pytest.raises(mx.MissingVariableError, match="The checkpoint is object-based"):
        mx.write_saved_model(build(), tmp_path / "1", tmp_path / "ck")


def test_a_parent_that_cannot_be_synced_takes_the_version_back(tmp_path, checkpoint, monkeypatch):
    real = publish.sync

    def fail(path):
        if Path(path) == tmp_path / "models":
            raise OSError(5, "Input/output error", str(path))
        real(path)

    monkeypatch.setattr(publish, "sync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        mx.write_saved_model(build(), tmp_path / "models" / "1", checkpoint)
    assert not (tmp_path / "models").exists()


class TestCheck:
    @pytest.fixture
    def model(self, tmp_path, checkpoint):
        source = tmp_path / "vocab.txt"
        source.write_text("words")
        return mx.write_saved_model(build(asset=[source]), tmp_path / "1", checkpoint)

    def test_a_good_model_has_no_problem(self, model):
        report = mx.check_saved_model(model)
        assert report.ok
        assert report.problems == []
        assert report.assets == ["vocab.txt"]
        report.raise_if_bad()

    @pytest.mark.parametrize(
        ("path", "what"),
        [
            ("assets/vocab.txt", "assets/vocab.txt: is missing"),
            ("variables/variables.index", "variables.index: is missing, but the graph has a saver"),
            ("variables/variables.data-00000-of-00001", "No such file"),
        ],
    )
    def test_missing_files_are_found(self, model, path, what):
        os.remove(model / path)
        report = mx.check_saved_model(model)
        assert not report.ok
        with pytest.raises(mx.ValidationError, match=what):
            report.raise_if_bad()

    @pytest.mark.parametrize("read", [True, False])
    def test_short_and_missing_data_files_are_found(self, model, read):
        data = model / "variables" / "variables.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:3])
        (problem,) = mx.check_saved_model(model, read_variables=read).errors
        assert "too short: got 3 bytes, want 16" in problem.message
        data.unlink()
        assert not mx.check_saved_model(model, read_variables=read).ok

    def test_a_variable_of_another_shape_is_found(self, model, tmp_path):
        other = tmp_path / "other" / "variables"
        with mx.BundleWriter(other) as writer:
            writer.add("w", np.zeros((3, 2), np.float32))
        for suffix in ("index", "data-00000-of-00001"):
            os.replace(f"{other}.{suffix}", model / "variables" / f"variables.{suffix}")
        (problem,) = mx.check_saved_model(model).errors
        assert problem.message == "variable 'w': got shape [3, 2] in the checkpoint, want [2, 2]"

    def test_flipped_bytes_of_values_are_found(self, model):
        data = model / "variables" / "variables.data-00000-of-00001"
        for offset in range(data.stat().st_size):
            content = bytearray(data.read_bytes())
            content[offset] ^= 0x10
            data.write_bytes(content)
            assert not mx.check_saved_model(model).ok
            assert mx.check_saved_model(model, read_variables=False).ok
            content[offset] ^= 0x10
            data.write_bytes(content)

    def test_a_variable_that_is_not_in_the_index_is_found(self, model, tmp_path):
        other = tmp_path / "other" / "variables"
        with mx.BundleWriter(other) as writer:
            writer.add("v", W)
        for suffix in ("index", "data-00000-of-00001"):
            os.replace(f"{other}.{suffix}", model / "variables" / f"variables.{suffix}")
        (problem,) = mx.check_saved_model(model).errors
        assert problem.message == "variable 'w' of the graph is missing"

    def test_a_restore_of_another_key_is_found(self, model):
        saved_model = mx.read_saved_model(model)
        (names,) = [n for n in saved_model.meta_graphs[0].graph_def.node if n.name == "save/RestoreV2/tensor_names"]
        names.attr["value"].tensor.string_val[0] = b"other"
        (model / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        (problem,) = mx.check_saved_model(model).errors
        assert problem.message == "variable 'other' of the graph is missing"

    def test_a_saver_of_the_first_format_is_not_called_broken(self, model):
        saved_model = mx.read_saved_model(model)
        saved_model.meta_graphs[0].saver_def.version = 1
        (model / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        for path in (model / "variables").iterdir():
            path.unlink()
        report = mx.check_saved_model(model)
        assert report.ok
        (problem,) = report.problems
        assert "may be of checkpoint format V1" in problem.message

    def test_no_model_at_all(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            mx.check_saved_model(tmp_path)


def test_options_are_applied_after_the_saver_is_in(tmp_path, checkpoint):
    graph = mx.GraphBuilder()
    for name, device in (("w", "/job:ps/task:1"), ("b", "/job:ps/task:0")):
        with graph.device(device):
            graph.variable(name, [2, 2] if name == "w" else [2])
    meta_graph = graph.to_meta_graph()
    path = mx.write_saved_model(meta_graph, tmp_path / "1", checkpoint, clear_devices=True, strip_default_attrs=True)
    assert len([name for name in tree(path) if ".data-" in name]) == 2, (
        "a shard for each of the devices that there were"
    )
    (written,) = mx.read_saved_model(path).meta_graphs
    assert not any(node.device for node in written.graph_def.node)
    merge = next(node for node in written.graph_def.node if node.op == "MergeV2Checkpoints")
    assert "delete_old_dirs" not in merge.attr
    assert written.meta_info_def.stripped_default_attrs
    assert written == mx.strip_default_attrs(mx.clear_devices(_with_tag(mx.add_saver(meta_graph))))


def _with_tag(meta_graph):
    meta_graph.meta_info_def.tags.append("serve")
    return meta_graph


def test_two_graphs_may_share_an_asset_of_equal_content_only(tmp_path, checkpoint):
    sources = []
    for folder, text in (("a", "same"), ("b", "same"), ("c", "else")):
        source = tmp_path / folder / "words.txt"
        source.parent.mkdir()
        source.write_text(text)
        sources.append(source)
    graphs = [build(tags=[tag], asset=[source]) for tag, source in zip("abc", sources, strict=True)]
    path = mx.write_saved_model(graphs[:2], tmp_path / "1", checkpoint)
    assert (path / "assets" / "words.txt").read_text() == "same"
    with pytest.raises(mx.InvalidArgumentError, match="different sources for the asset 'words"):
        mx.write_saved_model(graphs, tmp_path / "2", checkpoint)
    assert not (tmp_path / "2").exists()


@pytest.mark.parametrize(
    "write",
    [
        "mx.write_saved_model(mx.freeze(meta, prefix), target, clear_devices=True, strip_default_attrs=True)",
        "mx.export_meta_graph(meta, prefix, target, freeze=True)",
    ],
    ids=["writer", "frozen export"],
)
def test_memory_is_three_times_that_of_a_large_graph(tmp_path, write):
    """Eight constants of 16 MiB: the caller's graph, and twice as much when the file is read back to be checked."""
    script = f"""
        import gc, sys
        import numpy as np
        import mexport_pb as mx
        from tests.support.memory import peak_rss

        prefix, target = sys.argv[1:]
        g = mx.GraphBuilder()
        names = [f"v{{i}}" for i in range(8)]
        with mx.BundleWriter(prefix) as bundle:
            for name in names:
                bundle.add(name, np.zeros([4 << 20], np.float32))
        outputs = {{name: g.identity(g.variable(name, [4 << 20])) for name in names}}
        meta = g.to_meta_graph(["serve"], {{"s": mx.make_signature_def({{}}, outputs)}})
        gc.disable()  # nothing that is large may need it
        before = peak_rss()
        path = {write}
        print((peak_rss() - before) >> 20, (path / "saved_model.pb").stat().st_size >> 20)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "c"), str(tmp_path / "1")]
    peak, size = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert size == 128
    assert peak <= 3 * size + 16
