"""Warmup files of random requests: covered signatures, training data of features, and what is refused."""

import json
import os

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.instance_pb2 import Instance
from mexport_pb._proto.line_id_pb2 import LineId
from mexport_pb._proto.monolith_example_pb2 import Example, ExampleBatch
from mexport_pb.cli import main
from mexport_pb.messages import tensor_proto_to_array
from mexport_pb.warmup.features import id_features, read_features
from mexport_pb.warmup.random_data import RandomData

FEATURES = [
    mx.FeatureMeta("user", 1),
    mx.FeatureMeta("old", 3, fid_version=1),
    mx.FeatureMeta("clicks_recent", 7),
    mx.FeatureMeta("price", shape=3),
    mx.FeatureMeta("wide", dtype="float64"),
    mx.FeatureMeta("count", shape=2, dtype="int64"),
]


def signature(inputs, outputs=("score",)):
    info = mx.make_tensor_info
    return mx.make_signature_def(
        {key: info(f"{key}:0", dtype, shape) for key, (dtype, shape) in inputs.items()},
        {key: info(f"{key}_out:0", "float32", [None]) for key in outputs},
    )


MODEL = {
    "serving_default": signature({"instances": ("string", [None])}, ("a", "b")),
    "examples": signature({"examples": ("string", [None]), "bias": ("float32", [None, 2])}),
    "batch": signature({"example_batch": ("string", [1])}, ("output",)),
    "raw": signature({"x": ("float32", [None, 4]), "n": ("int64", [])}),
    "none": signature({}),
    "hashtable_assign": signature({"ids": ("int64", [None])}),
}
TENSORS = {"serving_default": signature({"x": ("float32", [None, 4])}, ("output",))}


def requests(path):
    return [log.predict_log.request for log in mx.read_warmup(path)]


def values(request, key):
    return tensor_proto_to_array(request.inputs[key])


@pytest.fixture(scope="module")
def covered(tmp_path_factory):
    path = tmp_path_factory.mktemp("covered") / "folder" / "warmup"
    assert mx.gen_warmup_file(path, MODEL, FEATURES, batch_sizes=[4, 1, 4], max_records=60) == os.fspath(path)
    return path


def test_every_signature_is_asked_with_every_batch_size(covered):
    assert mx.check_warmup(covered, MODEL, model_name="entry") == []
    keys = ["batch", "examples", "none", "raw", "serving_default"]
    found = [(r.model_spec.signature_name, list(r.output_filter)) for r in requests(covered)]
    one_round = [(key, []) for key in keys] + [("serving_default", ["a"]), ("serving_default", ["b"])]
    # 25 rows a round of both sizes: two of them, one more with single rows, and a request of 4.
    assert found == one_round * 5 + [("batch", [])]
    sizes = [len(values(r, "instances")) for r in requests(covered) if "instances" in r.inputs]
    assert sizes == [1] * 3 + [4] * 3 + [1] * 3 + [4] * 3 + [1] * 3
    assert [values(r, "bias").shape for r in requests(covered) if "bias" in r.inputs][:2] == [(1, 2), (4, 2)]
    batches = [values(r, "example_batch")[0] for r in requests(covered) if "example_batch" in r.inputs]
    assert [ExampleBatch.FromString(one).batch_size for one in batches] == [1, 4, 1, 4, 1, 4]


def test_the_same_seed_is_the_same_bytes(covered, tmp_path):
    for seed, same in ((0, True), (1, False)):
        mx.gen_warmup_file(tmp_path / str(seed), MODEL, FEATURES, batch_sizes=[1, 4], max_records=60, seed=seed)
        assert ((tmp_path / str(seed)).read_bytes() == covered.read_bytes()) is same


