"""Window rules of which many look at once, and at many instants at once: they say what each notifies alone, one by
one.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tests.unit.rules.windows import failed, many, until
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import CommitInfo
from tocsin.model.alert import Phase
from tocsin.rules.driver.evaluate import evaluate
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.kind import KIND as WINDOW
from tocsin.rules.timers import Released
from tocsin.state.sqlite import SqliteState

MakeEngine = Callable[..., Engine]


def test_a_tick_sees_no_commit_beyond_its_own(engine: MakeEngine) -> None:
    one = engine(many(lateness="1s"))
    one.store(*failed(1))
    one.at("5m").store(*failed(2, "later"), *failed(1, RunId="churn-9", TimeGenerated="10s"))
    commits = one.log.commits(0)
    timers = list(one.state.timers())
    tick = Released(timer=timers[0], at=timers[0].due, commit_seq=commits[0].seq)
    found = evaluate(one.rules, [commits[0], tick, commits[1]], 0, one.seen())
    assert () == found.outcome.intents


def test_states_are_those_of_the_instant(engine: MakeEngine) -> None:
    """A run that ended since was running then."""
    one = engine("""
        rules:
          - name: running
            over: run
            every: 1m
            query: Runs | where Status == 'Running'
            by: [RunId]
        """)
    one.store({"RunId": "a", "Status": "Running"}, {"RunId": "b", "Status": "Running"})
    one.at("5m").store({"RunId": "a", "Status": "Completed"})
    commits = one.log.commits(0)
    timers = list(one.state.timers())
    tick = Released(timer=timers[0], at=timers[0].due, commit_seq=commits[0].seq)
    found = evaluate(one.rules, [commits[0], tick], 0, one.seen())
    assert ["a", "b"] == sorted(i.run_id for i in found.outcome.intents)
    one.evaluate()
    until(one, "5m")
    assert [{"RunId": "b"}] == [s.instance for s in one.state.conditions("running").values() if s.phase is Phase.FIRING]


@pytest.mark.parametrize("shared", ["n >= {}", "n >= 1 and ExperimentName != 'x{}'"])
def test_rules_of_one_shape_say_what_each_notifies_alone(engine: MakeEngine, load: Load, shared: str) -> None:
    def rules(numbers: range) -> str:
        return "rules:\n" + "".join(
            many()
            .replace("\nrules:\n", "")
            .replace("name: many", f"name: many-{n}")
            .replace("Status == 'Failed'", f"Status == 'Failed' and ExperimentName != 'e{n}'")
            .replace("n >= 2", shared.format(n))
            for n in numbers
        )

    together = engine(rules(range(1, 5)))
    assert 1 == len({id(g) for g in together.rules.of(WINDOW).group_of.values()})
    apart = [engine(rules(range(n, n + 1))) for n in range(1, 5)]
    for one in (together, *apart):
        one.come(*(event for n in range(6) for event in failed(n, f"e{n}")))
    notified = sorted((i.rule, str(i.instance), i.value) for i in together.notified())
    assert notified == sorted((i.rule, str(i.instance), i.value) for one in apart for i in one.notified())
    assert notified


Event = tuple[int, int, int, bool]
"""(arrives after so many seconds, happened so many seconds before, experiment, failed)."""
EVENTS = st.lists(st.tuples(st.integers(0, 240), st.integers(0, 150), st.integers(0, 1), st.booleans()), max_size=12)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.sampled_from(["for: 2 of 3", "for: 45s", "keep_firing_for: 1m", "no_data: ok"]), st.integers(1, 9))
def test_many_instants_at_once_say_what_one_by_one_notifies(
    load: Load, events: list[Event], more: str, at_once: int
) -> None:
    rules = load(many(more=more).replace("over: 10m", "over: 1m").replace("every: 1m", "every: 20s"))
    assert _timeline(rules, events, 1) == _timeline(rules, events, at_once)


def _timeline(rules: RuleSet, events: list[Event], at_once: int) -> list[tuple[object, ...]]:
    """What is notified and how phases change, with so many instants in one evaluation."""
    clock = ManualClock(NOON)
    log, state = DuckLogStore.open(None, clock=clock), SqliteState.open(None, clock=clock)
    try:
        one = Engine(clock=clock, log=log, state=state, rules=RuleSet())
        one.use(rules)
        for arrives, before, experiment, fails in sorted(events):
            clock.set(max(clock.now() + timedelta(microseconds=1), NOON + timedelta(seconds=arrives)))
            one.store({
                "RunId": f"r{one.number}",
                "ExperimentName": f"e{experiment}",
                "Status": "Failed" if fails else "Completed",
                "TimeGenerated": clock.now() - timedelta(seconds=before),
            })  # fmt: skip
        commits = list(log.commits(0))
        clock.set(NOON + timedelta(minutes=8))
        log.fence(clock.now())
        while (instants := _next(one, commits, at_once)) is not None:
            after = state.row_cursor()
            one._done(evaluate(rules, instants, after, one.seen()))
        return [
            (t.rule, str(t.instance), t.before, t.after, t.reason, t.at, t.value)
            for e in one.evaluations
            for t in e.outcome.transitions
        ] + [(i.kind, i.occurrence, i.ordinal, i.at) for e in one.evaluations for i in e.outcome.intents]
    finally:
        log.close()
        state.close()


def _next(one: Engine, commits: list[CommitInfo], at_once: int) -> list[CommitInfo | Released] | None:
    """The next instants: commits up to the next timer, and that timer; at most so many."""
    seen = one.state.row_cursor()
    left = [c for c in commits if c.seq > seen]
    timer = min(one.state.timers(), key=lambda t: (t.due, t.rule, t.kind))
    before = [c for c in left if c.ingested_at <= timer.due][:at_once]
    if before and len(before) == at_once:
        return list(before)
    if timer.due > NOON + timedelta(minutes=7):
        return list(before) or None
    last = before[-1].seq if before else seen
    return [*before, Released(timer=timer, at=timer.due, commit_seq=last)]
