"""SMTP servers as an operator meets them: each fault costs no mail, and is seen in /readyz and metrics."""

import asyncio
import datetime
import random
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import RUN_FAILED, settings
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.integration.notify.test_smtp import ROOT, WORKERS, Box, check_once
from tests.servers.certificates import make_certificate
from tests.servers.eventually import eventually
from tests.servers.smtp import Script, SmtpServer
from tests.unit.notify.make import intent
from tocsin.state.sqlite import SqliteState


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "state.sqlite")
    yield made
    made.state.close()


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_a_server_that_says_421_is_asked_again_later(box: Box, smtp: SmtpServer, stage: str) -> None:
    """It closes the connection with its answer; the others on that connection are not lost either."""
    smtp.control(Script(at=stage, reply="421 4.3.2 shutting down", times=3))  # type: ignore[arg-type]
    box.put(*(intent(run=f"r{n}") for n in range(8)))
    box.notify(smtp, box.all_in("sent", 8))
    assert 8 == len(smtp.messages())


def test_of_three_recipients_one_is_refused_one_deferred_and_one_gets_it(box: Box, smtp: SmtpServer) -> None:
    """Each has a message of its own, so an answer to one is none to the others."""
    smtp.control(
        Script(at="rcpt", to="gone@example.org", reply="550 5.1.1 no such user"),
        Script(at="rcpt", to="full@example.org", reply="452 4.2.2 mailbox full", times=2),
    )
    box.put(*(intent(run=f"r-{name}", OwnerEmail=f"{name}@example.org") for name in ("gone", "full", "here")))
    box.notify(smtp, lambda: {"failed": 1, "sent": 3} == box.by_state())  # the third of these tells the fallback
    assert {"full@example.org": 1, "here@example.org": 1, "ops@example.org": 1} == Counter(
        m.rcpt_tos[0] for m in smtp.messages()
    )
    assert (3, 1) == (box.the("full@example.org").attempt, box.the("here@example.org").attempt)


def test_a_server_that_greylists_gets_it_when_it_wants_it(box: Box, smtp: SmtpServer) -> None:
    """The first tries of an unknown sender are refused for a while."""
    smtp.control(Script(at="rcpt", reply="451 4.7.1 greylisted, come back later", times=4))
    box.put(intent())
    box.notify(smtp, box.all_in("sent", 1))
    assert (1, 5) == (len(smtp.messages()), box.the("agnes@example.org").attempt)


class Trickle:
    """A server that sends its greeting a byte at a time, for ever."""

    def __init__(self, pause: float) -> None:
        self._pause, self._ended, self.port = pause, threading.Event(), 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while not self._ended.is_set():
                    writer.write(b"2")
                    await writer.drain()
                    await asyncio.sleep(self._pause)
            except OSError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        while not self._ended.is_set():
            await asyncio.sleep(0.05)
        server.close()

    def __enter__(self) -> "Trickle":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)


def test_a_byte_at_a_time_is_no_answer(box: Box) -> None:
    """Bytes do not put the deadline of an answer off: the mail waits, and nothing hangs."""
    box.put(intent())

    def timed_out() -> bool:
        count = box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "network"})
        return (count or 0) >= 2

    with Trickle(0.1) as server:

        class There:
            host, port = "127.0.0.1", server.port

        box.notify(There(), timed_out, timeout=0.5)  # type: ignore[arg-type]
    assert {"ready": 1} == box.by_state()


