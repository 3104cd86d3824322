"""Canonical events in few words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
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