def test_instances_have_all_features(covered):
    data = [
        Instance.FromString(one) for r in requests(covered) if "instances" in r.inputs for one in values(r, "instances")
    ]
    counts = set()
    for instance in data:
        counts.add(len(instance.fid))
        assert {fid >> 54 for fid in instance.fid} <= {3}
        named = {feature.name: feature for feature in instance.feature}
        assert set(named) == {"user", "clicks_recent", "price", "wide", "count"}
        assert [fid >> 48 for fid in named["user"].fid] == [1]
        assert len(named["clicks_recent"].fid) <= 2
        assert (len(named["price"].float_value), len(named["wide"].float_value)) == (3, 1)
        assert len(named["count"].int64_value) == 2
        assert min(named["count"].int64_value) >= 2**62 - 1
        assert instance.label in ([0.0], [1.0])
        assert (instance.line_id.uid >> 54, instance.line_id.item_id >> 54) == (1, 200)
        assert instance.line_id.req_time == 1_600_000_000
        assert len(instance.line_id.actions) == 1
    assert counts <= {0, 1, 2, 3}
    assert len(counts) > 1


def test_examples_and_batches_have_all_features(covered):
    (example, *_) = (Example.FromString(values(r, "examples")[0]) for r in requests(covered) if "examples" in r.inputs)
    named = {one.name: one for one in example.named_feature}
    assert [one.name for one in example.named_feature] == [one.name for one in FEATURES]
    assert (named["user"].id, named["user"].feature.WhichOneof("type")) == (1, "fid_v2_list")
    assert named["old"].feature.WhichOneof("type") == "fid_v1_list"
    assert len(named["price"].feature.float_list.value) == 3
    assert len(named["wide"].feature.double_list.value) == 1
    assert len(named["count"].feature.int64_list.value) == 2
    (batch,) = (
        one
        for r in requests(covered)[:14]
        if "example_batch" in r.inputs
        and (one := ExampleBatch.FromString(values(r, "example_batch")[0])).batch_size == 4
    )
    lists = {one.name: one.feature for one in batch.named_feature_list}
    assert list(lists) == [*(one.name for one in FEATURES), "__LINE_ID__", "__LABEL__"]
    assert {len(one) for one in lists.values()} == {4}
    assert [list(one.float_list.value) for one in lists["__LABEL__"]] == [[0], [1], [0], [1]]
    assert LineId.FromString(lists["__LINE_ID__"][0].bytes_list.value[0]).uid >> 54 == 1


def test_labels_and_line_ids_by_their_features():
    features = [
        mx.FeatureMeta("label", shape=2),
        mx.FeatureMeta("price"),
        mx.FeatureMeta("actions", shape=3, in_line_id=True),
        mx.FeatureMeta("req_time", in_line_id=True),
        mx.FeatureMeta("cid", in_line_id=True),
        mx.FeatureMeta("is_draw", in_line_id=True),
    ]
    example = RandomData(features, req_time=5).example(np.random.default_rng(0))
    assert [one.name for one in example.named_feature] == ["price"]
    assert len(example.label) == 2
    assert set(example.label) <= {0.0, 1.0}
    line_id = example.line_id
    assert (len(line_id.actions), line_id.req_time, line_id.cid, line_id.is_draw) == (3, 5, "hello world", False)
    assert line_id.HasField("is_draw")
    assert not line_id.HasField("uid")


@pytest.mark.parametrize(("rate", "counts"), [(0.0, {1}), (1.0, {0}), (0.5, {0, 1})])
def test_the_drop_rate(rate, counts):
    data = RandomData([mx.FeatureMeta("f", 9), mx.FeatureMeta("user", 1)], rate)
    random = np.random.default_rng(0)
    examples = [data.example(random) for _ in range(40)]
    assert {len(one.named_feature[0].feature.fid_v2_list.value) for one in examples} == counts
    assert {len(one.named_feature[1].feature.fid_v2_list.value) for one in examples} == {1}


def test_tensors_without_features(tmp_path):
    mx.gen_warmup_file(tmp_path / "w", TENSORS, batch_sizes=[2], max_records=5, model_name="ctr")
    assert [values(r, "x").shape for r in requests(tmp_path / "w")] == [(2, 4)] * 2
    assert mx.check_warmup(tmp_path / "w", TENSORS, model_name="ctr") == []


