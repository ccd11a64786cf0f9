import pytest

import mexport_pb as mx


@pytest.mark.parametrize(
    ("text", "name", "inputs", "outputs"),
    [
        ("serving_default:x=x:0->y=y:0", "serving_default", {"x": "x:0"}, {"y": "y:0"}),
        ("s:a=a:0,b=scope/b:1->y=y:0,z=z:2", "s", {"a": "a:0", "b": "scope/b:1"}, {"y": "y:0", "z": "z:2"}),
        ("alt:s:x=x:0->y=y:0", "alt:s", {"x": "x:0"}, {"y": "y:0"}),
        ("table/lookup: x = x , b=b:0 -> y = y:0 ", "table/lookup", {"x": "x:0", "b": "b:0"}, {"y": "y:0"}),
        ("s:->y=y:0", "s", {}, {"y": "y:0"}),
    ],
)
def test_signatures_are_read(text, name, inputs, outputs):
    assert mx.parse_signature(text) == mx.SignatureSpec(name, inputs, outputs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "s:x=x:0",
        "x=x:0->y=y:0",
        ":x=x:0->y=y:0",
        "s:x->y=y:0",
        "s:x=->y=y:0",
        "s:=x->y=y:0",
        "s:x=x:0->",
        "s:x=x:0->y",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(mx.InvalidArgumentError, match="want name:key=tensor"):
        mx.parse_signature(text)


def test_a_key_comes_once():
    with pytest.raises(mx.InvalidArgumentError, match="the key 'x' comes twice"):
        mx.parse_signature("s:x=a:0,x=b:0->y=y:0")
