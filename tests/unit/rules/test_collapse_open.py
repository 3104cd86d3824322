"""`collapse` with `limit`, `resolve` and `repeat_every`: a test for each sentence of docs/rules-event.md, "Sweeps that
stay open".
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import Phase as Phase_
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tests.unit.rules.test_collapse import all_notified, child, parent, words
from tocsin.clock import ManualClock
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import ConfigurationError
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.alert import Phase, Why
from tocsin.model.details import EndedBy
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules.backtest.run import backtest
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.testing.run import run_tests
from tocsin.state.sqlite import SqliteState

Make = Callable[..., Engine]
SWEEP = """
rules:
  - name: sweep
    when: {status: Failed}
    collapse: {to: root, when: {failed: 20%, at_least: 3}, update: [50%, end]}
    fields: [ExperimentName]
"""
RECOVERS = SWEEP + "    resolve: {when: {status: Completed, same: ExperimentName}}\n"
REPEATS = RECOVERS + "    repeat_every: 4h\n"
CLOSES = SWEEP + "    auto_close: 1d\n    repeat_every: 10h\n"
LIMITED = SWEEP + "    limit: {per: ExperimentName, max: 1, window: 1d}\n"


def other(status: str = "Completed", **more: object) -> dict[str, object]:
    """A run of the same experiment that stands for itself."""
    return {"RunId": "next", "Status": status, "ExperimentName": "churn", **more}


def failing(e: Engine, n: int = 3, of: int = 10) -> None:
    e.come(parent(), *(child(i, "Running", ExperimentName="churn") for i in range(of)))
    e.come(*(child(i, ExperimentName="churn") for i in range(n)))


def ended_by(intent: Intent) -> EndedBy:
    assert intent.details.ended_by is not None
    return intent.details.ended_by


def test_a_later_run_of_the_same_columns_ends_it(engine: Make) -> None:
    """It fires until then, and its end is notified with what it was about."""
    e = engine(RECOVERS)
    failing(e)
    assert ["firing"] == [s.phase.value for s in e.state.conditions("sweep").values() if s.phase is Phase.FIRING]
    e.at("1h").come(other())
    (fired,), (over,) = e.notified(), e.resolved()
    assert (fired.instance, fired.occurrence, fired.fields) == (over.instance, over.occurrence, over.fields)
    assert (Why.RECOVERED, "next", "by run next, Completed at 2026-01-05 13:00 UTC") == (
        over.why, ended_by(over).run, ended_by(over).text
    )  # fmt: skip
    assert fired.details.group is not None and over.details.group == replace(fired.details.group, ended="")
    assert [(Phase.NONE, Phase.FIRING), (Phase.FIRING, Phase.RESOLVED)] == [
        (t.before, t.after) for x in e.evaluations for t in x.outcome.transitions if t.run_id == "sweep1"
    ]


def test_neither_its_children_nor_its_parent_end_it(engine: Make) -> None:
    """Most children of a sweep complete, and so does its parent."""
    e = engine(RECOVERS)
    failing(e)
    e.at("1h").come(*(child(n, "Completed", ExperimentName="churn") for n in range(3, 10)), parent("Completed"))
    assert [] == e.resolved()
    e.come({"RunId": "u1", "RootRunId": "sweep2", "Status": "Completed", "ExperimentName": "churn"})
    assert [] == e.resolved()
    e.come({"RunId": "sweep2", "Status": "Completed", "ExperimentName": "churn"})
    assert 1 == len(e.resolved())


def test_its_parents_next_try_ends_it(engine: Make) -> None:
    e = engine(RECOVERS)
    failing(e)
    e.at("1h").come(parent("Failed", Attempt=1))
    e.at("2h").come(parent("Running", Attempt=2))
    assert [] == e.resolved()
    e.at("3h").come(parent("Completed", Attempt=2))
    (over,) = e.resolved()
    assert ("sweep1", e.notified()[0].occurrence) == (ended_by(over).run, over.occurrence)


def test_once_it_has_ended_nothing_more_of_it_is_notified(engine: Make) -> None:
    """No update, and no end of the parent."""
    e = engine(REPEATS)
    failing(e)
    e.at("1h").come(other())
    e.at("2h").come(*(child(n, ExperimentName="churn") for n in range(3, 9)), parent("Completed"))
    e.at("3d").tick()
    assert (1, 1) == (len(all_notified(e)), len(e.resolved()))


def test_what_ended_it_may_have_come_before_it_was_notified(engine: Make) -> None:
    """Times are the producer's."""
    e = engine(RECOVERS)
    e.at("1h").come(parent(), *(child(n, "Running") for n in range(3)), other(TimeGenerated="50m"))
    e.come(*(child(n, ExperimentName="churn", TimeGenerated="40m") for n in range(3)))
    assert (1, 1) == (len(e.notified()), len(e.resolved()))
    late = engine(RECOVERS)
    late.at("1h").come(parent(), *(child(n, "Running") for n in range(3)), other(TimeGenerated="30m"))
    late.come(*(child(n, ExperimentName="churn", TimeGenerated="40m") for n in range(3)))
    assert (1, 0) == (len(late.notified()), len(late.resolved()))


