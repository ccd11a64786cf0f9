import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb.export.checkpoint import read_checkpoint_state


def write_bundle(prefix, **variables):
    with mx.BundleWriter(prefix) as writer:
        for name in sorted(variables):
            writer.add(name, variables[name])


def test_the_newest_checkpoint_is_found(tmp_path):
    write_bundle(tmp_path / "model.ckpt-3", w=np.ones(2))
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-3"\nall_model_checkpoint_paths: "/abs/model.ckpt-1"\n'
        'all_model_checkpoint_paths: "model.ckpt-3"\nlast_preserved_timestamp: 1.5\n'
    )
    assert mx.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-3")
    state = read_checkpoint_state(tmp_path)
    assert list(state.all_model_checkpoint_paths) == ["/abs/model.ckpt-1", str(tmp_path / "model.ckpt-3")]


def test_no_checkpoint(tmp_path):
    assert mx.latest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint").write_text("")
    assert mx.latest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "gone"')
    with pytest.raises(mx.DataError, match=r"checkpoint: the newest checkpoint is gone: no file .*/gone\.index"):
        mx.latest_checkpoint(tmp_path)


@pytest.mark.parametrize("content", [b"nonsense", b"model_checkpoint_path: 3", b"\xff\xfe"])
def test_a_damaged_state_is_an_error(tmp_path, content):
    (tmp_path / "checkpoint").write_bytes(content)
    with pytest.raises(mx.DataError, match="checkpoint: not a checkpoint state"):
        mx.latest_checkpoint(tmp_path)


def test_the_step_is_the_variable_else_the_name(tmp_path):
    write_bundle(tmp_path / "model.ckpt-3", global_step=np.array(8, np.int64))
    write_bundle(tmp_path / "model.ckpt-4", w=np.ones(2))
    write_bundle(tmp_path / "model", w=np.ones(2))
    assert mx.checkpoint_step(tmp_path / "model.ckpt-3") == 8
    assert mx.checkpoint_step(tmp_path / "model.ckpt-4") == 4
    with pytest.raises(mx.MismatchError, match="no variable 'global_step' and no step in the name"):
        mx.checkpoint_step(tmp_path / "model")


@pytest.mark.parametrize("value", [np.array([3, 4], np.int64), np.array("3"), np.array(3.0, np.float32)])
def test_a_step_that_is_no_integer_is_an_error(tmp_path, value):
    write_bundle(tmp_path / "model.ckpt-3", global_step=value)
    with pytest.raises(mx.MismatchError, match=r"variable 'global_step': got .*, want int64\[\]"):
        mx.checkpoint_step(tmp_path / "model.ckpt-3")
