"""Backtests of rules whose alerts collapse or stay open say what live operation notifies, in whatever steps; and
read for many at once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import Limits
from tocsin.model.intent import Intent
from tocsin.rules.backtest.run import Notified, backtest
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.event import commits as rows
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.sqlite import SqliteState

RULES = {
    "sweep": "collapse: {to: root, when: {failed: 20%, at_least: 2}, update: [50%, 80%, end]}, fields: [Target]",
    "sweep-recovers": (
        "collapse: {to: root, when: {failed: 20%, at_least: 2}, update: [50%, end]},"
        " resolve: {when: {status: Completed, same: ExperimentName}}"
    ),
    "limited": "collapse: {to: root, when: {failed: 20%}}, limit: {per: ExperimentName, max: 1, window: 1d, then: drop}",
    "recovers": "resolve: {when: {status: Completed, same: ExperimentName}}, fields: [Target]",
    "by-run": "resolve: {when: {status: [Running, Completed], same: [RunId, ExperimentName]}}",
}
Said = tuple[datetime, datetime, str, str, str, str]
Timeline = list[tuple[str, str, str, int, int, bool]]


class Rules(dict[str, RuleSet]):
    def __repr__(self) -> str:
        return "rules"


@pytest.fixture
def rules(load: Load) -> Rules:
    return Rules(
        (name, load(f"rules:\n  - {{name: {name}, when: {{status: Failed}}, {said}}}\n"))
        for name, said in RULES.items()
    )


def of_live(intent: Intent) -> Said:
    time, message = intent.event_time or intent.at, str(intent.event.get("Message") or "")
    return intent.at, time, str(intent.kind), str(intent.why), intent.run_id, message


def of_backtest(notified: Notified) -> Said:
    return notified.at, notified.event_time, notified.kind, notified.why, notified.run_id, notified.message


timelines: st.SearchStrategy[Timeline] = st.lists(
    st.tuples(
        st.sampled_from(("a0", "a1", "a2", "a3", "b0", "b1", "a", "b", "lone", "other")),
        st.sampled_from(("Failed", "Failed", "Running", "Completed")),
        st.sampled_from(("churn", "churn", "rank", "")),
        st.sampled_from((0, 0, 0, 3, 9)),  # minutes late
        st.sampled_from((0, 0, 1, 2)),  # attempt
        st.booleans(),  # whether the next one comes in the same commit
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=timelines, which=st.sampled_from(sorted(RULES)), step_rows=st.sampled_from((1, 3, 7, 1000)))
@example(  # ended by the last but one of three that come at once with what they end
    timeline=[
        ("lone", "Failed", "churn", 0, 0, True), ("other", "Completed", "churn", 3, 0, False),
        ("a", "Completed", "churn", 9, 0, False), ("b", "Completed", "churn", 0, 0, True), ("a1", "Completed", "churn", 0, 0, False),
        ("lone", "Running", "churn", 0, 0, False), ("lone", "Failed", "churn", 0, 0, False), ("other", "Completed", "rank", 0, 0, False),
    ],
    which="recovers", step_rows=1000,
)  # fmt: skip
@example(  # a limit counted the sweep before the parent's own failure, which was notified earlier
    timeline=[("a", "Failed", "churn", 0, 0, False), ("a0", "Failed", "churn", 0, 0, False)],
    which="limited", step_rows=1000,
)  # fmt: skip
def test_in_whatever_steps_it_says_what_live_notified(
    timeline: Timeline, which: str, step_rows: int, rules: Rules
) -> None:
    clock = ManualClock(NOON)
    log, state = DuckLogStore.open(None, clock=clock), SqliteState.open(None, clock=clock)
    e = Engine(clock=clock, log=log, state=state, rules=RuleSet())
    e.use(rules[which])
    waiting: list[Mapping[str, object]] = []
    for i, (run, status, experiment, late, attempt, more) in enumerate(timeline, 10):
        waiting.append({
            "RunId": run, "RootRunId": run[0] if run[1:].isdigit() else run, "Status": status, "Attempt": attempt,
            "ExperimentName": experiment, "Target": f"gpu-{i}", "Message": f"said {i}",
            "TimeGenerated": NOON + timedelta(minutes=i - late, microseconds=i),
        })  # fmt: skip
        if not more or i == len(timeline) + 9:
            e.at(f"{i}m").come(*waiting)
            waiting = []
    live = [of_live(i) for x in e.evaluations for i in x.outcome.intents if not i.limited]
    (rule,) = e.rules.rules.values()
    found = backtest(rule, log, Span(since=NOON, until=NOON + timedelta(days=1), rows=step_rows), clock=clock)
    log.close()
    state.close()
    assert () == found.errors
    assert sorted(live) == sorted(of_backtest(notified) for notified in found.notified)


def counted(log: DuckLogStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of what is read from now on."""
    asked: list[str] = []
    select = type(log).select

    def counting(
        self: DuckLogStore, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None
    ) -> pa.Table:
        asked.append(sql)
        return select(self, sql, params, limits)

    monkeypatch.setattr(type(log), "select", counting)
    return asked


