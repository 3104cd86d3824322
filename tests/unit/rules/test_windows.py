"""Window rules over real stores: what is in a window, when it looks, and what waits for whom."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.clock import ManualClock
from tocsin.config.durations import parse_duration
from tocsin.logstore.duck import DuckLogStore
from tocsin.logstore.interface import CommitInfo
from tocsin.model.alert import Phase, Why
from tocsin.model.instants import Timer
from tocsin.model.intent import IntentKind
from tocsin.rules.evaluate import evaluate
from tocsin.rules.ruleset import RuleSet
from tocsin.rules.timers import Released, due_timers
from tocsin.state.sqlite import SqliteState

MakeEngine = Callable[..., Engine]

MANY = """
rules:
  - name: many
    over: 10m
    every: 1m
    lateness: {lateness}
    query: |
      RunStatusChanged
      | where Status == 'Failed'
      | summarize n = count() by ExperimentName
      | where n >= 2
    by: [ExperimentName]
    value: n
    {more}
"""


def many(lateness: str = "0s", more: str = "") -> str:
    return MANY.format(lateness=lateness, more=more)


def until(engine: Engine, text: str) -> Engine:
    """Let time pass, evaluating each thing when it is due; what is held stays."""
    end = NOON + parse_duration(text)
    while True:
        heard = engine.heard()
        dues = [t.due for t in engine.state.timers() if t.due <= end and heard.has_reached(t.due, t.consumers)]
        if not dues:
            break
        engine.clock.set(max(min(dues), engine.clock.now()))
        engine.tick()
    engine.clock.set(max(end, engine.clock.now()))
    return engine


def failed(n: int, experiment: str = "churn", **columns: object) -> list[dict[str, object]]:
    return [{"RunId": f"{experiment}-{i}", "ExperimentName": experiment, **columns} for i in range(n)]


def phases(engine: Engine, rule: str = "many") -> dict[str, Phase]:
    return {str(s.instance["ExperimentName"]): s.phase for s in engine.state.conditions(rule).values()}


def test_a_window_begins_after_its_start_and_ends_with_its_end(engine: MakeEngine) -> None:
    """(T - over - lateness, T - lateness]: its last µs is in it, the one that it begins after is not."""
    one = engine(many(lateness="1m"))
    one.store(*failed(2, TimeGenerated="1m"))
    one.evaluate()
    assert [] == until(one, "1m").told()
    (told,) = until(one, "2m").told()
    assert (NOON + timedelta(minutes=2), 2.0, {"ExperimentName": "churn"}) == (told.at, told.value, told.instance)
    other = engine(many(lateness="1m"))
    other.clock.set(NOON + timedelta(seconds=30))
    other.store(*failed(2, "in", TimeGenerated="-9m59s"), *failed(2, "out", TimeGenerated="-10m"))
    other.evaluate()
    assert ["in"] == [i.instance["ExperimentName"] for i in until(other, "1m").told()]


def test_rows_look_early_without_lateness_only(engine: MakeEngine) -> None:
    early, late = engine(many()), engine(many(lateness="1m"))
    for one in (early, late):
        one.at("10s")
        one.come(*failed(2))
    assert [NOON + timedelta(seconds=10)] == [i.at for i in early.told()]
    assert [] == late.told()


def test_an_early_look_ends_nothing(engine: MakeEngine) -> None:
    one = engine(many())
    one.come(*failed(2))
    one.at("11m")
    one.come(*failed(1, "other"))
    assert {"churn": Phase.FIRING} == phases(one)


def test_it_ends_when_it_holds_no_longer_and_keeps_while_there_is_no_data(engine: MakeEngine) -> None:
    one = engine(many())
    one.come(*failed(2), *failed(2, "silent"))
    one.at("9m").come(*failed(1))
    until(one, "12m")
    assert {"silent": Phase.FIRING} == phases(one)
    (ended,) = one.resolved()
    assert (Why.RECOVERED, {"ExperimentName": "churn"}, 1.0) == (ended.why, ended.instance, ended.value)
    assert ended.occurrence == next(i.occurrence for i in one.told() if i.instance == ended.instance)


def test_what_would_end_waits_for_the_watermark(engine: MakeEngine) -> None:
    one = engine(many(more="no_data: ok"))
    one.come(*failed(2), *failed(2, "other"))
    one.at("9m").come(*failed(1))
    one.watermarks = {"test": NOON + timedelta(minutes=9)}
    until(one, "15m")
    assert {"churn": Phase.FIRING, "other": Phase.FIRING} == phases(one)
    assert 1 == one.held()
    one.watermarks = None
    until(one, "15m")
    assert {} == phases(one)
    assert [(Why.RECOVERED, NOON + timedelta(minutes=15))] == [(i.why, i.at) for i in one.resolved()]


def test_what_fires_waits_for_nobody(engine: MakeEngine) -> None:
    one = engine(many(lateness="1m"))
    one.store(*failed(2))
    one.evaluate()
    one.watermarks = {"test": None}
    assert 1 == len(until(one, "2m").told())


def test_a_release_is_no_tick_for_others(engine: MakeEngine) -> None:
    """Between the ticks of 18:00 and 19:00 what waited ends; that another held by then counts for no tick of it."""
    one = engine(many(more="for: 2 of 3"))
    one.come(*failed(2))
    until(one, "9m")
    one.come(*failed(1, RunId="well", Status="Completed"))
    until(one, "17m30s")
    one.come(*failed(1, RunId="well2", Status="Completed"), *failed(2, "rank"))
    one.watermarks = {"test": NOON + timedelta(minutes=9, seconds=30)}
    one = until(one, "18m")
    one.at("18m30s").watermarks = None
    one.tick()
    assert ["churn"] == [i.instance["ExperimentName"] for i in one.told()]
    assert 0 == one.held()
    assert [NOON + timedelta(minutes=19)] == [i.at for i in until(one, "20m").told()[1:]]


def test_a_late_event_that_comes_while_it_waits_keeps_it(engine: MakeEngine) -> None:
    """After an outage nothing false is told: neither an end nor a second beginning."""
    one = engine(many())
    one.come(*failed(2))
    one.watermarks = {"test": NOON + timedelta(minutes=9)}
    until(one, "12m")
    one.come(*failed(2, TimeGenerated="11m"))
    one.watermarks = None
    until(one, "13m")
    assert {"churn": Phase.FIRING} == phases(one)
    assert (1, 0) == (len(one.told()), len(one.resolved()))


def test_the_end_of_a_for_is_looked_at_between_ticks(engine: MakeEngine) -> None:
    text = many(more="for: 90s").replace("every: 1m", "every: 10m")
    one = engine(text)
    one.at("10s")
    one.come(*failed(2))
    assert {"churn": Phase.PENDING} == phases(one)
    until(one, "1m39s")
    assert [] == one.told()
    assert [NOON + timedelta(seconds=100)] == [i.at for i in until(one, "1m40s").told()]


def test_the_end_of_a_for_waits_until_no_data_is_none(engine: MakeEngine) -> None:
    """In an outage nobody knows whether there is no data."""
    one = engine(many(more="for: 11m\n    no_data: alert"))
    one.come(*failed(2))
    one.watermarks = {"test": NOON + timedelta(minutes=1)}
    until(one, "12m")
    assert ({"churn": Phase.PENDING}, []) == (phases(one), one.told())
    one.come(*failed(1, TimeGenerated="11m"))
    one.watermarks = None
    until(one, "13m")
    assert ({"churn": Phase.NONE}, []) == (phases(one), one.told())


def test_n_of_m_counts_ticks_alone(engine: MakeEngine) -> None:
    one = engine(many(more="for: 2 of 3"))
    one.come(*failed(2))
    assert [] == one.told()
    assert [] == until(one, "1m").told()
    assert 1 == len(until(one, "2m").told())


def test_the_last_hour_is_made_up_for_tick_by_tick_and_what_is_older_at_once(engine: MakeEngine) -> None:
    one = engine(many())
    one.at("3h")
    one.tick()
    (first,) = [r for r in one.state.timers() if r.rule == ""]
    assert NOON + timedelta(hours=2, minutes=1) == first.due
    released = due_timers([first], one.clock.now(), one.heard(), 0)
    assert (0, first.due) == (released[0].skipped, released[0].at)
    assert 119 == due_timers([_due(first, NOON + timedelta(minutes=1))], one.clock.now(), one.heard(), 0)[0].skipped


def _due(timer: Timer, due: datetime) -> Timer:
    return replace(timer, due=due)


def test_ticks_are_multiples_of_every_since_the_epoch(engine: MakeEngine) -> None:
    text = many().replace("every: 1m", "every: 7m")
    one = engine(text)
    (timer,) = one.state.timers()
    assert 0 == int(timer.due.timestamp()) % 420
    assert NOON < timer.due <= NOON + timedelta(minutes=7)


def test_rules_of_one_every_share_one_timer(engine: MakeEngine) -> None:
    text = many() + many().replace("rules:\n", "").replace("name: many", "name: two").lstrip("\n")
    assert 1 == len(engine(text).state.timers())


def test_an_edit_of_meaning_keeps_what_still_fires_and_closes_the_others_quietly(
    engine: MakeEngine, load: Load
) -> None:
    one = engine(many())
    one.come(*failed(2), *failed(3, "much"))
    one.use(load(many().replace("n >= 2", "n >= 3")))
    until(one, "1m")
    assert {"much": Phase.FIRING} == phases(one)
    assert [] == one.resolved()
    changes = [(t.after, t.reason) for e in one.evaluations for t in e.outcome.transitions]
    assert (Phase.RESOLVED, Why.RULE_CHANGED) in changes
    assert 2 == len(one.told())


def test_an_edit_of_meaning_drops_what_is_pending_and_words_change_nothing(engine: MakeEngine, load: Load) -> None:
    one = engine(many(more="for: 5m"))
    one.come(*failed(2))
    one.use(load(many(more="for: 5m\n    description: other words\n    repeat_every: 1h")))
    assert {"churn": Phase.PENDING} == phases(one)
    one.use(load(many(more="for: 6m")))
    assert {} == phases(one)


def test_the_end_of_a_for_is_dropped_with_what_was_pending(engine: MakeEngine, load: Load) -> None:
    """The rule looks on its next tick, not when a `for` of its former words would have ended."""
    longer = many(lateness="1m", more="for: 90m").replace("every: 1m", "every: 1h").replace("over: 10m", "over: 3h")
    one = engine(longer)
    one.come(*failed(2))
    until(one, "1h")
    assert {"churn": Phase.PENDING} == phases(one)
    one.use(load(longer.replace("for: 90m", "")))
    until(one, "3h")
    assert [NOON + timedelta(hours=2)] == [i.at for i in one.told()]
    other = engine(longer.replace("90m", "30m"))
    other.come(*failed(2))
    until(other, "1h")
    other.use(load(longer.replace("for: 90m", "")))
    until(other, "3h")
    assert [NOON + timedelta(hours=2)] == [i.at for i in other.told()]


def test_a_rule_that_goes_takes_its_instances_along(engine: MakeEngine) -> None:
    one = engine(many())
    one.come(*failed(2))
    one.use(RuleSet())
    assert {} == phases(one)
    until(one, "2m")
    assert [] == one.resolved()
    assert [] == list(one.state.timers())


def test_a_tick_sees_no_commit_beyond_its_own(engine: MakeEngine) -> None:
    one = engine(many(lateness="1s"))
    one.store(*failed(1))
    one.at("5m").store(*failed(2, "later"), *failed(1, RunId="churn-9", TimeGenerated="10s"))
    commits = one.log.commits(0)
    timers = list(one.state.timers())
    tick = Released(timer=timers[0], at=timers[0].due, commit_seq=commits[0].seq)
    found = evaluate(one.rules, [commits[0], tick, commits[1]], 0, one.log, one.state, one.heard())
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
    found = evaluate(one.rules, [commits[0], tick], 0, one.log, one.state, one.heard())
    assert ["a", "b"] == sorted(i.run_id for i in found.outcome.intents)
    one.evaluate()
    until(one, "5m")
    assert [{"RunId": "b"}] == [s.instance for s in one.state.conditions("running").values() if s.phase is Phase.FIRING]


def test_a_severity_that_climbs_is_told_again_only_when_it_gets_worse(engine: MakeEngine) -> None:
    one = engine(many(more='severity: {warning: ">= 2", critical: ">= 4"}'))
    for at, n in (("0s", 2), ("10s", 1), ("20s", 1), ("30s", 2)):
        one.at(at).come(*failed(n))
    assert [("warning", 0), ("critical", 1)] == [(i.severity.word, i.ordinal) for i in one.told()]


def test_clear_decides_when_it_ends(engine: MakeEngine) -> None:
    text = many(more='clear: "n < 2"').replace("n >= 2", "n >= 3")
    one = engine(text)
    one.come(*failed(2))
    one.at("5m").come(*failed(1), *failed(1))
    until(one, "14m")
    assert {"churn": Phase.FIRING} == phases(one)
    one.at("14m").come(*failed(1))
    until(one, "15m")
    assert {} == phases(one)


def test_more_instances_than_allowed_are_one(engine: MakeEngine) -> None:
    one = engine(many(more="max_instances: 2"))
    one.come(*(event for name in "abcde" for event in failed(2, name)))
    assert [("*", 3.0), ("a", 2.0), ("b", 2.0)] == sorted((i.instance["ExperimentName"], i.value) for i in one.told())
    one.come(*failed(2, "f"))
    assert 3 == len(one.told())


def test_it_is_told_again_by_its_own_interval(engine: MakeEngine) -> None:
    one = engine(many(more="repeat_every: 2m"))
    one.come(*failed(2))
    until(one, "7m")
    assert [2, 4, 6] == [(i.at - NOON).seconds // 60 for i in one.intents(IntentKind.REPEATED)]


def test_a_rule_reads_alerts_but_not_its_own(engine: MakeEngine) -> None:
    one = engine("""
        rules:
          - name: noisy
            over: 1h
            every: 1m
            query: Alerts | where To == 'firing' | summarize n = count() by Rule | where n >= 2
            by: [Rule]
        """)
    rows = [
        {"Time": NOON, "Rule": rule, "From": "", "To": "firing", "Reason": "", "T": NOON, "CommitSeq": 1}
        for rule in ("many", "many", "noisy", "noisy")
    ]
    one.log.append_mirror(4, rows, [])
    assert [{"Rule": "many"}] == [i.instance for i in until(one, "1m").told()]


def test_sql_may_stand_in_place_of_a_query(engine: MakeEngine) -> None:
    one = engine("""
        rules:
          - name: many
            over: 10m
            every: 1m
            sql: SELECT ExperimentName, count(*) AS n FROM RunStatusChanged GROUP BY 1 HAVING count(*) >= 2
            by: ExperimentName
            value: n
            severity: {error: "n >= 2"}
        """)
    one.come(*failed(2), *failed(1, "other"))
    (told,) = until(one, "1m").told()
    assert ("churn", 2.0, "error") == (told.instance["ExperimentName"], told.value, told.severity.word)


def test_a_rule_that_fails_keeps_what_it_knows_and_looks_again(engine: MakeEngine, load: Load) -> None:
    text = """
        rules:
          - name: many
            over: 10m
            every: 1m
            query: |
              RunStatusChanged | summarize n = count() by ExperimentName
              | lookup owners on ExperimentName | where n >= 2
            by: [ExperimentName]
        """
    one = engine(text)
    owners = pa.table({"ExperimentName": ["churn"], "team": ["ranking"]})
    one.log.set_table("owners", owners)
    one.come(*failed(2))
    assert {"churn": Phase.FIRING} == phases(one)
    one.log.drop_table("owners")
    until(one, "1m")
    assert ["many"] == [f.rule for e in one.evaluations for f in e.failures]
    assert {"churn": Phase.FIRING} == phases(one)
    one.log.set_table("owners", owners)
    one.at("9m").come(*failed(1))
    until(one, "13m")
    assert {} == phases(one)


@pytest.mark.parametrize("shared", ["n >= {}", "n >= 1 | where ExperimentName != 'x{}'"])
def test_rules_of_one_shape_tell_what_each_tells_alone(engine: MakeEngine, load: Load, shared: str) -> None:
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
    assert 1 == len({id(g) for g in together.rules.group_of.values()})
    apart = [engine(rules(range(n, n + 1))) for n in range(1, 5)]
    for one in (together, *apart):
        one.come(*(event for n in range(6) for event in failed(n, f"e{n}")))
    told = sorted((i.rule, str(i.instance), i.value) for i in together.told())
    assert told == sorted((i.rule, str(i.instance), i.value) for one in apart for i in one.told())
    assert told


Event = tuple[int, int, int, bool]
"""(arrives after so many seconds, happened so many seconds before, experiment, failed)."""
EVENTS = st.lists(st.tuples(st.integers(0, 240), st.integers(0, 150), st.integers(0, 1), st.booleans()), max_size=12)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.sampled_from(["for: 2 of 3", "for: 45s", "keep_firing_for: 1m", "no_data: ok"]), st.integers(1, 9))
def test_many_instants_at_once_tell_what_one_by_one_tells(
    load: Load, events: list[Event], more: str, at_once: int
) -> None:
    rules = load(many(more=more).replace("over: 10m", "over: 1m").replace("every: 1m", "every: 20s"))
    assert _story(rules, events, 1) == _story(rules, events, at_once)


def _story(rules: RuleSet, events: list[Event], at_once: int) -> list[tuple[object, ...]]:
    """What is told and how phases change, with so many instants in one evaluation."""
    clock = ManualClock(NOON)
    log, state = DuckLogStore.open(None, clock=clock, threads=1), SqliteState.open(None, clock=clock)
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
            one._done(evaluate(rules, instants, after, log, state, one.heard()))
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