def test_an_expired_certificate_is_refused_and_costs_no_mail(
    box: Box, smtp_server: Callable[..., SmtpServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority is trusted, the name is right; only its time is over."""
    server = smtp_server(security="tls")
    assert server.certificate is not None
    server.stop()
    make_certificate(server.certificate.certificate.parent, expired=datetime.timedelta(hours=1))
    server.start()
    refused: list[float] = []

    def twice() -> bool:
        count = box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "network"}) or 0
        refused.append(count)
        return count >= 2

    box.put(intent())
    box.notify(server, twice, security="tls", ca_file=str(server.certificate.certificate))
    assert ([], {"ready": 1}) == (server.messages(), box.by_state())
    server.stop()
    make_certificate(server.certificate.certificate.parent)
    server.start()
    box.notify(server, box.all_in("sent", 1), security="tls", ca_file=str(server.certificate.certificate))
    assert 1 == len(server.messages())


def test_a_wrong_password_and_a_server_that_is_down_are_seen_from_outside(
    tmp_path: Path, smtp_server: Callable[..., SmtpServer]
) -> None:
    """Health is not green, metrics say which channel, and the mail goes out once somebody corrects it."""
    server = smtp_server(auth=("tocsin", "right"))
    home = tmp_path / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write("rules/alerts/rules.yaml", RUN_FAILED)

    def written(word: str) -> None:
        login = {"username": "tocsin", "password": word, "security": "none"}
        tocsin.write("tocsin.yaml", settings(smtp_port=server.port, smtp=login, more={"shipped": {"rules": False}}))

    def degraded() -> str:
        return str(httpx.get(f"{tocsin.url}/readyz", trust_env=False).json()["degraded"])

    try:
        written("wrong")
        tocsin.start()
        assert "[]" == degraded()
        httpx.post(f"{tocsin.url}/intake/events", json=event("1", RunId="r", Status="Failed"), trust_env=False)
        assert eventually(lambda: "email" in degraded() and "535" in degraded(), 30)
        assert 200 == tocsin.get("/readyz").status  # events are still taken
        first = str(tocsin.get("/").body)
        assert "Degraded" in first and "535" in first and "All parts work" not in first
        assert 0 == tocsin.metrics()['tocsin_channel_up{receiver="email"}']
        tocsin.stop()
        server.stop()
        written("right")
        tocsin.start()  # it is down at the start
        assert eventually(lambda: "email" in degraded() and "535" not in degraded(), 30)
        server.start()
        assert 1 == len(server.wait_for(1, to="ops@example.org"))
        assert eventually(lambda: "[]" == degraded(), 30)
    finally:
        tocsin.kill()


def test_a_certificate_of_the_past_is_one(tmp_path: Path) -> None:
    """The helper of these tests makes what they are about."""
    made = make_certificate(tmp_path, expired=datetime.timedelta(hours=1))
    ends = ssl._ssl._test_decode_cert(str(made.certificate))["notAfter"]  # type: ignore[attr-defined]
    assert ssl.cert_time_to_seconds(ends) < datetime.datetime.now(datetime.UTC).timestamp()


KILLS = 10
MANY = 5_000


@pytest.mark.parametrize("count", [pytest.param(MANY, id="many", marks=pytest.mark.soak)])
def test_none_is_lost_through_random_faults_and_kills(
    box: Box, smtp_server: Callable[..., SmtpServer], count: int
) -> None:
    """Each arrives; it repeats only where its 250 was lost, or the process died between the 250 and its mark."""
    draw = random.Random(count)
    server = smtp_server()
    box.put(*(intent(run=f"r{n}", OwnerEmail=f"p{n % 50}@example.org") for n in range(count)))
    box.state.close()
    command = [sys.executable, "-m", "tests.integration.notify.house", str(box.path), server.host, str(server.port)]
    lost = 0  # connections that were cut between a message and its 250
    for kill in range(KILLS + 1):
        cut = draw.randint(1, 5)
        lost += cut
        server.control(
            Script(at="mail", reply="421 4.3.2 shutting down", times=draw.randint(1, 20)),
            Script(at="rcpt", reply="451 4.7.1 greylisted", times=draw.randint(1, 100)),
            Script(at="data", drop=True, times=draw.randint(1, 10)),
            Script(at="reply", drop=True, times=cut),
        )
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if kill < KILLS:
            enough = len(server.messages()) + draw.randint(50, count // (KILLS + 2))
            eventually(lambda: len(server.messages()) >= enough or process.poll() is not None, 120)  # noqa: B023
            if kill % 3 == 2:
                server.kill()
                server.start()
            process.kill()
        _, said = process.communicate(timeout=300)
        assert process.returncode in (0, -9), said.decode()
    box.state = SqliteState.open(box.path, clock=box.clock)
    box.notify(server, box.all_in("sent", count), within=120)
    assert {"sent": count} == box.by_state()
    check_once(server.messages(), count, lost + WORKERS * (KILLS + KILLS // 3 + 1))
