"""A warm process that forks exporters and lets them die where it is told; see tests/unit/test_distributed_kills.py.

Reads a JSON object a line, {"version", "kill_at", "kill_after"}, and answers "killed", "done" or "failed". With kill_at
an exporter dies before its call of that number which changes names or syncs; with kill_after, after seconds.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from mexport_pb.export import publish
from tests.support.distributed_model import make_exporter, make_model_fn, receiver_fn

CALLS = [
    *((os, name) for name in ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir")),
    (fcntl, "flock"),
    (publish, "_renameat2"),
]


def die_at(k):
    lock, left = threading.Lock(), [k]

    def counting(real):
        def call(*args, **kwargs):
            with lock:
                left[0] -= 1
                if left[0] <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for module, name in CALLS:
        setattr(module, name, counting(getattr(module, name)))


def export(folder, servers, version, name="models"):
    model_fn = make_model_fn(servers=servers, dense_sub=(), multi=False)
    make_exporter(folder, model_fn, name, threads=2).export_saved_model(receiver_fn, global_step=version)


def run(folder, servers, order):
    child = os.fork()
    if child == 0:
        try:
            if order["kill_at"]:
                die_at(order["kill_at"])
            export(folder, servers, order["version"])
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if order["kill_after"] is not None:
        time.sleep(order["kill_after"])
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed"
    return "failed" if os.WEXITSTATUS(status) else "done"


def main():
    # What a killed process wrote is there without it, and it would cost most of the time.
    os.fsync = lambda fd: None
    folder, servers = Path(sys.argv[1]), int(sys.argv[2])
    export(folder, servers, 0, "warm")
    # A process that forks may have one thread only; those of the export are on their way out.
    deadline = time.monotonic() + 30
    while len(os.listdir("/proc/self/task")) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(folder, servers, json.loads(line)), flush=True)


if __name__ == "__main__":
    main()
