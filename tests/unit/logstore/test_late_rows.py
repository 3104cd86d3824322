"""Runs of which something comes late are worked out again; their rows are still stored once."""

import json
import random
from datetime import UTC, datetime, timedelta

from tocsin.clock import ManualClock, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, RawEvents

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def event(run: int, number: int) -> bytes:
    time = (NOON + timedelta(seconds=number)).isoformat()
    data = {"RunId": f"r{run}", "Status": ("Queued", "Running", "Failed")[number]}
    return json.dumps({
        "specversion": "1.0", "type": "tocsin.run.status", "id": f"{run}-{number}", "source": "s", "time": time, "data": data,
    }).encode()  # fmt: skip


def test_rows_of_late_runs_are_stored_once() -> None:
    """Events of 50 runs in any order, in five commits: a row each, a run each."""
    store = DuckLogStore.open(None, clock=ManualClock(NOON + timedelta(minutes=1)), reserve=0)
    payloads = [event(run, number) for run in range(50) for number in range(3)]
    random.Random(1).shuffle(payloads)
    us = micros(NOON)
    for first in range(0, len(payloads), 30):
        piece = payloads[first : first + 30]
        raw = RawEvents(consumer="c", payloads=piece, times_us=[us] * len(piece), own_time=False, received_us=us)
        assert len(piece) == store.append([Batch(raw=(raw,))]).rows
    rows = store.select("SELECT count(*) AS n, count(DISTINCT EventId) AS ids FROM RunStatusChanged").to_pylist()
    assert [{"n": 150, "ids": 150}] == rows
    assert [{"n": 50}] == store.select("SELECT count(*) AS n FROM Runs WHERE Status = 'Failed'").to_pylist()
    store.close()
