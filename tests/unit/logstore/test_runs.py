"""Runs: latest state by event-time order, and reopening. ``test_fold.py`` holds it to the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.clock import ManualClock


def test_terminal_wins_at_equal_times(put: Bench) -> None:
    """A Running with the time of its Failed does not reopen the run."""
    put(event(status="Failed", at=5))
    put(event(status="Running", at=5))
    assert "Failed" == put.run()["Status"]


def test_a_late_running_does_not_reopen(put: Bench) -> None:
    put(event(status="Failed", at=5))
    put(event(status="Running", at=3))
    assert ("Failed", 1) == (put.run()["Status"], put.run()["Attempts"])


def test_the_source_that_ended_it_reopens_later(put: Bench) -> None:
    put(event(status="Failed", at=5, source="a"))
    put(event(status="Running", at=6, source="b"))
    assert "Failed" == put.run()["Status"]
    put(event(status="Running", at=7, source="a"))
    assert "Running" == put.run()["Status"]
    assert put.run()["EndTime"] is None


def test_a_greater_attempt_reopens(put: Bench) -> None:
    put(event(status="Failed", at=5, Attempt=1))
    put(event(status="Queued", at=5, source="b", Attempt=2))
    assert ("Queued", 2, 2) == tuple(put.run()[k] for k in ("Status", "Attempt", "Attempts"))


def test_without_a_producer_time_nothing_reopens(put: Bench, clock: ManualClock) -> None:
    """The receipt is no proof that a status is newer."""
    put(event(status="Failed", at=None, id="1"))
    put(event(status="Running", at=None, id="2"))
    assert "Failed" == put.run()["Status"]


def test_times_are_derived(put: Bench) -> None:
    """StartTime is the first Running, EndTime the end, DurationMs between them; in the row of the end too."""
    put(event(status="Queued", at=0), event(status="Running", at=10), event(status="Failed", at=70))
    assert 60_000 == put.run()["DurationMs"]
    assert [None, None, 60_000] == [e["DurationMs"] for e in put.events()]


def test_a_sparse_last_event_keeps_the_names(put: Bench) -> None:
    put(event(status="Running", at=1, ExperimentName="exp", Tags={"team": "x"}, OwnerEmail="a@b.c", Message="going"))
    put(event(status="Failed", at=2))
    row = put.run()
    assert ("exp", '{"team":"x"}', "a@b.c", "") == tuple(
        row[k] for k in ("ExperimentName", "Tags", "OwnerEmail", "Message")
    )


def test_a_heartbeat_of_an_unknown_run_makes_a_row(put: Bench) -> None:
    put(beat("r9", Progress=0.5))
    row = put.run("r9")
    assert ("Unknown", 0.5, None) == (row["Status"], row["Progress"], row["FirstTime"])
    put(event("r9", "Running", at=0))
    assert "Running" == put.run("r9")["Status"]


def test_a_heartbeat_moves_progress_and_last_seen(put: Bench, clock: ManualClock) -> None:
    put(event(at=-60, Progress=0.1))
    before = put.run()["LastSeen"]
    clock.advance(timedelta(seconds=30))
    put(beat(Progress=0.2))
    assert 0.2 == put.run()["Progress"]
    assert put.run()["LastSeen"] - before == timedelta(seconds=30)


def test_spans_are_between_first_and_last_event(put: Bench) -> None:
    put(event(at=5), event(status="Queued", at=1), event("r2", at=3))
    spans = put.store.spans(["r1", "nobody"])
    assert {"r1": (1, 5)} == {
        run: (
            (s.first - datetime(2026, 3, 1, 12, tzinfo=UTC)).seconds,
            (s.last - datetime(2026, 3, 1, 12, tzinfo=UTC)).seconds,
        )
        for run, s in spans.items()
    }
