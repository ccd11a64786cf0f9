"""Tensors in structures of lists, tuples and dictionaries."""

import collections
import copy

import pytest

import mexport_pb as mx

Pair = collections.namedtuple("Pair", "left right")


@pytest.fixture
def graph():
    return mx.GraphBuilder()


def tensors(graph, count, offset=0):
    return [graph.const(i + offset, "int64") for i in range(count)]


def replaced(nested, new):
    found = mx.NestedTensors(nested)
    return found.get_nested_result(new[: len(found.get_tensors())])


def test_a_tensor_alone(graph):
    a, b = tensors(graph, 2)
    assert mx.NestedTensors(a).get_tensors() == [a]
    assert replaced(a, [b]) is b


def test_containers_in_containers(graph):
    a, b, c, d, e = tensors(graph, 5)
    nested = {"x": (a, [b, {"y": c}]), "p": Pair(d, (e,))}
    new = tensors(graph, 5, 10)
    assert mx.NestedTensors(nested).get_tensors() == [a, b, c, d, e]
    result = replaced(nested, new)
    assert result == {"x": (new[0], [new[1], {"y": new[2]}]), "p": Pair(new[3], (new[4],))}
    assert type(result["p"]) is Pair
    assert type(result["x"]) is tuple


def test_nothing_of_the_callers_is_changed(graph):
    a, b = tensors(graph, 2)
    inner = {"b": b}
    nested = {"a": [a, inner], "n": 1}
    before = copy.copy(nested), list(nested["a"]), dict(inner)
    result = replaced(nested, tensors(graph, 2, 10))
    assert (nested, nested["a"], inner) == before
    assert nested["a"][1] is inner
    assert result["a"] is not nested["a"]
    assert result["a"][1] is not inner


def test_constants_and_variables_stay(graph):
    a, new = tensors(graph, 2)
    variable = graph.variable("v", [2])
    nested = [True, 3, 0.5, "text", b"bytes", None, variable, a]
    assert mx.NestedTensors(nested).get_tensors() == [a]
    assert replaced(nested, [new]) == [True, 3, 0.5, "text", b"bytes", None, variable, new]


def test_one_object_is_one_tensor(graph):
    a, b, new, other = tensors(graph, 4)
    ragged = mx.RaggedTensor(a, b)
    assert mx.NestedTensors([a, {"again": a}]).get_tensors() == [a]
    assert replaced([a, {"again": a}], [new]) == [new, {"again": new}]
    assert mx.NestedTensors([ragged, ragged]).get_tensors() == [a, b]
    assert replaced((ragged, ragged), [new, other]) == (mx.RaggedTensor(new, other),) * 2


def test_ragged_and_sparse_tensors_come_behind_plain_ones(graph):
    a, b, c, d, e, f = tensors(graph, 6)
    nested = {"r": mx.RaggedTensor(a, b), "s": mx.SparseTensor(c, d, e), "t": f}
    assert mx.NestedTensors(nested).get_tensors() == [f, a, b, c, d, e]
    new = tensors(graph, 6, 10)
    assert replaced(nested, new) == {
        "r": mx.RaggedTensor(new[1], new[2]),
        "s": mx.SparseTensor(new[3], new[4], new[5]),
        "t": new[0],
    }


def test_kinds_of_dictionaries(graph):
    a, new = tensors(graph, 2)
    ordered = replaced(collections.OrderedDict(x=a), [new])
    assert type(ordered) is collections.OrderedDict
    default = collections.defaultdict(list, x=a)
    result = replaced(default, [new])
    assert (result, result.default_factory) == ({"x": new}, list)
    assert default == {"x": a}


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ([object()], r"tensors\[0\]: got object, want tensors"),
        ({"a": {1, 2}}, r"tensors\['a'\]: got set"),
        ([[1, [{"b": 1j}]]], r"tensors\[0\]\[1\]\[0\]\['b'\]: got complex"),
    ],
)
def test_what_is_no_tensor(nested, message):
    with pytest.raises(mx.InvalidArgumentError, match=message):
        mx.NestedTensors(nested)


def test_a_structure_in_itself():
    loop = [1]
    loop.append({"again": loop})
    with pytest.raises(mx.InvalidArgumentError, match=r"tensors\[1\]\['again'\]: is in itself"):
        mx.NestedTensors(loop)
    twice = [1]
    assert mx.NestedTensors([twice, twice]).get_nested_result([]) == [[1], [1]]


def test_ragged_rows_of_ragged_rows(graph):
    a, b, c = tensors(graph, 3)
    with pytest.raises(mx.InvalidArgumentError, match="more than one rank of rows"):
        mx.NestedTensors(mx.RaggedTensor(mx.RaggedTensor(a, b), c))


def test_another_number_of_tensors(graph):
    nested = mx.NestedTensors(tensors(graph, 2))
    for count in (1, 3):
        with pytest.raises(mx.InvalidArgumentError, match=f"tensors: got {count}, want 2"):
            nested.get_nested_result(tensors(graph, count))
