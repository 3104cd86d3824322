"""Mails over a real SMTP server: security, answers, outages, kills."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.notify.house import notifier, notify
from tests.servers.smtp import Received, Script, SmtpServer
from tests.servers.smtp_sink import Sink
from tests.unit.notify.make import INFO, intent
from tocsin.clock import SystemClock
from tocsin.metrics.registry import Metrics
from tocsin.model.crash import read
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

ROOT = Path(__file__).parents[3]
WORKERS = 4


class Box:
    """A state in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock, self.metrics = path, SystemClock(), Metrics()
        self.state = SqliteState.open(path, clock=self.clock)

    def put(self, *intents: Intent) -> None:
        now = self.clock.now()
        moved = tuple(replace(i, at=now, event_time=now) for i in intents)
        self.state.commit(Outcome(intents=moved, infos=(INFO,)), now)

    def by_state(self) -> Counter[str]:
        return Counter(d.state.value for d in self.state.deliveries(limit=20_000))

    def the(self, address: str) -> Delivery:
        return self.state.deliveries(address=address, limit=1)[0]

    def notify(self, server: SmtpServer, until: Callable[[], object], within: float = 30, **smtp: Any) -> None:
        made = notifier(self.state, self.clock, self.metrics, host=server.host, port=server.port, **smtp)
        notify(made, until, within)

    def all_in(self, state: str, count: int) -> Callable[[], bool]:
        return lambda: self.by_state()[state] >= count


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "state.sqlite")
    yield made
    made.state.close()


def test_a_mail_arrives_as_it_was_stored(box: Box, smtp: SmtpServer) -> None:
    box.put(intent(Message="elfogyott: őrült űrlény"))
    box.notify(smtp, box.all_in("sent", 1))
    (got,) = smtp.messages()
    stored = box.the("agnes@example.org")
    assert got.content == stored.message
    assert (got.mail_from, got.rcpt_tos) == ("tocsin@example.org", ("agnes@example.org",))
    assert got.subject == "churn failed after 6 h 12: elfogyott: őrült űrlény"
    assert "őrült űrlény" in got.text and "őrült űrlény" in got.html
    assert got.message["Auto-Submitted"] == "auto-generated"
    assert stored.reply.startswith("250 ")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_secured_and_logged_in(box: Box, smtp_server: Callable[..., SmtpServer], security: str) -> None:
    server = smtp_server(security=security, auth=("tocsin", "pass word"))
    assert server.certificate is not None
    box.put(intent())
    box.notify(
        server, box.all_in("sent", 1), security=security, username="tocsin", password="pass word",
        ca_file=str(server.certificate.certificate),
    )  # fmt: skip
    (got,) = server.messages()
    assert (got.tls, got.user) == (True, "tocsin")


def test_a_server_without_starttls_gets_nothing_in_clear(box: Box, smtp: SmtpServer) -> None:
    box.put(intent())
    box.notify(
        smtp,
        lambda: box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "network"}),
        security="starttls",
    )
    assert smtp.messages() == []
    assert box.by_state() == {"ready": 1}


def test_a_certificate_that_nobody_vouches_for_is_refused(box: Box, smtp_server: Callable[..., SmtpServer]) -> None:
    server = smtp_server(security="tls")
    box.put(intent())
    box.notify(
        server,
        lambda: box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "network"}),
        security="tls",
    )
    assert server.messages() == []


