"""What each optimizer of a table does, written again in numpy: one class a formula, float32 where the table is.

Each takes the settings of its message with the message's own defaults, keeps its state under the names of the dump, and
changes vectors in place.
"""

import numpy as np

F = np.float32


class Optimizer:
    """Subclasses name their vectors of state that start with zeros, and their settings with the defaults."""

    def __init_subclass__(cls, state=(), **defaults):
        cls.state_names, cls.defaults = state, defaults

    def __init__(self, dim, **settings):
        unknown = set(settings) - set(self.defaults) - {"learning_rate", "warmup_steps"}
        assert not unknown, unknown
        for name, value in {**self.defaults, **settings}.items():
            setattr(self, name, F(value) if isinstance(value, float) else value)
        self.state = self.start(dim)

    def start(self, dim):
        return {name: np.zeros(dim, F) for name in self.state_names}

    def decayed(self, w, g):
        return g + self.weight_decay_factor * w

    def step(self, w, g, rate, global_step):
        raise NotImplementedError


class Sgd(Optimizer):
    def step(self, w, g, rate, global_step):
        w -= rate * g


class Adagrad(Optimizer, initial_accumulator_value=0.1, weight_decay_factor=0.0, hessian_compression_times=1):
    def start(self, dim):
        return {"norm": np.full(dim, self.initial_accumulator_value, F)}

    def step(self, w, g, rate, global_step):
        g = self.decayed(w, g)
        self.state["norm"] += g * g
        w -= rate / np.sqrt(self.state["norm"]) * g


class Ftrl(
    Optimizer, beta=0.0, initial_accumulator_value=0.1, l1_regularization_strength=0.0, l2_regularization_strength=0.0
):
    def start(self, dim):
        return {"zero": np.zeros(dim, F), "norm": np.full(dim, self.initial_accumulator_value, F)}

    def step(self, w, g, rate, global_step):
        norm = self.state["norm"] + g * g
        sigma = (np.sqrt(norm) - np.sqrt(self.state["norm"])) / rate
        self.state["zero"] += g - sigma * w
        self.state["norm"] = norm
        z = self.state["zero"]
        negative = np.signbit(z).astype(F)
        l1, l2 = self.l1_regularization_strength, self.l2_regularization_strength
        w[:] = np.where(np.abs(z) > l1, rate * (negative * l1 - z) / (np.sqrt(norm) + self.beta + l2 * rate), F(0))


class GroupAdaGrad(
    Optimizer, beta=0.0, initial_accumulator_value=0.1, l2_regularization_strength=0.0, weight_decay_factor=0.0
):
    def start(self, dim):
        return {"grad_square_sum": np.full((), self.initial_accumulator_value, F)}

    def step(self, w, g, rate, global_step):
        g = self.decayed(w, g)
        total = self.state["grad_square_sum"] = F(self.state["grad_square_sum"] + (g * g).max())
        rate = rate / (self.beta + np.sqrt(total))
        z = g - w / rate
        length = np.sqrt(np.sum(z * z, dtype=F))
        l2 = self.l2_regularization_strength
        w[:] = 0 if length < l2 else -rate * (length - l2) / length * z


class Adadelta(Optimizer, state=("accum", "accum_update"), weight_decay_factor=0.0, averaging_ratio=0.9, epsilon=0.01):
    def step(self, w, g, rate, global_step):
        g = self.decayed(w, g)
        ratio, rest = self.averaging_ratio, 1 - self.averaging_ratio
        accum = self.state["accum"] = self.state["accum"] * ratio + g * g * rest
        update = np.sqrt(self.state["accum_update"] + self.epsilon) / np.sqrt(accum + self.epsilon) * g
        w -= update * rate
        self.state["accum_update"] = self.state["accum_update"] * ratio + update * update * rest


class Adam(
    Optimizer,
    state=("m", "v"),
    beta1=0.9,
    beta2=0.99,
    use_beta1_warmup=False,
    weight_decay_factor=0.0,
    use_nesterov=False,
    epsilon=0.01,
):
    def start(self, dim):
        return {**super().start(dim), "beta1_power": np.full((), self.beta1), "beta2_power": np.full((), self.beta2)}

    def divisor(self, v):
        return v

    def step(self, w, g, rate, global_step):
        state = self.state
        g = self.decayed(w, g)
        rate = rate * np.sqrt(1 - state["beta2_power"]) / (1 - state["beta1_power"])
        state["m"] += (g - state["m"]) * (1 - self.beta1)
        state["v"] += (g * g - state["v"]) * (1 - self.beta2)
        m = state["m"]
        if self.use_nesterov:
            m = g * (1 - self.beta1) + self.beta1 * m
        w -= m * rate / (np.sqrt(self.divisor(state["v"])) + self.epsilon)
        state["beta1_power"] = F(state["beta1_power"] * self.beta1)
        state["beta2_power"] = F(state["beta2_power"] * self.beta2)


class Amsgrad(
    Adam,
    state=("m", "v", "vhat"),
    beta1=0.9,
    beta2=0.99,
    weight_decay_factor=0.0,
    use_nesterov=False,
    epsilon=0.01,
):
    def divisor(self, v):
        self.state["vhat"] = np.maximum(self.state["vhat"], v)
        return self.state["vhat"]


class Momentum(Optimizer, state=("n",), weight_decay_factor=0.0, use_nesterov=False, momentum=0.9):
    def step(self, w, g, rate, global_step):
        old = self.state["n"]
        new = self.state["n"] = self.momentum * old - rate * self.decayed(w, g)
        w += (1 + self.momentum) * new - self.momentum * old if self.use_nesterov else new


class MovingAverage(Optimizer, momentum=0.9):
    def step(self, w, g, rate, global_step):
        w[:] = self.momentum * w + (1 - self.momentum) * g


class Rmsprop(Optimizer, state=("n",), learning_rate=0.01, weight_decay_factor=0.0, momentum=0.9):
    """In double, with the learning rate of the settings."""

    def step(self, w, g, rate, global_step):
        g = g.astype(np.float64) + np.float64(self.weight_decay_factor) * w
        momentum = np.float64(self.momentum)
        n = self.state["n"] = (momentum * self.state["n"] + (1 - momentum) * g * g).astype(F)
        w -= (np.float64(self.learning_rate) / (np.sqrt(n.astype(np.float64)) + 1) * g).astype(F)


class RmspropV2(Optimizer, state=("n",), weight_decay_factor=0.0, momentum=0.9):
    def step(self, w, g, rate, global_step):
        g = self.decayed(w, g)
        self.state["n"] = self.momentum * self.state["n"] + g * g
        w -= rate / (np.sqrt(self.state["n"]) + 1) * g


class BatchSoftmax(Optimizer):
    def start(self, dim):
        assert dim == 1
        return {"global_step": np.zeros((), np.int64)}

    def step(self, w, g, rate, global_step):
        w[:] = (1 - rate) * w + rate * F(global_step - int(self.state["global_step"]))
        self.state["global_step"] = np.int64(global_step)


BY_KIND = {
    "adadelta": Adadelta,
    "adagrad": Adagrad,
    "adam": Adam,
    "amsgrad": Amsgrad,
    "batch_softmax": BatchSoftmax,
    "ftrl": Ftrl,
    "group_adagrad": GroupAdaGrad,
    "momentum": Momentum,
    "moving_average": MovingAverage,
    "rmsprop": Rmsprop,
    "rmspropv2": RmspropV2,
    "sgd": Sgd,
}
