"""Deadlines of runs: when they fire, what moves them, what is never notified."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.rules.conftest import NOON, Engine
from tests.unit.rules.said import expired as expired_of
from tests.unit.rules.said import wait_of
from tocsin.model.alert import Phase, Why

STUCK = """
rules:
  - {name: stuck, when: {status: [Queued, Preparing], in_status_for: 45m}}
"""
SILENT = """
rules:
  - {name: silent, when: {status: Running, silent_for: 10m}}
"""
STILL = """
rules:
  - {name: still, when: {status: Running, unchanged: Progress, for: 1h}}
"""
Make = Callable[..., Engine]


def tick(engine: Engine, at: str) -> tuple[int, int]:
    """What has been notified and ended by then."""
    engine.at(at).tick()
    engine.tick()
    return len(engine.notified()), len(engine.resolved())


def test_a_run_that_stays_in_its_status_is_notified_once_when_the_time_is_up(engine: Make) -> None:
    """At its deadline, not one µs before; and not again while it stays."""
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"})
    stuck.clock.set(NOON + timedelta(minutes=45) - timedelta(microseconds=1))
    stuck.tick()
    assert stuck.notified() == []
    assert tick(stuck, "45m") == (1, 0)
    assert tick(stuck, "3h") == (1, 0)
    (notified,) = stuck.notified()
    assert (notified.why, notified.run_id, notified.instance) == (Why.DEADLINE, "r1", {"RunId": "r1"})
    assert notified.event["Status"] == "Queued"
    assert wait_of(notified).due == NOON + timedelta(minutes=45)


def test_a_run_that_moves_on_in_time_is_not_notified(engine: Make) -> None:
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"})
    stuck.at("44m").come({"Status": "Running"})
    assert tick(stuck, "5h") == (0, 0)
    assert len(stuck.deadlines) == 0


def test_moving_inside_the_set_counts_on(engine: Make) -> None:
    """`in_status_for` is time spent in the set of statuses."""
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"})
    stuck.at("30m").come({"Status": "Preparing"})
    assert tick(stuck, "44m") == (0, 0)
    assert tick(stuck, "45m") == (1, 0)


def test_another_attempt_counts_again(engine: Make) -> None:
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued", "Attempt": 1})
    stuck.at("30m").come({"Status": "Queued", "Attempt": 2})
    assert tick(stuck, "74m") == (0, 0)
    assert tick(stuck, "75m") == (1, 0)


def test_it_ends_when_the_run_moves_on_and_may_come_again(engine: Make) -> None:
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"})
    assert tick(stuck, "45m") == (1, 0)
    stuck.at("50m").come({"Status": "Running"})
    assert [i.why for i in stuck.resolved()] == [Why.RECOVERED]
    stuck.at("1h").come({"Status": "Queued"})
    assert tick(stuck, "104m") == (1, 1)
    assert tick(stuck, "105m") == (2, 1)
    first, second = stuck.notified()
    assert first.id != second.id


def test_the_clock_is_the_producers(engine: Make) -> None:
    """It counts from TimeGenerated, so an event that comes late is notified earlier."""
    stuck = engine(STUCK)
    stuck.at("40m").come({"Status": "Queued", "TimeGenerated": "0s"})
    assert tick(stuck, "44m") == (0, 0)
    assert tick(stuck, "45m") == (1, 0)


def test_a_late_event_that_shows_an_earlier_beginning_ends_nothing(engine: Make) -> None:
    stuck = engine(STUCK)
    stuck.at("10m").come({"Status": "Preparing"})
    assert tick(stuck, "55m") == (1, 0)
    stuck.come({"Status": "Queued", "TimeGenerated": "5m"})
    assert tick(stuck, "56m") == (1, 0)


def test_what_waits_is_notified_again_every_four_hours(engine: Make) -> None:
    from tocsin.model.intent import IntentKind

    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"})
    tick(stuck, "45m")
    tick(stuck, "284m")
    assert stuck.intents(IntentKind.REPEATED) == []
    tick(stuck, "285m")
    assert [i.why for i in stuck.intents(IntentKind.REPEATED)] == [Why.STILL_FIRING]


def test_heartbeats_and_events_move_the_silence(engine: Make) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running"})
    for minute in range(5, 60, 5):
        silent.at(f"{minute}m").come({"heartbeat": True, "Status": None})
        silent.tick()
    assert tick(silent, "64m") == (0, 0)
    assert tick(silent, "65m") == (1, 0)
    silent.at("70m").come({"heartbeat": True, "Status": None})
    assert len(silent.resolved()) == 1
    assert tick(silent, "80m") == (2, 1)


def test_silence_counts_from_the_receipt(engine: Make) -> None:
    """An event that was long under way is a sign of life when it comes."""
    silent = engine(SILENT)
    silent.at("30m").come({"Status": "Running", "TimeGenerated": "0s"})
    assert tick(silent, "39m") == (0, 0)
    assert tick(silent, "40m") == (1, 0)


def test_time_in_which_nobody_could_hear_is_no_silence(engine: Make) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running"})
    silent.outages = {"test": [(NOON + timedelta(minutes=4), NOON + timedelta(minutes=64))]}
    assert tick(silent, "65m") == (0, 0)
    assert tick(silent, "69m") == (0, 0)
    assert tick(silent, "70m") == (1, 0)


def test_progress_that_stands_still(engine: Make) -> None:
    """It counts from the last change; saying the same again is no change."""
    still = engine(STILL)
    still.come({"Status": "Running", "Progress": 0.1})
    still.at("30m").come({"heartbeat": True, "Status": None, "Progress": 0.2})
    still.at("50m").come({"heartbeat": True, "Status": None, "Progress": 0.2})
    assert tick(still, "89m") == (0, 0)
    assert tick(still, "90m") == (1, 0)
    still.at("91m").come({"heartbeat": True, "Status": None, "Progress": 0.2})
    assert tick(still, "92m") == (1, 0)
    still.at("93m").come({"Status": "Running", "Progress": 0.3})
    assert tick(still, "94m") == (1, 1)


def test_a_run_that_never_says_how_far_it_is_does_not_stand_still(engine: Make) -> None:
    still = engine(STILL)
    still.come({"Status": "Running"})
    assert tick(still, "10h") == (0, 0)


def test_only_what_the_rule_is_about(engine: Make) -> None:
    """`where` sees the run as it stands, also what earlier events said of it."""
    stuck = engine("""
    rules:
      - {name: stuck, when: {status: Queued, in_status_for: 45m, where: "Tags.env == 'prod'"}, fields: [ExperimentName]}
    """)
    stuck.come({"Status": "Starting", "Tags": {"env": "prod"}, "ExperimentName": "churn"})
    stuck.come({"Status": "Queued"}, {"RunId": "r2", "Status": "Queued", "Tags": {"env": "dev"}})
    assert tick(stuck, "45m") == (1, 0)
    assert stuck.notified()[0].fields == {"ExperimentName": "churn"}


@pytest.mark.parametrize("text", [STUCK, SILENT])
def test_an_hour_of_healthy_events_behind_an_outage_notifies_nothing_false(engine: Make, text: str) -> None:
    """Down from 12:05 to 13:05. What waits is read in parts; until the end is reached nobody is evaluated."""
    one = engine(text)
    one.watermarks = {"test": NOON + timedelta(minutes=5)}
    one.come(*({"RunId": f"r{i}", "Status": "Queued" if text == STUCK else "Running"} for i in range(5)))
    one.at("65m").restart()
    one.outages = {}
    assert tick(one, "66m") == (0, 0)
    assert tick(one, "67m") == (0, 0)
    for i in range(5):
        one.store({"RunId": f"r{i}", "Status": "Running", "TimeGenerated": f"{10 + i}m"})
        assert tick(one, f"{68 + i}m") == (0, 0)
    assert one.deadlines.held == 0
    one.watermarks = {"test": NOON + timedelta(minutes=73)}
    assert tick(one, "73m") == (0, 0)


def test_what_is_held_is_notified_when_its_consumers_have_reported(engine: Make) -> None:
    """Those that brought the run's events; others are not waited for."""
    stuck = engine(STUCK)
    stuck.kinds = {"a": "kafka", "b": "http", "c": "kafka"}
    stuck.come({"Status": "Queued", "Consumer": "a"}, {"Status": "Preparing", "Consumer": "b", "TimeGenerated": "1m"})
    stuck.watermarks = {"a": NOON + timedelta(minutes=44), "b": NOON + timedelta(hours=9), "c": None}
    assert tick(stuck, "50m") == (0, 0)
    assert stuck.deadlines.held == 1
    stuck.watermarks |= {"a": NOON + timedelta(minutes=45)}
    assert tick(stuck, "51m") == (1, 0)
    assert stuck.notified()[0].at == NOON + timedelta(minutes=51)
    assert wait_of(stuck.notified()[0]).due == NOON + timedelta(minutes=45)
    assert stuck.deadlines.held == 0


