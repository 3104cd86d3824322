"""SEMANTICS.md, "Final failures"."""

from collections.abc import Callable
from datetime import timedelta

from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.model.alert import Why
from tocsin.model.details import Details

Make = Callable[..., Engine]
FINAL = "rules: [{name: final, when: {status: Failed, final: true}}]"
UNKNOWN: dict[str, object] = {"WillRetry": None}


def test_final_means_that_will_retry_is_false(engine: Make) -> None:
    e = engine(FINAL)
    e.come({"RunId": "again", "WillRetry": True}, {"RunId": "last", "WillRetry": False})
    assert [("last", Why.FIRST)] == [(i.run_id, i.why) for i in e.notified()]
    assert [] == list(e.state.timers())


def test_where_nobody_knows_it_is_notified_when_no_newer_attempt_came(engine: Make) -> None:
    """Not one µs before the deadline, which counts from the failure; the text knows it."""
    e = engine(FINAL)
    assert 0 == e.at("3m").come({**UNKNOWN, "TimeGenerated": "1m"})
    e.clock.set(NOON + timedelta(minutes=16) - timedelta(microseconds=1))
    e.tick()
    assert [] == e.notified()
    e.at("16m").tick()
    (intent,) = e.notified()
    assert (Why.NO_ATTEMPT_CAME, NOON + timedelta(minutes=16), Details(due=NOON + timedelta(minutes=16))) == (
        intent.why, intent.at, intent.details,
    )  # fmt: skip
    e.at("3h").tick()
    assert 1 == len(e.notified()) and [] == list(e.state.timers())


def test_final_after_is_the_rules(engine: Make) -> None:
    e = engine("rules: [{name: final, when: {status: Failed, final: true}, final_after: 1h}]")
    e.come(UNKNOWN)
    e.at("59m").tick()
    assert [] == e.notified()
    e.at("60m").tick()
    assert 1 == len(e.notified())


def notify_after(e: Engine, *events: dict[str, object]) -> int:
    """A failure at noon of which nobody knows; then these, a minute apart from 12:10 on; what was notified by 12:16."""
    e.come({**UNKNOWN, "JobKey": "nightly", "Attempt": 1})
    for minute, event in enumerate(events):
        e.at(f"{10 + minute}m").come({**UNKNOWN, "JobKey": "nightly", **event})
    e.at("16m").tick()
    return len(e.notified())


def test_a_newer_attempt_of_the_same_job_in_another_run(engine: Make) -> None:
    assert 0 == notify_after(engine(FINAL), {"RunId": "r2", "Attempt": 2, "Status": "Queued"})
    assert 0 == notify_after(engine(FINAL), {"RunId": "r2", "Attempt": 0, "Status": "Queued"})


def test_a_newer_attempt_in_the_same_run(engine: Make) -> None:
    assert 0 == notify_after(engine(FINAL), {"Attempt": 2, "Status": "Running"})
    assert 0 == notify_after(engine(FINAL), {"Attempt": 1, "Status": "Running"})


def test_what_is_no_newer_attempt(engine: Make) -> None:
    """Another job, the same try, an older one, a stranger's late word."""
    assert 1 == notify_after(engine(FINAL), {"RunId": "r2", "JobKey": "other", "Attempt": 2, "Status": "Queued"})
    assert 1 == notify_after(engine(FINAL), {"RunId": "r2", "Attempt": 1, "Status": "Queued"})
    assert 1 == notify_after(engine(FINAL), {"RunId": "r2", "Attempt": 0, "Status": "Running", "TimeGenerated": "-5m"})
    assert 1 == notify_after(engine(FINAL), {"Attempt": 1, "Status": "Running", "Source": "watcher"})
    assert 1 == notify_after(engine(FINAL), {"Attempt": 1, "Status": "Running", "TimeGenerated": "-1m"})


def test_an_attempt_that_came_after_the_deadline_is_too_late(engine: Make) -> None:
    """By event time: how long the deadline was held changes nothing."""
    e = engine(FINAL)
    e.come({**UNKNOWN, "JobKey": "j", "Attempt": 1})
    e.at("5m").come({**UNKNOWN, "RunId": "other"})
    e.at("20m").store({"RunId": "r2", "JobKey": "j", "Attempt": 2, "Status": "Queued", "TimeGenerated": "15m1s"})
    e.tick()
    assert ["other", "r1"] == sorted(i.run_id for i in e.notified())


def test_a_run_that_goes_on_after_the_deadline_is_too_late(engine: Make) -> None:
    """Held meanwhile, the deadline sees it; it happened later."""
    e = engine(FINAL)
    e.come(UNKNOWN, {**UNKNOWN, "RunId": "r2"})
    e.watermarks = {"test": NOON}
    e.at("15m").store({"RunId": "r2", "Status": "Running"})
    e.at("16m").store({"Status": "Running"}, {"Status": "Completed", "EventId": "well"})
    e.tick()
    assert [] == e.notified()
    e.watermarks = None
    e.tick()
    assert ["r1"] == [i.run_id for i in e.notified()]


def test_an_absent_job_key_is_the_run(engine: Make) -> None:
    e = engine(FINAL)
    e.come(UNKNOWN, {**UNKNOWN, "RunId": "r2", "Status": "Running"})
    e.at("15m").tick()
    assert ["r1"] == [i.run_id for i in e.notified()]


def test_the_deadline_is_held_by_the_consumers_watermark(engine: Make) -> None:
    """Its release is T. What reported meanwhile counts."""
    e = engine(FINAL)
    e.watermarks = {"test": NOON + timedelta(minutes=14)}
    e.come({**UNKNOWN, "JobKey": "a"}, {**UNKNOWN, "JobKey": "b", "RunId": "r2"})
    e.at("2h").tick()
    assert [] == e.notified() and 2 == e.held()
    e.watermarks = {"test": NOON + timedelta(hours=2)}
    e.at("2h1m").store({"RunId": "r3", "JobKey": "b", "Status": "Queued", "TimeGenerated": "10m"})
    e.tick()
    assert [("r1", NOON + timedelta(minutes=121))] == [(i.run_id, i.at) for i in e.notified()]


