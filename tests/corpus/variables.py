"""Graphs about variables: kinds, dtypes, shapes, names, devices, parts, savers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.corpus.model import Model, dense, entry, placeholder, values, var

_v1 = tf.compat.v1


@entry()
def no_variables(work: Path) -> Model:
    """No variable, so no saver and an empty variables/."""
    return dense()


@entry()
def one_resource(work: Path) -> Model:
    """One resource variable."""
    x = placeholder(shape=(None, 2))
    return dense(x, tf.matmul(x, var("w"), name="y"))


@entry()
def one_ref(work: Path) -> Model:
    """One ref variable."""
    x = placeholder(shape=(None, 2))
    return dense(x, tf.matmul(x, var("w", resource=False), name="y"))


@entry(strip_default_attrs=True)
def many_of_each(work: Path) -> Model:
    """Thirteen resource and thirteen ref variables, so that _10 sorts before _2."""
    for i in range(13):
        var(f"r{i}")
        var(f"f{i}", resource=False)
    return dense()


@entry()
def sorting_of_names(work: Path) -> Model:
    """Names that differ by case, or sort by bytes."""
    for name, resource in (("b", True), ("a", False), ("B", True), ("a/x", True), ("a-x", False), ("a10", True)):
        var(name, resource=resource)
    _v1.train.get_or_create_global_step()
    return dense()


@entry()
def scalars(work: Path) -> Model:
    """Scalar variables of both kinds."""
    var("s", ())
    var("i", (), tf.int64)
    var("r", (), resource=False)
    var("flag", (), tf.bool, initializer=_v1.constant_initializer(True))
    return dense()


@entry(strip_default_attrs=True)
def dtypes(work: Path) -> Model:
    """Every dtype that a variable may have."""
    numbers = (tf.float64, tf.float16, tf.bfloat16, tf.complex64, tf.complex128)
    integers = (tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64)
    for dtype in numbers + integers:
        var(f"v_{dtype.name}", dtype=dtype)
    var("v_bool", dtype=tf.bool)
    for dtype in (tf.float64, tf.int32, tf.bool, tf.bfloat16, tf.complex64):
        var(f"ref_{dtype.name}", dtype=dtype, resource=False)
    return dense()


@entry()
def empty_tensors(work: Path) -> Model:
    """Variables and constants without elements."""
    var("none", (0,))
    var("rows", (0, 3))
    var("columns", (4, 0), resource=False)
    var("words", (0,), tf.string, initializer=_v1.zeros_initializer())
    x = placeholder()
    return dense(x, tf.concat([x, tf.zeros([0, 3]), tf.constant([], tf.float32, [0, 3])], 0, name="y"))


@entry()
def bfloat16(work: Path) -> Model:
    """A bfloat16 kernel and bfloat16 constants."""
    x = placeholder(tf.bfloat16, (None, 2))
    y = tf.matmul(x, var("w", dtype=tf.bfloat16)) + tf.constant(1.5, tf.bfloat16) * tf.constant([1, 2, 3], tf.bfloat16)
    return dense(x, tf.identity(y, name="y"))


@entry()
def string_variables(work: Path) -> Model:
    """Variables of strings: short, empty, long, with NUL bytes and with UTF-8."""
    words = np.array([b"", b"a", b"\0zero\0", "Füße 猫".encode(), b"x" * 300], object)
    for name, resource in (("words", True), ("ref_words", False)):
        var(name, (5,), tf.string, resource=resource, initializer=_v1.constant_initializer(words))
    var("word", (), tf.string, initializer=_v1.constant_initializer("one"))
    var("table", (2, 2), tf.string, initializer=_v1.constant_initializer(words[:4].reshape(2, 2)))
    return dense()


@entry()
def unknown_shapes(work: Path) -> Model:
    """Variables whose shapes the graph does not know."""
    shaped = tf.random.uniform(tf.constant([2, 3]), seed=3)
    value = _v1.placeholder_with_default(shaped, [None, 3])
    _v1.get_variable("w", initializer=value, validate_shape=False, use_resource=True)
    _v1.get_variable("r", initializer=value, validate_shape=False, use_resource=False)
    return dense()


@entry(strip_default_attrs=True)
def training_graph(work: Path) -> Model:
    """Gradients, Adam and Adagrad slots, moving averages."""
    x = placeholder(shape=(None, 2))
    step = _v1.train.get_or_create_global_step()
    with _v1.variable_scope("deep/er"):
        w, r = var("w"), var("r", resource=False)
    y = tf.matmul(x, w + r, name="y")
    loss = tf.reduce_mean(tf.square(y))
    train = _v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
    _v1.train.AdagradOptimizer(0.1).minimize(loss)
    _v1.train.FtrlOptimizer(0.1).minimize(loss, var_list=[r])
    average = tf.train.ExponentialMovingAverage(0.9, step)
    with tf.control_dependencies([train]):
        average.apply([w, r])
    return dense(x, y)


@entry()
def batch_normalization(work: Path) -> Model:
    """Moving statistics that update operations keep."""
    x = placeholder(shape=(None, 4, 4, 3))
    scale, offset = var("gamma", (3,)), var("beta", (3,))
    mean, variance = (var(n, (3,), trainable=False, initializer=_v1.ones_initializer()) for n in ("mean", "variance"))
    _, batch_mean, batch_variance = _v1.nn.fused_batch_norm(x, scale, offset, is_training=True)
    for kept, batch in ((mean, batch_mean), (variance, batch_variance)):
        _v1.add_to_collection(_v1.GraphKeys.UPDATE_OPS, _v1.assign_sub(kept, (kept - batch) * 0.1))
    y, _, _ = _v1.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)
    return dense(x, tf.identity(y, name="y"))


@entry()
def caching_device(work: Path) -> Model:
    """A variable that is read through a cache."""
    x = placeholder(shape=(None, 2))
    return dense(x, tf.matmul(x, var("w", caching_device="/device:CPU:0"), name="y"))


@entry(cluster=True, strip_default_attrs=True)
def parameter_servers(work: Path) -> Model:
    """Both kinds on two jobs, several tasks, with and without a device type."""
    for i, device in enumerate(
        ("/job:ps/task:1", "/job:ps/task:0", "", "/device:CPU:0", "/job:aux/task:0", "/job:ps/task:1/device:CPU:0")
    ):
        with tf.device(device):
            var(f"a{i}")
            var(f"r{i}", resource=False)
            var(f"z{i}", (3,))
    with tf.device("/job:worker/task:0"):
        x = placeholder(shape=(None, 2))
        y = tf.matmul(x, _v1.global_variables()[0])
    return dense(x, y)


@entry(cluster=True)
def replica_device_setter(work: Path) -> Model:
    """Variables spread over servers by a device function, computations on a worker."""
    cluster = {"ps": ["a:1", "b:1"], "worker": ["c:1"]}
    with _v1.device(_v1.train.replica_device_setter(cluster=cluster)):
        x = placeholder(shape=(None, 2))
        h = x
        for i in range(5):
            h = tf.nn.relu(tf.matmul(h, var(f"w{i}", (2, 2), resource=i % 2 == 0)) + var(f"b{i}", (2,)))
        _v1.train.get_or_create_global_step()
    return dense(x, h)


def _of_devices(work: Path) -> Model:
    @tf.function
    def scaled(v):
        with tf.device("/device:CPU:0"):
            return tf.matmul(v, v, transpose_b=True) * tf.reduce_sum(v)

    with tf.device("/job:ps/task:1"):
        w = var("w")
        p = var("p", (5, 2), resource=False, partitioner=_v1.fixed_size_partitioner(2), initializer=_seeded())
    with tf.device("/job:ps/task:0"):
        b = var("b", (3,))
    with tf.device("/job:worker/task:0"):
        x = placeholder(shape=(None, 2))
        y = tf.nn.bias_add(tf.matmul(scaled(x) @ x, w), b) + tf.reduce_sum(tf.convert_to_tensor(p))
    main_op = tf.no_op("own")
    return dense(x, y, main_op=main_op)


for _clear in (False, True):
    for _strip in (False, True):
        _of_devices.__doc__ = f"clear_devices={_clear}, strip_default_attrs={_strip}: devices, a function, a main op."
        _name = "options_" + ("clear" if _clear else "keep") + "_" + ("strip" if _strip else "whole")
        entry(name=_name, cluster=True, clear_devices=_clear, strip_default_attrs=_strip)(_of_devices)


@entry(clear_devices=True)
def cleared_without_functions(work: Path) -> Model:
    """Cleared devices leave an empty library behind."""
    with tf.device("/device:CPU:0"):
        var("w")
    return dense()


@entry()
def colocated(work: Path) -> Model:
    """Nodes that ask to be where another one is."""
    w, r = var("w"), var("r", resource=False)
    with _v1.colocate_with(r):
        a = tf.constant(1.0) + 1.0
    with _v1.colocate_with(w.handle), tf.device("/device:CPU:0"):
        b = tf.constant(2.0) + a
    x = placeholder()
    return dense(x, x + b)


@entry(strip_default_attrs=True)
def partitioned_resource(work: Path) -> Model:
    """Twelve parts, which are not saved in the order of their numbers, and parts of columns."""
    p = var("p", (25, 2), partitioner=_v1.fixed_size_partitioner(12), initializer=_seeded())
    var("a", (5, 7), partitioner=_v1.fixed_size_partitioner(3, axis=1), initializer=_seeded())
    var("z")
    ids = placeholder(tf.int64, (None,), "ids")
    return dense(ids, tf.nn.embedding_lookup(list(p), ids, name="y"))


@entry()
def partitioned_ref(work: Path) -> Model:
    """The same with ref variables."""
    p = var("p", (25, 2), resource=False, partitioner=_v1.fixed_size_partitioner(12), initializer=_seeded())
    var("q", (5, 2), resource=False, partitioner=_v1.fixed_size_partitioner(2), initializer=_seeded())
    var("p1", resource=False)
    ids = placeholder(tf.int64, (None,), "ids")
    return dense(ids, _v1.nn.embedding_lookup(list(p), ids, partition_strategy="div", name="y"))


@entry()
def other_partitioners(work: Path) -> Model:
    """One part only, parts by size, a three-dimensional variable and scalars' neighbours."""
    var("single", (5, 2), partitioner=_v1.fixed_size_partitioner(1), initializer=_seeded())
    var("sized", (30, 4), partitioner=_v1.variable_axis_size_partitioner(64), initializer=_seeded())
    var("deep", (3, 4, 2), partitioner=_v1.fixed_size_partitioner(2, axis=2), initializer=_seeded())
    var("words", (5,), tf.int32, partitioner=_v1.fixed_size_partitioner(3), initializer=_v1.ones_initializer())
    return dense()


