"""Tables and filters in the checkpoints of ``tf.compat.v1.train`` sessions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

tf = pytest.importorskip("tensorflow")

import mexport_pb as mx  # noqa: E402
from mexport_pb._proto.ckpt_info_pb2 import CkptInfo  # noqa: E402
from mexport_pb.errors import InvalidArgumentError, MismatchError  # noqa: E402
from mexport_pb.messages.text import from_text  # noqa: E402
from mexport_pb.runtime import hash_filter_ops, hash_table_ops  # noqa: E402
from mexport_pb.runtime.basic_restore_hook import CheckpointRestorerHook, CheckpointRestorerListener  # noqa: E402
from mexport_pb.runtime.hash_table_ops import (  # noqa: E402
    HashTableCheckpointRestorerListener,
    HashTableCheckpointSaverListener,
    HashTableRestorerSaverListener,
    test_hash_table as make_table,
)
from mexport_pb.runtime.multi_hash_table_ops import (  # noqa: E402
    MultiHashTable,
    MultiHashTableCheckpointRestorerListener,
    MultiHashTableCheckpointSaverListener,
    MultiHashTableRestorerSaverListener,
)
from mexport_pb.runtime.save_utils import NoFirstSaveCheckpointSaverHook, SaveHelper  # noqa: E402
from mexport_pb.runtime.test_utils import generate_test_hash_table_config  # noqa: E402
from tests.support.table_jobs import global_step, sessions, train_session  # noqa: E402
from tests.support.table_ops import in_session, threshold  # noqa: E402

pytestmark = pytest.mark.tensorflow

v1 = tf.compat.v1
DAY = 24 * 3600


def ids(*values):
    return tf.constant(values, tf.int64)


def basename(folder):
    return str(folder / "model.ckpt")


def assets(folder):
    return sorted(path.name for path in folder.glob("*.assets"))


def listeners(folder):
    """What saves and what restores single tables and sets."""
    base = basename(folder)
    return {
        "savers": [HashTableCheckpointSaverListener(base), MultiHashTableCheckpointSaverListener(base)],
        "restorers": [HashTableCheckpointRestorerListener(base), MultiHashTableCheckpointRestorerListener(base)],
    }


def stepping(operation):
    with tf.control_dependencies([operation]):
        return v1.assign_add(global_step(), 1)


class TestOneTable:
    def test_what_is_saved_is_restored_after_the_variables(self, tmp_path):
        train_session(tmp_path, lambda: make_table(1).assign(ids(-1, 1), [[1.0], [2.0]]).as_op())
        with tf.Graph().as_default():
            step = global_step()
            found = make_table(1).lookup(ids(-1, 0, 1))
            with sessions(tmp_path, **listeners(tmp_path)) as session:
                assert session.run(found).tolist() == [[1], [0], [2]]
                assert session.run(step) == 1

    def test_a_second_run_goes_on_where_the_first_one_ended(self, tmp_path):
        def build():
            return make_table(1, learning_rate=1.0).apply_gradients(ids(3), [[-1.0]], global_step()).as_op()

        for _ in range(3):
            train_session(tmp_path, build, steps=2)
        dump = mx.read_table(tmp_path / "model.ckpt-6.assets" / "MonolithHashTable_test")
        assert dump.values.tolist() == [[6]]

    def test_restoring_clears_ids_that_came_later(self, tmp_path):
        path = str(tmp_path / "table")
        with in_session() as run:
            table = make_table(1)
            run(table.assign(ids(1), [[1.0]]).save(path).as_op())
            run(table.assign(ids(2), [[2.0]]).as_op())
            assert run(table.restore(path).lookup(ids(1, 2))).tolist() == [[1], [0]]

    def test_the_files_of_another_table(self, tmp_path):
        with in_session() as run:
            run(make_table(1, name_suffix="a").assign(ids(1), [[1.0]]).save(str(tmp_path / "a")).as_op())
            other = make_table(1, name_suffix="b").restore(str(tmp_path / "a"))
            assert run(other.lookup(ids(1))).tolist() == [[1]]

    def test_restoring_what_is_not_there(self, tmp_path):
        with in_session() as run, pytest.raises(tf.errors.OpError, match="no valid sharded files"):
            run(make_table(1).restore(str(tmp_path / "nothing")).as_op())

    def test_an_older_name_is_restored_under_the_new_one(self, tmp_path):
        train_session(tmp_path, lambda: make_table(1, name_suffix="old").assign(ids(1), [[5.0]]).as_op())
        with tf.Graph().as_default():
            global_step()
            table = make_table(1, name_suffix="new", extra_restore_names=["none", "MonolithHashTable_old"])
            found = table.lookup(ids(1))
            with sessions(tmp_path, **listeners(tmp_path)) as session:
                assert session.run(found).tolist() == [[5]]

    def test_names_that_begin_alike(self, tmp_path):
        def build():
            one, ten = make_table(1, name_suffix="table1"), make_table(1, name_suffix="table10")
            return tf.group(one.assign(ids(1), [[1.0]]).as_op(), ten.assign(ids(1), [[10.0]]).as_op())

        train_session(tmp_path, build)
        with tf.Graph().as_default():
            global_step()
            one, ten = make_table(1, name_suffix="table1"), make_table(1, name_suffix="table10")
            found = [one.lookup(ids(1)), ten.lookup(ids(1))]
            with sessions(tmp_path, **listeners(tmp_path)) as session:
                assert [value.item() for value in session.run(found)] == [1, 10]

    @pytest.mark.parametrize("name", ["MonolithHashTable_test10-00000-of-00001", "MonolithHashTable_test-00000-of-1"])
    def test_a_checkpoint_without_the_table_is_an_error(self, name, tmp_path):
        train_session(tmp_path, lambda: make_table(1).assign(ids(1), [[1.0]]).as_op())
        (file,) = (tmp_path / "model.ckpt-1.assets").iterdir()
        file.rename(file.with_name(name))
        with tf.Graph().as_default():
            global_step()
            make_table(1)
            with (
                pytest.raises(MismatchError, match=r"Unable to find table checkpoint in .*ckpt-1\.assets/: want files"),
                sessions(tmp_path, **listeners(tmp_path)),
            ):
                pass

    def test_without_a_checkpoint_the_only_folder_of_tables_is_taken(self, tmp_path):
        train_session(tmp_path / "from", lambda: make_table(1).assign(ids(1), [[1.0]]).as_op())
        shutil.copytree(tmp_path / "from" / "model.ckpt-1.assets", tmp_path / "to" / "warm.assets")
        for copies, expected in ((1, 1), (2, 0)):
            if copies == 2:
                shutil.copytree(tmp_path / "to" / "warm.assets", tmp_path / "to" / "other.assets")
            with tf.Graph().as_default():
                found = make_table(1).lookup(ids(1))
                hook = CheckpointRestorerHook([HashTableCheckpointRestorerListener(basename(tmp_path / "to"))])
                with v1.train.SingularMonitoredSession(hooks=[hook]) as session:
                    assert session.run(found).item() == expected

    def test_restoring_after_each_save_removes_what_expired(self, tmp_path):
        with tf.Graph().as_default():
            table = make_table(1, expire_time=1)
            old = table.assign(ids(1), [[1.0]], req_time=1).as_op()
            new = table.assign(ids(2), [[2.0]], req_time=2 * DAY).as_op()
            train_op = stepping(tf.group(old, new))
            found = table.lookup(ids(1, 2))
            saved = listeners(tmp_path)
            saved["savers"].append(HashTableRestorerSaverListener(basename(tmp_path)))
            with sessions(tmp_path, **saved) as session:
                session.run(train_op)
                assert session.run(found).tolist() == [[0], [2]]

    @pytest.mark.parametrize(
        ("times", "kept"),
        [
            ([1, DAY, DAY + 1], [2, 3]),
            ([1, 2, DAY], [1, 2, 3]),
            ([7, 7, 7], [1, 2, 3]),
            ([0, 0, 0], [1, 2, 3]),
            ([None, None, None], [1, 2, 3]),
        ],
        ids=["one is a day older", "none is", "equal", "zero", "no time"],
    )
    def test_old_entries_are_not_saved(self, times, kept, tmp_path):
        path = tmp_path / "table"
        with in_session() as run:
            table = make_table(1, expire_time=1)
            for i, time in enumerate(times, 1):
                run(table.assign_add(ids(i), [[1.0]], req_time=time).as_op())
            run(table.save(str(path)).as_op())
        assert mx.read_table(path).ids.tolist() == kept

    def test_no_days_keep_nothing(self, tmp_path):
        with in_session() as run:
            table = make_table(1, expire_time=0)
            changed = table.apply_gradients(ids(1), [[1.0]], 0, req_time=9)
            run(changed.save(str(tmp_path / "table")).as_op())
        assert len(mx.read_table(tmp_path / "table")) == 0

    def test_slots_expire_each_by_its_own_days(self, tmp_path):
        config = generate_test_hash_table_config(1)
        expire = config.table_config.slot_expire_time_config
        expire.default_expire_time = 36500
        for slot, days in ((1, 0), (2, 1)):
            expire.slot_expire_times.add(slot=slot, expire_time=days)
        with in_session() as run:
            table = hash_table_ops.hash_table_from_config(config, name_suffix="slots")
            run(table.assign(ids(1 << 48, 2 << 48, 3 << 48), [[1.0]] * 3, req_time=5).as_op())
            for name in ("first", "again"):
                run(table.save(str(tmp_path / name)).as_op())
                assert mx.read_table(tmp_path / name).ids.tolist() == [2 << 48, 3 << 48]
                run(table.restore(str(tmp_path / name)).as_op())


class TestCheckpointsThatGo:
    def test_their_tables_go_too(self, tmp_path):
        def build():
            both = MultiHashTable.from_configs({"a": generate_test_hash_table_config(1)})
            return tf.group(
                make_table(1).assign(ids(1), [[1.0]]).as_op(), both.assign({"a": (ids(1), [[1.0]])}).as_op()
            )

        (tmp_path / "model.ckpt-0.assets").mkdir()  # a checkpoint's that is still to come
        (tmp_path / "model.ckpt-7.assets").mkdir()  # no checkpoint's of this job
        train_session(tmp_path, build, steps=3, max_to_keep=1)
        assert assets(tmp_path) == ["model.ckpt-3.assets", "model.ckpt-7.assets"]
        assert sorted(path.name for path in tmp_path.glob("*.index")) == ["model.ckpt-3.index"]

    def test_the_listeners_path_may_be_relative(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with tf.Graph().as_default():
            train_op = stepping(make_table(1).assign(ids(1), [[1.0]]).as_op())
            savers = [HashTableCheckpointSaverListener("model.ckpt")]
            with sessions(tmp_path, savers=savers, max_to_keep=1) as session:
                session.run(train_op)
        assert assets(tmp_path) == ["model.ckpt-1.assets"]

    def test_those_that_stay_keep_theirs(self, tmp_path):
        train_session(tmp_path, lambda: make_table(1).assign(ids(1), [[1.0]]).as_op(), steps=3, max_to_keep=2)
        assert assets(tmp_path) == ["model.ckpt-2.assets", "model.ckpt-3.assets"]
        # A later run's Saver does not know of older checkpoints, whose files stay.
        train_session(tmp_path, lambda: make_table(1).assign(ids(1), [[1.0]]).as_op(), steps=2, max_to_keep=1)
        assert assets(tmp_path) == ["model.ckpt-2.assets", "model.ckpt-5.assets"]
        assert (tmp_path / "model.ckpt-2.index").exists()

    def test_a_checkpoint_of_the_same_step_replaces_the_tables(self, tmp_path):
        for value in (1.0, 2.0):
            with tf.Graph().as_default():
                global_step()
                table = make_table(1)
                fill = table.assign(ids(1), [[value]]).as_op()
                hook = v1.train.CheckpointSaverHook(
                    str(tmp_path),
                    save_steps=100,
                    listeners=[Filling(fill), HashTableCheckpointSaverListener(basename(tmp_path))],
                    saver=v1.train.Saver(),
                )
                with v1.train.SingularMonitoredSession(hooks=[hook]):
                    pass
            dump = mx.read_table(tmp_path / "model.ckpt-0.assets" / "MonolithHashTable_test")
            assert dump.values.tolist() == [[value]]


class Filling(v1.train.CheckpointSaverListener):
    """Runs something before a save."""

    def __init__(self, operation):
        self.operation = operation

    def before_save(self, session, global_step_value):
        session.run(self.operation)


class TestOrderOfHooks:
    def hooks(self, folder, saver_hook):
        saver = saver_hook(
            str(folder),
            save_steps=1,
            listeners=[HashTableCheckpointSaverListener(basename(folder))],
            saver=v1.train.Saver(),
        )
        return saver, CheckpointRestorerHook([HashTableCheckpointRestorerListener(basename(folder))])

    def values(self, folder, step):
        return mx.read_table(folder / f"model.ckpt-{step}.assets" / "MonolithHashTable_test").values.tolist()

    def test_saving_before_restoring_would_lose_the_tables(self, tmp_path):
        train_session(tmp_path, lambda: make_table(1).assign(ids(1), [[1.0]]).as_op())
        with tf.Graph().as_default():
            global_step()
            make_table(1)
            hooks = self.hooks(tmp_path, v1.train.CheckpointSaverHook)
            with (
                pytest.raises(InvalidArgumentError, match="CheckpointRestorerHook before the hook that saves"),
                v1.train.SingularMonitoredSession(hooks=list(hooks), checkpoint_dir=str(tmp_path)),
            ):
                pass
        assert self.values(tmp_path, 1) == [[1]]

    def test_a_hook_that_does_not_save_first_may_come_first(self, tmp_path):
        train_session(tmp_path, lambda: make_table(1).assign(ids(1), [[1.0]]).as_op())
        with tf.Graph().as_default():
            train_op = stepping(make_table(1).assign_add(ids(1), [[1.0]]).as_op())
            hooks = self.hooks(tmp_path, NoFirstSaveCheckpointSaverHook)
            with v1.train.SingularMonitoredSession(hooks=list(hooks), checkpoint_dir=str(tmp_path)) as session:
                session.run(train_op)
        assert self.values(tmp_path, 1) == [[1]]
        assert self.values(tmp_path, 2) == [[2]]

    def test_listeners_are_told_in_order(self):
        told = []

        class Listener(CheckpointRestorerListener):
            def begin(self):
                told.append("begin")

            def before_restore(self, session):
                told.append("before")

            def after_restore(self, session):
                told.append("after")

        with tf.Graph().as_default():
            hook = CheckpointRestorerHook([Listener(), CheckpointRestorerListener(), Listener()])
            with v1.train.SingularMonitoredSession(hooks=[hook]):
                assert told == ["begin", "begin", "before", "before", "after", "after"]


class Aborting(v1.train.SessionRunHook):
    """Loses the session in its third run."""

    runs = 0

    def before_run(self, run_context):
        self.runs += 1
        if self.runs == 3:
            raise tf.errors.AbortedError(None, None, "gone")


def test_a_session_that_is_lost_goes_on_from_the_last_checkpoint(tmp_path):
    with tf.Graph().as_default():
        table = make_table(1)
        found, train_op = table.lookup(ids(1)), stepping(table.assign_add(ids(1), [[1.0]]).as_op())
        base = basename(tmp_path)
        hooks = [
            CheckpointRestorerHook([HashTableCheckpointRestorerListener(base)]),
            v1.train.CheckpointSaverHook(
                str(tmp_path), save_steps=1, listeners=[HashTableCheckpointSaverListener(base)], saver=v1.train.Saver()
            ),
            Aborting(),
        ]
        creator = v1.train.ChiefSessionCreator(checkpoint_dir=str(tmp_path))
        with v1.train.MonitoredSession(creator, hooks) as session:
            seen = []
            for _ in range(4):
                session.run(train_op)
                seen.append(session.run_step_fn(lambda step_context: step_context.session.run(found)).item())
    # The third step was taken again in a new session, whose table held what the second one left.
    assert seen == [1, 2, 3, 4]


class TestSeveralTables:
    def of(self, *names):
        return MultiHashTable.from_configs({name: generate_test_hash_table_config(1) for name in names})

    def test_other_tables_than_were_saved(self, tmp_path):
        def build():
            made = self.of("slot0", "slot1", "slot2")
            values = {f"slot{i}": (ids(1), [[float(i + 1)]]) for i in range(3)}
            return made.assign(values).as_op()

        train_session(tmp_path, build)
        info = from_text((tmp_path / "ckpt.info-1").read_text(), CkptInfo)
        assert dict(info.feature_counts) == {"slot0": 1, "slot1": 1, "slot2": 1}
        with tf.Graph().as_default():
            global_step()
            made = self.of("slot0", "slot2", "slot3")
            found = made.lookup({name: ids(1) for name in made.table_names})
            with sessions(tmp_path, **listeners(tmp_path)) as session:
                assert {k: v.item() for k, v in session.run(found).items()} == {"slot0": 1, "slot2": 3, "slot3": 0}

    def test_without_a_checkpoint_they_are_made_empty(self, tmp_path):
        with tf.Graph().as_default():
            global_step()
            found = self.of("a").lookup({"a": ids(1)})["a"]
            with sessions(tmp_path, **listeners(tmp_path)) as session:
                assert session.run(found).item() == 0

    def test_a_checkpoint_without_them_is_an_error(self, tmp_path):
        train_session(tmp_path, tf.no_op)
        with tf.Graph().as_default():
            global_step()
            self.of("a")
            with (
                pytest.raises(MismatchError, match="want files of 'MonolithMultiHashTable_'"),
                sessions(tmp_path, **listeners(tmp_path)),
            ):
                pass

    def test_reading_each_checkpoint_back(self, tmp_path):
        with tf.Graph().as_default():
            made = self.of("a")
            train_op = stepping(made.assign_add({"a": (ids(1), [[1.0]])}).as_op())
            found = made.lookup({"a": ids(1)})["a"]
            saved = listeners(tmp_path)
            saved["savers"] += [MultiHashTableRestorerSaverListener(basename(tmp_path))]
            with sessions(tmp_path, **saved) as session:
                session.run(train_op)
                session.run(train_op)
                assert session.run(found).item() == 2


class TestFilters:
    def run(self, folder, steps, *, save=True):
        """How an id's value looks after each step of a session that restores what the last one left."""
        base = basename(folder)
        with tf.Graph().as_default():
            filters = hash_filter_ops.create_hash_filters(0, True, threshold(3), capacity=300, split_num=5)
            table = hash_table_ops.hash_table_from_config(generate_test_hash_table_config(1), filters[0], "t")
            train_op = stepping(table.assign_add(ids(1), [[1.0]]).as_op())
            found = table.lookup(ids(1))
            with sessions(
                folder,
                savers=[
                    HashTableCheckpointSaverListener(base),
                    hash_filter_ops.HashFilterCheckpointSaverListener(base, filters, True, save),
                ],
                restorers=[
                    HashTableCheckpointRestorerListener(base),
                    hash_filter_ops.HashFilterCheckpointRestorerListener(base, filters, True, save),
                ],
            ) as session:
                seen = []
                for _ in range(steps):
                    session.run(train_op)
                    seen.append(session.run(found).item())
                return seen

    def test_their_counts_are_in_the_checkpoint(self, tmp_path):
        assert self.run(tmp_path, 2) == [0, 0]
        names = sorted(path.name for path in (tmp_path / "model.ckpt-2.assets").glob("hash_filter_*"))
        assert names == [f"hash_filter_0-{i:05d}-of-00005" for i in range(5)]
        assert self.run(tmp_path, 3) == [0, 1, 2]

    def test_counting_begins_anew_without_them(self, tmp_path):
        assert self.run(tmp_path, 2, save=False) == [0, 0]
        assert not list(tmp_path.glob("*.assets/hash_filter_*"))
        assert self.run(tmp_path, 3, save=False) == [0, 0, 0]

    def test_dummies_write_nothing(self, tmp_path):
        with in_session() as run:
            dummy = hash_filter_ops.create_dummy_hash_filter()
            run(hash_filter_ops.save_hash_filter(dummy, str(tmp_path / "f")).op)
            run(hash_filter_ops.restore_hash_filter(dummy, str(tmp_path / "f")).op)
        assert list(tmp_path.iterdir()) == []

    def test_restoring_what_is_not_there(self, tmp_path):
        with in_session() as run:
            hash_filter = hash_filter_ops.create_hash_filter(300, 5, threshold(2))
            with pytest.raises(tf.errors.OpError):
                run(hash_filter_ops.restore_hash_filter(hash_filter, str(tmp_path / "f")).op)


class TestPaths:
    def test_of_a_step(self):
        helper = SaveHelper(Path("/jobs/model.ckpt"))
        prefix = helper.get_ckpt_prefix(7)
        assert prefix == "/jobs/model.ckpt-7"
        assert helper.get_ckpt_asset_dir(prefix) == "/jobs/model.ckpt-7.assets/"
        assert helper.get_ckpt_info(7) == "/jobs/ckpt.info-7"

    def test_the_step_of_a_path(self):
        assert SaveHelper.get_global_step_from_prefix("/a-b/model.ckpt-12") == 12
        assert SaveHelper.get_global_step_from_prefix("/a-b/model.ckpt") == 0
        with pytest.raises(InvalidArgumentError, match="got 'x', want the number of a step"):
            SaveHelper.get_global_step_from_prefix("/a/model-x")

    def test_existing_checkpoints(self, tmp_path):
        helper = SaveHelper(basename(tmp_path))
        assert helper.get_existing_checkpoint_steps() == set()
        train_session(tmp_path, tf.no_op, steps=2)
        assert helper.get_existing_checkpoint_steps() == {0, 1, 2}
        assert SaveHelper(tmp_path / "other").get_existing_checkpoint_steps() == set()
