"""Days and times of on-call files reach the rules; faults of both come at once, each once."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.eventually import eventually
from tests.unit.config.test_calendars import Answers, server
from tocsin.app.project.content import Content, gather, load_content
from tocsin.app.project.rules import refresh_calendars, rules_of
from tocsin.app.run.reload import Reloader
from tocsin.clock import ManualClock, SystemClock
from tocsin.config.project.home import Home
from tocsin.config.project.watch import Watch
from tocsin.errors import Problem
from tocsin.metrics.registry import Metrics
from tocsin.notify.routing.files import OnCallFiles
from tocsin.rules.kinds.deadline.spec import DeadlineSpec
from tocsin.rules.kinds.schedule.spec import ScheduleSpec
from tocsin.rules.spec.rule import of_spec

__all__ = ["server"]  # a fixture

RULES = """
rules:
  - name: stuck
    when: {status: Queued, in_status_for: 45m}
    labels: {team: ranking}
  - name: nightly
    when: {absent: {status: Completed}, cron: "0 2 * * *", timezone: UTC, except: company}
"""
DAYS = """
calendars:
  company: {ical: calendars/company.ics, dates: [2026-12-24]}
maintenance:
  - {from: 2026-12-01T20:00Z, to: 2026-12-01T23:00Z, match: {team: ranking}, deadlines: pause}
  - {from: 2026-12-02T20:00Z, to: 2026-12-02T23:00Z, match: {rule: other}, deadlines: pause}
"""
ICS = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20261231\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name, text in {
        "rules/alerts/mine.yaml": RULES, "rules/oncall/days.yaml": DAYS, "calendars/company.ics": ICS,
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return Home(tmp_path)


def faults(home: Home) -> list[str]:
    problems: list[Problem] = []
    gather(home, problems)
    return [str(p) for p in problems]


def test_rules_know_the_days_and_the_times(home: Home) -> None:
    """Each rule has those maintenances that can be about it."""
    problems: list[Problem] = []
    content = gather(home, problems)
    assert ([], True) == (problems, content is not None)
    assert content is not None
    nightly = of_spec(content.rules.rules["nightly"], ScheduleSpec)
    stuck = of_spec(content.rules.rules["stuck"], DeadlineSpec)
    assert [True, True, False] == [date(2026, 12, d) in nightly.spec.calendar for d in (24, 31, 30)]
    assert ["rules/oncall/days.yaml:5"] == [m.place for m in stuck.spec.pauses]
    assert nightly.spec.calendar == of_spec(rules_of(home).rules["nightly"], ScheduleSpec).spec.calendar


def test_what_no_rule_has_is_no_match(home: Home) -> None:
    """A label with a slip of the pen would stop nothing."""
    path = home.path / "rules/oncall/days.yaml"
    path.write_text(DAYS.replace("team: ranking", "taem: ranking"))
    (fault,) = faults(home)
    assert fault.startswith("rules/oncall/days.yaml:5: maintenance[0].match.taem: 'taem' is no column of a run")
    assert fault.endswith("did you mean 'team'?")


def test_a_broken_file_makes_no_faults_of_others(home: Home) -> None:
    """Whose calendars are not known is not blamed for naming one."""
    path = home.path / "rules/oncall/days.yaml"
    path.write_text(DAYS + "people: [{name: anna, email: nobody}]\n")
    assert ["rules/oncall/days.yaml:7"] == [f.partition(": ")[0] for f in faults(home)]
    assert {"stuck", "nightly"} <= set(rules_of(home).rules)


def test_a_changed_calendar_file_is_seen(home: Home) -> None:
    """So a running tocsin reloads."""
    watch = Watch(home)
    (home.path / "calendars/company.ics").write_text(ICS.replace("20261231", "20261230"))
    watch.poll()
    assert {home.path / "calendars/company.ics"} == watch.poll().calendars


def test_nothing_is_fetched_where_there_is_no_url(home: Home) -> None:
    """Asked each hour."""
    clock = ManualClock(datetime(2026, 11, 25, tzinfo=UTC) + timedelta(hours=1))
    assert not refresh_calendars(OnCallFiles(), home, clock)


def test_a_running_tocsin_takes_other_days_of_a_url_into_force(home: Home, server: Answers) -> None:
    """Asked each hour, fetched once a day; what says the same reloads nothing."""
    server.give(ICS.encode())
    path = home.path / "rules/oncall/days.yaml"
    path.write_text(DAYS.replace("calendars/company.ics", f"'{server.url}'"))
    clock = ManualClock(SystemClock().now())
    taken: list[Content] = [load_content(home)]
    reloader = Reloader(
        home,
        home.settings(),
        Metrics(),
        clock=clock,
        content=lambda: taken[-1],
        take=taken.append,
        refused=lambda e: pytest.fail(str(e)),
    )
    reloader.start()
    try:
        clock.advance(timedelta(hours=25))
        eventually(lambda: server.asked == 2, within=10)
        server.give(ICS.replace("20261231", "20261230").encode())
        clock.advance(timedelta(hours=25))
        eventually(lambda: len(taken) == 2, within=10)
    finally:
        reloader.stop()
    nightly = of_spec(taken[-1].rules.rules["nightly"], ScheduleSpec)
    assert [False, True] == [date(2026, 12, d) in nightly.spec.calendar for d in (31, 30)]
