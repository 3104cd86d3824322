"""Backtests say what live operation notifies, of history as it lies and as if it were live."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine
from tests.unit.rules.test_backtest_open import counted
from tocsin.rules.backtest.run import Backtest, backtest
from tocsin.rules.backtest.view import AsIfLive, Recorder
from tocsin.rules.history import micros
from tocsin.rules.kinds.base import STEP_ROWS, Span
from tocsin.rules.kinds.event.candidates import over
from tocsin.state.interface import Outcome

DAY = timedelta(days=1)
KEEPS = """
rules:
  - name: failed
    enabled: false
    when: {status: Failed}
    fields: [ExperimentName]
    labels: {team: "{{ Tags.team }}"}
"""
FINAL = """
rules:
  - name: failed
    when: {status: Failed, final: true}
"""


def run(
    engine: Engine, since: datetime = NOON - DAY, until: datetime = NOON + 30 * DAY, rows: int = STEP_ROWS, **more: Any
) -> Backtest:
    (rule,) = engine.rules.rules.values()
    return backtest(rule, engine.log, Span(since=since, until=until, rows=rows), clock=engine.clock, **more)


def test_it_says_what_live_notified(engine: Callable[..., Engine]) -> None:
    e = engine()
    e.at("1m").come({"RunId": "r1"}, {"RunId": "r2"})
    e.at("2m").come({"RunId": "r1"})  # the same occurrence
    e.at("3m").come({"RunId": "r1", "Status": "Running"})
    e.at("4m").come({"RunId": "r1"})
    found = run(e)
    assert [(i.at, i.run_id) for i in e.notified()] == [(t.at, t.run_id) for t in found.notified]
    assert (3, 5, {"fired": 3}) == (found.notified_count, found.events, found.by_kind)


def test_a_sweep_is_notified_as_live_notified_it(engine: Callable[..., Engine]) -> None:
    """Also where its children, its parent's end and what it was counted with lie in steps of their own."""
    e = engine(
        "rules:\n  - name: sweep\n    when: {status: Failed}\n"
        "    collapse: {to: parent, when: {failed: 20%, at_least: 2}, update: [50%, end]}\n"
    )
    for i in range(6):
        e.at(f"{i}m").come(
            {"RunId": f"t{i}", "ParentRunId": "s", "Status": "Running"}, {"RunId": f"o{i}", "Status": "Queued"}
        )
    for i in range(4):
        e.at(f"{10 + i}m").come({"RunId": f"t{i}", "ParentRunId": "s"}, {"RunId": f"o{i}", "Status": "Running"})
    e.at("1h").come({"RunId": "s", "Status": "Completed"})
    live = sorted((i.at, i.kind.value, i.run_id) for each in e.evaluations for i in each.outcome.intents)
    assert 3 == len(live)
    for rows in (STEP_ROWS, 2):
        assert live == [(t.at, t.kind, t.run_id) for t in run(e, rows=rows).notified]
    assert [i[1:] for i in live] == [(t.kind, t.run_id) for t in run(e, as_if_live=True).notified]


def test_it_only_reads(engine: Callable[..., Engine]) -> None:
    e = engine()
    e.at("1m").store({})
    run(e)
    run(e, as_if_live=True)
    assert (0, {}) == (e.state.row_cursor(), e.state.notified([("failed", "r1")]))
    assert 0 == e.log.select("SELECT count(*) FROM Alerts").column(0)[0].as_py()


def test_the_range_is_of_arrivals_and_excludes_its_end(engine: Callable[..., Engine]) -> None:
    e = engine()
    for i, at in enumerate(("1m", "2m", "3m")):
        e.at(at).store({"RunId": f"r{i}"})
    assert ["r1"] == [
        t.run_id for t in run(e, since=NOON + timedelta(minutes=2), until=NOON + timedelta(minutes=3)).notified
    ]
    assert 0 == run(e, since=NOON + DAY).events


def test_what_happened_before_the_range_is_not_notified_again(engine: Callable[..., Engine]) -> None:
    """As a rule that came into force then: an occurrence that began before is old."""
    for live in (False, True):
        e = engine()
        e.at("1m").store({})
        e.at("5m").store({}, {"RunId": "r2"})
        assert ["r2"] == [t.run_id for t in run(e, since=NOON + timedelta(minutes=3), as_if_live=live).notified]