def test_old_runs_are_expired(engine: Make) -> None:
    """A topic that holds a year of runs that nobody ended notifies nothing."""
    stuck = engine(STUCK)
    stuck.come(*({"RunId": f"r{i}", "Status": "Queued", "TimeGenerated": f"-{30 * i + 26}h"} for i in range(20)))
    stuck.come({"RunId": "young", "Status": "Queued", "TimeGenerated": "-24h"})
    assert tick(stuck, "5m") == (1, 0)
    assert stuck.notified()[0].run_id == "young"


def expired(engine: Engine) -> list[str]:
    """Runs of which an expired deadline is recorded."""
    found = (t for e in engine.evaluations for t in e.outcome.transitions if t.after is Phase.EXPIRED)
    return sorted(t.run_id for t in found if t.reason is Why.TOO_OLD)


def test_an_expired_deadline_is_recorded_once_and_one_word_sums_up(engine: Make) -> None:
    """Not again after a restart, nor of runs that were old when the rule came."""
    stuck = engine(STUCK)
    stuck.come(*({"RunId": f"r{i}", "Status": "Queued", "TimeGenerated": f"-{30 * i + 26}h"} for i in range(3)))
    tick(stuck, "5m")
    stuck.restart()
    tick(stuck, "6m")
    assert expired(stuck) == ["r0", "r1", "r2"]
    tick(stuck, "10m")
    (summary,) = stuck.summaries()
    assert (expired_of(summary).count, expired_of(summary).consumer) == (3, "test")
    later = engine()
    later.come({"Status": "Queued", "TimeGenerated": "-26h"})
    later.at("1m").use(engine(STUCK).rules)
    assert (tick(later, "2m"), expired(later)) == ((0, 0), [])


