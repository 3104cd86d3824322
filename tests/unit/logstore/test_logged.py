"""Metrics that runs log are rows of RunMetrics, in the commit that brings them, once."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.logstore.helpers import Bench, event
from tests.unit.logstore.test_append import NOW
from tocsin.clock import ManualClock, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, Position, RawEvents

NOON = datetime(2026, 3, 1, 12)


@pytest.fixture(autouse=True, params=["small", "bulk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs both ways."""
    if request.param == "bulk":
        monkeypatch.setattr("tocsin.logstore.ingest.small.MOST", 0)


def logged(*points: dict[str, Any], run: object = "r1", id: str = "m1", time: str = "2026-03-01T12:00:00Z") -> bytes:
    data = {"RunId": run, "ExperimentName": "churn", "Metrics": points}
    return json.dumps({"id": id, "source": "a", "type": "tocsin.run.metrics", "time": time, "data": data}).encode()


def test_each_point_is_a_row(put: Bench) -> None:
    """Numbers, the three that JSON does not have, text, and rows of tables; a point may have a time of its own."""
    put(logged(
        {"Name": "loss", "Value": 0.5, "Step": 1, "Time": "2026-03-01T11:59:00Z"}, {"Name": "loss", "Value": "NaN"},
        {"Name": "loss", "Value": "-Infinity"}, {"Name": "note", "Value": "warm"}, {"Name": "row", "Columns": {"a": 1}},
    ))  # fmt: skip
    rows = put.rows("FROM RunMetrics")
    assert {("r1", "churn", 1)} == {(row["RunId"], row["ExperimentName"], row["CommitSeq"]) for row in rows}
    assert [
        (NOON - timedelta(minutes=1), "loss", 1, "0.5", "", "{}"),
        (NOON, "loss", None, "nan", "", "{}"),
        (NOON, "loss", None, "-inf", "", "{}"),
        (NOON, "note", None, "None", "warm", "{}"),
        (NOON, "row", None, "None", "", '{"a":1}'),
    ] == [(r["Time"], r["Name"], r["Step"], str(r["Value"]), r["Text"], r["Columns"]) for r in rows]


def test_they_are_no_status_changes(put: Bench) -> None:
    """Events beside them are stored as ever, and a text that names the type is a text."""
    commit = put(event("r1", Message="tocsin.run.metrics"), logged({"Name": "loss", "Value": 1}), event("r2"))
    assert (3, 2) == (commit.receipts[0].accepted, commit.rows)
    assert [{"n": 2}] == put.rows("SELECT count(*) AS n FROM Runs")
    assert [{"n": 1}] == put.rows("SELECT count(*) AS n FROM RunMetrics")


def test_an_event_that_comes_again_is_a_duplicate(put: Bench) -> None:
    twice = logged({"Name": "loss", "Value": 1})
    first, again = put(twice, twice), put(twice, logged({"Name": "loss", "Value": 2}, id="m2"))
    assert [(1, 1), (1, 1)] == [(c.receipts[0].accepted, c.receipts[0].duplicate) for c in (first, again)]
    assert [1.0, 2.0] == [row["Value"] for row in put.rows("SELECT Value FROM RunMetrics ORDER BY Value")]
    assert [1, 2] == [commit.seq for commit in put.store.commits(0)]


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (logged(), "bad_field", "Metrics is no list"),
        (logged({"Name": "loss", "Value": 1}, run=""), "no_run_id", "no RunId"),
        (logged({"Name": "a", "Value": 1}, {"Value": 1}), "bad_field", "Metrics[1] has no Name"),
        (logged({"Name": "a", "Value": [1]}), "bad_field", "Metrics[0].Value is neither a number nor text"),
        (logged({"Name": "a", "Step": 1.5}), "bad_field", "Metrics[0].Step is no whole number"),
    ],
    ids=["no points", "no run", "no name", "a list", "half a step"],
)
def test_what_cannot_be_read_is_a_dead_letter(put: Bench, payload: bytes, reason: str, detail: str) -> None:
    commit = put(payload, event("r1"))
    (letter,) = commit.receipts[0].dead
    assert (reason, 1) == (letter.reason, commit.rows)
    assert letter.detail.startswith(detail)


def test_records_below_the_position_are_not_read_again(clock: ManualClock) -> None:
    """Kafka hands over the same records after a crash."""
    store = DuckLogStore.open(None, clock=clock)
    payloads = [logged({"Name": "loss", "Value": n}, id=f"m{n}") for n in range(3)]

    def batch(start: int) -> Batch:
        raw = RawEvents(
            consumer="k", payloads=payloads[start:], times_us=[micros(NOW)] * (3 - start), own_time=True,
            received_us=micros(NOW), topic="runs", topic_id="t1", cluster="c1", partitions=[0] * (3 - start),
            offsets=list(range(start, 3)),
        )  # fmt: skip
        at = Position(cluster="c1", topic="runs", topic_id="t1", partition=0, start=start, next=3)
        return Batch(raw=(raw,), positions=(at,))

    store.append([batch(0)])
    assert 3 == store.append([batch(0)]).receipts[0].skipped
    assert [{"n": 3}] == store.select("SELECT count(*) AS n FROM RunMetrics").to_pylist()
    store.close()


def test_a_time_far_ahead_is_the_receipt(clock: ManualClock) -> None:
    store = DuckLogStore.open(None, clock=clock, max_clock_skew=timedelta(minutes=10))
    put = Bench(store, clock)
    put(logged({"Name": "loss", "Value": 1}, time="2028-03-01T12:00:00Z"))
    assert [{"Time": NOON}] == put.rows("SELECT Time FROM RunMetrics")
    store.close()
