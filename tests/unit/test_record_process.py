"""Records among what a process does besides: threads at its end, finalizers, signals, pipes and forks.

Each script runs in a process of its own, because what it guards against is a crash or a hang.
"""

import os
import subprocess
import sys
import textwrap

import pytest

from mexport_pb.record import write_records
from tests.support.records import COMPRESSIONS, compress, encode

# How long a script may take that does not hang: a sanitizer makes everything slow.
PATIENCE = 60 if "MEXPORT_SANITIZED" in os.environ else 20
PRELUDE = """
    import gc, os, signal, sys, threading, time, types, zlib
    import numpy as np
    import mexport_pb as mx
    from mexport_pb.errors import *
    from mexport_pb.record import *
    path = sys.argv[1]

    def daemon(work):
        threading.Thread(target=work, daemon=True).start()

    def refused(call):
        try:
            call()
        except InvalidArgumentError as error:
            return str(error)
        raise AssertionError("it was not refused")
"""


def run(code, *arguments, returncode=0):
    """Run the code in a fresh process, which must end in time and by itself; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == returncode, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


# Threads that are at work when the interpreter ends.

DAEMONS = {
    "writer": """
        writer = RecordWriter("/dev/null")
        while True: writer.write(bytes(2_000_000))
    """,
    "zlib writer": """
        data = os.urandom(300_000)
        writer = RecordWriter("/dev/null", "zlib")
        while True: writer.write(data)
    """,
    "snappy writer": """
        data = os.urandom(300_000)
        writer = RecordWriter("/dev/null", "snappy")
        while True: writer.write(data)
    """,
    "generator": """
        writer = RecordWriter("/dev/null")
        writer.write_many(bytes(2_000_000) for _ in iter(int, 1))
    """,
    "reader": """
        while True:
            for record in RecordReader(path): pass
    """,
    "batch reader": """
        while True:
            reader = RecordReader(path)
            while reader.read_batch(): pass
    """,
    "gzip reader": """
        while True:
            for record in RecordReader(path + ".gzip", "gzip"): pass
    """,
    "snappy reader": """
        while True:
            for record in RecordReader(path + ".snappy", "snappy"): pass
    """,
    "error": """
        while True:
            try: next(RecordReader(path, "zlib"))
            except RecordCompressionError: pass
    """,
    "checksum": """
        data = bytes(10_000_000)
        while True: crc32c(data)
    """,
    "bundle": """
        while True: mx.copy_bundle(path + ".bundle", f"{path}.{threading.get_ident()}.copy")
    """,
}


@pytest.mark.parametrize("work", DAEMONS)
def test_daemon_thread_at_exit(tmp_path, work):
    path = tmp_path / "records"
    records = [os.urandom(100_000)] * 30
    write_records(path, records)
    for compression in ("gzip", "snappy"):
        write_records(f"{path}.{compression}", records, compression)
    code = (
        """
    with mx.BundleWriter(path + ".bundle") as bundle:
        bundle.add("a", np.zeros(1_000_000, np.float32))
    def work():
    """
        + textwrap.indent(textwrap.dedent(DAEMONS[work]), " " * 8)
        + """
    for _ in range(3):
        daemon(work)
    time.sleep(0.3)
    """
    )
    for _ in range(3):
        run(code, path)


def test_daemon_thread_that_waits_for_a_pipe_at_exit(fifo):
    code = """
        held = os.open(path, os.O_RDWR)
        daemon(lambda: next(RecordReader(path)))
        time.sleep(0.3)
    """
    run(code, fifo)


def test_writer_of_a_daemon_thread_is_not_waited_for_at_exit(tmp_path):
    """The thread has the writer's turn and never gets the GIL again."""
    code = """
        class Slow:
            def compress(self, data):
                busy.set()
                time.sleep(1000)

        class Last:
            def __del__(self):
                try: writer.flush()
                except InvalidArgumentError as error: os.write(1, str(error).encode())

        zlib.compressobj = lambda *arguments: Slow()
        busy = threading.Event()
        writer = RecordWriter(path, "zlib")
        daemon(lambda: writer.write(bytes(1_000_000)))
        busy.wait()
        # A module of its own, because the thread keeps this one's names alive.
        sys.modules["last"] = types.ModuleType("last")
        sys.modules["last"].last = Last()
    """
    out, _ = run(code, tmp_path / "records")
    assert out == "the record writer is in use by a daemon thread, and the interpreter ends"


# Calls that come back to the object that they came from.


def test_codec_that_comes_back(tmp_path):
    code = """
        class Back:
            def compress(self, data):
                refusals.extend(map(refused, calls))
                return b""
            def flush(self, mode=None):
                return b""

        zlib.compressobj = lambda *arguments: Back()
        writer = RecordWriter(path, "zlib")
        calls = [lambda: writer.write(b"x"), lambda: writer.write_batch(b"", [0]), writer.flush, writer.close]
        refusals = []
        writer.write(bytes(1_000_000))
        writer.close()
        print(*set(refusals))
    """
    out, _ = run(code, tmp_path / "records")
    assert out == (
        "the record writer is in use by this very thread: a signal handler or finalizer may not call it back\n"
    )