def test_without_a_model(tmp_path):
    mx.gen_warmup_file(tmp_path / "w", None, FEATURES, variant="example", signatures=["b", "a"], batch_sizes=[3])
    found = requests(tmp_path / "w")
    assert [r.model_spec.signature_name for r in found[:3]] == ["a", "b", "a"]
    assert len(found) == 333
    assert all(values(r, "examples").shape == (3,) for r in found)


def test_at_most_as_many_requests_as_a_server_takes(tmp_path):
    model = {"serving_default": MODEL["serving_default"]}
    mx.gen_warmup_file(tmp_path / "w", model, FEATURES[:1], batch_sizes=[1], max_records=5000)
    assert len(requests(tmp_path / "w")) == 999


def test_a_file_that_is_there_is_kept_if_it_is_whole(tmp_path):
    path = tmp_path / "w"
    mx.gen_warmup_file(path, TENSORS)
    before = path.read_bytes()
    mx.gen_warmup_file(path, TENSORS, seed=3)
    assert path.read_bytes() == before
    path.write_bytes(before[:-3])
    with pytest.raises(mx.WarmupError, match="record 14"):
        mx.gen_warmup_file(path, TENSORS)
    mx.gen_warmup_file(path, TENSORS, force=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("model", "features", "options", "message"),
    [
        (None, [], {}, "without a model: want the variant"),
        (None, [], {"variant": "example"}, "wants features"),
        (MODEL, FEATURES, {"variant": "tensors"}, "takes no features"),
        (MODEL, FEATURES, {"variant": "csv"}, "variant: got 'csv'"),
        (MODEL, FEATURES, {"signatures": ["no"]}, "the model has none"),
        (MODEL, FEATURES, {"signatures": ["raw"], "variant": "instance"}, "signature 'raw': has no input 'instances'"),
        (TENSORS, FEATURES, {}, "features: no signature has the input 'instances' or"),
        (TENSORS, [], {"batch_sizes": []}, "batch sizes: got none"),
        (TENSORS, [], {"batch_sizes": [0]}, "batch size: got 0"),
        (TENSORS, [], {"batch_sizes": [9, 2], "max_records": 10}, "max_records: got 10, want at least 11 rows"),
        (TENSORS, [], {"seed": -1}, "seed -1"),
        (MODEL, FEATURES[:1] * 2, {}, "'user': is there twice"),
        (MODEL, FEATURES, {"drop_rate": 1.5}, "drop rate: got 1.5"),
        ({}, [], {}, "no signature that takes random requests"),
        (TENSORS | {"s": signature({"v": ("variant", [None])})}, [], {}, "signature 's': input 'v'"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(tmp_path, model, features, options, message):
    with pytest.raises(mx.MexportError, match=message):
        mx.gen_warmup_file(tmp_path / "w", model, features, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": "f", "slot": 0}, "slot: got 0, want 1 to 65534"),
        ({"name": "f", "slot": 1023, "fid_version": 1}, "slot: got 1023, want 0 to 1022"),
        ({"name": "f", "slot": 1, "fid_version": 3}, "fid version: got 3"),
        ({"name": "f", "slot": 1, "in_line_id": True}, "has a slot, which"),
        ({"name": "f", "slot": 1, "shape": 2}, "want shape -1"),
        ({"name": "f", "shape": 0}, "shape: got 0"),
        ({"name": "f", "dtype": "bool"}, "dtype: got 'bool'"),
        ({"name": "stay_time", "in_line_id": True}, "is no field of a line id"),
    ],
)
def test_features_that_cannot_be(arguments, message):
    with pytest.raises(mx.InvalidArgumentError, match=message):
        mx.FeatureMeta(**arguments)


def test_slots_of_names():
    found = id_features(["a", "fc_slot_1", "slot_12", "b", "a"], [mx.FeatureMeta("b", 2)])
    assert [(one.name, one.slot) for one in found] == [("a", 3), ("fc_slot_1", 1), ("slot_12", 12), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{}", "got dict, want a list"),
        ("[1]", "entry 0: want an object with a name"),
        ('[{"name": "a"}, {"name": "b", "slots": 1}]', "entry 1: 'slots': want one of"),
        ('[{"name": "a", "slot": true}]', "slot: got True, want int"),
        ('[{"name": "a", "slot": 99999}]', "slot: got 99999"),
    ],
)
def test_bad_feature_files(tmp_path, text, message):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(mx.InvalidArgumentError, match=message):
        read_features(tmp_path / "f.json")


def test_the_command(tmp_path, capsys):
    (tmp_path / "f.json").write_text(json.dumps([{"name": "user", "slot": 1}, {"name": "price", "shape": 3}]))
    arguments = ["warmup", "generate", "-o", str(tmp_path / "w"), "--features", str(tmp_path / "f.json")]
    arguments += ["--slots", "0,5", "--variant", "instance", "--batch-size", "2", "--max-records", "4"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "w")
    found = requests(tmp_path / "w")
    assert len(found) == 2
    assert {one.name for one in Instance.FromString(values(found[0], "instances")[0]).feature} == {
        "user",
        "price",
    }
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def build_receiver(collections):
    def receiver_fn():
        graph = mx.get_default_graph()
        for name, elements in collections.items():
            for element in elements:
                graph.add_to_collection(name, element)
        instances = graph.placeholder("string", [None], name="instances")
        return mx.ServingInputReceiver({"instances": instances}, {"instances": instances})

    return receiver_fn


def exporter(folder, **options):
    def model_fn(features, mode):
        graph = mx.get_default_graph()
        return mx.EstimatorSpec(mode, {"size": graph.op("Size", [features["instances"]]).output})

    with mx.BundleWriter(folder / "train" / "model.ckpt-7") as bundle:
        bundle.add("global_step", np.array(7, np.int64))
    return mx.StandaloneExporter(
        model_fn, folder / "train", folder / "models", warmup_file=folder / "made" / "warmup", **options
    )


def test_exporters_make_the_file(tmp_path):
    collections = {
        "fidv1_features": [0, 200],
        "fidv2_features": ["slot_9"],
        "dense_features": ["price", "label"],
        "dense_feature_shapes": [3, 1],
        "dense_feature_types": ["float32", "float32"],
        "extra_features": ["uid"],
        "variant_type": ["instance"],
        "batch_size": [16, 8],
        "max_records": [20],
    }
    path = exporter(tmp_path).export_saved_model(build_receiver(collections), tmp_path / "train" / "model.ckpt-7")
    installed = os.path.join(os.fsdecode(path), "assets.extra", "tf_serving_warmup_requests")
    assert mx.check_warmup(installed, os.fsdecode(path), model_name="entry") == []
    found = requests(installed)
    assert [list(r.output_filter) for r in found] == [[], ["size"]] * 2
    instance = Instance.FromString(values(found[0], "instances")[0])
    assert len(values(found[0], "instances")) == 8
    assert {one.name for one in instance.feature} == {"slot_9", "price"}
    assert instance.line_id.HasField("uid")
    assert not instance.line_id.HasField("item_id")


@pytest.mark.parametrize(
    ("collections", "message"),
    [
        ({}, "the warmup file does not exist, and nothing names features"),
        ({"dense_features": ["a"], "dense_feature_shapes": [1, 2]}, "got 2 values for 1 features"),
        ({"dense_features": ["a"], "dense_feature_shapes": ["x"]}, "collection 'dense_feature_shapes': got 'x'"),
        ({"fidv1_features": ["x"]}, "collection 'fidv1_features': got 'x'"),
        ({"dense_features": ["a"], "variant_type": ["csv"]}, "variant_type: got 'csv'"),
        ({"dense_features": ["a"], "batch_size": [2000]}, "max_records: got 1000, want at least 2000"),
    ],
)
def test_exporters_raise_what_is_wrong(tmp_path, collections, message):
    with pytest.raises(mx.InvalidArgumentError, match=message):
        exporter(tmp_path).export_saved_model(build_receiver(collections), tmp_path / "train" / "model.ckpt-7")
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "made" / "warmup").exists()
