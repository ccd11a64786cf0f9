"""Names, scopes and devices."""

from __future__ import annotations

import pytest

from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.devices import DeviceSpec, canonical_device, merge_devices, on_cpu0
from mexport_pb.graph.names import NameStack, check_node_name, names_and_scopes


def test_suffixes_ignore_case_and_skip_what_is_taken():
    names = NameStack()
    asked = ["a", "A", "a", "a_1", "a_3", "a", "b"]
    assert [names.unique(name) for name in asked] == ["a", "A_1", "a_2", "a_1_1", "a_3", "a_4", "b"]


def test_asking_without_marking_changes_nothing():
    names = NameStack(["x"])
    assert names.unique("x", mark_as_used=False) == "x_1"
    assert names.unique("x", mark_as_used=False) == "x_1"
    assert names.unique("x") == "x_1"
    assert names.unique("x") == "x_2"


def test_scopes_nest_leave_and_are_entered_again():
    names = NameStack()
    with names.scope("s") as outer:
        assert outer == "s/"
        with names.scope("t"):
            assert names.current == "s/t"
            with names.scope(None) as root:
                assert root == ""
                assert names.unique("x") == "x"
            with names.scope("s/t/") as again:
                assert again == "s/t/"
                assert names.unique("y") == "s/t/y"
        assert names.for_node(outer) == "s"
    assert names.current == ""
    with names.scope("S") as second:
        assert second == "S_1/"


def test_a_scope_is_left_by_an_exception():
    names = NameStack()
    with pytest.raises(KeyError), names.scope("s"):
        raise KeyError
    assert names.current == ""


@pytest.mark.parametrize(
    "name", ["", "_a", "-a", "/a", "a b", "a:0", "a\n", "^a", "é", "a>", "a>_b", "a\\b", "a>>b", "\x00"]
)
def test_illegal_node_names(name):
    with pytest.raises(InvalidArgumentError, match="illegal node name: got"):
        check_node_name(name)


@pytest.mark.parametrize("name", ["a", "0", ".a", "A/b-c_d.e", "a>b", "a//b", "a/_b", "a/"])
def test_legal_node_names(name):
    check_node_name(name)


def test_illegal_scopes():
    names = NameStack()
    with pytest.raises(InvalidArgumentError, match="illegal scope name"), names.scope("_a"):
        pass
    with names.scope("a"), names.scope("_b") as inner:
        assert inner == "a/_b/"
    with (
        names.scope("a/"),
        pytest.raises(InvalidArgumentError, match="illegal scope name"),
        names.scope("b c"),
    ):
        pass


def test_names_and_scopes():
    assert names_and_scopes(["a/b/c", "a/d", "e"]) == {"a", "a/b", "a/b/c", "a/d", "e"}


@pytest.mark.parametrize(
    ("device", "canonical"),
    [
        ("", ""),
        ("//", ""),
        ("/gpu:0", "/device:GPU:0"),
        ("cpu:0", "/device:CPU:0"),
        ("/GPU", "/device:GPU:*"),
        ("/device:gpu:*", "/device:GPU:*"),
        ("/device:foo:3", "/device:foo:3"),
        ("/task:01/job:a", "/job:a/task:1"),
        ("/job:a/replica:0/task:2/device:TPU:7", "/job:a/replica:0/task:2/device:TPU:7"),
    ],
)
def test_canonical_devices(device, canonical):
    assert canonical_device(device) == canonical
    assert canonical_device(canonical) == canonical


@pytest.mark.parametrize(
    "device",
    [
        "/job:a/foo",
        "/task:x",
        "/device:GPU:0/cpu:0",
        "/job:a:b",
        "/device:GPU",
        "/gpu:1:2",
        "/CPU:x",
        "/task:",
        "/XLA_CPU:0",
    ],
)
def test_illegal_devices(device):
    with pytest.raises(InvalidArgumentError, match="device"):
        canonical_device(device)


def test_the_innermost_device_wins_part_by_part():
    assert merge_devices([]) == ""
    assert merge_devices(["/gpu:1", "/job:ps/task:3/cpu:0"]) == "/job:ps/task:3/device:GPU:1"
    assert merge_devices(["/device:CPU:*", "/gpu:1"]) == "/device:CPU:1"
    assert on_cpu0("") == "/device:CPU:0"
    assert on_cpu0("/job:ps/task:1/gpu:2") == "/job:ps/task:1/device:CPU:0"
    assert DeviceSpec.parse("/job:a") == DeviceSpec(job="a")
