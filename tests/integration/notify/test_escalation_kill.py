"""An escalation by mail and pager, a mirror and a digest, killed with -9 in the middle: nothing is lost, and nobody is
paged twice.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers.recording import RecordingServer, Said
from tests.servers.smtp import SmtpServer
from tests.unit.notify.make import INFO, intent
from tocsin.clock import SystemClock
from tocsin.model.active import Action, ActionKind
from tocsin.model.details import Details, Digest
from tocsin.model.statuses import Severity
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

ROOT = Path(__file__).parents[3]
ONCALL = """
people:
  - {name: anna, email: anna@example.org}
  - {name: bela, email: bela@example.org}
receivers:
  - {name: pager, pagerduty: {routing_key_file: key, url: "URL/v2/enqueue"}}
  - {name: mirror, alertmanager: {urls: ["URL"]}}
route: {receiver: list@example.org, always: mirror, routes: [{match: {severity: critical}, escalation: page}]}
escalations:
  - name: page
    steps: [{notify: [anna, bela, pager]}, {after: 30m, notify: leads@example.org}]
"""
FIRST = {"anna@example.org", "bela@example.org"}
LIST = "list@example.org"


class Paging:
    """A state with one critical alert and two beyond a limit whose digest is due, and the program that notifies."""

    def __init__(self, path: Path, smtp: SmtpServer, receivers: RecordingServer) -> None:
        self.path, self.smtp, self.oncall, self.receivers = path / "state.db", smtp, path / "oncall.yaml", receivers
        self.oncall.write_text(ONCALL.replace("URL", receivers.url))
        (path / "key").write_text("k" * 32)

    def fires(self) -> None:
        clock = SystemClock()
        state = SqliteState.open(self.path, clock=clock)
        now = clock.now()
        one = intent(severity=Severity.CRITICAL, at=now)
        limit = Details(digest=Digest(until=now, per={"ExperimentName": "churn"}, notified=3, seconds=60.0))
        beyond = [intent("loss-high", run=run, at=now, details=limit) for run in ("r1", "r2")]
        infos = (replace(INFO, condition=True), replace(INFO, name="loss-high"))
        state.commit(Outcome(intents=(one, *beyond), infos=infos), now)
        state.close()

    def acknowledge(self) -> None:
        clock = SystemClock()
        state = SqliteState.open(self.path, clock=clock)
        (alert,) = [each for each in state.alerts() if each.rule == "run-failed"]
        state.act(Action(alert=alert.id, kind=ActionKind.ACKNOWLEDGE, by="bela", at=clock.now()))
        state.close()

    def run(self, crash_at: str = "") -> int:
        arguments = [str(self.path), self.smtp.host, str(self.smtp.port), str(self.oncall)]
        env = {**os.environ, **({"TOCSIN_CRASH_AT": crash_at} if crash_at else {})}
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.notify.house", *arguments], cwd=ROOT, env=env, capture_output=True
        )
        assert done.returncode in (0, -9), done.stderr.decode()
        return done.returncode

    def arrived(self) -> Counter[str]:
        """How often each distinct message arrived, by who it is for."""
        ids = {(str(m.message["To"]), str(m.message["Message-ID"])) for m in self.smtp.messages()}
        return Counter(to.rpartition("<")[2].rstrip(">") for to, _ in ids)

    def repeats(self) -> int:
        return len(self.smtp.messages()) - sum(self.arrived().values())

    def paged(self) -> list[str]:
        """What the pager was sent, in order, all by one key: whatever it repeats is one incident."""
        events = [asked.json for asked in self.receivers.asked if asked.path == "/v2/enqueue"]
        assert 1 == len({event["dedup_key"] for event in events})
        return [event["event_action"] for event in events]

    def mirrored(self) -> set[str]:
        """Runs of the alerts that the mirror has been sent."""
        calls = [asked.json for asked in self.receivers.asked if asked.path == "/api/v2/alerts"]
        return {alert["labels"]["run_id"] for call in calls for alert in call}


@pytest.fixture
def paging(tmp_path: Path, smtp: SmtpServer) -> Iterator[Paging]:
    with RecordingServer(lambda *_: Said(status=202)) as receivers:
        yield Paging(tmp_path, smtp, receivers)


@pytest.mark.parametrize(
    ("first", "second", "again"),
    [
        ("before_deliveries", "before_deliveries:2", 1),  # the step, then the digest, while the step is on its way
        ("after_deliveries", "after_deliveries", 0),
        ("after_250", "after_250:3", 2),
        ("after_sent:2", "after_sent:2", 2),
    ],
)
def test_what_was_killed_on_its_way_arrives_once(paging: Paging, first: str, second: str, again: int) -> None:
    """Only what was accepted while its answer was on the way comes again, once a kill: a mail byte for byte, a page by
    its key.
    """
    paging.fires()
    assert -9 == paging.run(first)
    assert -9 == paging.run(second)
    assert 0 == paging.run()
    assert dict.fromkeys([*FIRST, LIST], 1) == paging.arrived()
    pages = paging.paged()
    assert {"trigger"} == set(pages)
    assert len(pages) <= 1 + again
    assert all(copies <= 1 + again for copies in Counter(m.content for m in paging.smtp.messages()).values())
    assert 3 == len({m.content for m in paging.smtp.messages()})
    assert again or 0 == paging.repeats()
    assert {"sweep-42", "r1", "r2"} == paging.mirrored()


def test_an_acknowledgement_that_came_while_nobody_ran_ends_it(paging: Paging) -> None:
    """Whom its step reached is notified of it once, also over a kill in that moment."""
    paging.fires()
    assert 0 == paging.run()
    paging.acknowledge()
    assert -9 == paging.run("before_deliveries")
    assert -9 == paging.run("after_deliveries")
    assert 0 == paging.run()
    assert 0 == paging.run()
    assert {**dict.fromkeys(FIRST, 2), LIST: 1} == paging.arrived()
    assert 0 == paging.repeats()
    assert ["trigger", "acknowledge"] == paging.paged()
