"""Commits that are evaluated together end alerts as they would have one by one, whether a run's history is read for
it or not.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tests.unit.rules.test_backtest_open import counted
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.rules.history import run_rows
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.sqlite import SqliteState

RULES = """
rules:
  - {name: final, when: {status: Failed, final: true}, resolve: {when: {status: Completed, same: ExperimentName}}, fields: [Target]}
  - {name: job, when: {status: Failed}, resolve: {when: {status: [Running, Completed], same: [JobKey, ExperimentName]}}}
  - {name: try, when: {status: Failed}, resolve: {when: {status: Completed, same: [Attempt, ExperimentName]}}}
  - {name: soon, when: {status: Failed}, max_event_age: 3s, resolve: {when: {status: Completed, same: ExperimentName}}}
"""
Timeline = list[tuple[str, str, str, int, str, bool | None, str]]
timelines: st.SearchStrategy[Timeline] = st.lists(
    st.tuples(
        st.sampled_from(("a", "b", "c")),
        st.sampled_from(("Failed", "Failed", "Running", "Completed")),
        st.sampled_from(("churn", "churn", "rank", "")),
        st.integers(0, 8),  # s before it comes
        st.sampled_from(("trainer", "trainer", "watcher")),
        st.sampled_from((False, None, True)),
        st.sampled_from(("", "job")),
    ),
    min_size=1,
    max_size=14,
)


def said(engine: Engine) -> list[tuple[object, ...]]:
    return sorted(
        (
            i.rule,
            i.at,
            i.kind,
            i.run_id,
            i.occurrence,
            i.ordinal,
            i.commit_seq,
            str(i.event),
            str(i.fields),
            str(i.details),
        )
        for evaluation in engine.evaluations
        for i in evaluation.outcome.intents
    )


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=timelines, at_once=st.sampled_from((2, 3, 1000)))
@example(  # the end of an event that waits whether another attempt follows is that of one that comes later and does not
    timeline=[
        ("a", "Failed", "churn", 0, "trainer", None, ""),
        ("b", "Completed", "churn", 0, "trainer", None, ""),
        ("a", "Failed", "churn", 0, "watcher", False, ""),
    ],
    at_once=1000,
)
def test_many_commits_at_once_say_what_one_by_one_notifies(timeline: Timeline, at_once: int, load: Load) -> None:
    clock = ManualClock(NOON)
    log = DuckLogStore.open(None, clock=clock)
    rules = load(RULES)
    both = []
    for _ in range(2):
        e = Engine(clock=clock, log=log, state=SqliteState.open(None, clock=clock), rules=RuleSet())
        e.use(rules)
        both.append(e)
    for i, (run, status, experiment, late, source, retry, job) in enumerate(timeline, 10):
        e.at(f"{i}s").store({
            "RunId": run, "Status": status, "ExperimentName": experiment, "Source": source, "WillRetry": retry, "JobKey": job,
            "Target": f"gpu-{i}", "TimeGenerated": NOON + timedelta(seconds=i - late),
        })  # fmt: skip
    for e, number in zip(both, (1, at_once), strict=True):
        e.evaluate(number)
        e.tick()
        e.state.close()
    log.close()
    assert said(both[0]) == said(both[1])


FINAL = """
rules:
  - {name: final, when: {status: Failed, final: true}, resolve: {when: {status: Completed, same: ExperimentName}}}
"""


@pytest.mark.parametrize("retry", [False, None])
def test_the_history_of_a_run_is_read_only_where_an_earlier_match_may_wait(
    retry: bool | None, engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    e = engine(FINAL)
    e.at("1s").come({"RunId": "a", "Status": "Queued", "WillRetry": retry, "ExperimentName": "churn"})
    e.at("2s").store({"RunId": "b", "ExperimentName": "churn"})
    e.at("3s").store({"RunId": "c", "Status": "Completed", "ExperimentName": "churn"})
    asked = counted(e.log, monkeypatch)
    e.evaluate()
    assert [("b", "fired"), ("b", "resolved")] == [(i.run_id, i.kind) for x in e.evaluations for i in x.outcome.intents]
    history, _ = run_rows(e.log, ["b"], 3)
    assert (retry is None) == any(history in sql for sql in asked)
