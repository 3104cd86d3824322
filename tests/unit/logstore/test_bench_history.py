"""The history that benchmarks begin with is what the store would have written itself."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import bench.history
from bench.history import History, read, write
from tocsin.clock import ManualClock, from_micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, RawEvents

AT_ONCE = 20


def test_history_is_what_the_store_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events one by one through the store give the same rows, runs and commits."""
    monkeypatch.setattr(bench.history, "AT_ONCE", AT_ONCE)
    monkeypatch.setattr(bench.history, "GROUP", 5 * AT_ONCE)
    history = History(rows=15 * AT_ONCE, span=timedelta(hours=5), end=datetime(2026, 1, 1, tzinfo=UTC))
    write(tmp_path / "made.duckdb", history)
    assert read(tmp_path / "made.duckdb") == history
    clock = ManualClock(history.end - timedelta(days=1))
    with closing(DuckLogStore.open(tmp_path / "notified.duckdb", clock=clock, reserve=0)) as notified:
        for number in range(history.rows - AT_ONCE):
            us = history.first + number * history.step
            clock.set(from_micros(us))
            raw = RawEvents(
                consumer="bench", payloads=[history.event(number)], times_us=[us], own_time=True, received_us=us
            )
            notified.append([Batch(raw=(raw,))])
    made, said = (rows_of(tmp_path / name) for name in ("made.duckdb", "notified.duckdb"))
    assert [len(rows) for rows in made] == [14 * AT_ONCE, 3 * AT_ONCE, 14 * AT_ONCE]
    assert made == said


def rows_of(file: Path) -> list[list[tuple[object, ...]]]:
    """All rows of three tables."""
    tables = ("RunStatusChanged ORDER BY CommitSeq", "tocsin.runs ORDER BY RunId", "tocsin.commits ORDER BY seq")
    with duckdb.connect(str(file)) as con:
        return [con.execute(f"FROM {table}").fetchall() for table in tables]
