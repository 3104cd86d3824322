"""A checkpoint that cannot be now does not make a durable commit look failed."""

from datetime import UTC, datetime
from pathlib import Path

from tocsin.clock import ManualClock, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest.open import Memory
from tocsin.model.event import Batch, RawEvents

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def batch(number: int) -> Batch:
    payload = (
        b'{"specversion":"1.0","type":"tocsin.run.status","id":"%d","source":"s","time":"2026-01-05T12:00:00Z",'
        % number
    )
    payload += b'"data":{"RunId":"r%d","Status":"Failed"}}' % number
    us = micros(NOON)
    return Batch(raw=(RawEvents(consumer="c", payloads=[payload], times_us=[us], own_time=False, received_us=us),))


def test_a_commit_is_notified_although_another_transaction_writes(tmp_path: Path) -> None:
    """With another write transaction open DuckDB refuses CHECKPOINT; the rows are there, and it comes later."""
    wal = tmp_path / "events.duckdb.wal"
    store = DuckLogStore.open(
        tmp_path / "events.duckdb",
        clock=ManualClock(NOON),
        reserve=0,
        checkpoint_threshold=1,
        memory=Memory(limit="100MiB"),
    )
    other = store._con.cursor()
    other.execute("BEGIN; CREATE TABLE elsewhere (n INTEGER)")
    assert 1 == store.append([batch(1)]).rows
    assert wal.stat().st_size > 0
    other.execute("ROLLBACK")
    assert 1 == store.append([batch(2)]).rows
    assert not wal.exists() or wal.stat().st_size == 0
    store.close()


def test_at_rest_a_quarter_of_what_is_borne_is_enough(tmp_path: Path) -> None:
    wal = tmp_path / "events.duckdb.wal"
    store = DuckLogStore.open(
        tmp_path / "events.duckdb",
        clock=ManualClock(NOON),
        reserve=0,
        checkpoint_threshold=1 << 30,
        memory=Memory(limit="100MiB"),
    )
    store.append([batch(1)])
    store.rest()
    assert wal.stat().st_size > 0  # too little to be worth it
    store.close()
    store = DuckLogStore.open(
        tmp_path / "events.duckdb",
        clock=ManualClock(NOON),
        reserve=0,
        checkpoint_threshold=6000,
        memory=Memory(limit="100MiB"),
    )
    store.append([batch(2)])
    assert wal.stat().st_size > 0
    store.rest()
    assert not wal.exists() or wal.stat().st_size == 0
    assert 2 == store.select("SELECT count(*) AS n FROM RunStatusChanged").to_pylist()[0]["n"]
    store.close()
    DuckLogStore.open(None, clock=ManualClock(NOON)).rest()  # in memory there is nothing to write
