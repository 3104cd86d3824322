"""Window rules over real stores: what is in a window, when it looks, and what it notifies."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from tests.unit.rules.conftest import NOON, Engine
from tests.unit.rules.windows import failed, many, phases, until
from tocsin.model.alert import Phase, Why
from tocsin.model.instants import Timer
from tocsin.model.intent import IntentKind
from tocsin.rules.timers import due_timers

MakeEngine = Callable[..., Engine]


def test_a_window_begins_after_its_start_and_ends_with_its_end(engine: MakeEngine) -> None:
    """(T - over - lateness, T - lateness]: its last µs is in it, the one that it begins after is not."""
    one = engine(many(lateness="1m"))
    one.store(*failed(2, TimeGenerated="1m"))
    one.evaluate()
    assert [] == until(one, "1m").notified()
    (notified,) = until(one, "2m").notified()
    assert (NOON + timedelta(minutes=2), 2.0, {"ExperimentName": "churn"}) == (
        notified.at,
        notified.value,
        notified.instance,
    )
    other = engine(many(lateness="1m"))
    other.clock.set(NOON + timedelta(seconds=30))
    other.store(*failed(2, "in", TimeGenerated="-9m59s"), *failed(2, "out", TimeGenerated="-10m"))
    other.evaluate()
    assert ["in"] == [i.instance["ExperimentName"] for i in until(other, "1m").notified()]


def test_rows_evaluate_early_without_lateness_only(engine: MakeEngine) -> None:
    early, late = engine(many()), engine(many(lateness="1m"))
    for one in (early, late):
        one.at("10s")
        one.come(*failed(2))
    assert [NOON + timedelta(seconds=10)] == [i.at for i in early.notified()]
    assert [] == late.notified()


def test_an_eager_evaluation_ends_nothing(engine: MakeEngine) -> None:
    one = engine(many())
    one.come(*failed(2))
    one.at("11m")
    one.come(*failed(1, "other"))
    assert {"churn": Phase.FIRING} == phases(one)


def test_it_ends_when_it_holds_no_longer(engine: MakeEngine) -> None:
    """Also a group that has left the window, while others are in it: no data is of the whole window."""
    one = engine(many())
    one.come(*failed(2), *failed(2, "gone"))
    one.at("9m").come(*failed(1))
    until(one, "12m")
    assert {} == phases(one)
    for ended, (group, value) in zip(one.resolved(), (("churn", 1.0), ("gone", 2.0)), strict=True):
        assert (Why.RECOVERED, {"ExperimentName": group}, value) == (ended.why, ended.instance, ended.value)
        assert ended.occurrence == next(i.occurrence for i in one.notified() if i.instance == ended.instance)


def test_it_keeps_while_the_whole_window_is_empty(engine: MakeEngine) -> None:
    """What passes no prefilter is no data of it; the first row of any group that does ends it."""
    one = engine(many())
    one.come(*failed(2))
    one.at("9m").come({"RunId": "well", "Status": "Completed"})
    assert {"churn": Phase.FIRING} == phases(until(one, "15m"))
    one.come(*failed(1, "other"))
    assert {} == phases(until(one, "16m"))
    assert [(Why.RECOVERED, NOON + timedelta(minutes=16))] == [(i.why, i.at) for i in one.resolved()]


def test_a_group_that_leaves_ends_whatever_resolve_says_after_its_time(engine: MakeEngine) -> None:
    one = engine(many(more='keep_firing_for: 2m\n    resolve: {when: "n < 0"}'))
    one.come(*failed(2), *failed(2, "gone"))
    one.at("9m").come(*failed(1))
    assert {"churn": Phase.FIRING, "gone": Phase.RECOVERING} == phases(until(one, "11m"))
    assert {"churn": Phase.FIRING} == phases(until(one, "12m"))


def test_no_data_alert_asks_of_each_known_group(engine: MakeEngine) -> None:
    one = engine(many(more="no_data: alert"))
    one.come(*failed(1, "gone"))
    until(one, "5m").come(*failed(1))
    assert [({"ExperimentName": "gone"}, Why.NO_DATA)] == [(i.instance, i.why) for i in until(one, "12m").notified()]


def test_the_end_of_a_for_is_evaluated_between_ticks(engine: MakeEngine) -> None:
    text = many(more="for: 90s").replace("every: 1m", "every: 10m")
    one = engine(text)
    one.at("10s")
    one.come(*failed(2))
    assert {"churn": Phase.PENDING} == phases(one)
    until(one, "1m39s")
    assert [] == one.notified()
    assert [NOON + timedelta(seconds=100)] == [i.at for i in until(one, "1m40s").notified()]


def test_n_of_m_counts_ticks_alone(engine: MakeEngine) -> None:
    one = engine(many(more="for: 2 of 3"))
    one.come(*failed(2))
    assert [] == one.notified()
    assert [] == until(one, "1m").notified()
    assert 1 == len(until(one, "2m").notified())


def test_the_last_hour_is_made_up_for_tick_by_tick_and_what_is_older_at_once(engine: MakeEngine) -> None:
    one = engine(many())
    one.at("3h")
    one.tick()
    (first,) = [r for r in one.state.timers() if r.rule == ""]
    assert NOON + timedelta(hours=2, minutes=1) == first.due
    released = due_timers([first], one.clock.now(), one.source_progress(), 0)
    assert (0, first.due) == (released[0].skipped, released[0].at)
    assert (
        119
        == due_timers([_due(first, NOON + timedelta(minutes=1))], one.clock.now(), one.source_progress(), 0)[0].skipped
    )


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


def test_a_severity_that_climbs_is_notified_again_only_when_it_gets_worse(engine: MakeEngine) -> None:
    one = engine(many(more='severity: {warning: ">= 2", critical: ">= 4"}'))
    for at, n in (("0s", 2), ("10s", 1), ("20s", 1), ("30s", 2)):
        one.at(at).come(*failed(n))
    assert [("warning", 0), ("critical", 1)] == [(i.severity.word, i.ordinal) for i in one.notified()]


def test_clear_decides_when_it_ends(engine: MakeEngine) -> None:
    text = many(more='resolve: {when: "n < 2"}').replace("n >= 2", "n >= 3")
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
    assert [("*", 3.0), ("a", 2.0), ("b", 2.0)] == sorted(
        (i.instance["ExperimentName"], i.value) for i in one.notified()
    )
    one.come(*failed(2, "f"))
    assert 3 == len(one.notified())


def test_it_is_notified_again_by_its_own_interval(engine: MakeEngine) -> None:
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
    assert [{"Rule": "many"}] == [i.instance for i in until(one, "1m").notified()]


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
    (notified,) = until(one, "1m").notified()
    assert ("churn", 2.0, "error") == (notified.instance["ExperimentName"], notified.value, notified.severity.word)


def test_now_is_the_end_of_the_window(engine: MakeEngine) -> None:
    """T - lateness; ``ago`` counts from there."""
    one = engine("""
        rules:
          - name: fresh
            over: 10m
            every: 1m
            lateness: 2m
            query: |
              RunStatusChanged
              | where Status == 'Failed' and TimeGenerated > ago(30s)
              | extend age = datetime_diff('second', now(), TimeGenerated)
            by: [RunId]
            value: age
        """)
    one.at("3m45s").come({"RunId": "a"})
    assert [(NOON + timedelta(minutes=6), 15.0)] == [(i.at, i.value) for i in until(one, "9m").notified()]


def test_a_query_without_a_condition_fires_for_each_row(engine: MakeEngine) -> None:
    one = engine(many().replace("    condition: n >= 2\n", ""))
    one.come(*failed(1), *failed(3, "rank"))
    assert {"churn": Phase.FIRING, "rank": Phase.FIRING} == phases(one)


def test_a_condition_with_thresholds_has_the_least_severity_where_none_is_reached(engine: MakeEngine) -> None:
    one = engine(many(more='severity: {informational: "> 3", error: "> 5"}'))
    one.come(*failed(2))
    assert ["informational"] == [i.severity.word for i in one.notified()]


def test_thresholds_without_a_condition_are_one(engine: MakeEngine) -> None:
    """That of the least severe level decides what fires."""
    one = engine(many(more='severity: {warning: "> 3", error: "> 5"}').replace("    condition: n >= 2\n", ""))
    one.come(*failed(2))
    assert [] == one.notified()
    one.at("10s").come(*failed(5, "rank"))
    assert [("rank", "warning")] == [(i.instance["ExperimentName"], i.severity.word) for i in one.notified()]


def test_sql_has_a_condition_too(engine: MakeEngine) -> None:
    one = engine("""
        rules:
          - name: many
            over: 10m
            every: 1m
            sql: SELECT ExperimentName, count(*) AS n FROM RunStatusChanged WHERE Status = 'Failed' GROUP BY ExperimentName
            condition: n >= 2
            by: [ExperimentName]
        """)
    one.come(*failed(1), *failed(2, "rank"))
    until(one, "1m")
    assert {"rank": Phase.FIRING} == phases(one)