@entry(cluster=True, strip_default_attrs=True)
def partitioned_over_servers(work: Path) -> Model:
    """Parts of one variable on several servers, both kinds."""
    servers = _v1.train.replica_device_setter(ps_tasks=2, worker_device="/job:worker/task:0")
    with _v1.device(servers):
        p = var("p", (9, 2), partitioner=_v1.fixed_size_partitioner(5), initializer=_seeded())
        var("q", (9, 2), resource=False, partitioner=_v1.fixed_size_partitioner(4), initializer=_seeded())
        ids = placeholder(tf.int64, (None,), "ids")
        y = tf.nn.embedding_lookup(list(p), ids, name="y")
    return dense(ids, y)


def _seeded():
    return _v1.random_uniform_initializer(-1, 1, seed=5)


def _table(parts: int, resource: bool) -> Model:
    partitioner = _v1.fixed_size_partitioner(parts) if parts > 1 else None
    w = _v1.get_variable("w", [10, 3], initializer=_seeded(), partitioner=partitioner, use_resource=resource)
    ids = placeholder(tf.int64, (None,), "ids")
    table = tf.convert_to_tensor(w)
    return dense(ids, tf.gather(table, ids, name="y"))


@entry(train=lambda work: _table(4, True))
def whole_from_parts(work: Path) -> Model:
    """Trained in four parts, served whole."""
    return _table(1, True)


