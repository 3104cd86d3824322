"""What ought to come by a schedule, and did not."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from tests.unit.rules.conftest import NOON, Engine
from tests.unit.rules.said import wait_of
from tocsin.config.yaml.document import load
from tocsin.errors import ConfigurationError, Problem
from tocsin.kql.schema import schema_with
from tocsin.model.alert import Why
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.compile.load import load_documents
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.schedule.cron import Schedule
from tocsin.rules.kinds.schedule.spec import ScheduleSpec
from tocsin.rules.spec.rule import of_spec

Make = Callable[..., Engine]
NIGHTLY = """
rules:
  - name: nightly
    when: {absent: {status: Completed, where: "ExperimentName == 'n'"}, cron: "0 14 * * *", grace: 30m}
"""
TABLE = """
rules:
  - name: nightly
    for_each: {table: nightlies}
    when:
      absent: {status: Completed, where: "ExperimentName == experiment"}
      cron: "{{ cron }}"
      grace: "{{ grace }}"
"""
ROWS = [
    {"experiment": "a", "cron": "0 14 * * *", "grace": "30m"},
    {"experiment": "b", "cron": "0 15 * * *", "grace": "1h"},
]
COLUMNS = {"nightlies": {"experiment": "string", "cron": "string", "grace": "string"}}


def tick(engine: Engine, at: str) -> tuple[int, int]:
    engine.at(at).tick()
    engine.tick()
    return len(engine.notified()), len(engine.resolved())


def of_table(rows: list[dict[str, str]], text: str = TABLE) -> RuleSet:
    problems: list[Problem] = []
    tables = {"nightlies": pa.Table.from_pylist(rows)}
    rules = load_documents([load(text, "rules.yaml")], schema_with(COLUMNS), problems, tables, timezone="UTC")
    if problems:
        raise ConfigurationError(problems)
    return rules


def times(schedule: Schedule, start: datetime, n: int) -> list[str]:
    found = []
    at: datetime | None = start
    for _ in range(n):
        assert at is not None
        at = schedule.after(at)
        assert at is not None
        found.append(at.strftime("%d %H:%M"))
    return found


def test_an_hour_that_the_clock_skips_means_the_next_instant() -> None:
    schedule = Schedule(cron="30 2 * * *", grace=timedelta(0), zone="Europe/Budapest")
    assert times(schedule, datetime(2026, 3, 28, tzinfo=UTC), 3) == ["28 01:30", "29 01:00", "30 00:30"]
    assert schedule.before(datetime(2026, 3, 30, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_an_hour_that_comes_twice_means_the_first() -> None:
    schedule = Schedule(cron="30 2 * * *", grace=timedelta(0), zone="Europe/Budapest")
    assert times(schedule, datetime(2026, 10, 24, tzinfo=UTC), 3) == ["24 00:30", "25 00:30", "26 01:30"]
    every_hour = Schedule(cron="30 * * * *", grace=timedelta(0), zone="Europe/Budapest")
    assert times(every_hour, datetime(2026, 10, 25, 0, tzinfo=UTC), 3) == ["25 00:30", "25 02:30", "25 03:30"]


def test_days_of_a_calendar_do_not_count() -> None:
    """1 May and Christmas are holidays in Hungary."""
    schedule = Schedule(
        cron="0 2 * * *", grace=timedelta(0), skip=Calendar(country="HU", dates=frozenset({date(2026, 5, 3)}))
    )
    assert times(schedule, datetime(2026, 4, 30, tzinfo=UTC), 3) == ["30 02:00", "02 02:00", "04 02:00"]
    assert schedule.before(datetime(2026, 5, 2, tzinfo=UTC)) == datetime(2026, 4, 30, 2, tzinfo=UTC)


def test_a_calendar_without_end_has_no_next_time() -> None:
    days = frozenset(date(2026, 1, 1) + timedelta(days=i) for i in range(3000))
    assert Schedule(cron="0 2 * * *", grace=timedelta(0), skip=Calendar(dates=days)).after(NOON) is None


def test_after_and_before_meet() -> None:
    schedule = Schedule(cron="*/7 1-5 * * 1-5", grace=timedelta(0), zone="America/New_York")
    found = [NOON]
    for _ in range(200):
        found.append(schedule.after(found[-1]) or NOON)
    assert found == sorted(set(found))
    assert all(schedule.before(later) == earlier for earlier, later in pairwise(found[1:]))


def test_nothing_came_by_its_time_and_grace(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    nightly.at("1h").come({"Status": "Completed", "ExperimentName": "other"})
    nightly.at("130m").come({"Status": "Failed", "ExperimentName": "n"})
    assert tick(nightly, "149m") == (0, 0)
    assert tick(nightly, "150m") == (1, 0)
    (notified,) = nightly.notified()
    assert (notified.why, notified.instance, wait_of(notified).scheduled) == (
        Why.DEADLINE, {}, NOON + timedelta(hours=2),
    )  # fmt: skip
    assert tick(nightly, "20h") == (1, 0)


FIRES_ON = [
    "grace: 30m", "grace: 40m", 'cron: "0 */2 * * *"', "where: \"ExperimentName == 'n' and RunId != 'x'\"",
]  # fmt: skip
ENDS = ["grace: 3h", 'cron: "0 15 * * *"', "status: Failed", "where: \"ExperimentName == 'm'\""]


def edited(key: str) -> str:
    """NIGHTLY with another value of one key."""
    name, value = key.split(": ", 1)
    keys = {"status": "Completed", "where": "\"ExperimentName == 'n'\"", "cron": '"0 14 * * *"', "grace": "30m"}
    return NIGHTLY.replace(f"{name}: {keys[name]}", f"{name}: {value}")


@pytest.mark.parametrize("key", [*FIRES_ON, *ENDS])
def test_an_edit_of_meaning_keeps_what_is_missing_still_and_ends_the_others_without_a_notification(
    engine: Make, load: Callable[[str], RuleSet], key: str
) -> None:
    """Not at the next scheduled time, perhaps tomorrow: a reload is an instant. What goes on can still recover."""
    one = engine(NIGHTLY)
    one.at("130m").come(
        {"RunId": "m", "Status": "Completed", "ExperimentName": "m"}, {"RunId": "f", "ExperimentName": "n"}
    )
    assert (1, 0) == tick(one, "150m")
    one.at("180m").use(load(edited(key)))
    reasons = [t.reason for e in one.evaluations for t in e.outcome.transitions]
    assert ([Why.DEADLINE] if key in FIRES_ON else [Why.DEADLINE, Why.RULE_CHANGED]) == reasons
    one.at("190m").come({"RunId": "n", "Status": "Completed", "ExperimentName": "n"})
    assert [Why.RECOVERED] * (key in FIRES_ON) == [i.why for i in one.resolved()]


@pytest.mark.parametrize(
    ("at", "notified"), [("-1h", 1), ("104m", 1), ("105m", 0), ("120m", 0), ("149m", 0), ("150m", 0)]
)
def test_it_must_come_in_the_window_of_its_time(engine: Make, at: str, notified: int) -> None:
    """From `early` before it to `grace` after it. Whenever it arrives, the producer's time counts."""
    nightly = engine(NIGHTLY.replace("grace: 30m", "grace: 30m, early: 15m"))
    nightly.at("149m").come({"Status": "Completed", "ExperimentName": "n", "TimeGenerated": at})
    assert tick(nightly, "150m") == (notified, 0)


