"""Clocks that maintenance stops: a deadline moves by exactly the time that its clock stood still, and what is
announced late holds too.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine
from tests.unit.rules.said import wait_of
from tocsin.config.yaml.durations import parse_duration
from tocsin.model.alert import Phase, Why
from tocsin.model.calendars.calendar import Maintenance
from tocsin.rules.history import micros, moment
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.pausing import runs_out, together, under
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.testing.run import run_tests

Make = Callable[..., Engine]
Load = Callable[[str], RuleSet]

FORMS = {
    "in_status_for": "{status: Running, in_status_for: 45m}",
    "silent_for": "{status: Running, silent_for: 45m}",
    "unchanged": "{status: Running, unchanged: Progress, for: 45m}",
    "absent": '{absent: {status: Completed}, cron: "0 12 * * *", grace: 45m}',
}
TEXT = """
rules:
  - name: waits
    when: %s
    severity: error
    labels: {team: ranking}
"""


def pause(begin: str, end: str, settle: str = "0", **more: Any) -> Maintenance:
    return Maintenance(begin=at(begin), end=at(end), settle=parse_duration(settle), **more)


def at(text: str) -> datetime:
    """``-5m`` or ``5m`` from noon."""
    sign = -1 if text.startswith("-") else 1
    return NOON + sign * parse_duration(text.removeprefix("-"))


def notified(engine: Engine, when: datetime) -> int:
    engine.clock.set(when)
    engine.tick()
    engine.tick()
    return len(engine.notified())


US = timedelta(microseconds=1)


def begun(engine: Make, form: str, *pauses: Maintenance) -> Engine:
    """A run on aks-eu came at noon; the schedule's time is noon too."""
    made = engine(TEXT % FORMS[form])
    made.clock.set(at("-10m" if form == "absent" else "0"))
    announce(made, *pauses)
    made.at("0").come({"Status": "Running", "Target": "aks-eu", "Progress": 0.5})
    return made


def announce(engine: Engine, *pauses: Maintenance) -> None:
    engine.use(
        under(RuleSet({name: kind_of(rule).under(rule, ()) for name, rule in engine.rules.rules.items()}), pauses)
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("pauses", "due"),
    [
        ([], "45m"),
        ([pause("10m", "30m")], "65m"),
        ([pause("10m", "30m", "5m")], "70m"),  # it stands still until it has settled
        ([pause("-60m", "30m")], "75m"),  # only what lies after its begin
        ([pause("-60m", "-10m", "30m")], "65m"),  # and be it by settling
        ([pause("45m", "2h")], "45m"),  # what begins with the deadline comes too late
        ([pause("44m", "2h")], "121m"),
        ([pause("10m", "30m"), pause("20m", "40m")], "75m"),  # counted once
        ([pause("10m", "30m"), pause("60m", "70m")], "75m"),  # the second is met because of the first
    ],
)
def test_the_deadline_moves_by_the_time_that_the_clock_stood_still(
    engine: Make, form: str, pauses: list[Maintenance], due: str
) -> None:
    """Not one µs before, and over a restart."""
    waits = begun(engine, form, *pauses)
    assert 0 == notified(waits, at(due) - US)
    waits.restart()
    assert 1 == notified(waits, at(due))
    stood = parse_duration(due) - timedelta(minutes=45)
    assert [stood.total_seconds()] == [wait_of(i).stood for i in waits.notified()]


@pytest.mark.parametrize(
    ("match", "but", "stops"),
    [
        ({}, {}, True),
        ({"Target": frozenset({"aks-eu", "aks-us"})}, {}, True),
        ({"Target": frozenset({"aks-us"})}, {}, False),
        ({"team": frozenset({"ranking"})}, {}, True),
        ({"team": frozenset({"ads"})}, {}, False),
        ({"rule": frozenset({"waits"})}, {}, True),
        ({"rule": frozenset({"other"})}, {}, False),
        ({"severity": frozenset({"error"}), "Target": frozenset({"aks-eu"})}, {}, True),
        ({"severity": frozenset({"error"}), "Target": frozenset({"aks-us"})}, {}, False),
        ({"nosuch": frozenset({""})}, {}, False),
        ({}, {"severity": frozenset({"critical"})}, True),
        ({}, {"severity": frozenset({"critical", "error"})}, False),
        ({}, {"Target": frozenset({"aks-eu"}), "team": frozenset({"ads"})}, True),
    ],
)
def test_only_what_it_matches_stands_still(
    engine: Make, match: dict[str, frozenset[str]], but: dict[str, frozenset[str]], stops: bool
) -> None:
    """Columns of the run, labels, rule and severity; all of `match`, and not all of `except`."""
    waits = begun(engine, "in_status_for", pause("10m", "30m", match=match, but=but))
    assert (0 if stops else 1) == notified(waits, at("45m"))
    assert 1 == notified(waits, at("65m"))


