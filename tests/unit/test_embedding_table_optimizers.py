"""Every optimizer beside its formula in numpy: many steps, many settings, one segment of several."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import mexport_pb as mx
from mexport_pb._proto import hash_table_optimizer_pb2
from tests.support.embedding_model import ids_of, segment, training
from tests.support.optimizers import BY_KIND

IMPLEMENTED = sorted(BY_KIND)
NOT_IMPLEMENTED = {"dynamic_wd_adagrad", "group_ftrl", "dc"}
F = np.float32

# Of each setting: values that make a difference, and none at which the formula divides by nothing.
VALUES = {
    "averaging_ratio": [0.5, 0.95],
    "beta": [0.0, 1.0],
    "beta1": [0.5, 0.9],
    "beta2": [0.8, 0.999],
    "epsilon": [0.01, 0.5],
    "hessian_compression_times": [1, 5],
    "initial_accumulator_value": [0.1, 2.0],
    "l1_regularization_strength": [0.0, 0.7],
    "l2_regularization_strength": [0.0, 0.3, 1e6],
    "learning_rate": [0.05, 3.0],
    "momentum": [0.0, 0.7],
    "use_beta1_warmup": [False, True],
    "use_nesterov": [False, True],
    "warmup_steps": [0, 1000],
    "weight_decay_factor": [0.0, 0.2],
}


def settings_of(kind):
    """The fields that the message of a kind has."""
    message = hash_table_optimizer_pb2.OptimizerConfig().DESCRIPTOR.fields_by_name[kind].message_type
    return sorted(field.name for field in message.fields if field.name != "dim_size")


def config_of(kind, chosen):
    config = hash_table_optimizer_pb2.OptimizerConfig()
    message = getattr(config, kind)
    message.SetInParent()
    for name, value in chosen.items():
        setattr(message, name, value)
    return config


def test_there_is_a_formula_for_every_optimizer():
    kinds = hash_table_optimizer_pb2.OptimizerConfig.DESCRIPTOR.oneofs_by_name["type"].fields
    assert {field.name for field in kinds} == set(IMPLEMENTED) | NOT_IMPLEMENTED
    for kind in IMPLEMENTED:
        assert set(settings_of(kind)) <= set(VALUES)


def compare(kind, chosen, dim, steps, seed):
    """Takes the same steps in a table and by the formula; a segment before and one behind must stay as they were."""
    rng = np.random.default_rng(seed)
    start = F(0.5)
    middle = segment(dim, initializer=mx.ConstantsInitializer(float(start)), optimizer=config_of(kind, chosen))
    table = training(segment(2), middle, segment(1))
    model = BY_KIND[kind](dim, **chosen)
    w = np.full(dim, start)
    step = 0
    for _ in range(steps):
        gradient = rng.normal(0, 2, dim).astype(F)
        rate = F(rng.choice([0.01, 0.1, 1]))
        step += int(rng.integers(1, 5))
        table.optimize(ids_of(7), np.concatenate([[0, 0], gradient, [0]], dtype=F)[None], [1, rate, 1], 0, step)
        model.step(w, gradient, rate, step)
    dump = table.save()
    np.testing.assert_allclose(dump.values[0, 2:-1], w, rtol=2e-5, atol=1e-5)
    assert dump.values[0, [0, 1, -1]].tolist() == [0, 0, 0]
    if kind == "moving_average":
        assert [state.kind for state in dump.opt] == ["sgd", "sgd"]
        return
    columns = dump.opt[1].columns
    assert sorted(columns) == sorted(model.state)
    for name, want in model.state.items():
        np.testing.assert_allclose(columns[name][0], want, rtol=2e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", IMPLEMENTED)
def test_defaults_are_those_of_the_messages(kind):
    for steps in (1, 2, 20):
        compare(kind, {}, 1, steps, steps)


@pytest.mark.parametrize(("kind", "name"), [(k, name) for k in IMPLEMENTED for name in settings_of(k)])
def test_each_setting_has_its_effect(kind, name):
    for value in VALUES[name]:
        compare(kind, {name: value}, 1 if kind == "batch_softmax" else 9, 12, 3)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_all_settings_together(data):
    kind = data.draw(st.sampled_from(IMPLEMENTED))
    chosen = {name: data.draw(st.sampled_from(VALUES[name]), label=name) for name in settings_of(kind)}
    dim = 1 if kind == "batch_softmax" else data.draw(st.integers(1, 20))
    compare(kind, chosen, dim, data.draw(st.integers(1, 10)), data.draw(st.integers(0, 2**32 - 1)))


# Settings that a configuration carries and that change no number.
WITHOUT_EFFECT = {"warmup_steps", "hessian_compression_times", "use_beta1_warmup"}


@pytest.mark.parametrize("kind", IMPLEMENTED)
def test_the_formulas_know_which_settings_count(kind):
    """Otherwise the test above could not fail."""
    dim = 1 if kind == "batch_softmax" else 9

    def result(**chosen):
        rng = np.random.default_rng(0)
        model, w = BY_KIND[kind](dim, **chosen), np.full(dim, F(0.5))
        for step in range(1, 4):
            model.step(w, rng.normal(0, 2, dim).astype(F), F(0.1), step)
        return w.tolist()

    for name in settings_of(kind):
        counts = name not in WITHOUT_EFFECT and (name != "learning_rate" or kind == "rmsprop")
        assert (len({tuple(result(**{name: value})) for value in VALUES[name]}) > 1) == counts, name
