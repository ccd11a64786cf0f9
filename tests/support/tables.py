"""Tables for tests."""

import numpy as np

import mexport_pb as mx

__all__ = ["assert_equal", "files_of", "make_table", "random_ids"]

STATES = {
    "sgd": {},
    "adagrad": {"norm": 2},
    "ftrl": {"zero": 1, "norm": 1},
    "adam": {"m": 2, "v": 2, "beta1_power": None, "beta2_power": None},
    "group_adagrad": {"grad_square_sum": None},
    "batch_softmax": {"global_step": int},
    "dynamic_wd_adagrad": {"norm": 2, "last_update_step": int},
}


def random_ids(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.permutation(np.unique(rng.integers(-(2**63), 2**63 - 1, n)))


def make_table(ids, dim=4, kinds=("ftrl", "sgd", "adam"), seed=0, timestamps=None):
    """Entries with random bits in all floats, not-a-numbers among them."""
    rng = np.random.default_rng(seed)
    ids = np.asarray(ids, np.int64)
    n = len(ids)

    def floats(*shape):
        return rng.integers(0, 2**32, (n, *shape), np.uint32).view(np.float32)

    opt = []
    for kind in kinds:
        columns = {}
        for name, width in STATES[kind].items():
            if width is int:
                columns[name] = rng.integers(-(2**63), 2**63 - 1, n)
            else:
                columns[name] = floats() if width is None else floats(width)
        opt.append(mx.OptimizerState(kind, columns))
    if timestamps is None:
        timestamps = rng.integers(0, 2**40, n)
    return mx.TableDump(ids, floats(dim), np.asarray(timestamps, np.int64), tuple(opt))


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def assert_equal(got, want):
    """The same entries bit for bit, in any order."""
    a, b = (np.argsort(dump.ids) for dump in (got, want))
    assert [s.kind for s in got.opt] == [s.kind for s in want.opt]
    pairs = [(got.ids, want.ids), (got.values, want.values), (got.timestamps, want.timestamps)]
    for x, y in zip(got.opt, want.opt, strict=True):
        assert list(x.columns) == list(y.columns)
        pairs += [(x.columns[name], y.columns[name]) for name in y.columns]
    for x, y in pairs:
        assert x.dtype == y.dtype
        assert x[a].tobytes() == y[b].tobytes()