def test_each_run_has_its_own_clock(engine: Make) -> None:
    """The cluster next door goes on."""
    waits = begun(engine, "silent_for", pause("10m", "30m", match={"Target": frozenset({"aks-eu"})}))
    waits.come({"RunId": "r2", "Status": "Running", "Target": "aks-us"})
    assert 1 == notified(waits, at("46m"))  # a second commit at noon is a µs later
    assert ["r2"] == [i.run_id for i in waits.notified()]
    assert 2 == notified(waits, at("65m"))


def test_a_schedule_is_matched_by_its_table_and_labels(engine: Make, load: Load) -> None:
    """It has no run."""
    waits = begun(engine, "absent", pause("10m", "30m", match={"Target": frozenset({"aks-eu"})}))
    assert 1 == notified(waits, at("45m"))
    waits = begun(engine, "absent", pause("10m", "30m", match={"team": frozenset({"ranking"})}))
    assert 0 == notified(waits, at("45m"))


def test_what_cannot_be_reached_and_what_stands_still_count_once(engine: Make) -> None:
    """Unreachable 5..20, paused 10..30: 25 minutes, of which the maintenance makes 10."""
    waits = begun(engine, "silent_for", pause("10m", "30m"))
    waits.outages = {"test": [(at("5m"), at("20m"))]}
    assert 0 == notified(waits, at("70m") - US)
    assert 1 == notified(waits, at("70m"))
    assert [600.0] == [wait_of(i).stood for i in waits.notified()]


def test_a_grace_of_nothing_does_not_ring_inside(engine: Make) -> None:
    """What is scheduled within a maintenance is expected at its end."""
    waits = engine((TEXT % FORMS["absent"]).replace(", grace: 45m", ""))
    waits.clock.set(at("-10m"))
    announce(waits, pause("-5m", "30m"))
    assert 0 == notified(waits, at("30m") - US)
    assert 1 == notified(waits, at("30m"))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_announced_late_ends_without_a_notification_what_it_stops(engine: Make, form: str) -> None:
    """They pulled the plug at ten past and wrote it down at fifty past: no recovered mail, and it is notified again
    in its time.
    """
    waits = begun(engine, form)
    assert 1 == notified(waits, at("45m"))
    waits.at("50m")
    announce(waits, pause("10m", "60m"))
    assert [] == [s for s in waits.state.conditions("waits").values() if s.phase is Phase.FIRING]
    assert [Why.MAINTENANCE] == [
        t.reason for e in waits.evaluations for t in e.outcome.transitions if t.after is Phase.RESOLVED
    ]
    assert 1 == notified(waits, at("95m") - US)
    assert 2 == notified(waits, at("95m"))
    assert [] == waits.resolved()


@pytest.mark.parametrize("form", FORMS)
def test_what_fired_before_goes_on(engine: Make, form: str) -> None:
    """A maintenance that begins after the deadline stops nothing of it; it ends when the run moves on."""
    waits = begun(engine, form)
    assert 1 == notified(waits, at("45m"))
    waits.at("50m")
    announce(waits, pause("46m", "60m"))
    assert 1 == notified(waits, at("2h"))
    waits.at("3h").come({"Status": "Completed"})
    assert 1 == len(waits.resolved())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_taken_back_lets_clocks_go_on(engine: Make, form: str) -> None:
    """The deadline is where it would have been; one that has passed by now is notified now."""
    waits = begun(engine, form, pause("10m", "2h"))
    waits.at("30m")
    announce(waits)
    assert 0 == notified(waits, at("45m") - US)
    assert 1 == notified(waits, at("45m"))
    waits = begun(engine, form, pause("10m", "2h"))
    assert 0 == notified(waits, at("50m"))
    announce(waits)
    assert 1 == notified(waits, at("50m"))