def test_nobody_waits_for_a_consumer_that_is_gone(engine: Make) -> None:
    e = engine(FINAL)
    e.watermarks = {}
    e.come(UNKNOWN)
    e.at("15m").tick()
    assert 1 == len(e.notified())


def test_an_outage_makes_nothing_false(engine: Make) -> None:
    """An hour down; the next try's events wait. Read before the watermark moves, they win."""
    e = engine(FINAL)
    e.watermarks = {"test": NOON}
    e.come({**UNKNOWN, "JobKey": "j"})
    e.at("1h").tick()
    e.store({**UNKNOWN, "RunId": "r2", "JobKey": "j", "Status": "Completed", "TimeGenerated": "12m"})
    e.watermarks = {"test": NOON + timedelta(hours=1)}
    e.tick()
    assert [] == e.notified()


def test_an_occurrence_is_notified_once_by_whichever_word_is_first(engine: Make) -> None:
    """Two words of one failure: a deadline for each, but one is notified; a sure word notifies at once."""
    e = engine(FINAL)
    e.come({**UNKNOWN, "TimeGenerated": "0m"})
    e.at("1m").come({**UNKNOWN, "TimeGenerated": "1m"})
    e.at("1h").tick()
    assert 1 == len(e.notified())
    sure = engine(FINAL)
    sure.come({**UNKNOWN, "TimeGenerated": "0m"})
    assert 1 == sure.at("1m").come({"TimeGenerated": "1m"})
    sure.at("1h").tick()
    assert 1 == len(sure.notified())


def test_deadlines_of_old_failures_are_expired(engine: Make) -> None:
    """Older than max_event_age and the deadline's own length, when they come or when they are released."""
    e = engine(FINAL)
    limit = timedelta(hours=24, minutes=15)
    e.at("48h").come(
        {**UNKNOWN, "RunId": "old", "TimeGenerated": NOON + timedelta(hours=48) - limit - timedelta(seconds=1)},
        {**UNKNOWN, "RunId": "new", "TimeGenerated": NOON + timedelta(hours=48) - limit},
    )
    assert 1 == sum(v.expired["final"] for v in e.evaluations)
    e.tick()
    assert ["new"] == [i.run_id for i in e.notified()]
    held = engine(FINAL)
    held.watermarks = {"test": None}
    held.come(UNKNOWN)
    held.at("48h").watermarks = None
    held.tick()
    assert [] == held.notified() and 1 == sum(v.expired["final"] for v in held.evaluations)


def test_a_changed_rule_is_asked_again_at_the_deadline(engine: Make, load: Load) -> None:
    e = engine(FINAL)
    e.come({**UNKNOWN, "ExperimentName": "churn"}, {**UNKNOWN, "RunId": "r2"})
    e.use(load("rules: [{name: final, when: {status: Failed, final: true, where: \"ExperimentName == 'churn'\"}}]"))
    e.at("15m").tick()
    assert ["r1"] == [i.run_id for i in e.notified()]


def test_a_removed_rule_leaves_no_deadline(engine: Make, load: Load) -> None:
    e = engine(FINAL)
    e.come(UNKNOWN)
    e.use(load("rules: []"))
    assert [] == list(e.state.timers())


def test_many_deadlines_at_once(engine: Make) -> None:
    e = engine(FINAL)
    e.come(*({**UNKNOWN, "RunId": f"r{n}", "JobKey": f"j{n % 50}", "Attempt": 1 + n // 50} for n in range(100)))
    e.at("15m").tick()
    assert {f"r{n}" for n in range(50, 100)} == {i.run_id for i in e.notified()}


def test_a_run_that_says_another_end_later_has_not_failed_for_good(engine: Make) -> None:
    """The source that said Failed says Completed: by the deadline that is how things stand."""
    assert 0 == notify_after(engine(FINAL), {"Status": "Completed", "Attempt": 1})
    assert 1 == notify_after(engine(FINAL), {"Status": "Failed", "Attempt": 1})
    assert 1 == notify_after(engine(FINAL), {"Status": "Completed", "Attempt": 1, "Source": "watcher"})


def test_a_rule_that_asks_for_each_attempt_waits_for_nothing(engine: Make) -> None:
    assert 1 == engine("rules: [{name: failed, when: {status: Failed, final: false}}]").come(UNKNOWN)


def test_a_failure_is_final_by_default(engine: Make) -> None:
    """What the README shows mails of the last attempt; a producer that cannot say is waited for."""
    e = engine("rules: [{name: failed, when: {status: Failed, where: \"RunId != 'x'\"}}]")
    e.come({"RunId": "again", "WillRetry": True}, {"RunId": "last", "WillRetry": False}, {"RunId": "r", **UNKNOWN})
    assert ["last"] == [i.run_id for i in e.notified()]
    e.at("15m").tick()
    assert ["last", "r"] == [i.run_id for i in e.notified()]


def test_by_default_other_statuses_match_whatever_follows(engine: Make) -> None:
    e = engine("rules: [{name: ended, when: {status: [Failed, Canceled]}}]")
    again = {"Status": "Canceled", "WillRetry": True}
    e.come({"RunId": "f", "WillRetry": True}, {"RunId": "c", **again}, {"RunId": "d", **again, **UNKNOWN})
    assert ["c", "d"] == sorted(i.run_id for i in e.notified())
    assert [] == list(e.state.timers())