def test_a_run_of_days_that_beats_is_not_old(engine: Make) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running"})
    silent.at("72h").come({"heartbeat": True, "Status": None})
    silent.tick()
    assert tick(silent, "4330m") == (1, 0)


def test_after_a_restart_nothing_is_forgotten_or_notified_twice(engine: Make) -> None:
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"}, {"RunId": "r2", "Status": "Queued", "TimeGenerated": "5m"})
    assert tick(stuck, "45m") == (1, 0)
    stuck.restart()
    assert len(stuck.deadlines) == 1
    assert tick(stuck, "46m") == (1, 0)
    assert tick(stuck, "50m") == (2, 0)
    stuck.store({"Status": "Running"})  # while it was down
    stuck.restart()
    stuck.evaluate()
    assert len(stuck.resolved()) == 1


def test_runs_of_before_the_rule_count(engine: Make) -> None:
    """What is stuck is stuck, whoever was there first."""
    stuck = engine()
    stuck.come({"Status": "Queued"})
    stuck.at("1h").use(engine(STUCK).rules)
    assert tick(stuck, "1h") == (1, 0)


def test_a_rule_that_means_something_else_closes_without_a_notification_what_it_no_longer_holds_of(
    engine: Make,
) -> None:
    stuck = engine(STUCK)
    stuck.come({"Status": "Queued"}, {"RunId": "r2", "Status": "Preparing"})
    assert tick(stuck, "45m") == (2, 0)
    stuck.use(engine(STUCK.replace("[Queued, Preparing]", "Queued")).rules)
    assert tick(stuck, "46m") == (2, 0)
    assert [s.instance["RunId"] for s in stuck.state.conditions("stuck").values()] == ["r1"]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_many_commits_at_once_say_what_one_by_one_notifies(engine: Make, at_once: int) -> None:
    stuck = engine(STUCK)
    stuck.store({"Status": "Queued"}, {"RunId": "r2", "Status": "Queued"})
    for minute, status in ((10, "Running"), (20, "Queued"), (30, "Preparing"), (40, "Queued")):
        stuck.at(f"{minute}m").store({"RunId": "r2", "Status": status})
    stuck.evaluate(at_once)
    assert tick(stuck, "45m") == (1, 0)
    assert tick(stuck, "64m") == (1, 0)
    assert tick(stuck, "65m") == (2, 0)
    assert [i.run_id for i in stuck.notified()] == ["r1", "r2"]


