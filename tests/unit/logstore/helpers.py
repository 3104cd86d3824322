"""Canonical events in few words, and the plain reference of what Runs holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tocsin.clock import Clock, from_micros, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.read import iso
from tocsin.model.event import HEARTBEAT_TYPE, STATUS_TYPE, Batch, Commit, RawEvents

T0 = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z, µs


def event(
    run: str = "r1", status: str = "Running", at: int | None = 0, *, id: str = "", source: str = "a", **data: Any
) -> bytes:
    """A canonical event ``at`` seconds after T0 (None: without a time); its id follows from what it says if not
    given.
    """
    body: dict[str, Any] = {"RunId": run, "Status": status} | data
    wire: dict[str, Any] = {"specversion": "1.0", "id": id or f"{run}/{status}/{at}/{source}", "source": source}
    wire |= {"type": STATUS_TYPE, "data": body}
    if at is not None:
        wire["time"] = iso(from_micros(T0 + at * 1_000_000))
    return json.dumps(wire).encode()


def beat(run: str = "r1", **data: Any) -> bytes:
    """A canonical heartbeat."""
    return json.dumps({"id": "", "source": "a", "type": HEARTBEAT_TYPE, "data": {"RunId": run} | data}).encode()


def raw(payloads: Sequence[bytes], *, received: datetime, consumer: str = "c", own_time: bool = False) -> RawEvents:
    """Payloads as a connector hands them over, received at ``received``."""
    us = micros(received)
    return RawEvents(
        consumer=consumer, payloads=payloads, times_us=[us] * len(payloads), own_time=own_time, received_us=us
    )


class Bench:
    """Appends to a store and looks into it."""

    def __init__(self, store: DuckLogStore, clock: Clock) -> None:
        self.store, self.clock = store, clock

    def __call__(self, *payloads: bytes, consumer: str = "c", own_time: bool = False) -> Commit:
        batch = Batch(raw=(raw(payloads, received=self.clock.now(), consumer=consumer, own_time=own_time),))
        return self.store.append([batch])

    def rows(self, sql: str, **params: object) -> list[dict[str, Any]]:
        """Rows of a query."""
        found: list[dict[str, Any]] = self.store.select(sql, params or None).to_pylist()
        return found

    def events(self, columns: str = "*") -> list[dict[str, Any]]:
        """Rows of RunStatusChanged, in the order in which they came."""
        return self.rows(f"SELECT {columns} FROM RunStatusChanged ORDER BY rowid")

    def run(self, run: str = "r1") -> dict[str, Any]:
        """The row of a run."""
        (row,) = self.rows("SELECT * FROM Runs WHERE RunId = $run", run=run)
        return row


TERMINAL = ("Completed", "Failed", "Canceled")


@dataclass(frozen=True)
class Said:
    """An event as the reference sees it."""

    run: str
    status: str
    at: int
    source: str
    id: str
    attempt: int = 0
    experiment: str = ""
    progress: float | None = None
    start: int | None = None
    timed: bool = True

    def payload(self) -> bytes:
        data: dict[str, Any] = {"Attempt": self.attempt, "ExperimentName": self.experiment, "Progress": self.progress}
        if self.start is not None:
            data["StartTime"] = iso(from_micros(T0 + self.start * 1_000_000))
        return event(self.run, self.status, self.at, id=self.id, source=self.source, **data)

    @property
    def order(self) -> tuple[int, int, bool, str, str]:
        return (self.attempt, self.at, self.status in TERMINAL, self.source, self.id)


def expected_run(events: Sequence[Said]) -> dict[str, Any]:
    """What Runs must hold of one run, notified event by event in event-time order."""
    state: Said | None = None
    since = attempt = 0
    enders: set[str] = set()
    experiment, progress, given_start = "", None, None
    for e in sorted(set(events), key=lambda e: e.order):
        if state is None or e.attempt > attempt:
            enders = set()
            attempt = e.attempt
            reopens = True
        else:
            reopens = e.timed and e.source in enders
        ended = state is not None and state.status in TERMINAL
        if ended and e.status not in TERMINAL and not reopens:
            continue
        if state is None or state.status != e.status or state.attempt != e.attempt:
            since = e.at
        state = e
        if e.status in TERMINAL:
            enders.add(e.source)
        experiment = e.experiment or experiment
        progress = progress if e.progress is None else e.progress
        given_start = given_start if e.start is None else e.start
    assert state is not None
    running = [e.at for e in events if e.status == "Running"]
    start = given_start if given_start is not None else min(running, default=None)
    end = state.at if state.status in TERMINAL else None
    tries = {e.attempt for e in events if e.attempt > 0}
    return {
        "Status": state.status,
        "StatusSince": since,
        "Source": state.source,
        "Attempt": attempt,
        "Attempts": max(len(tries), 1),
        "ExperimentName": experiment,
        "Progress": progress,
        "StartTime": start,
        "EndTime": end,
        "DurationMs": (end - start) * 1000 if end is not None and start is not None and end >= start else None,
        "FirstTime": min(e.at for e in events),
        "LastTime": max(e.at for e in events),
    }


def stored_run(row: dict[str, Any]) -> dict[str, Any]:
    """The same of a row of Runs, times in seconds after T0."""
    keys = (
        "Status", "StatusSince", "Source", "Attempt", "Attempts", "ExperimentName", "Progress", "StartTime", "EndTime",
        "DurationMs", "FirstTime", "LastTime",
    )  # fmt: skip
    return {k: _seconds(row[k]) for k in keys}


def _seconds(value: Any) -> Any:
    if isinstance(value, datetime):
        return (micros(value.replace(tzinfo=UTC)) - T0) // 1_000_000
    return value
