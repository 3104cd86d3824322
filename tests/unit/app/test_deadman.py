"""The dead-man's switch: it pings while every part lets the probe through, and says which one stands still."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.servers.recording import RecordingServer
from tocsin.app.run.deadman import OLDEST, DeadMan, Parts, Pinged
from tocsin.app.upkeep.doctor import running
from tocsin.clock import ManualClock, SystemClock
from tocsin.errors import StoreError
from tocsin.model.event import Batch, Receipt

NOW = datetime(2026, 11, 24, 7, 15, tzinfo=UTC)


def put(batch: Batch) -> Future[Receipt]:
    done: Future[Receipt] = Future()
    done.set_result(Receipt(accepted=0, duplicate=0, heartbeats=0))
    return done


def refused(batch: Batch) -> Future[Receipt]:
    raise StoreError("the disk is full")


def away() -> int:
    raise StoreError("the log store is lost")


WORKS = Parts(
    put=put, head=lambda: 7, evaluate=lambda: None, turned=lambda: datetime.max.replace(tzinfo=UTC),
    evaluated=lambda: 7, wake=lambda: None, notified=lambda: datetime.max.replace(tzinfo=UTC), oldest=lambda: None,
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with RecordingServer() as made:
        yield made


def one_round(server: RecordingServer, parts: Parts) -> list[tuple[str, str]]:
    """(path, body) of what the other side was sent."""

    async def going() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await DeadMan(
                f"{server.url}/uuid/", timedelta(minutes=1), parts, SystemClock(), patience=timedelta(seconds=0.3)
            ).round(client)

    asyncio.run(going())
    return [(asked.path, asked.body.decode()) for asked in server.asked]


def test_it_is_pinged_while_the_probe_goes_through(server: RecordingServer) -> None:
    assert [("/uuid", "")] == one_round(server, WORKS)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"put": refused}, "intake cannot be made durable: the disk is full"),
        ({"put": lambda batch: Future()}, "intake cannot be made durable: no commit in time"),
        ({"head": away}, "a store is away: the log store is lost"),
        ({"turned": lambda: None}, "rules are not evaluated: their thread stands still"),
        ({"turned": lambda: NOW}, "rules are not evaluated: their thread stands still"),
        ({"evaluated": lambda: 6}, "rules are not evaluated: commits wait"),
        ({"notified": lambda: None}, "notifications are not decided: notify makes no pass"),
        ({"notified": lambda: NOW}, "notifications are not decided: notify makes no pass"),
        ({"oldest": lambda: NOW}, "messages cannot be sent: one waits since 07:15 UTC"),
    ],
    ids=["refused", "no commit", "store", "no turn", "an old turn", "evaluation", "no pass", "an old pass", "outbox"],
)
def test_what_stands_still_is_said(server: RecordingServer, broken: dict[str, Callable[..., Any]], says: str) -> None:
    assert [("/uuid/fail", says)] == one_round(server, replace(WORKS, **broken))


def test_a_young_message_that_waits_is_no_fault(server: RecordingServer) -> None:
    clock = ManualClock(NOW)
    parts = replace(WORKS, oldest=lambda: NOW - OLDEST)
    assert "" == asyncio.run(DeadMan(server.url, timedelta(minutes=1), parts, clock).probe())


def test_an_other_side_that_is_down_stops_nothing() -> None:
    switch = DeadMan("http://127.0.0.1:1/x", timedelta(minutes=1), WORKS, ManualClock(NOW))

    async def going() -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await switch.round(client)

    assert "" == asyncio.run(going())
    assert Pinged(at=NOW, fault="", answered=False) == switch.last


@pytest.mark.parametrize(
    ("last", "level", "text"),
    [
        (None, "ok", "no ping yet"),
        (Pinged(at=NOW, fault="", answered=True), "ok", "pinged 0:01:00 ago"),
        (Pinged(at=NOW, fault="", answered=False), "error", "the ping 0:01:00 ago was not taken"),
        (
            Pinged(at=NOW, fault="commits wait", answered=True),
            "error",
            "the probe stood still 0:01:00 ago: commits wait",
        ),
    ],
    ids=["none", "pinged", "not taken", "fault"],
)
def test_doctor_says_what_came_of_the_last_ping(last: Pinged | None, level: str, text: str) -> None:
    """Of what /readyz says; each finding but the good ones has its fix."""
    said = None if last is None else {**asdict(last), "at": last.at.isoformat()}
    found = [
        f
        for f in running({"ready": True, "dead_man": said}, ManualClock(NOW + timedelta(minutes=1)))
        if f.part == "dead man"
    ]
    assert [(level, text)] == [(f.level.value, f.text) for f in found]
    assert all(f.fix or f.level.value == "ok" for f in found)


def test_without_a_switch_doctor_says_nothing_of_it() -> None:
    assert "dead man" not in {f.part for f in running({"ready": True}, ManualClock(NOW))}