def test_a_run_of_its_own_ends_by_itself(engine: Make) -> None:
    """As by any rule with `resolve`."""
    e = engine(RECOVERS)
    e.come({"RunId": "lone", "ExperimentName": "churn"})
    e.at("1h").come(other())
    assert [("lone", Why.RECOVERED)] == [(i.run_id, i.why) for i in e.resolved()]


def test_it_is_notified_again_while_it_is_open_with_the_counts_of_then(engine: Make) -> None:
    """An update counts as notified: the next one comes so much later."""
    e = engine(REPEATS)
    failing(e)
    e.at("1h").come(child(3, ExperimentName="churn"))
    e.at("5h").tick()
    e.at("6h").come(child(4, ExperimentName="churn"))
    e.at("9h").tick()
    e.at("11h").tick()
    assert [
        "sweep1: 3 of 10 failed", "sweep1: 4 of 10 failed", "sweep1: 5 of 10 failed", "sweep1: 5 of 10 failed"
    ] == words(e)  # fmt: skip
    assert [Why.STILL_FIRING, Why.MORE_CHILDREN, Why.STILL_FIRING] == [i.why for i in e.intents(IntentKind.REPEATED)]
    e.at("12h").come(other())
    e.at("3d").tick()
    assert 4 == len(all_notified(e))


def test_a_share_that_was_notified_by_a_repetition_is_no_update(engine: Make) -> None:
    e = engine(REPEATS)
    e.come(parent(), *(child(n, "Running") for n in range(20)))
    e.come(*(child(n) for n in range(9)))
    e.at("3h").come(*(child(n, "Running") for n in range(20, 22)), *(child(n) for n in range(9, 11)))
    assert [Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN] == [i.why for i in all_notified(e)]
    e.at("7h").tick()
    e.at("7h").come(child(12))
    assert [Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.STILL_FIRING] == [i.why for i in all_notified(e)]


def test_time_closes_it_without_a_notification_and_an_update_is_notified_all_the_same(engine: Make) -> None:
    e = engine(CLOSES)
    failing(e)
    e.at("11h").tick()
    e.at("25h").tick()
    assert (2, []) == (len(all_notified(e)), e.resolved())
    assert [Why.AUTO_CLOSED] == [t.reason for t in e.evaluations[-1].outcome.transitions]
    e.at("2d").come(*(child(n, ExperimentName="churn") for n in range(3, 6)))
    e.at("4d").tick()
    assert [Why.ENOUGH_CHILDREN, Why.STILL_FIRING, Why.MORE_CHILDREN] == [i.why for i in all_notified(e)]


def test_a_restart_and_a_reload_keep_it_open(engine: Make, load: Load) -> None:
    """Also one that changes what the rule means: what was notified was notified."""
    e = engine(REPEATS)
    failing(e)
    e.use(load(REPEATS.replace("failed: 20%", "failed: 30%")))
    e.at("5h").tick()
    e.at("6h").come(other())
    assert (2, 1) == (len(all_notified(e)), len(e.resolved()))


def test_a_rule_that_ends_nothing_any_more_closes_it(engine: Make, load: Load) -> None:
    e = engine(REPEATS)
    failing(e)
    e.use(load(SWEEP))
    e.at("4h").tick()
    e.at("5h").come(other())
    assert (1, []) == (len(all_notified(e)), e.resolved())