@pytest.mark.parametrize("which", ["sweep", "recovers"])
def test_more_that_is_notified_at_once_takes_no_more_queries(
    which: str, engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sweeps that are notified three times each; of their runs, each by itself, which recover."""
    asked: list[int] = []
    for n in (60, 120):
        e = engine(f"rules:\n  - {{name: {which}, when: {{status: Failed}}, {RULES[which]}}}\n")
        for status, failing in (("Running", 0), ("Running", 2), ("Running", 4), ("Completed", 4)):
            e.clock.advance(timedelta(minutes=1))
            made: list[dict[str, Any]] = []
            for i in range(n):
                columns = {"RootRunId": f"s{i}", "ExperimentName": f"x{i}"}
                made.append({"RunId": f"s{i}", "Status": status, **columns})
                for c in range(8):
                    made.append({"RunId": f"s{i}-{c}", "Status": "Failed" if c < failing else "Running", **columns})
            e.store(*made)
        (rule,), queries = e.rules.rules.values(), counted(e.log, monkeypatch)
        found = backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(days=1)), clock=e.clock)
        asked.append(len(queries))
        assert found.by_kind == (
            {"fired": n, "repeated": 2 * n} if which == "sweep" else {"fired": 4 * n, "resolved": 4 * n}
        )
    assert asked[0] == asked[1] < 60


@pytest.mark.parametrize("step_rows", [1, 1000])
def test_what_is_due_between_two_steps_is_evaluated_before_the_second(
    step_rows: int, engine: Callable[..., Engine]
) -> None:
    """Notified again three times, and then ended by the first commit of another step."""
    e = engine(
        "rules:\n  - {name: open, when: {status: Failed}, repeat_every: 20m,"
        " resolve: {when: {status: Completed, same: ExperimentName}}}\n"
    )
    e.at("1m").store({"RunId": "a", "ExperimentName": "churn"})
    e.at("70m").store({"RunId": "b", "Status": "Completed", "ExperimentName": "churn"})
    (rule,) = e.rules.rules.values()
    found = backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(days=1), rows=step_rows), clock=e.clock)
    at = [("fired", 1), ("repeated", 21), ("repeated", 41), ("repeated", 61), ("resolved", 70)]
    assert [(notified.kind, notified.at) for notified in found.notified] == [
        (kind, NOON + timedelta(minutes=n)) for kind, n in at
    ]


def test_of_its_events_a_backtest_reads_what_it_shows_and_alerts_are_made_of(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    e = engine("""
        rules:
          - name: open
            when: {status: Failed}
            fields: [Target, DurationMs]
            labels: {owner: "{{ OwnerEmail | lower }}", env: "{{ Tags.env }}"}
            limit: {per: DisplayName, max: 1, window: 1d, then: drop}
            repeat_every: 30m
            resolve: {when: {status: Completed, same: JobKey}}
    """)
    for i, name in enumerate(("one", "two", "one")):
        e.at(f"{i + 1}m").come({
            "RunId": f"r{i}", "DisplayName": name, "JobKey": f"j{i}", "OwnerEmail": f"A{i}@EXAMPLE.ORG", "Target": f"gpu-{i}",
            "Tags": {"env": f"e{i}"}, "DurationMs": 1000 * i, "Message": f"said {i}", "ExperimentName": "churn", "LogTail": "much",
        })  # fmt: skip
    e.at("40m").tick()
    e.at("50m").come(*({"RunId": f"s{i}", "Status": "Completed", "JobKey": f"j{i}"} for i in range(3)))
    live = [
        (of_live(i), {"ExperimentName": "churn", **i.fields, **i.labels})
        for x in e.evaluations
        for i in x.outcome.intents
    ]
    (rule,) = e.rules.rules.values()
    monkeypatch.setattr(rows, "FEW", 0)
    asked = counted(e.log, monkeypatch)
    found = backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(minutes=51), rows=1), clock=e.clock)
    assert ({"fired": 2, "repeated": 2, "resolved": 2}, 1) == (found.by_kind, found.limited)
    assert {(kind, why, run, message) for (_, _, kind, why, run, message), _ in live} == {
        (notified.kind, notified.why, notified.run_id, notified.message) for notified in found.notified
    }
    assert {(run, str(sorted(carried.items()))) for (_, _, _, _, run, _), carried in live} == {
        (notified.run_id, str(sorted(notified.carried.items()))) for notified in found.notified
    }
    assert [] == [sql for sql in asked if "LogTail" in sql or "RunType" in sql]


SWEEP = "rules:\n  - {{name: sweep, when: {{status: Failed}}, collapse: {{to: root, when: {{failed: 20%, at_least: 2}}}}{more}}}\n"
RECOVERS = ", resolve: {when: {status: Completed, same: ExperimentName}}"


def child(root: str, number: int) -> Mapping[str, object]:
    return {"RunId": f"{root}-{number}", "RootRunId": root, "ExperimentName": root}


@pytest.mark.parametrize("more", ["", RECOVERS])
@pytest.mark.parametrize("step_rows", [1, 4, 1000])
def test_what_comes_after_a_parent_was_forgotten_is_a_new_sweep(
    more: str, step_rows: int, engine: Callable[..., Engine]
) -> None:
    e = engine(SWEEP.format(more=more))
    for day, root in ((0, "a"), (1, "b"), (29, "b"), (45, "a"), (45, "b"), (70, "c"), (80, "a")):
        e.at(f"{day}d" if day else "1m").tick()
        e.store(*(child(root, 10 * day + n) for n in range(2)))
        e.tick()
    live = [of_live(i) for x in e.evaluations for i in x.outcome.intents]
    assert [1, 1, 0, 1, 0, 1, 1] == [
        sum((at - NOON).days == day and run == root for at, _, _, _, run, _ in live)
        for day, root in ((0, "a"), (1, "b"), (29, "b"), (45, "a"), (45, "b"), (70, "c"), (80, "a"))
    ]
    (rule,) = e.rules.rules.values()
    found = backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(days=90), rows=step_rows), clock=e.clock)
    assert sorted(live) == sorted(of_backtest(notified) for notified in found.notified)


@pytest.mark.parametrize("more", ["", RECOVERS])
def test_parents_that_are_forgotten_meanwhile_cost_no_queries(
    more: str, engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their timers come between the commits of a step, which brings nothing of them."""
    asked = []
    for n in (2, 12):
        e = engine(SWEEP.format(more=more))
        for i in range(n):
            e.at(f"{i + 1}m").store(child(f"old{i}", 0))
        for i in range(n):
            e.at(f"{30 * 24 * 60 + i + 1}m").store(child(f"new{i}", 0), child(f"new{i}", 1))
        (rule,) = e.rules.rules.values()
        log = counted(e.log, monkeypatch)
        found = backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(days=31), rows=n), clock=e.clock)
        assert {"fired": n} == found.by_kind
        asked.append(len(log))
        monkeypatch.undo()
    assert asked[1] - asked[0] < 12


def test_alerts_that_only_time_closes_cost_no_queries(
    engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for n in (2, 12):
        e = engine("rules:\n  - {name: open, when: {status: Failed}, auto_close: 1h, repeat_every: 40m}\n")
        for i in range(n):
            e.at(f"{20 * (i + 1)}m").store({"RunId": f"r{i}"})
        (rule,) = e.rules.rules.values()
        log = counted(e.log, monkeypatch)
        found = backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(days=1)), clock=e.clock)
        assert {"fired": n, "repeated": n} == found.by_kind
        assert found.notified == tuple(sorted(found.notified, key=lambda t: (t.at, t.event_time, t.run_id)))
        asked.append(len(log))
        monkeypatch.undo()
    assert asked[1] - asked[0] < 3 * 12