def test_what_came_late_yesterday_says_nothing_about_today(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    assert tick(nightly, "150m") == (1, 0)
    nightly.at("300m").come({"Status": "Completed", "ExperimentName": "n"})
    assert tick(nightly, "1589m") == (1, 1)
    assert tick(nightly, "1590m") == (2, 1)


def test_a_job_that_runs_every_other_night_fires_every_other_night(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    for day in range(6):
        if day % 2:
            nightly.at(f"{day * 1440 + 125}m").come({"RunId": f"r{day}", "Status": "Completed", "ExperimentName": "n"})
        tick(nightly, f"{day * 1440 + 150}m")
    assert (3, 3) == (len(nightly.notified()), len(nightly.resolved()))


def test_more_misses_while_it_fires_are_counted(engine: Make) -> None:
    """Nobody is notified of each; the end says how many there were."""
    nightly = engine(NIGHTLY + "    repeat_every: 30d\n")
    for day in range(3):
        assert tick(nightly, f"{day * 1440 + 150}m") == (1, 0)
    nightly.at("5000m").come({"Status": "Completed", "ExperimentName": "n"})
    assert (3, "came 3 d 9 h late") == (
        wait_of(nightly.resolved()[0]).missed,
        wait_of(nightly.resolved()[0]).late,
    )


def test_what_was_late_before_anybody_was_notified_is_a_miss_all_the_same(engine: Make) -> None:
    """An outage of ours hides no missed night: it fires and resolves."""
    nightly = engine(NIGHTLY)
    nightly.watermarks = {"test": NOON}
    nightly.at("158m").come({"Status": "Completed", "ExperimentName": "n"})
    assert tick(nightly, "159m") == (0, 0)
    nightly.watermarks = {"test": NOON + timedelta(minutes=160)}
    assert tick(nightly, "160m") == (1, 1)
    assert "came 38 min late" == wait_of(nightly.resolved()[0]).late


def test_what_came_in_time_and_is_received_after_it_fired_resolves_it(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    assert tick(nightly, "150m") == (1, 0)
    nightly.at("151m").come({"Status": "Completed", "ExperimentName": "n", "TimeGenerated": "140m"})
    assert ["came in time, and was received late"] == [wait_of(i).late for i in nightly.resolved()]


def test_a_window_that_began_before_the_rule_is_not_evaluated(engine: Make) -> None:
    early = NIGHTLY.replace("grace: 30m", "grace: 30m, early: 3h")
    assert (0, 0) == tick(engine(early), "150m")
    assert (1, 0) == tick(engine(early), "1590m")


def test_windows_of_two_scheduled_times_do_not_touch() -> None:
    """An event would meet both, and a job that runs every other time would never be missed."""
    for cron, grace, touch in (
        ("0 2 * * *", "23h", True),
        ("0 2 * * *", "22h59m", False),
        ("*/45 * * * *", "15m", True),
    ):
        text = NIGHTLY.replace("0 14 * * *", cron).replace("grace: 30m", f"grace: {grace}, timezone: Europe/Budapest")
        problems: list[Problem] = []
        load_documents([load(text, "rules.yaml")], schema_with({}), problems)
        assert touch == any("an event could meet two scheduled times" in str(p) for p in problems), (cron, grace)


def test_the_time_zone_is_the_rules_else_the_files_else_the_projects_and_none_is_said() -> None:
    zones: list[tuple[str, bool]] = []
    for rule, defaults, project in (
        ("Asia/Tokyo", "Asia/Seoul", ""),
        ("", "Asia/Seoul", "UTC"),
        ("", "", "UTC"),
        ("", "", ""),
    ):
        text = NIGHTLY.replace("grace: 30m", f"grace: 30m, timezone: '{rule}'")
        text = f"defaults: {{timezone: '{defaults}'}}\n{text}"
        problems: list[Problem] = []
        rules = load_documents([load(text, "rules.yaml")], schema_with({}), problems, timezone=project)
        (item,) = of_spec(rules.rules["nightly"], ScheduleSpec).spec.items
        zones.append((item.schedule.zone, any(p.warning and "no time zone is set" in p.message for p in problems)))
    assert [("Asia/Tokyo", False), ("Asia/Seoul", False), ("UTC", False), ("UTC", True)] == zones


def test_what_comes_late_ends_it_and_says_how_late(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    assert tick(nightly, "150m") == (1, 0)
    nightly.at("158m").come({"Status": "Completed", "ExperimentName": "n"})
    (ended,) = nightly.resolved()
    assert (ended.why, wait_of(ended).late, ended.run_id) == (Why.RECOVERED, "came 38 min late", "r1")
    assert tick(nightly, "1589m") == (1, 1)
    assert tick(nightly, "1590m") == (2, 1)
    assert tick(nightly, "3030m") == (2, 1)


def test_a_late_start_is_called_one(engine: Make) -> None:
    nightly = engine(NIGHTLY.replace("Completed", "Running"))
    assert tick(nightly, "150m") == (1, 0)
    nightly.at("158m").come({"Status": "Running", "ExperimentName": "n"})
    assert wait_of(nightly.resolved()[0]).late == "started 38 min late"


def test_an_outage_notifies_nothing_false(engine: Make) -> None:
    """Down over the deadline; what came meanwhile waits in the topic."""
    nightly = engine(NIGHTLY)
    nightly.watermarks = {"test": NOON + timedelta(minutes=100)}
    assert tick(nightly, "150m") == (0, 0)
    nightly.at("210m").restart()
    assert tick(nightly, "211m") == (0, 0)
    nightly.watermarks = {"test": NOON + timedelta(minutes=212)}
    nightly.at("212m").store({"Status": "Completed", "ExperimentName": "n", "TimeGenerated": "140m"})
    assert tick(nightly, "212m") == (0, 0)


def test_only_the_named_consumer_is_waited_for(engine: Make) -> None:
    nightly = engine(NIGHTLY.replace("grace: 30m", "grace: 30m, consumer: airflow"))
    nightly.watermarks = {"airflow": NOON + timedelta(minutes=149), "other": None}
    assert tick(nightly, "150m") == (0, 0)
    nightly.watermarks = {"airflow": NOON + timedelta(minutes=150), "other": None}
    assert tick(nightly, "151m") == (1, 0)


def test_it_waits_for_all_consumers(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    nightly.watermarks = {"a": NOON + timedelta(hours=9), "b": None}
    assert tick(nightly, "150m") == (0, 0)
    nightly.watermarks = {"a": NOON + timedelta(hours=9), "b": NOON + timedelta(minutes=150)}
    assert tick(nightly, "155m") == (1, 0)


def test_a_restart_keeps_the_deadline(engine: Make) -> None:
    nightly = engine(NIGHTLY)
    nightly.at("140m").restart()
    assert tick(nightly, "150m") == (1, 0)
    nightly.restart()
    assert tick(nightly, "160m") == (1, 0)


def test_one_rule_for_each_row_of_a_table(engine: Make) -> None:
    """Each has its own schedule and instance, all have one shape."""
    nightly = engine()
    rules = of_table(ROWS)
    nightly.use(rules)
    spec = of_spec(rules.rules["nightly"], ScheduleSpec).spec
    assert len({item.plan.shape for item in spec.items}) == 1
    assert tick(nightly, "150m") == (1, 0)
    nightly.at("185m").come({"Status": "Completed", "ExperimentName": "b"})
    assert tick(nightly, "239m") == (1, 0)
    assert tick(nightly, "240m") == (1, 0)
    assert [i.instance for i in nightly.notified()] == [{"experiment": "a"}]
    nightly.at("250m").come({"Status": "Completed", "ExperimentName": "a"})
    assert [i.instance for i in nightly.resolved()] == [{"experiment": "a"}]


def test_a_row_that_is_taken_out_is_expected_no_more(engine: Make) -> None:
    nightly = engine()
    nightly.use(of_table(ROWS))
    assert tick(nightly, "150m") == (1, 0)
    nightly.use(of_table(ROWS[1:]))
    assert tick(nightly, "151m") == (1, 0)
    assert nightly.state.conditions("nightly") == {}
    assert [t.key for t in nightly.state.timers()] == ['{"experiment":"b"}']


def test_a_schedule_that_changes_counts_from_then(engine: Make) -> None:
    nightly = engine()
    nightly.use(of_table(ROWS))
    nightly.at("60m").use(of_table([{**ROWS[0], "grace": "45m"}, ROWS[1]]))
    assert tick(nightly, "150m") == (0, 0)
    assert tick(nightly, "165m") == (1, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NIGHTLY.replace("0 14 * * *", "0 25 * * *"), "is no cron"),
        (NIGHTLY.replace("0 14 * * *", "@daily"), "is no cron"),
        (NIGHTLY.replace("grace: 30m", "grace: soon"), "'soon' is not a duration"),
        (NIGHTLY.replace("grace: 30m", "grace: 30m, timezone: Europe/Buda"), "'Europe/Buda' is no time zone"),
        (NIGHTLY.replace("grace: 30m", "grace: 30m, except: {country: XX}"), "the holidays of 'XX' are not known"),
        (NIGHTLY.replace(', cron: "0 14 * * *"', ""), "does not say when it ought to come"),
        (NIGHTLY.replace("'n'\"}", "'n'\"}, status: Failed"), "stands beside absent"),
        (NIGHTLY.replace("ExperimentName ==", "Experiment =="), "Experiment"),
        (TABLE.replace("nightlies", "nightly"), "there is no table 'nightly'"),
        (TABLE.replace("== experiment", "== experimint"), "experimint"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        of_table(ROWS, text)
    assert says in str(caught.value)


def test_what_is_wrong_in_a_row_names_the_row() -> None:
    with pytest.raises(ConfigurationError) as caught:
        of_table([ROWS[0], {**ROWS[1], "cron": "never"}])
    assert "row 2 of the table: 'never' is no cron" in str(caught.value)


def test_an_inline_test_gives_the_rows(engine: Make) -> None:
    from tocsin.rules.testing.run import run_tests

    text = (
        TABLE
        + """
    tests:
      - name: one is missing
        tables:
          nightlies:
            - {experiment: x, cron: "0 14 * * *", grace: 30m}
            - {experiment: y, cron: "0 14 * * *", grace: 30m}
        events:
          - {at: 130m, RunId: r1, Status: Completed, ExperimentName: y}
        expect:
          - {at: 150m, notifications: 1, firing: [{experiment: x}]}
"""
    )
    (result,) = run_tests(of_table(ROWS, text))
    assert result.passed, str(result)


def test_what_goes_with_absent_says_so() -> None:
    with pytest.raises(ConfigurationError) as caught:
        of_table([], 'rules:\n  - name: x\n    when: {status: Failed, cron: "0 2 * * *"}\n')
    assert "when.cron: belongs to an absence rule" in str(caught.value)