def test_a_long_maintenance_makes_no_run_expired(engine: Make) -> None:
    """Two days without a sign of life were announced; `max_event_age` is a day."""
    waits = begun(engine, "silent_for", pause("10m", "2d"))
    assert 0 == notified(waits, at("2d") + timedelta(minutes=34))
    assert 1 == notified(waits, at("2d") + timedelta(minutes=35))


def test_inline_tests_know_no_maintenance(load: Load) -> None:
    """They are about the rule alone."""
    text = (
        TEXT % FORMS["in_status_for"]
        + """
    tests:
      - name: notified
        events: [{at: 0s, RunId: r1, Status: Running}]
        expect: [{at: 45m, notifications: 1}]
"""
    )
    rules = under(load(text), [pause("-1d", "1d")])
    assert [True] == [r.passed for r in run_tests(rules)]


def test_explain_says_when_a_clock_may_stand(load: Load) -> None:
    """So that a person who wonders why nothing rings can see it; what cannot be about the rule is left out."""
    mine = pause("1h", "2h", "20m", match={"Target": frozenset({"aks-eu"})})
    other = pause("3h", "4h", match={"rule": frozenset({"other"})})
    rule = under(load(TEXT % FORMS["silent_for"]), [mine, other]).rules["waits"]
    assert {
        "waits_for": "silent_for 45m",
        "in": "Running",
        "clock_may_stand": "2026-01-05 13:00 to 2026-01-05 14:20 UTC ()",
    } == explain(rule).waits


MINUTES = st.integers(-120, 600)
PAUSES = st.lists(st.tuples(MINUTES, st.integers(1, 200), st.integers(0, 60)), max_size=5)


def oracle(since: int, length: int, pauses: list[tuple[int, int, int]]) -> int:
    """Minute by minute: the first one by whose begin ``length`` minutes have been counted."""
    minute, counted = since, 0
    while counted < length:
        counted += not any(begin <= minute < begin + lasts + settles for begin, lasts, settles in pauses)
        minute += 1
    return minute


@given(st.integers(-60, 300), st.integers(1, 300), PAUSES)
def test_a_clock_counts_each_minute_outside_of_every_pause(
    since: int, length: int, pauses: list[tuple[int, int, int]]
) -> None:
    """A slow clock that looks each minute says the same."""
    spans = together([[(at_minute(b), at_minute(b + n + s))] for b, n, s in pauses])
    found = runs_out(micros(at_minute(since)), length * 60_000_000, spans)
    assert at_minute(oracle(since, length, pauses)) == moment(found)


def at_minute(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(FORMS)),
    PAUSES,
    st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from(["restart", "reload", "announce", "withdraw"])), max_size=4
    ),
    st.integers(0, 4),
)
def test_over_restarts_and_reloads_it_is_notified_once_and_when_the_oracle_says(
    engine: Make, form: str, pauses: list[tuple[int, int, int]], doings: list[tuple[int, str]], late: int
) -> None:
    """Pauses may be announced later and taken back: what counts is what is announced at last, if nothing was
    notified before.
    """
    made = [Maintenance(begin=at_minute(b), end=at_minute(b + n), settle=timedelta(minutes=s)) for b, n, s in pauses]
    waits = begun(engine, form, *made)
    held = list(pauses)
    now, due = 0, oracle(0, 45, held)
    for minute, what in sorted(doings):
        if minute >= due or minute > 1400:
            break
        assert 0 == notified(waits, at_minute(minute))
        if what == "restart":
            waits.restart()
        elif what == "reload":
            announce(waits, *made)
        elif what == "announce":
            begin = minute + late
            held.append((begin, 30, 5))
            made.append(Maintenance(begin=at_minute(begin), end=at_minute(begin + 30), settle=timedelta(minutes=5)))
            announce(waits, *made)
        elif held:
            held.pop()
            made.pop()
            announce(waits, *made)
        now, due = minute, max(oracle(0, 45, held), minute)
    if due > now:
        assert 0 == notified(waits, at_minute(due) - US)
    assert 1 == notified(waits, at_minute(due))
    assert 1 == notified(waits, at_minute(due + 100))
