"""Active alerts in a real Alertmanager."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import _without
from tests.integration.notify.channels.conftest import Far, MakeFar, Serve
from tests.servers.alertmanager import AlertmanagerServer
from tests.servers.eventually import eventually
from tests.servers.process import ServerMissing, free_port
from tests.servers.recording import Said
from tests.unit.notify.conftest import House, Wire
from tests.unit.notify.make import intent
from tocsin.model.delivery import Delivery
from tocsin.model.details import Details, Digest
from tocsin.model.intent import Intent, IntentKind
from tocsin.notify.channels.alertmanager import STAYS, Alertmanager, AlertmanagerModel
from tocsin.notify.channels.base import Outcome, Reply, Setting
from tocsin.notify.delivery import endpoint
from tocsin.notify.routing.inhibit import InhibitRule
from tocsin.notify.routing.matchers import parse_matchers


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[AlertmanagerServer]:
    config = {"route": {"receiver": "r", "group_wait": "1h"}, "receivers": [{"name": "r"}]}
    try:
        server = AlertmanagerServer(tmp_path / "am", json.dumps(config))
    except ServerMissing as why:
        _without(why)
    server.start()
    yield server
    server.stop()


def fired(now: datetime, *, condition: bool = True, **more: Any) -> Intent:
    began = now - timedelta(minutes=1)
    occurrence = began.isoformat() if condition else "o1"
    values: dict[str, Any] = {
        "at": now,
        "event_time": began,
        "occurrence": occurrence,
        "labels": {"team": "ranking"},
        **more,
    }
    return intent(**values)


def moved_to_now(here: House) -> datetime:
    now = datetime.now(UTC).replace(microsecond=0)
    here.clock.advance(now - here.clock.now())
    return now


def active(server: AlertmanagerServer) -> list[dict[str, Any]]:
    return server.alerts() or []


def test_an_alert_is_there_with_its_labels_until_it_is_resolved(far: MakeFar, alertmanager: AlertmanagerServer) -> None:
    here = far("alertmanager", urls=[alertmanager.url])
    now = moved_to_now(here)
    here.notify(fired(now))
    here.drain()
    (alert,) = active(alertmanager)
    assert alert["labels"] == {
        "alertname": "run-failed", "severity": "error", "run_id": "sweep-42", "team": "ranking",
        "occurrence": (now - timedelta(minutes=1)).isoformat(),
    }  # fmt: skip
    assert alert["annotations"]["summary"].startswith("churn failed after 6 h 12")
    assert datetime.fromisoformat(alert["startsAt"]) == now - timedelta(minutes=1)
    assert datetime.fromisoformat(alert["endsAt"]) == now + timedelta(minutes=4)
    here.notify(fired(now, kind=IntentKind.RESOLVED, seq=9))
    here.drain()
    assert [d.reply for d in here.mails()] == ["200", "200"]
    eventually(lambda: not active(alertmanager))  # what it answered 200 for is listed a little later, on a busy machine


class Slow(Alertmanager):
    """Its first call is on the way for as long as ``arrives`` is not set."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.calls, self.arrives, self.arrived = 0, asyncio.Event(), list[list[bool]]()

    async def _post(self, some: Sequence[Any]) -> Reply:
        said = [one.ended is None for one in some]
        self.calls += 1
        if self.calls == 1:
            await self.arrives.wait()
        self.arrived.append(said)
        return Reply(outcome=Outcome.ACCEPTED, text="200")


def test_a_round_does_not_arrive_behind_the_end_that_came_meanwhile(far: MakeFar, serve: Serve) -> None:
    """What had ended was shown as active again until the next round."""
    here = far("alertmanager", urls=[serve().url])
    now = here.clock.now()
    for change in (fired(now), fired(now, kind=IntentKind.RESOLVED, seq=9)):
        here.notify(change)
        here.drain()
    (ends, begins) = sorted(here.mails(), key=lambda d: b'"ended": null' in d.message)

    async def past(_: str) -> Sequence[Delivery]:
        return [begins]

    async def both() -> list[list[bool]]:
        channel = Slow(AlertmanagerModel(urls=("http://127.0.0.1:9",)), Setting(clock=here.clock, past=past))
        round_, change = asyncio.create_task(channel.tend()), asyncio.create_task(channel.send(ends))
        for _ in range(10):
            await asyncio.sleep(0)
        channel.arrives.set()
        await asyncio.gather(round_, change)
        await channel.tend()
        return channel.arrived

    assert [[True], [False], [False]] == asyncio.run(both())


def test_every_member_gets_it_and_one_that_is_down_costs_nothing(far: MakeFar, serve: Serve) -> None:
    first, second = serve(), serve()
    here = far("alertmanager", urls=[first.url, f"http://127.0.0.1:{free_port()}", second.url])
    here.notify(fired(here.clock.now()))
    here.drain()
    assert [a.path for a in (*first.asked, *second.asked)][-1] == "/api/v2/alerts"
    assert first.asked[-1].json[0]["labels"] == second.asked[-1].json[0]["labels"]
    assert here.replies == [("sent", 1, "200 ok")]


