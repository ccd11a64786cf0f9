"""Core's gRPC against grpcio: its server for our client, its client for our server.

Run by ctest, which names the program that has both of our ends (grpc_probe.cc) in the environment.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

PROBE = os.environ["GRPC_PROBE"]
LARGE = bytes(range(256)) * (16 << 12)  # 16 MiB
TEXT = "kein Glück: 100 % 漢字\n\t\x7f"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
WAIT = 20


def identity(message: bytes) -> bytes:
    return message


@dataclass
class Answer:
    """How the last of some calls ended, and how many of them ended with that code."""

    code: int
    count: int
    text: str
    response: bytes


class OurClient:
    """The probe, making calls."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([PROBE, "call"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(
        self,
        address: str,
        method: str,
        request: bytes = b"",
        *,
        deadline_ms: int = WAIT * 1000,
        max_response: int = 1 << 30,
        threads: int = 1,
        calls: int = 1,
    ) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = f"{address} /probe.Probe/{method} {deadline_ms} {max_response} {threads} {calls} {len(request)}\n"
        self.process.stdin.write(line.encode() + request)
        self.process.stdin.flush()
        code, count, text_size, size = map(int, self.process.stdout.readline().split())
        text = self.process.stdout.read(text_size).decode()
        return Answer(code, count, text, self.process.stdout.read(size))

    def close(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def client() -> Iterator[OurClient]:
    one = OurClient()
    yield one
    one.close()


class Probe(grpc.GenericRpcHandler):
    """The methods of the probe, in Python."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method: Callable[[bytes, grpc.ServicerContext], bytes] | None = {
            "/probe.Probe/Echo": self.echo,
            "/probe.Probe/Fail": self.fail,
            "/probe.Probe/Never": self.never,
            "/probe.Probe/Metadata": self.metadata,
        }.get(details.method)
        return method and grpc.unary_unary_rpc_method_handler(method)

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())

    def never(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(WAIT)
        return b""

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata([("first", "a" * int(request)), ("bytes-bin", bytes(range(256)))])
        context.set_trailing_metadata([("last", "ä".encode().hex() * int(request))])
        return request


def start_server(
    probe: Probe, port: int = 0, options: list[tuple[str, object]] | None = None
) -> tuple[grpc.Server, int]:
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        handlers=[probe],
        options=[*UNLIMITED, ("grpc.so_reuseport", 0), *(options or [])],
    )
    return server, server.add_insecure_port(f"127.0.0.1:{port}")


@pytest.fixture(scope="module")
def their_probe() -> Probe:
    return Probe()


@pytest.fixture(scope="module")
def their_address(their_probe: Probe) -> Iterator[str]:
    server, port = start_server(their_probe, options=[("grpc.max_metadata_size", 1 << 20)])
    server.start()
    yield f"localhost:{port}"
    server.stop(None).wait()


def test_our_client_gets_what_it_sent(client: OurClient, their_address: str) -> None:
    for message in (b"", b"x", bytes(100_000), LARGE):
        assert client.call(their_address, "Echo", message) == Answer(0, 1, "", message)


def test_our_client_gets_errors(client: OurClient, their_address: str) -> None:
    assert client.call(their_address, "Fail", TEXT.encode()) == Answer(9, 1, TEXT, b"")
    assert client.call(their_address, "Nothing").code == 12
    over = client.call(their_address, "Echo", bytes(1001), max_response=1000)
    assert (over.code, over.text) == (8, "message: got 1001 bytes, want at most 1000")
    assert client.call(their_address, "Echo", bytes(1000), max_response=1000).code == 0


def test_our_client_stops_at_the_deadline_and_says_so(
    client: OurClient, their_address: str, their_probe: Probe
) -> None:
    begin = time.monotonic()
    assert client.call(their_address, "Never", deadline_ms=50).code == 4
    assert time.monotonic() - begin < 5
    assert their_probe.cancelled.wait(WAIT)


def test_our_client_takes_metadata_up_to_a_limit(client: OurClient, their_address: str) -> None:
    assert client.call(their_address, "Metadata", b"10").response == b"10"
    assert client.call(their_address, "Metadata", b"15000").response == b"15000"
    assert client.call(their_address, "Metadata", b"40000").code == 8
    assert client.call(their_address, "Echo", b"again").response == b"again"


def test_our_client_from_many_threads(client: OurClient, their_address: str) -> None:
    got = client.call(their_address, "Echo", bytes(50_000), threads=16, calls=10)
    assert (got.code, got.count, len(got.response)) == (0, 160, 50_000)


def test_our_client_outlives_a_server(client: OurClient) -> None:
    server, port = start_server(Probe())
    server.start()
    address = f"127.0.0.1:{port}"
    assert client.call(address, "Echo", b"1").response == b"1"
    server.stop(None).wait()
    assert client.call(address, "Echo", b"2").code == 14
    server, _ = start_server(Probe(), port)
    server.start()
    assert client.call(address, "Echo", b"3").response == b"3"
    server.stop(None).wait()


def test_our_client_survives_connections_that_age(client: OurClient) -> None:
    options = [("grpc.max_connection_age_ms", 20), ("grpc.max_connection_age_grace_ms", 2000)]
    options += [("grpc.keepalive_time_ms", 10), ("grpc.http2.max_ping_strikes", 0)]
    server, port = start_server(Probe(), options=options)
    server.start()
    # Some 100 ms: each connection goes away several times, in the middle of calls.
    got = client.call(f"127.0.0.1:{port}", "Echo", bytes(100_000), threads=4, calls=50)
    server.stop(None).wait()
    assert (got.code, got.count) == (0, 200), got.text


@pytest.fixture(scope="module", params=["tcp", "unix"])
def our_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("grpc") / "socket"
    address = "127.0.0.1:0" if request.param == "tcp" else f"unix:{path}"
    process = subprocess.Popen([PROBE, "serve", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    yield f"127.0.0.1:{port}" if request.param == "tcp" else address
    process.communicate(timeout=WAIT)
    assert process.returncode == 0
    assert not Path(path).exists()


Method = Callable[[str, bytes], bytes]


@pytest.fixture
def their_channel(our_address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(our_address, options=UNLIMITED) as channel:
        yield channel


def start(channel: grpc.Channel, method: str, request: bytes = b"", **options: object) -> grpc.Future:
    return channel.unary_unary(f"/probe.Probe/{method}", identity, identity).future(
        request, **{"timeout": WAIT, **options}
    )


def test_our_server_echoes(their_channel: grpc.Channel) -> None:
    for message in (b"", b"x", bytes(100_000), LARGE):
        assert start(their_channel, "Echo", message).result() == message


def test_our_server_answers_calls_that_share_a_connection(their_channel: grpc.Channel) -> None:
    messages = [bytes([i]) * (i * 1000) for i in range(150)]
    calls = [start(their_channel, "Echo", message) for message in messages]
    assert [call.result() for call in calls] == messages


def test_our_server_gives_errors(their_channel: grpc.Channel) -> None:
    def code_and_text(method: str, request: bytes = b"", **options: object) -> tuple[grpc.StatusCode, str]:
        call = start(their_channel, method, request, **options)
        assert call.exception() is not None
        return call.code(), call.details()

    assert code_and_text("Fail", TEXT.encode()) == (grpc.StatusCode.FAILED_PRECONDITION, TEXT)
    assert code_and_text("Fail", b"x" * 5000) == (grpc.StatusCode.FAILED_PRECONDITION, "x" * 4096)
    assert code_and_text("Nothing") == (grpc.StatusCode.UNIMPLEMENTED, "/probe.Probe/Nothing")
    assert code_and_text("Throw", b"ouch") == (grpc.StatusCode.UNKNOWN, "thrown: ouch")
    compressed = code_and_text("Echo", bytes(1000), compression=grpc.Compression.Gzip)
    assert compressed[0] is grpc.StatusCode.UNIMPLEMENTED
    huge = code_and_text("Echo", metadata=[(f"key{i}", "v" * 7000) for i in range(10)])
    assert huge[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert code_and_text("Wait", b"300", timeout=0.02)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    cancelled = start(their_channel, "Wait", b"100")
    cancelled.cancel()
    assert start(their_channel, "Echo", b"after all of that").result() == b"after all of that"


def test_our_server_keeps_a_connection_alive(our_address: str) -> None:
    options = [("grpc.keepalive_time_ms", 10), ("grpc.keepalive_timeout_ms", 2000)]
    options += [("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)]
    with grpc.insecure_channel(our_address, options=options) as channel:
        for wait in (b"50", b"0"):
            assert start(channel, "Wait", wait).result() == b""


def test_our_client_and_our_server(client: OurClient, our_address: str) -> None:
    got = client.call(our_address, "Echo", LARGE, threads=3)
    assert (got.code, got.count, got.response) == (0, 3, LARGE)
    assert client.call(our_address, "Fail", TEXT.encode()).text == TEXT
