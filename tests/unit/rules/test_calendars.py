"""Calendars with a name in absence rules by a schedule: which days count is no part of a rule's meaning."""

from collections.abc import Callable
from datetime import date

import pytest

from tests.unit.rules.conftest import Engine
from tocsin.config.yaml.document import load
from tocsin.errors import Problem
from tocsin.kql.schema import schema_with
from tocsin.model.alert import Phase
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.compile.load import load_documents
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.ruleset import RuleSet

Make = Callable[..., Engine]
TEXT = """
rules:
  - name: nightly
    when: {absent: {status: Completed}, cron: "0 14 * * *", grace: 30m, except: company}
"""
MONDAY, TUESDAY, WEDNESDAY = date(2026, 1, 5), date(2026, 1, 6), date(2026, 1, 7)


def rules(*days: date, text: str = TEXT, name: str = "company") -> tuple[RuleSet, list[str]]:
    problems: list[Problem] = []
    calendars = {name: Calendar(dates=frozenset(days)), "hu-holidays": Calendar(country="HU")}
    found = load_documents([load(text, "rules.yaml")], schema_with({}), problems, calendars=calendars, timezone="UTC")
    return found, [str(p) for p in problems]


def awaiting(engine: Make, *days: date) -> Engine:
    made = engine(TEXT.replace(", except: company", ""))
    made.use(rules(*days)[0])
    return made


def notified(engine: Engine, at: str) -> tuple[int, int]:
    engine.at(at).tick()
    engine.tick()
    return len(engine.notified()), len(engine.resolved())


def test_days_of_a_named_calendar_do_not_count(engine: Make) -> None:
    """Monday is left out, Tuesday rings."""
    nightly = awaiting(engine, MONDAY)
    assert (0, 0) == notified(nightly, "150m")
    assert (1, 0) == notified(nightly, "1590m")


@pytest.mark.parametrize(
    ("said", "hint"),
    [("hu-holiday", "did you mean 'hu-holidays'?"), ("work", "known are company, hu-holidays")],
)
def test_a_name_that_nobody_declared_is_a_fault_at_its_line(said: str, hint: str) -> None:
    """With what would be right."""
    _, problems = rules(text=TEXT.replace("company", said))
    assert [f"rules.yaml:4: rules[0].when.except: no calendar is called '{said}'; {hint}"] == problems


def test_where_calendars_are_not_known_none_is_missed() -> None:
    """A broken on-call file makes no second fault of each rule."""
    problems: list[Problem] = []
    load_documents([load(TEXT, "rules.yaml")], schema_with({}), problems, timezone="UTC")
    assert [] == problems


def test_a_changed_calendar_is_no_other_meaning() -> None:
    """Next year's holidays change nothing that fires today."""
    assert rules(MONDAY)[0].rules["nightly"].meaning == rules(TUESDAY)[0].rules["nightly"].meaning


def test_a_day_that_is_taken_out_is_expected_no_more(engine: Make) -> None:
    """Also where its time has passed and its grace runs: what was announced in time is heeded."""
    for at in ("1h", "140m"):
        nightly = awaiting(engine)
        nightly.at(at).use(rules(MONDAY)[0])
        assert (0, 0) == notified(nightly, "150m")
        assert (1, 0) == notified(nightly, "1590m")


def test_a_day_that_counts_again_is_expected(engine: Make) -> None:
    """Tuesday's was next; it is Monday's now."""
    nightly = awaiting(engine, MONDAY)
    nightly.at("1h").use(rules()[0])
    assert (1, 0) == notified(nightly, "150m")


def test_another_calendar_leaves_a_grace_that_runs_alone(engine: Make) -> None:
    """Monday's is still missing."""
    nightly = awaiting(engine)
    nightly.at("140m").use(rules(WEDNESDAY)[0])
    assert (1, 0) == notified(nightly, "150m")


def test_what_fires_about_a_day_that_is_taken_out_ends_without_a_notification(engine: Make) -> None:
    """No recovered mail: nothing came. What fires about another day goes on."""
    nightly = awaiting(engine)
    assert (1, 0) == notified(nightly, "150m")
    nightly.at("160m").use(rules(TUESDAY)[0])
    assert [Phase.FIRING] == [s.phase for s in nightly.state.conditions("nightly").values()]
    nightly.at("170m").use(rules(MONDAY)[0])
    assert [] == [s.phase for s in nightly.state.conditions("nightly").values()]
    assert (1, 0) == notified(nightly, "171m")
    assert (2, 0) == notified(nightly, "1590m")


def test_explain_says_which_days_do_not_count() -> None:
    """By the calendar's name and what it says."""
    assert (
        "company: 2 dates, 2026-01-05 to 2026-01-06"
        == explain(rules(MONDAY, TUESDAY)[0].rules["nightly"]).waits["except"]
    )
    named = explain(rules(text=TEXT.replace("company", "hu-holidays"))[0].rules["nightly"]).waits
    assert {"cron": "0 14 * * *", "timezone": "UTC", "grace": "30m", "except": "hu-holidays: holidays of HU"} == named
