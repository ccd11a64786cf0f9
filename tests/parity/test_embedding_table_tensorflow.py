"""The optimizers that TensorFlow has kernels for take the same steps there."""

import numpy as np
import pytest

import mexport_pb as mx
from tests.support.embedding_model import ids_of, segment, training

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tensorflow

DIM = 6
RATE = 0.05
STEPS = 12
BETA1, BETA2, EPSILON = 0.8, 0.95, 0.02


def variable(start=0.0):
    return tf.Variable(np.full(DIM, start, np.float32))


class Adam:
    """Both kinds: the powers are the caller's to keep."""

    def __init__(self, kernel, vectors, **options):
        self.kernel, self.slots, self.options, self.steps = kernel, [variable() for _ in range(vectors)], options, 0

    def __call__(self, w, gradient):
        self.steps += 1
        self.kernel(
            var=w.handle, **dict(zip(("m", "v", "vhat"), (slot.handle for slot in self.slots), strict=False)),
            beta1_power=np.float32(BETA1**self.steps), beta2_power=np.float32(BETA2**self.steps),
            lr=RATE, beta1=BETA1, beta2=BETA2, epsilon=EPSILON, grad=gradient, **self.options,
        )  # fmt: skip


def sgd(w, gradient):
    tf.raw_ops.ResourceApplyGradientDescent(var=w.handle, alpha=RATE, delta=gradient)


def adagrad():
    norm = variable(0.5)
    return lambda w, gradient: tf.raw_ops.ResourceApplyAdagrad(var=w.handle, accum=norm.handle, lr=RATE, grad=gradient)


def ftrl():
    norm, zero = variable(0.5), variable()
    return lambda w, gradient: tf.raw_ops.ResourceApplyFtrl(
        var=w.handle, accum=norm.handle, linear=zero.handle, grad=gradient, lr=RATE, l1=0.0, l2=0.0, lr_power=-0.5
    )


def adadelta():
    accum, update = variable(), variable()
    return lambda w, gradient: tf.raw_ops.ResourceApplyAdadelta(
        var=w.handle, accum=accum.handle, accum_update=update.handle, lr=RATE, rho=0.7, epsilon=EPSILON, grad=gradient
    )


def momentum():
    accum = variable()
    return lambda w, gradient: tf.raw_ops.ResourceApplyKerasMomentum(
        var=w.handle, accum=accum.handle, lr=RATE, grad=gradient, momentum=0.7
    )


ADAM = {"beta1": BETA1, "beta2": BETA2, "epsilon": EPSILON}


@pytest.mark.parametrize(
    ("optimizer", "make_rival"),
    [
        (mx.SgdOptimizer(), lambda: sgd),
        (mx.AdagradOptimizer(initial_accumulator_value=0.5), adagrad),
        (mx.FtrlOptimizer(initial_accumulator_value=0.5), ftrl),
        (mx.AdadeltaOptimizer(averaging_ratio=0.7, epsilon=EPSILON), adadelta),
        (mx.MomentumOptimizer(momentum=0.7), momentum),
        (mx.AdamOptimizer(**ADAM), lambda: Adam(tf.raw_ops.ResourceApplyAdam, 2)),
        (mx.AmsgradOptimizer(**ADAM), lambda: Adam(tf.raw_ops.ResourceApplyAdamWithAmsgrad, 3)),
    ],
    ids=lambda value: getattr(value, "_field", ""),
)  # fmt: skip
def test_optimizers_take_the_steps_of_tensorflows_kernels(optimizer, make_rival):
    table = training(segment(DIM, initializer=mx.ConstantsInitializer(0.0), optimizer=optimizer))
    w, rival = variable(), make_rival()
    rng = np.random.default_rng(0)
    for step in range(STEPS):
        gradient = rng.normal(0, 2, DIM).astype(np.float32)
        table.optimize(ids_of(1), gradient[None], [RATE], 0, step)
        rival(w, gradient)
        np.testing.assert_allclose(table.lookup(ids_of(1))[0], w.numpy(), rtol=1e-5, atol=1e-6)
