"""Memory stays flat while hundreds of megabytes of warmup records pass; an index skips gigabytes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mexport_pb as mx
from mexport_pb.messages import serialize
from tests.support.records import encode, header
from tests.support.warmup import predict_log

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif("MEXPORT_SANITIZED" in os.environ, reason="a sanitizer has its own memory")

MIB = 1 << 20
RECORD = 3_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """300 MB in 100 records."""
    path = tmp_path_factory.mktemp("large") / "warmup"
    text = [bytes(1000)] * (RECORD // 1000)
    record = serialize(predict_log(text=text))
    mx.write_records(path, [record] * 100)
    yield path
    path.unlink()


def peak(code, *arguments):
    """The peak of resident memory of a fresh process."""
    script = f"import sys\n{code}\nfrom tests.support.memory import peak_rss\nprint(peak_rss(), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return int(done.stderr.splitlines()[-1])


DECODE = "from mexport_pb.cli import main\nassert main(['decode-warmup', *sys.argv[1:]]) == 0"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_decoding_is_flat(large, options):
    one = peak(DECODE, large, "--limit", 1, *options)
    assert peak(DECODE, large, *options) < one + 16 * MIB


def test_decoding_from_a_pipe_is_flat(large):
    code = "from mexport_pb.cli import main\nassert main(['decode-warmup', '-', '--limit', sys.argv[2]]) == 0"
    fed = "import os\nos.dup2(os.open(sys.argv[1], os.O_RDONLY), 0)\n" + code
    assert peak(fed, large, 100) < peak(fed, large, 1) + 16 * MIB


def test_checking_and_rewriting_are_flat(large, tmp_path):
    code = """
import mexport_pb as mx
from tests.support.warmup import model
from itertools import islice
signatures = model()
assert mx.check_warmup(sys.argv[1], signatures) == []
logs = islice(mx.read_warmup(sys.argv[1]), int(sys.argv[3]))
mx.write_warmup(sys.argv[2], logs, signatures, force=True)
"""
    few = peak(code, large, tmp_path / "out", 2)
    assert peak(code, large, tmp_path / "out", 100) < few + 16 * MIB


def test_ten_gigabytes_are_skipped_at_once(tmp_path):
    """A sparse file: headers are there, and the data are holes."""
    path = tmp_path / "warmup"
    size = 100 * MIB
    good = encode([serialize(predict_log())])
    with path.open("wb") as file:
        for _ in range(100):
            file.write(header(size))
            file.seek(size + 4, os.SEEK_CUR)
        file.write(good)
    assert path.stat().st_size > 10 * 10**9
    start = time.perf_counter()
    (line,) = mx.decode_warmup(path, index=100)
    assert line.startswith("100th model_spec:")
    assert time.perf_counter() - start < 1
    path.unlink()