def test_imported_history_is_expired_unless_taken_as_live(engine: Callable[..., Engine]) -> None:
    e = engine()
    e.at("20d").store(*({"RunId": f"r{i}", "TimeGenerated": f"{i}d"} for i in range(10)))
    as_it_lies = run(e)
    assert (0, 10) == (as_it_lies.notified_count, as_it_lies.expired)
    live = run(e, as_if_live=True)
    assert (10, 0) == (live.notified_count, live.expired)
    assert [NOON + i * DAY for i in range(10)] == [t.at for t in live.notified]


def test_a_deadline_is_evaluated_at_its_time(engine: Callable[..., Engine]) -> None:
    e = engine(FINAL)
    e.at("0m").store({"RunId": "r1", "WillRetry": None}, {"RunId": "r2", "WillRetry": None})
    e.at("10m").store({"RunId": "r1", "Status": "Running", "Attempt": 1})
    e.at("3d").store({"RunId": "r9", "Status": "Running"})
    for live in (False, True):
        (notified,) = run(e, as_if_live=live).notified
        assert ("r2", NOON + timedelta(minutes=15)) == (notified.run_id, notified.at)
    assert 0 == run(e, until=NOON + timedelta(minutes=15)).notified_count


def test_the_most_frequent_value_is_named(engine: Callable[..., Engine]) -> None:
    e = engine(KEEPS)
    e.at("1m").store(*({"RunId": f"r{i}", "ExperimentName": "churn" if i else "rank"} for i in range(4)))
    most = run(e).most
    assert most is not None
    assert ("ExperimentName", "churn", 3) == (most.field, most.value, most.count)


def test_a_rule_that_cannot_run_says_so(engine: Callable[..., Engine]) -> None:
    """A reference table that is gone: no word of 'nothing'."""
    e = engine("""
        rules:
          - name: failed
            query: |
              RunStatusChanged | where Status == 'Failed' | lookup owners on ExperimentName | where team == 'a'
        """)
    e.at("1m").store({})
    assert "owners" in " ".join(run(e).errors)


def test_progress_is_notified_by_steps(engine: Callable[..., Engine]) -> None:
    e = engine()
    for i in range(10):
        e.at(f"{i}m").store({"RunId": f"r{i}"})
    seen: list[tuple[int, int]] = []
    found = run(e, rows=4, progress=lambda done, total: seen.append((done, total)))
    assert [(4, 10), (8, 10), (10, 10)] == seen
    assert 10 == found.notified_count


FEW = settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["r1", "r2", "r3"]),
        st.sampled_from(["Failed", "Running", "Completed"]),
        st.integers(0, 3),  # minutes late
        st.integers(0, 2),  # attempt
        st.booleans(),  # whether the next one comes in the same commit
    ),
    max_size=14,
)


@FEW
@given(events=EVENTS, step_rows=st.sampled_from([1, 4, 1000]))
def test_as_it_lies_is_as_it_was(
    engine: Callable[..., Engine], events: list[tuple[str, str, int, int, bool]], step_rows: int
) -> None:
    """Whatever came in whatever order and commits: the backtest says what was notified, when it was."""
    e = engine()
    waiting: list[dict[str, object]] = []
    for i, (run_id, status, late, attempt, more) in enumerate(events):
        at = NOON + timedelta(minutes=10 + i - late)
        waiting.append({"RunId": run_id, "Status": status, "Attempt": attempt, "TimeGenerated": at})
        if not more:
            e.at(f"{10 + i}m").come(*waiting)
            waiting = []
    found = run(e, rows=step_rows)
    assert sorted((i.at, i.run_id, i.event_time) for i in e.notified()) == sorted(
        (t.at, t.run_id, t.event_time) for t in found.notified
    )


@FEW
@given(events=EVENTS)
def test_as_if_live_is_one_by_one_in_event_order(
    engine: Callable[..., Engine], events: list[tuple[str, str, int, int, bool]]
) -> None:
    """What an import of everything at once notifies as if live is what would have been notified then."""
    moments = [
        (NOON + timedelta(minutes=10 + i - late, microseconds=i), r, s, a)
        for i, (r, s, late, a, _) in enumerate(events)
    ]
    then, imported = engine(), engine()
    for at, run_id, status, attempt in sorted(moments):
        then.clock.set(max(at, then.clock.now()))
        then.come({"RunId": run_id, "Status": status, "Attempt": attempt, "TimeGenerated": at})
    imported.at("90d").store(*({"RunId": r, "Status": s, "Attempt": a, "TimeGenerated": at} for at, r, s, a in moments))
    found = run(imported, as_if_live=True, rows=3)
    assert sorted((i.run_id, i.event_time) for i in then.notified()) == sorted(
        (t.run_id, t.event_time) for t in found.notified
    )


