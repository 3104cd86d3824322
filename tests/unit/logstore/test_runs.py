"""Runs: latest state by event-time order, reopening, and that no order of arrival changes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.logstore.helpers import Bench, Said, beat, event, expected_run, stored_run
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.ingest import runs

STATUSES = ("Queued", "Running", "Paused", "Completed", "Failed")


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Said], list[int]]:
    """Events of a few runs in some order of arrival, and how many come in each commit."""
    said = draw(
        st.lists(
            st.builds(
                Said,
                run=st.sampled_from(("r1", "r2")),
                status=st.sampled_from(STATUSES),
                at=st.integers(0, 6),
                source=st.sampled_from(("a", "b")),
                id=st.sampled_from(("1", "2", "3")),
                attempt=st.integers(0, 2),
                experiment=st.sampled_from(("", "x", "y")),
                progress=st.sampled_from((None, 0.25, 0.5)),
                start=st.sampled_from((None, 0, 1)),
            ),
            min_size=1,
            max_size=14,
            unique_by=lambda e: (e.source, e.id, e.at),
        )
    )
    sizes = draw(st.lists(st.integers(1, 6), min_size=len(said), max_size=len(said)))
    return said, sizes


@pytest.fixture(scope="module", params=["small", "notified", "in bulk"])
def shared(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """One store for all examples; each takes names of its own. Each way of keeping Runs."""
    patch = pytest.MonkeyPatch()
    if request.param != "small":
        patch.setattr("tocsin.logstore.ingest.small.MOST", 0)
    if request.param == "in bulk":
        patch.setattr(runs, "SMALL", 0)
    clock = ManualClock(datetime(2026, 3, 1, 13, tzinfo=UTC))
    store = DuckLogStore.open(None, clock=clock, threads=1)
    yield Bench(store, clock)
    store.close()
    patch.undo()


_EXAMPLES = itertools.count()


@settings(max_examples=examples(40), deadline=None)
@given(histories())
def test_state_does_not_depend_on_the_order_of_arrival(shared: Bench, history: tuple[list[Said], list[int]]) -> None:
    """Any order, any split into commits: Runs is what notifying all events in event-time order gives."""
    prefix = f"{next(_EXAMPLES)}-"
    said = [replace(e, run=prefix + e.run, source=prefix + e.source) for e in history[0]]
    rest = list(said)
    for size in history[1]:
        if rest:
            shared(*(e.payload() for e in rest[:size]))
            rest = rest[size:]
    found = shared.rows("SELECT * FROM Runs WHERE starts_with(RunId, $prefix)", prefix=prefix)
    expected = {run: expected_run([e for e in said if e.run == run]) for run in {e.run for e in said}}
    assert expected == {row["RunId"]: stored_run(row) for row in found}


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
