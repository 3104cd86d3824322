"""What a client may make a server hold: heads, bodies, connections. Real sockets, both of uvicorn's parsers."""

import asyncio
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.servers.eventually import eventually
from tocsin.config.settings import HttpSettings
from tocsin.metrics.registry import Metrics
from tocsin.web.server import Server

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Served:
    """A server of a small application in a thread: it answers a request with the length of its body.

    A request for /slow is answered once ``go`` is set; that for /large with 16 MiB.
    """

    def __init__(self, parser: str, **settings: Any) -> None:
        self.metrics, self.go, self.slow = Metrics(), threading.Event(), 0
        self._server = Server("127.0.0.1", 0)
        started = threading.Event()
        serving = self._server.serve(self._app, started.set, HttpSettings(**settings), self.metrics, parser)
        self._thread = threading.Thread(target=asyncio.run, args=(serving,), daemon=True)
        self._thread.start()
        assert started.wait(20)
        self.port = self._server.port

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        if scope["path"] == "/slow":
            self.slow += 1
            await asyncio.to_thread(self.go.wait, 30)
        text = b"x" * (16 << 20) if scope["path"] == "/large" else str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})

    def stop(self) -> None:
        self.go.set()
        self._server.stop()
        self._thread.join(20)

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=10, source_address=(source, 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def closed(self, reason: str) -> float:
        found = self.metrics.registry.get_sample_value("tocsin_http_connections_closed_total", {"reason": reason})
        assert found is not None
        return found


Serve = Callable[..., Served]


@pytest.fixture(params=["httptools", "h11"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    made: list[Served] = []

    def make(**settings: Any) -> Served:
        made.append(Served(request.param, **settings))
        return made[-1]

    yield make
    for served in made:
        served.stop()


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Status and all else until the server closes; (0, b"") where it closed without an answer."""
    got = b""
    with suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            got += part
    return (int(got.split()[1]), got) if got else (0, b"")


def one(client: socket.socket) -> int:
    """The status of one answer; the connection stays."""
    got = b""
    while b"\r\n\r\n" not in got or got.endswith(b"\r\n\r\n"):  # each has a body, of one piece
        part = client.recv(1 << 16)
        assert part, got
        got += part
    return int(got.split()[1])


def cut(client: socket.socket) -> bool:
    """Whether the server has closed a connection to which it owes nothing."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False
    finally:
        client.settimeout(10)


def padded(size: int) -> bytes:
    """A whole head of ``size`` bytes."""
    return HEAD + b"X-Pad: " + b"x" * (size - len(HEAD) - 11) + b"\r\n\r\n"


# -- heads -------------------------------------------------------------------------------------------------------------


def test_a_head_of_32_kib_is_taken_and_no_byte_more(serve: Serve) -> None:
    """Also the second one of a connection. Who sends too much sees why."""
    served = serve()
    with closing(served.connect()) as client:
        for _ in range(2):
            client.sendall(padded(32 << 10))
            assert 200 == one(client)
        client.sendall(padded((32 << 10) + 1))
        status, text = answer(client)
    assert 431 == status
    assert b"application/problem+json" in text and b"at most 32768 bytes" in text
    assert 1 == served.closed("head_size")


@pytest.mark.parametrize("begin", [b"G" * 40_000, b"GET /" + b"x" * 40_000, b"\r\n" * 20_000, HEAD + b"X" * 40_000, HEAD + b"X: y\r\n" * 7_000],
                         ids=["method", "path", "empty lines", "name", "many"])  # fmt: skip
def test_whatever_a_head_is_too_long_with_ends_it(serve: Serve, begin: bytes) -> None:
    served = serve()
    with closing(served.connect()) as client:
        client.sendall(begin)
        assert answer(client)[0] in (400, 431)


def test_a_trailer_is_bounded_as_a_head_is(serve: Serve) -> None:
    served = serve()
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with closing(served.connect()) as client:
        client.sendall(chunked + b"3\r\nabc\r\n" * 20_000 + b"0\r\nX: y\r\n\r\n")
        assert 200 == one(client)
        client.sendall(chunked + b"1\r\na\r\n0\r\nX: " + b"y" * 80_000)
        assert 431 == answer(client)[0]


def test_bodies_are_not_bounded_by_the_bound_of_heads(serve: Serve) -> None:
    served = serve()
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        for size in (0, 1, 32 << 10, 3 << 20):
            assert str(size) == client.post("/", content=b"x" * size).text


def test_requests_in_one_go_are_answered_in_order(serve: Serve) -> None:
    served = serve()
    posts = b"".join(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (n, b"b" * n) for n in range(1, 21)
    )
    with closing(served.connect()) as client:
        client.sendall(posts + HEAD + b"Connection: close\r\n\r\n")
        got = answer(client)[1]
    assert [str(n) for n in range(1, 21)] + ["0"] == [
        part.split(b"HTTP/1.1")[0].decode() for part in got.split(b"\r\n\r\n")[1:]
    ]


def test_an_endless_row_of_requests_is_cut() -> None:
    """httptools gives each its own objects, a hundred times what it took on the wire; h11 reads one after the other."""
    served = Served("httptools")
    try:
        with closing(served.connect()) as client:
            client.sendall((HEAD.replace(b"healthz", b"slow") + b"\r\n") * 1000)
            assert (0, b"") == answer(client)
        assert 1 == served.closed("pipelined")
    finally:
        served.stop()


# -- deadlines ---------------------------------------------------------------------------------------------------------


def dribble(client: socket.socket, text: bytes, within: float = 15) -> tuple[int, bytes]:
    """Send a byte each 50 ms until the server answers."""
    client.setblocking(False)
    for byte in text:
        with suppress(OSError):
            client.send(bytes([byte]))
        ready = threading.Event()
        ready.wait(0.05)
        with suppress(BlockingIOError):
            got = client.recv(1 << 16, socket.MSG_PEEK)
            client.settimeout(within)
            return answer(client) if got else (0, b"")
    raise AssertionError("the server waits on")


def test_a_head_has_a_deadline_that_bytes_do_not_put_off(serve: Serve) -> None:
    """The second head of a connection has one too, from its first byte on."""
    served = serve(head_timeout="1s")
    with closing(served.connect()) as slow, closing(served.connect()) as silent:
        assert 408 == dribble(slow, HEAD * 10)[0]
        assert (0, b"") == answer(silent)
    with closing(served.connect()) as again:
        again.sendall(HEAD + b"\r\n")
        assert 200 == one(again)
        assert 408 == dribble(again, HEAD * 10)[0]
    assert 3 == served.closed("head_timeout")


def test_a_body_has_a_deadline(serve: Serve) -> None:
    served = serve(body_timeout="1s")
    with closing(served.connect()) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        status, text = dribble(slow, b"x" * 1000)
    assert 408 == status
    assert b"within 1 s" in text
    assert 1 == served.closed("body_timeout")


def test_an_idle_connection_is_kept_and_used_again(serve: Serve) -> None:
    """The deadline of a head begins with the head."""
    served = serve(head_timeout="1s")
    with closing(served.connect()) as client:
        for n in range(2):
            client.sendall(HEAD + b"\r\n")
            assert 200 == one(client)
            with closing(served.connect()) as silent:  # younger, and past its deadline first
                assert (0, b"") == answer(silent)
            assert n + 1 == served.closed("head_timeout")
        assert not cut(client)


def test_a_client_that_reads_nothing_is_cut(serve: Serve) -> None:
    served = serve(body_timeout="1s")
    with closing(served.connect()) as client:
        client.sendall(HEAD.replace(b"healthz", b"large") + b"\r\n")
        eventually(lambda: 1 == served.closed("unread"))


def test_a_slow_reader_has_the_time_that_it_needs(serve: Serve) -> None:
    """Longer than the deadline of a body, as long as it reads on."""
    served = serve(body_timeout="1s")
    with closing(served.connect()) as client:
        client.sendall(HEAD.replace(b"healthz", b"large") + b"\r\n")
        begun, got = time.monotonic(), 0
        while got < 16 << 20:
            part = client.recv(1 << 20)
            assert part, got
            got += len(part)
            threading.Event().wait(0.1)
        assert time.monotonic() - begun > 1.6


# -- how many ----------------------------------------------------------------------------------------------------------


def test_of_an_address_the_oldest_without_a_head_goes(serve: Serve) -> None:
    served = serve()
    first = [served.connect() for _ in range(64)]
    other = served.connect("127.0.0.9")
    first[1].sendall(HEAD + b"\r\n")
    assert 200 == one(first[1])  # its head was whole
    more = [served.connect() for _ in range(3)]
    eventually(lambda: 2 == served.closed("address_limit"))
    assert [True, False, True, False] == [cut(c) for c in first[:4]]
    assert not any(cut(c) for c in (*more, other))
    for client in (*first, *more, other):
        client.close()


def test_where_all_are_taken_those_that_wait_longest_for_their_client_go(serve: Serve) -> None:
    """Idle and slow ones; of the address that has the most."""
    served = serve(max_connections=40)
    good = served.connect("127.0.0.2")
    many = [served.connect("127.0.0.3") for _ in range(39)]
    for client in many:
        client.sendall(HEAD + b"\r\n")
        assert 200 == one(client)
    with closing(served.connect("127.0.0.4")) as new:
        new.sendall(HEAD + b"\r\n")
        assert 200 == one(new)
    assert 16 == served.closed("connection_limit")
    eventually(lambda: all(cut(c) for c in many[:16]))
    assert not any(cut(c) for c in (*many[16:], good))
    for client in (*many, good):
        client.close()


def test_where_all_work_health_is_still_answered(serve: Serve) -> None:
    served = serve(max_connections=3)
    busy = [served.connect() for _ in range(3)]
    for client in busy:
        client.sendall(HEAD.replace(b"healthz", b"slow") + b"\r\n")
    eventually(lambda: 3 == served.slow)
    with closing(served.connect()) as probe:
        probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        status, text = answer(probe)  # to its end: it is closed at once
        assert (200, True) == (status, b"connection: close" in text)
    with closing(served.connect()) as other:
        other.sendall(b"GET /runs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert 503 == answer(other)[0]
    served.go.set()
    for client in busy:
        assert 200 == one(client)
        client.close()


# -- a tocsin under attack ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A tocsin with the default settings."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    home = tmp_path_factory.mktemp("attacked") / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home).start(within=120)
    yield tocsin
    tocsin.kill()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss(tocsin: Tocsin) -> int:
    return int(Path(f"/proc/{tocsin.pid}/statm").read_text().split()[1]) * resource.getpagesize()


class Attack:
    """Connections of many kinds to a tocsin, and what a good client meets meanwhile."""

    def __init__(self, tocsin: Tocsin) -> None:
        self.tocsin, self.sockets, self.sent = tocsin, list[socket.socket](), 0
        self.slowest, self.peak = 0.0, 0

    def open(self, source: str, begin: bytes = b"") -> None:
        client = socket.create_connection(("127.0.0.1", self.tocsin.port), timeout=10, source_address=(source, 0))
        self.sockets.append(client)
        with suppress(OSError):
            client.sendall(begin)

    def good(self) -> None:
        """A producer that makes a connection for each event, and a probe."""
        self.sent += 1
        body = json.dumps([event("1", RunId=f"good-{self.sent}", Status="Running") | {"id": f"{id(self)}-{self.sent}"}])
        for method, path in (("POST", "/intake/events"), ("GET", "/healthz"), ("GET", "/readyz")):
            begun = time.monotonic()
            with httpx.Client(base_url=self.tocsin.url, timeout=10, trust_env=False) as client:
                got = client.request(method, path, content=body if method == "POST" else None)
            took = time.monotonic() - begun
            assert got.status_code in (200, 202), (path, got.text)
            self.slowest = max(self.slowest, took) if path == "/healthz" else self.slowest
        self.peak = max(self.peak, rss(self.tocsin))

    def close(self) -> None:
        for client in self.sockets:
            client.close()


@pytest.mark.parametrize(
    "begin",
    [b"", HEAD, b"POST /intake/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n[", HEAD + b"\r\n"],
    ids=["silent", "half a head", "half a body", "kept alive"],
)
def test_a_thousand_connections_that_wait_lock_nobody_out(attacked: Tocsin, begin: bytes) -> None:
    """From one address and from twenty."""
    attack = Attack(attacked)
    try:
        for n in range(2000):
            attack.open("127.0.0.7" if n < 1000 else f"127.0.1.{n % 20 + 1}", begin)
            if n % 100 == 99:
                attack.good()
        assert attack.slowest < 1
    finally:
        attack.close()


def test_two_heads_of_90_mib_take_no_memory(attacked: Tocsin) -> None:
    attack = Attack(attacked)
    attack.good()
    before = rss(attacked)

    def flood() -> None:
        with closing(socket.create_connection(("127.0.0.1", attacked.port), timeout=10)) as client, suppress(OSError):
            client.sendall(HEAD + b"X-Big: ")
            for _ in range(90):
                client.sendall(b"x" * (1 << 20))

    threads = [threading.Thread(target=flood) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        attack.good()
    assert attack.peak - before < 32 << 20
    assert attack.slowest < 1
    assert attacked.metrics()['tocsin_http_connections_closed_total{reason="head_size"}'] == 2