def test_a_wrong_password_costs_no_mail(box: Box, smtp_server: Callable[..., SmtpServer]) -> None:
    """Everything waits until somebody corrects it."""
    server = smtp_server(auth=("tocsin", "right"))
    box.put(intent())
    refused = lambda: box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "network"})  # noqa: E731
    box.notify(server, refused, username="tocsin", password="wrong")
    assert [(d.state, d.attempt) for d in box.state.deliveries()] == [(DeliveryState.READY, 0)]
    box.notify(server, box.all_in("sent", 1), username="tocsin", password="right")
    assert len(server.messages()) == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_refused_at_any_stage_fails_and_notifies_the_fallback(box: Box, smtp: SmtpServer, stage: Any) -> None:
    smtp.control(Script(at=stage, reply="550 5.1.1 no such user", times=1))
    box.put(intent())
    box.notify(smtp, lambda: box.by_state() == {"failed": 1, "sent": 1})
    assert box.the("agnes@example.org").reply == "550 5.1.1 no such user"
    (notice,) = smtp.messages()
    assert [("agnes@example.org", "550 5.1.1 no such user")] == [bad[:2] for bad in box.state.bad_addresses()]
    assert notice.rcpt_tos == ("ops@example.org",)
    assert "550 5.1.1 no such user" in " ".join(notice.text.split())


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_deferred_at_any_stage_arrives_once(box: Box, smtp: SmtpServer, stage: Any) -> None:
    smtp.control(Script(at=stage, reply="451 4.3.0 try later", times=2))
    box.put(intent())
    box.notify(smtp, box.all_in("sent", 1))
    assert len(smtp.messages()) == 1
    assert box.the("agnes@example.org").attempt == 3


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_a_dropped_connection_arrives_once(box: Box, smtp: SmtpServer, stage: Any) -> None:
    smtp.control(Script(at=stage, drop=True, times=1))
    box.put(*(intent(run=f"r{n}") for n in range(8)))
    box.notify(smtp, box.all_in("sent", 8))
    assert Counter(m.rcpt_tos for m in smtp.messages()) == {("agnes@example.org",): 8}


def test_a_lost_250_repeats_the_same_bytes(box: Box, smtp: SmtpServer) -> None:
    """The one window that SMTP leaves open: the reader's client sees one Message-ID."""
    smtp.control(Script(at="reply", drop=True, times=1))
    box.put(intent())
    box.notify(smtp, box.all_in("sent", 1))
    first, second = smtp.messages()
    assert (first.notified, second.notified) == (False, True)
    assert first.content == second.content


def test_an_address_beyond_ascii_needs_a_server_that_can(
    box: Box, smtp: SmtpServer, smtp_server: Callable[..., SmtpServer]
) -> None:
    box.put(intent(run="a", OwnerEmail="ágnes@example.org"))
    box.notify(smtp, box.all_in("sent", 1))
    (got,) = smtp.messages()
    assert got.rcpt_tos == ("ágnes@example.org",)
    assert "SMTPUTF8" in got.mail_options
    plain = smtp_server(smtputf8=False, pipelining=False)
    box.put(intent(run="b", OwnerEmail="ágnes@example.org"))
    box.notify(plain, box.all_in("failed", 1))
    box.put(intent(run="c"))
    box.notify(plain, box.all_in("sent", 3))
    assert {m.rcpt_tos for m in plain.messages()} == {("agnes@example.org",), ("ops@example.org",)}  # the notice too
    assert "SMTPUTF8" in box.the("ágnes@example.org").reply


def test_a_slow_recipient_keeps_nobody_else_waiting(box: Box, smtp: SmtpServer) -> None:
    """One worker waits for it, the others go on; after the timeout it is tried again."""
    smtp.control(Script(at="rcpt", to="slow@example.org", delay=60, times=1))
    box.put(intent(run="slow", OwnerEmail="slow@example.org"), *(intent(run=f"r{n}") for n in range(30)))
    box.notify(smtp, box.all_in("sent", 31), timeout=2.0)
    order = [m.rcpt_tos[0] for m in smtp.messages()]
    assert order[-1] == "slow@example.org"
    assert box.the("slow@example.org").attempt == 2
    assert box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "timeout"}) == 1


def test_a_server_that_is_down_and_comes_back(box: Box, smtp_server: Callable[..., SmtpServer]) -> None:
    server = smtp_server()
    server.stop()
    box.put(*(intent(run=f"r{n}") for n in range(20)))

    def step() -> bool:
        down = box.metrics.registry.get_sample_value("tocsin_notify_attempts_total", {"outcome": "network"}) or 0
        if down >= 3:
            server.start()
        return box.by_state()["sent"] == 20

    box.notify(server, step)
    assert len(server.messages()) == 20
    assert {d.attempt for d in box.state.deliveries()} == {1}


