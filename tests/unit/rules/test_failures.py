"""A rule whose query fails does not take others down, keeps its state, and catches up."""

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa

from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.model.alert import Why
from tocsin.model.instants import TimerKind

Make = Callable[..., Engine]

# `theirs` needs a table that is not there at first; the others share its commits, `twin` also its shape.
RULES = """
rules:
  - {name: fine, when: {status: Failed}}
  - name: theirs
    query: RunStatusChanged | where Status == 'Failed' | lookup owners on ExperimentName | where team == 'ranking'
"""
OWNERS = pa.table({"ExperimentName": ["churn"], "team": ["ranking"]})


def test_a_rule_that_fails_does_not_take_others_down(engine: Make) -> None:
    e = engine(RULES)
    assert 1 == e.come({"ExperimentName": "churn"})
    (failure,) = e.evaluations[0].failures
    assert "theirs" == failure.rule and "owners" in failure.error
    assert ["fine"] == [i.rule for i in e.notified()]


def test_a_rule_that_failed_lags_and_catches_up(engine: Make) -> None:
    """It has a cursor of its own only while it lags; it is tried again with growing pauses, and misses nothing."""
    e = engine(RULES)
    e.at("1s").come({"RunId": "a", "ExperimentName": "churn"})
    e.at("2s").come({"RunId": "b", "ExperimentName": "churn"})
    assert 0 == _cursor(e)
    assert 1 == sum(len(v.failures) for v in e.evaluations)
    for seconds in (30, 31, 90, 91, 210):
        e.at(f"{seconds}s").tick()
    assert 3 == sum(len(v.failures) for v in e.evaluations)
    e.log.set_table("owners", OWNERS)
    e.at("211s").tick()
    assert [("theirs", "a"), ("theirs", "b")] == [(i.rule, i.run_id) for i in e.notified() if i.rule == "theirs"]
    assert None is _cursor(e) and [] == list(e.state.timers())
    assert 5 == e.at("4m").come({"RunId": "c", "ExperimentName": "churn"}) - 1


def _cursor(e: Engine) -> int | None:
    cursor = e.state.rules()["theirs"].cursor
    return None if cursor is None else cursor.commit_seq


def test_a_rule_that_was_put_right_is_tried_at_once(engine: Make, load: Load) -> None:
    e = engine(RULES)
    e.at("1s").come({"ExperimentName": "churn"})
    e.use(
        load("""
        rules:
          - {name: fine, when: {status: Failed}}
          - {name: theirs, when: {status: Failed, where: "ExperimentName == 'churn'"}}
        """)
    )
    e.at("2s").tick()
    assert ["fine", "theirs"] == sorted(i.rule for i in e.notified())


OVERFLOWS = """
rules:
  - name: overflows
    when: {status: Failed, final: true, where: "DurationMs * 1000000000000 > 0"}
  - name: twin
    when: {status: Failed, final: true, where: "DurationMs * 1 > 0"}
"""


def test_a_row_that_cannot_be_evaluated_is_passed_over(engine: Make) -> None:
    """Rules of one shape share a query; the one whose constant overflows goes on without the row that makes it so."""
    e = engine(OVERFLOWS)
    e.come(*({"RunId": f"r{n}", "EventId": f"x{n}", "DurationMs": 10**9 if n == 7 else 1} for n in range(20)))
    (failure,) = e.evaluations[0].failures
    assert ("overflows", ("x7",)) == (failure.rule, failure.events)
    assert 20 == sum(i.rule == "twin" for i in e.notified())
    assert {f"r{n}" for n in range(20)} - {"r7"} == {i.run_id for i in e.notified() if i.rule == "overflows"}
    assert [] == list(e.state.timers())


def test_a_rule_that_can_evaluate_nothing_fails_as_a_whole(engine: Make) -> None:
    """Looking for the culprits has a bound."""
    e = engine(OVERFLOWS)
    e.come(*({"RunId": f"r{n}", "DurationMs": 10**9} for n in range(200)))
    (failure,) = e.evaluations[0].failures
    assert ("overflows", ()) == (failure.rule, failure.events)
    assert 200 == len(e.notified())
    assert ["overflows"] == [t.rule for t in e.state.timers()]


def test_a_deadline_whose_rule_fails_is_evaluated_again(engine: Make, load: Load) -> None:
    """It waits, and is evaluated by its own time when the rule can run again."""
    e = engine("""
        rules:
          - {name: final, when: {status: Failed, final: true, where: "DurationMs * 1000000000000 > 0"}}
        """)
    unknown: dict[str, object] = {"WillRetry": None, "DurationMs": 1}
    e.come(unknown, {**unknown, "RunId": "r2"})
    e.at("1m").come(*({"EventId": f"x{n}", "DurationMs": 10**9, "TimeGenerated": f"{n}s"} for n in range(1, 60)))
    e.at("15m").tick()
    assert {("final", ())} == {(f.rule, f.events) for f in e.evaluations[-1].failures}
    waiting = [t for t in e.state.timers() if t.kind is TimerKind.FINAL_AFTER]
    assert [] == e.notified() and [NOON + timedelta(minutes=15, seconds=30)] * 2 == [t.due for t in waiting]
    e.use(load("rules: [{name: final, when: {status: Failed, final: true}}]"))
    e.at("16m").tick()
    assert {("r1", Why.FIRST), ("r2", Why.NO_ATTEMPT_CAME)} == {(i.run_id, i.why) for i in e.notified()}
    assert [NOON + timedelta(minutes=15)] == [i.details.due for i in e.notified() if i.run_id == "r2"]
