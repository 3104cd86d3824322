"""An escalation over a real SMTP server, killed with -9 in the middle of a step: no step is lost, none is sent twice."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.servers.smtp import SmtpServer
from tests.unit.notify.make import INFO, intent
from tocsin.clock import SystemClock
from tocsin.model.active import Action, ActionKind
from tocsin.model.statuses import Severity
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

ROOT = Path(__file__).parents[3]
ONCALL = """
people:
  - {name: anna, email: anna@example.org}
  - {name: bela, email: bela@example.org}
route: {receiver: anna, routes: [{match: {severity: critical}, escalation: page}]}
escalations:
  - name: page
    steps: [{notify: [anna, bela]}, {after: 30m, notify: leads@example.org}]
"""
FIRST = {"anna@example.org", "bela@example.org"}


class Paging:
    """A state with one critical alert that fired a while ago, and the program that notifies of it."""

    def __init__(self, path: Path, smtp: SmtpServer) -> None:
        self.path, self.smtp, self.oncall = path / "state.db", smtp, path / "oncall.yaml"
        self.oncall.write_text(ONCALL)

    def fires(self, ago: timedelta) -> None:
        clock = SystemClock()
        state = SqliteState.open(self.path, clock=clock)
        one = intent(severity=Severity.CRITICAL, at=clock.now() - ago)
        state.commit(Outcome(intents=(one,), infos=(replace(INFO, condition=True),)), clock.now())
        state.close()

    def acknowledge(self) -> None:
        clock = SystemClock()
        state = SqliteState.open(self.path, clock=clock)
        (alert,) = state.alerts()
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


@pytest.mark.parametrize(
    ("crash_at", "repeats"),
    [("before_deliveries", 0), ("after_deliveries", 0), ("after_250", 2), ("after_sent", 2)],
)
def test_a_step_that_was_killed_is_sent_once(tmp_path: Path, smtp: SmtpServer, crash_at: str, repeats: int) -> None:
    """Only mails whose answer was on its way may come again, byte for byte."""
    paging = Paging(tmp_path, smtp)
    paging.fires(timedelta(0))
    assert -9 == paging.run(crash_at)
    assert 0 == paging.run()
    assert 0 == paging.run()
    assert dict.fromkeys(FIRST, 1) == paging.arrived()
    assert paging.repeats() <= repeats


def test_an_acknowledgement_that_came_while_nobody_ran_ends_it(tmp_path: Path, smtp: SmtpServer) -> None:
    """Whom its step reached is notified of it once, also over a kill in that moment."""
    paging = Paging(tmp_path, smtp)
    paging.fires(timedelta(0))
    assert 0 == paging.run()
    paging.acknowledge()
    assert -9 == paging.run("before_deliveries")
    assert -9 == paging.run("after_deliveries")
    assert 0 == paging.run()
    assert 0 == paging.run()
    assert dict.fromkeys(FIRST, 2) == paging.arrived()
    assert 0 == paging.repeats()