@entry(train=lambda work: _table(1, True))
def parts_from_whole(work: Path) -> Model:
    """Trained whole, served in four parts."""
    return _table(4, True)


@entry(train=lambda work: _table(3, False))
def other_parts_from_parts(work: Path) -> Model:
    """Trained in three parts, served in four, which cross the borders of the three."""
    return _table(4, False)


@entry()
def second_saver(work: Path) -> Model:
    """A saver that the graph has already."""
    var("w")
    var("r", resource=False)
    _v1.train.Saver(sharded=True, allow_empty=True)
    return dense()


@entry(strip_default_attrs=True)
def savers_of_other_kinds(work: Path) -> Model:
    """Savers of some variables, unsharded, and listed in a collection."""
    w = var("w")
    var("v")
    _v1.train.Saver([w])
    saver = _v1.train.Saver(sharded=True, max_to_keep=2, keep_checkpoint_every_n_hours=3.5)
    _v1.add_to_collection(_v1.GraphKeys.SAVERS, saver)
    return dense()


@entry()
def taken_names(work: Path) -> Model:
    """Nodes and scopes with the names that a saver wants."""
    var("Save")
    var("SAVE_1")
    with _v1.name_scope("save"):
        tf.constant(1.0, name="restore_all")
    tf.no_op("group_deps")
    return dense()


@entry()
def local_variables(work: Path) -> Model:
    """Local variables are not saved; the main op initializes them."""
    local = var("count", (), collections=[_v1.GraphKeys.LOCAL_VARIABLES], trainable=False)
    ref = var("ref_count", (), collections=[_v1.GraphKeys.LOCAL_VARIABLES], trainable=False, resource=False)
    x = placeholder()
    y = x * var("w", ()) + local + ref
    return dense(x, y, main_op=_v1.local_variables_initializer())


