"""Warmup files in an S3 bucket, of a moto server on the loopback interface."""

import pytest

import mexport_pb as mx
from mexport_pb.cli import main
from mexport_pb.messages import serialize
from tests.support.records import compress, encode, starts
from tests.support.warmup import logs_of_all_kinds

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

# What these packages warn of on their own account.
pytestmark = pytest.mark.filterwarnings("ignore:::(moto|s3fs|aiobotocore|botocore|aiohttp|werkzeug).*")

RECORDS = [serialize(log) for log in logs_of_all_kinds().values()]
STREAM = encode(RECORDS)


@pytest.fixture(scope="module")
def bucket():
    import s3fs

    moto = server.ThreadedMotoServer("127.0.0.1", 0)
    moto.start()
    host, port = moto.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("HTTP_PROXY", raising=False)
        patch.delenv("http_proxy", raising=False)
        store = s3fs.S3FileSystem()
        store.mkdir("warm")
        store.pipe("warm/plain", STREAM)
        store.pipe("warm/gzip", compress(STREAM, "gzip"))
        store.pipe("warm/cut", STREAM[:-1])
        yield "s3://warm"
    moto.stop()


def test_decode(bucket, tmp_path, capsys):
    (tmp_path / "local").write_bytes(STREAM)
    assert main(["decode-warmup", str(tmp_path / "local")]) == 0
    want = capsys.readouterr()
    for name in ("plain", "gzip"):
        assert main(["decode-warmup", f"{bucket}/{name}"]) == 0
        assert capsys.readouterr() == want
    assert main(["decode-warmup", f"{bucket}/plain", "--index", "3"]) == 0
    assert capsys.readouterr().out.startswith("3th model_spec: multi_inference_log\n")


def test_damage_and_missing_keys(bucket, capsys):
    assert main(["decode-warmup", f"{bucket}/cut", "--json"]) == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err.startswith(f"mexport: {bucket}/cut: offset {starts(RECORDS)[4]}: record 4: the file ends")
    assert main(["decode-warmup", f"{bucket}/nothing"]) == 1
    assert f"{bucket}/nothing" in capsys.readouterr().err
    assert main(["decode-warmup", "s3://nobody/nothing"]) == 1
    capsys.readouterr()


def test_check_and_read(bucket):
    assert [problem.severity for problem in mx.check_warmup(f"{bucket}/plain")] == []
    assert len(list(mx.read_warmup(f"{bucket}/gzip"))) == 5
