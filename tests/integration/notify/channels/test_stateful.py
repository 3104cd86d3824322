"""Receivers that hold a state of an alert get all that ends it, and each of it once."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.notify.channels.conftest import BASE, Serve
from tests.servers.recording import RecordingServer, Said
from tests.unit.notify.conftest import House, Wire
from tests.unit.notify.make import INFO, intent, oncall
from tocsin.model.active import Action, ActionKind, StoredSilence, alert_id
from tocsin.model.alert import Phase, Transition, Why, instance_key
from tocsin.model.details import Details, Digest
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify.channels.base import Setting
from tocsin.state.interface import Outcome

CONDITION = replace(INFO, condition=True)
RECEIVERS = """
receivers:
  - {{name: pager, pagerduty: {{routing_key_file: key, url: "{url}"}}}}
  - {{name: leads, email: leads@example.org}}
"""
ROUTED = "route: {receiver: pager}"
BY_STEP = """
route: {receiver: leads, routes: [{match: {severity: critical}, escalation: page, continue: true}]}
escalations: [{name: page, steps: [{notify: pager}, {after: 10m, notify: [pager, leads]}]}]
"""


class Paged:
    """A house whose pager is a recording server."""

    def __init__(self, server: RecordingServer, directory: Path, route: str, after: House | None = None) -> None:
        """``after`` is the house of the tocsin before."""
        (directory / "key").write_text("k" * 32)
        self.server, self.wire = server, Wire()
        rules = oncall(RECEIVERS.format(url=server.url) + route)
        kept: dict[str, Any] = {} if after is None else {"state": after.state, "clock": after.clock}
        self.house = House(self.wire, oncall=rules, setting=Setting(directory=directory, base_url=BASE), **kept)

    def fires(self, one: Intent, info: RuleInfo = INFO) -> None:
        self.house.notify(one, infos=(info,))
        self.house.drain()

    def ends(self, one: Intent, why: Why) -> None:
        """An end that no intent says."""
        row = Transition(
            rule=one.rule, instance=one.instance, occurrence="", before=Phase.FIRING, after=Phase.CLOSED,
            reason=why, severity=one.severity, commit_seq=9, at=self.house.clock.now(),
        )  # fmt: skip
        self.house.state.commit(Outcome(transitions=(row,)), self.house.clock.now())
        self.house.drain()

    def act(self, one: Intent, kind: ActionKind) -> None:
        id_ = alert_id(one.rule, instance_key(one.instance), one.occurrence)
        self.house.state.act(Action(alert=id_, kind=kind, by="anna", at=self.house.clock.now()))
        self.house.drain()

    def passes(self, wait: timedelta) -> None:
        self.house.clock.advance(wait)
        self.house.drain()

    @property
    def said(self) -> list[str]:
        """What the pager was sent, in order; all by one key."""
        events: list[dict[str, Any]] = [asked.json for asked in self.server.asked]
        assert len({event["dedup_key"] for event in events}) <= 1
        return [event["event_action"] for event in events]


@pytest.fixture(params=[ROUTED, BY_STEP], ids=["route", "escalation"])
def paged(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Iterator[Paged]:
    made = Paged(serve(Said(status=202)), tmp_path, request.param)
    yield made
    made.house.notifier.close()
    made.house.state.close()


ONE = intent(severity=Severity.CRITICAL)


def test_an_acknowledgement_and_then_the_end(paged: Paged) -> None:
    """By one key, and each once."""
    paged.fires(ONE)
    paged.act(ONE, ActionKind.ACKNOWLEDGE)
    assert ["trigger", "acknowledge"] == paged.said
    paged.act(ONE, ActionKind.CLOSE)
    assert ["trigger", "acknowledge", "resolve"] == paged.said
    paged.passes(timedelta(days=2))
    assert 3 == len(paged.said)


@pytest.mark.parametrize("why", [Why.NO_DATA, Why.RULE_CHANGED, Why.RULE_GONE], ids=lambda why: why.name.lower())
def test_ends_that_people_are_not_mailed_resolve_an_incident(paged: Paged, why: Why) -> None:
    paged.fires(ONE, CONDITION)
    paged.ends(ONE, why)
    assert ["trigger", "resolve"] == paged.said


def test_an_event_alert_that_closes_by_time_resolves_its_incident(paged: Paged) -> None:
    paged.fires(ONE)
    paged.passes(timedelta(hours=24))
    assert "resolve" == paged.said[-1] and 1 == paged.said.count("resolve")


def test_an_alert_that_never_reached_a_pager_ends_without_it(paged: Paged) -> None:
    """Under a silence from the start."""
    now = paged.house.clock.now()
    paged.house.state.put_silence(
        StoredSilence(
            id="s", matchers="rule=run-failed", start=now, end=now + timedelta(days=9), by="x", comment="", created_at=now
        )
    )  # fmt: skip
    paged.fires(ONE, CONDITION)
    paged.ends(ONE, Why.NO_DATA)
    assert [] == paged.said


def test_a_step_that_repeats_a_page_does_it_by_the_same_key(serve: Serve, tmp_path: Path) -> None:
    made = Paged(serve(Said(status=202)), tmp_path, BY_STEP)
    made.fires(ONE)
    made.passes(timedelta(minutes=10))
    assert ["trigger", "trigger"] == made.said
    made.house.notifier.close()


def test_a_pager_that_refuses_for_good_is_followed_by_the_next_step_at_once(serve: Serve, tmp_path: Path) -> None:
    made = Paged(serve(Said(status=400, body="bad key")), tmp_path, BY_STEP)
    made.fires(ONE)
    made.house.drain()
    subjects = [d.group for d in made.wire.sent if d.address == "leads@example.org"]
    assert any(group.startswith("escalation/page/") for group in subjects)
    made.house.notifier.close()


def test_silenced_an_incident_ends_and_after_it_there_is_a_new_one(serve: Serve, tmp_path: Path) -> None:
    """PagerDuty opens a new incident for a trigger after a resolve; one that was acknowledged would stay mute."""
    made = Paged(serve(Said(status=202)), tmp_path, BY_STEP)
    made.fires(ONE, CONDITION)
    now = made.house.clock.now()
    made.house.state.put_silence(
        StoredSilence(
            id="s", matchers="rule=run-failed", start=now, end=now + timedelta(hours=1), by="x", comment="", created_at=now
        )
    )  # fmt: skip
    made.passes(timedelta(minutes=1))
    assert ["trigger", "resolve"] == made.said
    made.passes(timedelta(hours=1))
    assert ["trigger", "resolve", "trigger"] == made.said
    made.house.notifier.close()


def test_the_incident_of_a_digest_ends_after_one_more_window(serve: Serve, tmp_path: Path) -> None:
    """No alert's end closes it. One that only says that others have ended opens none. A restart forgets nothing."""
    made = Paged(serve(Said(status=202)), tmp_path, ROUTED)
    until, window = made.house.clock.now() + timedelta(hours=1), timedelta(hours=1)

    def beyond(number: int, until: datetime) -> Intent:
        limit = Digest(until=until, per={"ExperimentName": "churn"}, notified=3, seconds=window.total_seconds())
        return intent(run=f"r{number}", seq=number + 10, details=Details(digest=limit), ExperimentName="churn")

    made.fires(beyond(1, until))
    made.fires(beyond(2, until))
    made.passes(window)
    assert ["trigger"] == made.said and "2 alerts" in made.server.asked[0].json["payload"]["summary"]
    over = replace(beyond(1, until + window / 2), kind=IntentKind.RESOLVED, why=Why.RECOVERED, commit_seq=99)
    made.fires(over)
    made.passes(window - timedelta(seconds=1))
    assert ["trigger"] == made.said
    made.house.notifier.close()
    again = Paged(made.server, tmp_path, ROUTED, made.house)
    again.passes(timedelta(seconds=1))
    assert ["trigger", "resolve"] == again.said
    again.passes(timedelta(days=2))
    assert 2 == len(again.said)
    again.house.notifier.close()