def mirrored(here: Far, server_asked: Callable[[], list[Any]], rounds: int) -> list[Any]:
    """What so many rounds of the mirror send."""

    async def running() -> None:
        stop, before = asyncio.Event(), len(server_asked())
        task = asyncio.create_task(here.notifier.run(stop))
        async with asyncio.timeout(20):
            while len(server_asked()) < before + rounds:
                await asyncio.sleep(0.01)
        stop.set()
        await task

    asyncio.run(running())
    return [asked.json for asked in server_asked()]


def test_it_is_sent_again_each_minute_with_a_new_end_also_after_a_restart(
    far: MakeFar, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "TEND", 0.05)
    server = serve()
    here = far("alertmanager", urls=[server.url])
    now = here.clock.now()
    here.notify(fired(now), fired(now, run="other", seq=5))
    here.drain()
    here.clock.advance(timedelta(hours=3))
    after = House(Wire(), oncall=here.oncall, state=here.state, clock=here.clock)
    try:
        sent = mirrored(after, lambda: server.asked, 2)[-1]  # type: ignore[arg-type]
    finally:
        after.notifier.close()
    assert sorted(alert["labels"]["run_id"] for alert in sent) == ["other", "sweep-42"]
    assert {datetime.fromisoformat(alert["endsAt"]) for alert in sent} == {now + timedelta(hours=3, minutes=4)}


def test_an_end_is_repeated_for_five_minutes(far: MakeFar, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TEND", 0.05)
    server = serve()
    here = far("alertmanager", urls=[server.url])
    now = here.clock.now()
    here.notify(fired(now))
    here.drain()
    here.notify(fired(now, kind=IntentKind.RESOLVED, seq=9), fired(now, run="other"))
    here.drain()
    here.clock.advance(timedelta(minutes=4))
    sent = mirrored(here, lambda: server.asked, 2)[-1]
    assert {a["labels"]["run_id"]: datetime.fromisoformat(a["endsAt"]) for a in sent} == {
        "sweep-42": now, "other": now + timedelta(minutes=8),
    }  # fmt: skip
    here.clock.advance(timedelta(minutes=2))
    sent = mirrored(here, lambda: server.asked, 2)[-1]
    assert [a["labels"]["run_id"] for a in sent] == ["other"]


def test_an_event_alert_stays_five_minutes(far: MakeFar, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TEND", 0.05)
    server = serve()
    here = far("alertmanager", urls=[server.url])
    now = here.clock.now()
    here.notify(fired(now, condition=False))
    here.drain()
    assert datetime.fromisoformat(server.asked[-1].json[0]["endsAt"]) == now + timedelta(minutes=4)
    here.clock.advance(STAYS + timedelta(minutes=1))
    (alert,) = mirrored(here, lambda: server.asked, 2)[-1]
    assert datetime.fromisoformat(alert["endsAt"]) == now + STAYS


def test_what_it_refuses_is_said(far: MakeFar, serve: Serve) -> None:
    here = far("alertmanager", urls=[serve(Said(status=400, body='"invalid label set"')).url])
    here.notify(fired(here.clock.now()))
    here.drain()
    assert here.replies == [("failed", 1, '400 "invalid label set"')]


def test_labels_of_any_field_are_taken(far: MakeFar, alertmanager: AlertmanagerServer) -> None:
    """Alertmanager refuses a batch for one bad name."""
    here = far("alertmanager", urls=[alertmanager.url])
    now = moved_to_now(here)
    odd = {"9 lives-é": "x", "a.b": True, "list": [1, 2], "empty": "", "none": None, "ünï": "y", "": "z", "__x": "q"}
    here.notify(fired(now, labels=odd))
    here.drain()
    (alert,) = active(alertmanager)
    assert {"_9_lives__": "x", "a_b": "true", "list": "[1, 2]"}.items() <= alert["labels"].items()


def test_what_is_beyond_a_limit_is_shown_at_once_and_what_is_inhibited_not_at_all(far: MakeFar, serve: Serve) -> None:
    """A mirror has no digests: Alertmanager groups what it shows."""
    server = serve()
    here = far("alertmanager", urls=[server.url])
    inhibit = InhibitRule(source=parse_matchers("rule=run-failed"), target=parse_matchers("rule=needless"))
    here.oncall = replace(here.oncall, inhibit=(inhibit,))
    now = here.clock.now()
    limit = Details(digest=Digest(until=now + timedelta(hours=1), per={}, notified=3, seconds=3600.0))
    here.notify(
        fired(now, condition=False, run="r1", details=limit), fired(now, condition=False, rule="needless", run="r2")
    )
    here.drain()
    here.clock.advance(timedelta(hours=25))
    here.drain()
    assert {"r1"} == {alert["labels"]["run_id"] for asked in server.asked for alert in asked.json}
    assert ["dropped", "sent"] == sorted(d.state.value for d in here.mails())
