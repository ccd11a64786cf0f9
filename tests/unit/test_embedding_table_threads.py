"""Readers and writers at once. Under a sanitizer the sizes are smaller, and a race is an error."""

import os
import threading

import numpy as np
import pytest

import mexport_pb as mx
from tests.support.embedding_model import segment, serving, table_config, training

SCALE = 1 if os.environ.get("MEXPORT_SANITIZED") else 4
DIM = 33  # a row that ends within a word of eight bytes


def run(*works):
    """Run each work in a thread of its own; the first error of any is raised."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def constant_rows(values):
    """Every row has one number in all its places."""
    return (values == values[:, :1]).all()


@pytest.mark.parametrize("make", [lambda: serving(mx.Fp32Compressor(), DIM), lambda: training(segment(DIM))])
def test_rows_are_seen_whole_while_they_change_and_the_table_grows(make):
    table = make()
    hot = np.arange(50)
    done = threading.Event()

    def write(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40 * SCALE):
            cold = rng.integers(1000, 2**40, 300)
            ids = np.concatenate([np.tile(hot, 4), cold])
            table.assign(ids, np.repeat(rng.random((len(ids), 1), np.float32) + 1, DIM, axis=1))

    def write_all():
        run(lambda: write(1), lambda: write(2))
        done.set()

    def read():
        ids = np.tile(hot, 20)
        while not done.is_set():
            assert constant_rows(table.lookup(ids))
            assert table.contains(np.arange(100, 200)).sum() == 0

    run(write_all, read, read)
    assert len(table) > 1000 * SCALE
    assert constant_rows(table.lookup(table.ids()))


def test_saved_entries_are_whole_while_they_are_optimized():
    table = training(segment(DIM, optimizer=mx.MovingAverageOptimizer(momentum=0.5)), segment(1))
    ids = np.arange(64)
    done = threading.Event()

    def write():
        for step in range(60 * SCALE):
            table.optimize(ids, np.full((64, DIM + 1), step, np.float32), [1, 1], step + 1, step)

    def write_all():
        run(write, write)
        done.set()

    def save():
        while not done.is_set():
            for dump in (table.save(), table.save(ids)):
                assert constant_rows(dump.values[:, :DIM])

    run(write_all, save)


def test_sums_of_several_threads_are_exact():
    table = training(segment(4))
    ids = np.arange(3000)
    ones = np.ones((3000, 4), np.float32)

    def add():
        for _ in range(8):
            table.assign_add(ids, ones)

    run(add, add, add)
    assert (table.lookup(ids) == 24).all()


def test_erasing_and_reusing_rows_never_shows_another_ids_row():
    config = table_config(segment(DIM)).as_proto()
    config.slot_expire_time_config.default_expire_time = 0
    table = mx.EmbeddingTable(config)
    done = threading.Event()
    ids = np.arange(400)
    values = np.repeat(np.arange(400, dtype=np.float32)[:, None], DIM, axis=1)

    def write():
        for _ in range(30 * SCALE):
            table.assign(ids, values, 1)
            table.evict(1)
        done.set()

    def read():
        while not done.is_set():
            got = table.lookup(ids)
            assert constant_rows(got)
            assert ((got[:, 0] == ids) | (got[:, 0] == 0)).all()

    run(write, read, read)
    assert len(table) == 0


def test_clearing_swapping_and_restoring_under_readers():
    table = training(segment(2))
    ids = np.arange(2000)
    full = training(segment(2))
    full.assign(ids, np.ones((2000, 2), np.float32))
    dump = full.save()
    done = threading.Event()

    def change():
        for _ in range(10 * SCALE):
            table.restore(dump)
            table.clear()
            other = table.empty_like()
            other.restore(dump)
            table.swap(other)
        done.set()

    def read():
        while not done.is_set():
            got = table.lookup(ids)
            assert np.isin(got.sum(axis=1), [0, 2]).all()
            assert len(table) in (0, 2000)
            assert len(table.ids()) in (0, 2000)
            assert table.memory_bytes > 0

    run(change, read, read)


def test_a_save_of_several_tables_is_of_one_moment():
    tables = mx.MultiTable({name: table_config(segment(1)) for name in "ab"})
    done = threading.Event()

    def write():
        for i in range(300 * SCALE):
            for name in "ab":
                tables[name].assign(np.array([i]), np.ones((1, 1), np.float32))
        done.set()

    def save():
        while not done.is_set():
            dumps = tables.save()
            assert len(dumps["a"]) - len(dumps["b"]) in (0, 1)

    run(write, save)