@entry()
def variables_version_2(work: Path) -> Model:
    """Variables of the second version of the API, in a v1 graph."""
    with _v1.variable_scope("scope"):
        w = tf.Variable(values("w", (2, 3)), name="w")
        tf.Variable(3, trainable=False, name="n", dtype=tf.int64)
    x = placeholder(shape=(None, 2))
    return dense(x, tf.matmul(x, w))


@entry(second_tags=("serve", "gpu"), strip_default_attrs=True)
def two_meta_graphs_of_one_graph(work: Path) -> Model:
    """The same graph saved again with other tags gets a second saver."""
    x = placeholder(shape=(None, 2))
    return dense(x, tf.matmul(x, var("w"), name="y"), main_op=tf.no_op("own"))


def _reduced(work: Path) -> Model:
    x = placeholder(shape=(None, 2))
    with tf.device("/device:CPU:0"):
        y = tf.reduce_sum(tf.matmul(x, var("w")), name="sum")
    return dense(x, y)


@entry(second_tags=("train",), second=_reduced, clear_devices=True)
def two_meta_graphs_of_two_graphs(work: Path) -> Model:
    """Two graphs share the values of a variable."""
    x = placeholder(shape=(None, 2))
    var("only_here")
    return dense(x, tf.matmul(x, var("w"), name="y"))


def _greeting(work: Path, folder: str) -> Model:
    path = work / folder / "greeting.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("hello\n")
    asset = tf.constant(str(path), name="greeting")
    _v1.add_to_collection(_v1.GraphKeys.ASSET_FILEPATHS, asset)
    x = placeholder(tf.string, (), "name")
    return dense(x, tf.strings.join([tf.io.read_file(asset), x]), use_assets=True)


@entry(second_tags=("train",), second=lambda work: _greeting(work, "second"))
def two_meta_graphs_of_one_asset(work: Path) -> Model:
    """Two graphs have equal files of one name."""
    var("w")
    return _greeting(work, "first")


@entry(strip_default_attrs=True)
def many_keys(work: Path) -> Model:
    """Many keys that begin alike, and values that do not fit into one buffer."""
    for i in range(150):
        var(f"a_rather_long_scope_of_names_{i % 7}/variable_number_{i}", ())
    var("large", (300, 1000), initializer=_seeded())
    return dense()


@entry()
def imported_under_a_scope(work: Path) -> Model:
    """A graph imported into a scope of another one, without its variables' collections."""
    with tf.Graph().as_default() as inner:
        tf.multiply(placeholder(tf.float32, None), tf.constant([1.0, 2.0, 3.0]), name="y")
    x = placeholder()
    (y,) = tf.import_graph_def(inner.as_graph_def(), {"x:0": x}, ["y:0"], name="inner")
    return dense(x, y + var("w", (3,)))


_NAMES = "differs: a MetaGraphDef says which nodes there are, not which scopes TensorFlow holds for taken"


@entry(exceptions={"builder": _NAMES})
def scope_without_nodes(work: Path) -> Model:
    """TensorFlow remembers an empty scope, and names its saver save_1."""
    with _v1.name_scope("save"):
        pass
    var("w")
    return dense()


_UNSET = "refused: TensorFlow would save no value, and the model could not be served"


@entry(exceptions={"builder": _UNSET, "exporter": _UNSET})
def unlisted_variable(work: Path) -> Model:
    """A variable that is in no collection."""
    x = placeholder(shape=(None, 2))
    return dense(x, tf.matmul(x, var("w", collections=[])))


@entry(
    exceptions={
        "builder": "refused: the table's content would not be saved",
        "exporter": "refused: the table's content would not be saved",
    }
)
def mutable_table(work: Path) -> Model:
    """A lookup table whose content is saved with the variables."""
    var("w")
    words = placeholder(tf.string, (None,), "words")
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, name="mutable")
    return dense(words, table.lookup(words))


@entry(exceptions={"builder": _NAMES})
def imported_meta_graph(work: Path) -> Model:
    """A graph that was saved and loaded again, with the saver, collections and scopes that it had."""
    with tf.Graph().as_default():
        x = placeholder(shape=(None, 2))
        y = tf.matmul(x, var("w") + var("r", resource=False), name="y")
        var("p", (4, 2), partitioner=_v1.fixed_size_partitioner(2), initializer=_seeded())
        _v1.add_to_collection("tensors", y)
        _v1.add_to_collection(_v1.GraphKeys.LOSSES, tf.reduce_sum(y))
        saver = _v1.train.Saver(sharded=True)
        saved = _v1.train.export_meta_graph(saver_def=saver.saver_def)
    _v1.train.import_meta_graph(saved)
    graph = _v1.get_default_graph()
    return dense(graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("y:0"))