def test_a_server_killed_in_the_middle(box: Box, smtp_server: Callable[..., SmtpServer]) -> None:
    """Every mail arrives; only those under way can come twice, as the same bytes."""
    server = smtp_server()
    box.put(*(intent(run=f"r{n}") for n in range(150)))
    killed: list[bool] = []

    def step() -> bool:
        if not killed and box.by_state()["sent"] >= 30:
            server.kill()
            server.start()
            killed.append(True)
        return box.by_state()["sent"] == 150

    box.notify(server, step)
    check_once(server.messages(), 150, WORKERS)


def check_once(got: list[Received], wanted: int, repeats: int) -> None:
    """Each Message-ID at least once, at most ``repeats`` twice, repeats the same bytes."""
    seen: dict[str, set[bytes]] = {}
    for mail in got:
        seen.setdefault(str(mail.message["Message-ID"]), set()).add(mail.content)
    assert len(seen) == wanted
    assert {len(contents) for contents in seen.values()} == {1}
    assert len(got) - wanted <= repeats, f"{len(got)} mails for {wanted}"


@pytest.mark.parametrize("place", ["after_deliveries:1", "after_250:7", "after_sent:5"])
def test_killed_at_a_named_point_each_mail_arrives_once(box: Box, smtp: SmtpServer, place: str) -> None:
    """kill -9 there, then a new process: at most one repeat a connection, byte for byte."""
    box.put(*(intent(run=f"r{n}") for n in range(60)))
    box.state.close()
    command = [sys.executable, "-m", "tests.integration.notify.house", str(box.path), smtp.host, str(smtp.port)]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "TOCSIN_CRASH_AT": place}, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    before = len(smtp.messages())
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    box.state = SqliteState.open(box.path, clock=box.clock)
    assert box.by_state() == {"sent": 60}
    assert before < 60
    check_once(smtp.messages(), 60, WORKERS if "250" in place or "sent" in place else 0)


def test_a_crash_point_is_named_rightly_or_refused() -> None:
    assert [read("after_250"), read("after_250:3")] == [("after_250", 1), ("after_250", 3)]
    for wrong in ("nowhere", "after_250:0", "after_250:x"):
        with pytest.raises(ValueError):
            read(wrong)


def test_an_idle_connection_that_the_server_closed_costs_nothing(
    box: Box, smtp_server: Callable[..., SmtpServer]
) -> None:
    """The next mail goes over a new one at once."""
    server = smtp_server()
    made = notifier(box.state, box.clock, box.metrics, host=server.host, port=server.port, connections=1)
    box.put(intent(run="a"))
    steps: list[datetime] = []

    def step() -> bool:
        sent = box.by_state()["sent"]
        if sent == 1 and not steps:
            server.stop()
            server.start()
            box.put(intent(run="b"))
            made.wake()
            steps.append(box.clock.now())
        return sent == 2

    notify(made, step)
    assert [d.attempt for d in box.state.deliveries()] == [1, 1]
    assert box.state.deliveries()[0].created_at - steps[0] < timedelta(seconds=5)


def test_a_server_that_takes_few_connections_is_sent_all_with_few_refusals(box: Box, tmp_path: Path) -> None:
    """More are opened while waiting is all they do, and fewer once it refuses one."""
    sink = Sink(tmp_path / "mails", delay=0.03, most=6)
    try:
        box.put(*(intent(run=f"r{n}") for n in range(150)))
        made = notifier(box.state, box.clock, box.metrics, host="127.0.0.1", port=sink.port, connections=50)
        notify(made, box.all_in("sent", 150))
        noted = sink.noted()
    finally:
        sink.stop()
    assert len(noted.mails) == 150
    assert noted.opened > WORKERS
    assert 1 <= noted.refused < 15
    assert all(d.attempt == 1 for d in box.state.deliveries(limit=200))
