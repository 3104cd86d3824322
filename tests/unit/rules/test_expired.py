"""SEMANTICS.md, "What is expired"."""

from collections.abc import Callable
from datetime import timedelta

from tests.unit.rules.conftest import NOON, Engine, Load
from tests.unit.rules.said import expired
from tocsin.model.alert import Phase, Why
from tocsin.model.details import Expired
from tocsin.model.intent import IntentKind

Make = Callable[..., Engine]


def reasons(e: Engine) -> list[tuple[str, Phase, Why]]:
    return [(t.run_id, t.after, t.reason) for v in e.evaluations for t in v.outcome.transitions]


def test_an_occurrence_older_than_notify_within_is_recorded_not_notified(engine: Make) -> None:
    e = engine()
    e.at("48h").come({"RunId": "old", "TimeGenerated": "23h"}, {"RunId": "new", "TimeGenerated": "24h"})
    assert ["new"] == [i.run_id for i in e.notified()]
    assert {("new", Phase.FIRED, Why.FIRST), ("old", Phase.EXPIRED, Why.TOO_OLD)} == set(reasons(e))
    assert {"failed": 1} == dict(e.evaluations[0].expired)


def test_notify_within_is_the_rules(engine: Make) -> None:
    e = engine("""
        defaults: {max_event_age: 1h}
        rules:
          - {name: short, when: {status: Failed}}
          - {name: long, when: {status: Failed}, max_event_age: 3d}
        """)
    e.at("48h").come({"TimeGenerated": "0m"})
    assert ["long"] == [i.rule for i in e.notified()]


def test_a_fresh_event_notifies_an_occurrence_found_expired_whichever_comes_first(engine: Make) -> None:
    for first, second in (("0m", "47h"), ("47h", "0m")):
        e = engine()
        e.at("48h").come({"TimeGenerated": first})
        assert 1 == e.at("48h1m").come({"TimeGenerated": second}), first


def test_kafka_and_files_do_not_say_what_was_produced_before_their_first_start(engine: Make) -> None:
    """A webhook has no such past."""
    for kind, notified in (("kafka", 1), ("file", 1), ("http", 2), ("poll", 2)):
        e = engine()
        e.kinds["test"], e.first_starts["test"] = kind, NOON + timedelta(hours=1)
        e.at("2h")
        assert notified == e.come(
            {"RunId": "before", "TimeGenerated": "59m"}, {"RunId": "after", "TimeGenerated": "60m"}
        )


def test_one_summary_when_kafka_has_reached_the_end_of_the_first_expired_event(engine: Make) -> None:
    """Whatever was there when the first expired event came is in it, with how many, from when to when."""
    e = engine()
    e.kinds["test"], e.first_starts["test"] = "kafka", NOON
    e.watermarks = {"test": None}
    e.at("30s").come({"RunId": "a", "TimeGenerated": "-200d"}, {"RunId": "b", "TimeGenerated": "-30d"})
    e.at("5m").tick()
    assert [] == e.summaries() and 1 == e.held()
    e.come({"RunId": "c", "TimeGenerated": "-300d"}, {"RunId": "d", "TimeGenerated": "4m"})
    e.watermarks = {"test": NOON + timedelta(seconds=29)}
    e.at("6m").tick()
    assert [] == e.summaries()
    e.watermarks = {"test": NOON + timedelta(seconds=30)}
    e.at("7m").tick()
    (summary,) = e.summaries()
    oldest, newest = NOON - timedelta(days=300), NOON - timedelta(days=30)
    assert Expired(count=3, oldest=oldest, newest=newest, consumer="test") == summary.details.expired
    assert (Why.BACKFILL_OVER, {"Consumer": "test"}, NOON + timedelta(minutes=7)) == (
        summary.why, summary.instance, summary.at,
    )  # fmt: skip
    assert ["d"] == [i.run_id for i in e.notified()]
    e.at("3h").tick()
    assert 1 == len(e.summaries()) and [] == list(e.state.timers()) and [] == list(e.state.backfills())


def test_one_summary_when_a_webhook_has_been_quiet_for_a_minute(engine: Make) -> None:
    """Each expired event moves the end."""
    e = engine()
    e.at("0s").come({"RunId": "a", "TimeGenerated": "-2d"})
    e.at("59s").come({"RunId": "b", "TimeGenerated": "-2d"})
    e.at("1m58s").tick()
    assert [] == e.summaries()
    e.at("1m59s").tick()
    assert [2] == [expired(i).count for i in e.summaries()]


def test_the_next_catch_up_has_a_summary_of_its_own(engine: Make) -> None:
    e = engine()
    e.at("0s").come({"RunId": "a", "TimeGenerated": "-2d"})
    e.at("2m").tick()
    e.at("3m").come({"RunId": "b", "TimeGenerated": "-2d"})
    e.at("9m").tick()
    assert [1, 1] == [expired(i).count for i in e.summaries()]
    assert 2 == len({i.id for i in e.summaries()})


def test_one_summary_a_rule_and_consumer(engine: Make) -> None:
    e = engine("rules: [{name: a, when: {status: Failed}}, {name: b, when: {status: [Failed, Canceled]}}]")
    e.come({"TimeGenerated": "-2d", "Consumer": "x"}, {"RunId": "r2", "TimeGenerated": "-2d", "Consumer": "y"})
    e.at("2m").tick()
    assert [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")] == sorted(
        (i.rule, expired(i).consumer) for i in e.summaries()
    )
    assert 4 == len(e.state.intents())


def test_a_year_of_failures_is_one_word(engine: Make) -> None:
    e = engine()
    e.kinds["test"], e.first_starts["test"] = "kafka", NOON
    for part in range(4):
        failures: list[dict[str, object]] = [
            {"RunId": f"r{part}-{n}", "TimeGenerated": f"-{n + 1}d"} for n in range(100)
        ]
        e.at(f"{part}s").come(*failures)
    e.at("1m").tick()
    assert ([400], 0) == ([expired(i).count for i in e.summaries()], len(e.notified()))


def test_a_new_rule_notifies_nothing_old(engine: Make, load: Load) -> None:
    """It starts at the current CommitSeq, evaluated yet or not; a repetition of what was before it belongs to the
    old.
    """
    for evaluated in (True, False):
        e = engine("rules: []")
        e.store({"RunId": "old", "TimeGenerated": "0m"})
        if evaluated:
            e.evaluate()
        e.use(load("rules: [{name: new, when: {status: Failed}}]"))
        e.at("1m").evaluate()
        assert 0 == e.at("5m").come({"RunId": "old", "TimeGenerated": "4m"})
        assert 1 == e.come({"RunId": "new", "TimeGenerated": "4m"})


def test_an_old_run_that_fails_again_is_notified_by_a_new_rule(engine: Make, load: Load) -> None:
    """Whether the restart between them comes before the second failure or after it."""
    restart: dict[str, object] = {"Status": "Running", "TimeGenerated": "2m"}
    failure: dict[str, object] = {"TimeGenerated": "3m"}
    for order in ((restart, failure), (failure, restart)):
        e = engine("rules: []")
        e.store({"TimeGenerated": "1m"})
        e.evaluate()
        e.use(load("rules: [{name: new, when: {status: Failed}}]"))
        for minute, event in enumerate(order):
            e.at(f"{4 + minute}m").come(event)
        assert 1 == len(e.notified())
        assert [] == [t for t in reasons(e) if t[1] is Phase.EXPIRED] and [] == e.intents(IntentKind.SUMMARY)