@pytest.mark.parametrize("compression", ["zlib", "snappy"])
def test_finalizer_that_writes(tmp_path, compression):
    """Until Python 3.12 the collector runs within any allocation, so within a codec's call."""
    code = """
        class Cycle:
            def __init__(self):
                self.me = self
            def __del__(self):
                try:
                    writer.write(b"finalizer")
                    written[0] += 1
                except InvalidArgumentError as error:
                    assert "by this very thread" in str(error)
                    refusals[0] += 1

        written, refusals = [0], [0]
        writer = RecordWriter(path, sys.argv[2])
        gc.disable()
        data = os.urandom(300_000)
        for i in range(300):
            Cycle()
            # The collector comes at the i-th object from here.
            gc.set_threshold(gc.get_count()[0] + i % 30)
            gc.enable()
            writer.write(data)
            written[0] += 1
            gc.disable()
            gc.collect()
        writer.close()
        assert sum(1 for _ in RecordReader(path, sys.argv[2])) == written[0]
        # Zlib's codec is Python's, so that a collector may come within a call of it; snappy's is not.
        assert bool(refusals[0]) == (sys.argv[2] == "zlib" and sys.version_info < (3, 12))
    """
    run(code, tmp_path / "records", compression)


# Signals while a call waits.


@pytest.mark.parametrize(
    "call",
    [
        # To open.
        "RecordReader(path)",
        "RecordWriter(path)",
        # To read.
        "next(RecordReader(os.open(path, os.O_RDWR) and path))",
        "RecordReader(os.open(path, os.O_RDWR) and path, 'zlib').read_batch()",
        # To write.
        "RecordWriter(os.open(path, os.O_RDWR) and path).write(bytes(10_000_000))",
    ],
)
def test_interrupt(fifo, call):
    code = f"""
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        try:
            {call}
        except KeyboardInterrupt:
            os._exit(0 if time.monotonic() - start > 0.4 else 1)
    """
    run(code, fifo)


def test_signal_whose_handler_returns(fifo):
    """The call goes on."""
    code = """
        held = os.open(path, os.O_RDWR)
        signal.signal(signal.SIGALRM, lambda *_: os.write(held, zlib.decompress(bytes.fromhex(sys.argv[2]))))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        print(next(RecordReader(path)))
    """
    out, _ = run(code, fifo, compress(encode([b"hello"]), "zlib").hex())
    assert out == "b'hello'\n"


def test_after_an_interrupt(fifo):
    code = """
        held = os.open(path, os.O_RDWR)
        def handler(*_):
            print(refused(lambda: used.offset if reading else used.flush()))
            raise KeyError
        signal.signal(signal.SIGALRM, handler)
        for reading in (True, False):
            used = RecordReader(path) if reading else RecordWriter(path)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            try:
                next(used) if reading else used.write(bytes(10_000_000))
            except KeyError:
                print(refused(lambda: next(used) if reading else used.write(b"")))
                print(refused(lambda: used.read_batch() if reading else used.close()))
    """
    out, _ = run(code, fifo)
    want = []
    for what in ("record reader", "record writer"):
        want.append(f"the {what} is in use by this very thread: a signal handler or finalizer may not call it back")
        want += [f"the {what} is of no use any more: an exception ended an earlier call"] * 2
    assert out.splitlines() == want


# Pipes.


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("batch", [False, True])
def test_live_pipe(fifo, compression, batch):
    """What is there is delivered, while the other end may still write."""
    code = """
        held = os.open(path, os.O_RDWR)
        writer = RecordWriter(path, sys.argv[2])
        with RecordReader(path, sys.argv[2]) as reader:
            for count in range(1, 4):
                sent = [bytes([count]) * 5] * count
                writer.write_many(sent)
                writer.flush()
                if sys.argv[3] == "True":
                    assert list(reader.read_batch()) == sent
                else:
                    assert [next(reader) for _ in sent] == sent
        writer.close()
    """
    run(code, fifo, compression, batch)


def test_sync_of_what_cannot_be_synced(fifo):
    code = """
        held = os.open(path, os.O_RDWR)
        for name in (path, "/dev/null"):
            with RecordWriter(name) as writer:
                writer.write(b"a")
                writer.sync()
                writer.write(b"b")
        reader = RecordReader(path)
        assert [next(reader), next(reader)] == [b"a", b"b"]
    """
    run(code, fifo)


# Forks.


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_fork(tmp_path, compression):
    """The child refuses to write, and drops what it inherited."""
    code = """
        def calls():
            yield lambda: writer.write(b"c")
            yield lambda: writer.write_batch(b"", [0])
            yield writer.flush
            yield writer.sync
            yield lambda: next(reader)
            yield reader.read_batch

        write_records(path + ".read", [b"r"])
        reader = RecordReader(path + ".read")
        with RecordWriter(path, sys.argv[2]) as writer:
            writer.write(b"a")
            child = os.fork()
            if child == 0:
                print(*sorted({refused(call) for call in calls()}), sep="\\n")
                reader.close()
                sys.exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            child = os.fork()
            if child == 0:
                writer.close()
                del writer, reader
                gc.collect()
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            writer.write(b"b")
            assert next(reader) == b"r"
        assert list(read_records(path, sys.argv[2])) == [b"a", b"b"]
    """
    out, err = run(code, tmp_path / "records", compression)
    assert err == ""
    assert out.splitlines() == [
        f"the {what} belongs to the process that opened it, not to a fork of that process"
        for what in ("record reader", "record writer")
    ]


@pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="sanitizers do not follow a fork among threads")
def test_fork_while_a_thread_writes(tmp_path):
    code = """
        def work():
            while not stop:
                writer.write(data)

        stop = False
        data = os.urandom(1 << 20)
        writer = RecordWriter(path, "zlib")
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                refused(lambda: writer.write(b"x"))
                writer.close()
                del writer, thread
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop = True
        thread.join()
        writer.close()
        assert all(record == data for record in read_records(path, "zlib"))
    """
    run(code, tmp_path / "records")