def test_what_is_over_is_forgotten(engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    """A backtest of a year remembers the runs of its step and those that go on, not all that it was notified of."""
    e = engine()
    e.at("1s").store({"RunId": "long"})
    for i in range(1, 20):
        e.at(f"{i}m").store({"RunId": f"r{i}"})
    e.at("20m").store({"RunId": "long"})
    remembered: list[int] = []
    took = Recorder.take

    def take(recorder: Recorder, outcome: Outcome) -> None:
        took(recorder, outcome)
        remembered.append(len(recorder.runs))

    monkeypatch.setattr(Recorder, "take", take)
    assert 20 == run(e, rows=3).notified_count
    assert 4 >= max(remembered)


def test_which_runs_are_over_is_the_same_beside_heartbeats(engine: Callable[..., Engine]) -> None:
    """As if live, where no heartbeat is stored, runs are looked for by the time of their events; else by the latest
    of both.
    """
    e = engine()
    for i in range(6):
        e.at(f"{i}m").store({"RunId": f"r{i}"})
    lo, hi = (micros(NOON + timedelta(minutes=n)) for n in (1, 4))
    runs = [f"r{i}" for i in range(6)]
    alone = over(AsIfLive(e.log), "RootRunId", runs, lo, hi)
    e.at("9m").store({"RunId": "other", "Status": "Running", "heartbeat": True})
    assert 1 == e.log.select("SELECT 1 FROM Heartbeats").num_rows
    assert ["r2", "r3", "r4"] == sorted(alone) == sorted(over(AsIfLive(e.log), "RootRunId", runs, lo, hi))
    e.store({"RunId": "r3", "Status": "Running", "heartbeat": True})
    assert ["r2", "r4"] == sorted(over(AsIfLive(e.log), "RootRunId", runs, lo, hi))


@pytest.mark.parametrize("as_if_live", [False, True])
def test_runs_are_asked_whether_they_are_older_only_where_something_is(
    as_if_live: bool, engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    e = engine()
    for i in range(4):
        e.at(f"{i}m").store({"RunId": f"r{i}"})
    e.at("5m").store({"RunId": "r0"})
    asked = counted(e.log, monkeypatch)
    assert 4 == run(e, as_if_live=as_if_live).notified_count
    assert [] == [sql for sql in asked if "epoch_us(FirstSeen)" in sql]
    assert 3 == run(e, since=NOON + timedelta(seconds=30), as_if_live=as_if_live).notified_count
    # of commits that are still in memory it is known
    assert as_if_live is any("epoch_us(FirstSeen)" in sql for sql in asked)


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    timeline=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(("Running", "Failed", "Failed", "Completed")),
            st.sampled_from((0, 0, 2, 9)),
        ),
        min_size=1,
        max_size=24,
    ),
    step_rows=st.integers(1, 5),
)
def test_in_whatever_steps_it_says_what_live_notified(
    engine: Callable[..., Engine], timeline: list[tuple[int, str, int]], step_rows: int
) -> None:
    """``timeline``: run, status, how late it arrives (min)."""
    e = engine()
    for i, (one, status, late) in enumerate(timeline, 10):
        e.at(f"{i}m").come({"RunId": f"r{one}", "Status": status, "TimeGenerated": f"{i - late}m", "EventId": f"e{i}"})
    live = sorted((i.at, i.run_id) for i in e.notified())
    assert live == sorted((t.at, t.run_id) for t in run(e, rows=step_rows).notified)


def test_what_comes_after_its_deadline_is_notified_when_it_comes(engine: Callable[..., Engine]) -> None:
    """Not before anybody can have known of it."""
    e = engine(FINAL)
    e.at("1h").store({"RunId": "r1", "WillRetry": None, "TimeGenerated": "10m"})
    e.evaluate()
    e.tick()
    e.at("2h").store({"RunId": "r9", "Status": "Running"})
    (live,) = e.notified()
    for step_rows in (1, 1000):
        (notified,) = run(e, rows=step_rows).notified
        assert NOON + timedelta(hours=1) == notified.at == live.at
