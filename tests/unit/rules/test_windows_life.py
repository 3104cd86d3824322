"""Window absence rules for watermarks, are edited, go, or fail."""

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa

from tests.unit.rules.conftest import NOON, Engine, Load
from tests.unit.rules.windows import failed, many, phases, until
from tocsin.model.alert import Phase, Why
from tocsin.rules.kinds.ruleset import RuleSet

MakeEngine = Callable[..., Engine]


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
    assert [(Why.RECOVERED, NOON + timedelta(minutes=15))] * 2 == [(i.why, i.at) for i in one.resolved()]


def test_what_fires_waits_for_nobody(engine: MakeEngine) -> None:
    one = engine(many(lateness="1m"))
    one.store(*failed(2))
    one.evaluate()
    one.watermarks = {"test": None}
    assert 1 == len(until(one, "2m").notified())


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
    assert ["churn"] == [i.instance["ExperimentName"] for i in one.notified()]
    assert 0 == one.held()
    assert [NOON + timedelta(minutes=19)] == [i.at for i in until(one, "20m").notified()[1:]]


def test_a_late_event_that_comes_while_it_waits_keeps_it(engine: MakeEngine) -> None:
    """After an outage nothing false is notified: neither an end nor a second beginning."""
    one = engine(many())
    one.come(*failed(2))
    one.watermarks = {"test": NOON + timedelta(minutes=9)}
    until(one, "12m")
    one.come(*failed(2, TimeGenerated="11m"))
    one.watermarks = None
    until(one, "13m")
    assert {"churn": Phase.FIRING} == phases(one)
    assert (1, 0) == (len(one.notified()), len(one.resolved()))


def test_the_end_of_a_for_waits_until_no_data_is_none(engine: MakeEngine) -> None:
    """In an outage nobody knows whether there is no data."""
    one = engine(many(more="for: 11m\n    no_data: alert"))
    one.come(*failed(2))
    one.watermarks = {"test": NOON + timedelta(minutes=1)}
    until(one, "12m")
    assert ({"churn": Phase.PENDING}, []) == (phases(one), one.notified())
    one.come(*failed(1, TimeGenerated="11m"))
    one.watermarks = None
    until(one, "13m")
    assert ({"churn": Phase.NONE}, []) == (phases(one), one.notified())


def test_an_edit_of_meaning_keeps_what_still_fires_and_closes_the_others_without_a_notification(
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
    assert 2 == len(one.notified())


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
    assert [NOON + timedelta(hours=2)] == [i.at for i in one.notified()]
    other = engine(longer.replace("90m", "30m"))
    other.come(*failed(2))
    until(other, "1h")
    other.use(load(longer.replace("for: 90m", "")))
    until(other, "3h")
    assert [NOON + timedelta(hours=2)] == [i.at for i in other.notified()]


def test_a_rule_that_goes_takes_its_instances_along(engine: MakeEngine) -> None:
    one = engine(many())
    one.come(*failed(2))
    one.use(RuleSet())
    assert {} == phases(one)
    until(one, "2m")
    assert [] == one.resolved()
    assert [] == list(one.state.timers())


def test_a_rule_that_fails_keeps_what_it_knows_and_is_evaluated_again(engine: MakeEngine, load: Load) -> None:
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