def test_a_limit_counts_sweeps_and_runs_of_their_own_and_an_update_is_no_new_alert(engine: Make) -> None:
    """Of a sweep that is only in a digest no update is notified."""
    e = engine(LIMITED)
    failing(e)
    e.come(*(child(n, ExperimentName="churn") for n in range(3, 6)))
    assert [False, False] == [i.limited for i in all_notified(e)]
    e.come({"RunId": "lone", "ExperimentName": "churn"})
    assert [("lone", True)] == [(i.run_id, i.limited) for i in e.notified()[1:]]
    more = [{"RunId": f"u{n}", "RootRunId": "sweep2", "ExperimentName": "churn"} for n in range(4)]
    e.come(*more[:3])
    e.come({"RunId": "sweep2", "Status": "Completed", "ExperimentName": "churn"})
    assert [("lone", True), ("sweep2", True)] == [(i.run_id, i.limited) for i in e.notified()[1:]]
    assert 1 == len(e.intents(IntentKind.REPEATED))


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("repeat_every: 4h", "repeat_every: would go on for ever"),
        ("resolve: {when: {status: Completed, same: RunId}}", "'RunId' is no text that a parent has"),
        ("resolve: {when: {status: Completed, same: Attempt}}", "'Attempt' is no text that a parent has"),
        ("resolve: {when: {status: Failed, same: JobKey}}", "'Failed' is also what the rule waits for"),
        ("limit: {per: Nope, max: 1, window: 1d}", "'Nope' is no field"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(load: Load, more: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(SWEEP + f"    {more}\n")
    assert fault in str(error.value)


def test_inline_tests_say_what_fires(load: Load) -> None:
    rules = load(
        RECOVERS
        + """
    tests:
      - name: fires, and is well again
        events:
          - {at: 0m, RunId: a, RootRunId: s, Status: Failed, ExperimentName: churn}
          - {at: 0m, RunId: b, RootRunId: s, Status: Failed, ExperimentName: churn}
          - {at: 0m, RunId: c, RootRunId: s, Status: Failed, ExperimentName: churn}
          - {at: 9m, RunId: s2, Status: Completed, ExperimentName: churn}
        expect:
          - {at: 5m, notifications: 1, firing: [{RunId: s}]}
          - {at: 9m, notifications: 1, resolved: 1, firing: []}
"""
    )
    assert [] == [str(r) for r in run_tests(rules) if not r.passed]


class Rules(dict[str, RuleSet]):
    def __repr__(self) -> str:
        return "rules"


@pytest.fixture
def rules(load: Load) -> Rules:
    return Rules(both=load(REPEATS), closes=load(CLOSES), limited=load(LIMITED))


_events: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        run=st.sampled_from(("t0", "t1", "t2", "t3", "sweep1", "next", "u0", "sweep2")),
        status=st.sampled_from(("Running", "Failed", "Failed", "Completed")),
        pause=st.sampled_from((0, 1, 90, 300, 700)),  # min
        late=st.sampled_from((0, 0, 50)),  # min
        attempt=st.sampled_from((1, 1, 1, 2)),
    ),
    min_size=1,
    max_size=14,
)


def _event(run: str) -> dict[str, Any]:
    return {"run": run, "status": "Failed", "pause": 0, "late": 0, "attempt": 1}


@settings(
    max_examples=examples(15),
    deadline=None,
    phases=(Phase_.explicit, Phase_.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(  # a limit counted the sweep, notified later, before the parent's own failure
    events=[_event(run) for run in ("sweep1", "t0", "t1", "t2")], which="limited",
)  # fmt: skip
@given(events=_events, which=st.sampled_from(("both", "closes", "limited")))
def test_many_commits_at_once_say_what_they_notify_one_by_one(
    events: list[dict[str, Any]], which: str, rules: Rules
) -> None:
    """Between two timers; whatever ends, grows or is begun again."""
    notified = []
    for at_once in (1, 1000):
        clock = ManualClock(NOON)
        log, state = DuckLogStore.open(None, clock=clock), SqliteState.open(None, clock=clock)
        e = Engine(clock=clock, log=log, state=state, rules=RuleSet())
        e.use(rules[which])
        at = NOON
        for event in events:
            if event["pause"]:
                e.evaluate(at_once)
                e.tick()
            at += parse_duration(f"{event['pause']}m")
            clock.set(at)
            root = {"t": "sweep1", "u": "sweep2"}.get(event["run"][0], "")
            e.store({
                "RunId": event["run"], "RootRunId": root or event["run"], "Status": event["status"], "Attempt": event["attempt"],
                "ExperimentName": "churn", "TimeGenerated": at - parse_duration(f"{event['late']}m"),
            })  # fmt: skip
        e.evaluate(at_once)
        clock.set(at + parse_duration("2d"))
        e.tick()
        said = [i for x in e.evaluations for i in x.outcome.intents if i.kind is not IntentKind.SUMMARY]
        notified.append([
            (i.at, i.kind, i.why, i.run_id, i.occurrence, i.ordinal, repr(i.details.group), i.limited) for i in said
        ])  # fmt: skip
        log.close()
        state.close()
    assert sorted(notified[0]) == sorted(notified[1])


@pytest.mark.parametrize(
    "text",
    [REPEATS, CLOSES, LIMITED, RECOVERS.replace("resolve", "limit: {per: RunId, max: 9, window: 1d}\n    resolve")],
)
def test_a_backtest_says_what_was_notified(text: str, engine: Make) -> None:
    e = engine(text)
    failing(e)
    e.come({"RunId": "lone", "ExperimentName": "churn"})
    for hour in range(1, 30):
        e.at(f"{hour}h")
        if hour % 5 == 0:
            e.store(child(hour // 5 + 3, ExperimentName="churn"))
        if hour == 22:
            e.store(other())
        e.store({"RunId": f"x{hour}", "Status": "Completed", "ExperimentName": "else"})
        e.tick()
    said = [i for x in e.evaluations for i in x.outcome.intents if i.kind is not IntentKind.SUMMARY and not i.limited]
    (rule,) = e.rules.rules.values()
    found = backtest(rule, e.log, Span(since=NOON, until=NOON + parse_duration("29h1m")), clock=e.clock)
    assert Counter(str(i.kind) for i in said) == Counter(found.by_kind)
    assert sorted((i.at.replace(microsecond=0), i.run_id) for i in said if i.kind is not IntentKind.REPEATED) == sorted(
        (t.at.replace(microsecond=0), t.run_id) for t in found.notified if t.kind != "repeated"
    )