def test_a_commit_that_came_after_the_instant_is_not_seen(engine: Make) -> None:
    """A run that a later commit touched is read as of the instant."""
    from tocsin.rules.kinds.deadline.runs import runs_at

    stuck = engine(STUCK)
    stuck.come({"Status": "Queued", "ExperimentName": "churn", "Tags": {"a": 1}})
    seq = stuck.log.head().seq
    as_it_was = runs_at(stuck.log, {"r1": seq})
    before, fact = as_it_was.rows(stuck.log, ["r1"])["r1"], as_it_was.facts(stuck.log)["r1"]
    stuck.at("1m").store({"Status": "Running", "Progress": 0.5}, {"RunId": "new", "Status": "Queued"})
    later = runs_at(stuck.log, {"r1": seq, "new": seq})
    assert {**later.rows(stuck.log, ["r1"])["r1"], "CommitSeq": 0} == {**before, "CommitSeq": 0}
    assert later.facts(stuck.log) == {"r1": fact}


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ("{status: Failed, in_status_for: 5m}", "'Failed' ends a run"),
        ("{in_status_for: 5m}", "does not say in which status"),
        ("{status: Running, unchanged: Message, for: 5m}", "'Message' cannot be followed"),
        ("{status: Running, unchanged: Progress}", "does not say for how long"),
        ("{status: Running, for: 5m}", "when.for: belongs to an absence rule"),
        ("{status: Running, silent_for: 5m, in_status_for: 1h}", "stands beside in_status_for"),
        ("{status: Running, silent_for: 5m, final: true}", "when.final: belongs to an event rule"),
        ("{status: Running, silent_for: 0s}", "must be longer than nothing"),
        ('{status: Queued, in_status_for: 5m, where: "StartTime < ago(1h)"}', "asks what time it is"),
        ('{status: Running, silent_for: 5m, where: "StartTime < now ()"}', "asks what time it is"),
    ],
)
def test_what_cannot_be_meant_is_refused(load: Callable[[str], object], when: str, says: str) -> None:
    from tocsin.errors import ConfigurationError

    with pytest.raises(ConfigurationError) as caught:
        load(f"rules:\n  - name: x\n    when: {when}\n")
    assert says in str(caught.value)


def test_a_text_that_looks_like_a_clock_is_none(engine: Make) -> None:
    stuck = engine(
        "rules:\n  - {name: x, when: {status: Queued, in_status_for: 5m, where: \"Message has 'now()' and Tags.ago == '1'\"}}\n"
    )
    stuck.come(
        {"Status": "Queued", "Message": "it said now()", "Tags": {"ago": "1"}}, {"RunId": "r2", "Status": "Queued"}
    )
    assert tick(stuck, "5m") == (1, 0)


def test_a_rule_without_a_summary_has_a_subject_that_says_what_is_waited_for(engine: Make) -> None:
    subjects = [next(iter(engine(text).rules.enabled.values())).info.summary for text in (STUCK, SILENT, STILL)]
    named = "{{ ExperimentName or DisplayName or RunId }}: "
    assert subjects == [
        named + "Queued or Preparing for 45 min",
        named + "silent for 10 min",
        named + "no progress for 1 h",
    ]
