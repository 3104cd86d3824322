"""Time intervals as Alertmanager documents them, mutes, quiet hours, maintenance."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.oncall import utc
from tests.unit.notify.make import oncall
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.calendars.wallclock import TimeRange, parse_range
from tocsin.notify.routing.matchers import one_of
from tocsin.notify.routing.mute import Interval, Maintenance, Mute, QuietHours, Then, TimeInterval, maintained

BUDAPEST, SYDNEY = ZoneInfo("Europe/Budapest"), ZoneInfo("Australia/Sydney")
WEEKDAYS = frozenset(range(5))


def named(name: str, *parts: Interval) -> TimeInterval:
    return TimeInterval(name=name, any_of=parts)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        # "Ranges inclusive of the starting time and exclusive of the end time"
        (Interval(times=(parse_range("17:00-24:00"),)), ["2026-12-01T17:00", "2026-12-01T23:59:59"], ["2026-12-01T16:59:59", "2026-12-02T00:00"]),
        # "within each non-empty list, at least one element must be satisfied"; "all fields must match"
        (
            Interval(times=(parse_range("08:00-09:00"), parse_range("12:00-13:00")), weekdays=frozenset({0, 2})),
            ["2026-11-30T08:30", "2026-12-02T12:30"],
            ["2026-12-01T08:30", "2026-11-30T10:00"],
        ),
        # "-1 during January would represent January 31"; clamped; inclusive on both ends
        (Interval(days_of_month=((-3, -1),)), ["2026-01-29T00:00", "2026-01-31T23:00"], ["2026-01-28T23:59", "2026-02-01T00:00"]),
        (Interval(days_of_month=((1, 31),)), ["2026-02-28T12:00", "2028-02-29T12:00"], []),
        (Interval(days_of_month=((29, 31),)), ["2026-01-30T12:00"], ["2026-02-28T12:00"]),
        (Interval(days_of_month=((-31, -30),)), ["2026-01-01T12:00"], ["2026-02-01T12:00"]),
        (Interval(months=frozenset({1, 2, 3, 12})), ["2026-03-31T23:59", "2026-12-01T00:00"], ["2026-04-01T00:00"]),
        (Interval(years=((2020, 2022), (2030, 2030))), ["2022-12-31T23:59", "2030-01-01T00:00"], ["2023-01-01T00:00"]),
        # "any time that fell between the hours of 9:00AM and 5:00PM, between Monday and Friday, using the local time
        # in Sydney"
        (
            Interval(zone=SYDNEY, times=(parse_range("09:00-17:00"),), weekdays=WEEKDAYS),
            ["2026-11-29T22:00", "2026-12-04T05:59"],
            ["2026-11-29T21:59", "2026-12-04T06:00"],
        ),
        # ours: past midnight, the day is that on which it begins
        (
            Interval(times=(parse_range("22:00-07:00"),), weekdays=frozenset({4})),
            ["2026-12-04T22:00", "2026-12-05T06:59"],
            ["2026-12-04T06:59", "2026-12-05T22:00"],
        ),
        (Interval(days=Calendar(country="HU")), ["2026-12-25T12:00"], ["2026-12-23T12:00"]),
        # "If a field is left unspecified, any value will match the field"
        (Interval(), ["2026-12-25T12:00"], []),
    ],
)  # fmt: skip
def test_when_an_interval_holds(interval: Interval, inside: list[str], outside: list[str]) -> None:
    assert [True] * len(inside) == [interval.holds(utc(t)) for t in inside]
    assert [False] * len(outside) == [interval.holds(utc(t)) for t in outside]


def test_when_it_ends_and_begins() -> None:
    weekends = named("weekends", Interval(zone=BUDAPEST, weekdays=frozenset({5, 6})))
    assert utc("2026-12-06T23:00") == weekends.until(utc("2026-12-05T12:00"))
    assert utc("2026-12-04T23:00") == weekends.until(utc("2026-12-01T12:00"))
    assert named("always", Interval()).until(utc("2026-12-01T12:00")) is None
    assert utc("2027-05-01T00:00") == named("may", Interval(months=frozenset({5}))).until(utc("2026-12-01T00:00"))


MARKS = st.integers(min_value=0, max_value=47).map(lambda n: n * 30)
RANGES = st.tuples(MARKS, MARKS.map(lambda m: m + 30)).filter(lambda r: r[0] != r[1])
ZONES = {"Europe/Budapest": "2026-10-24T00:00", "Africa/Cairo": "2026-10-29T00:00", "America/Los_Angeles": "2026-03-07T12:00", "Australia/Lord_Howe": "2026-04-04T00:00"}  # fmt: skip


@settings(max_examples=examples(40), deadline=None)
@given(
    st.sampled_from(list(ZONES)),
    st.lists(RANGES, max_size=2),
    st.sets(st.integers(0, 6), max_size=4),
    st.integers(0, 2 * 48),
)
def test_until_is_the_first_minute_at_which_it_changes(
    zone: str, ranges: list[tuple[int, int]], weekdays: set[int], half_hours: int
) -> None:
    """Over both changes of clocks; by the clock on the wall, also where an hour comes twice."""
    spec = Interval(
        zone=ZoneInfo(zone), times=tuple(TimeRange(start=a, end=b) for a, b in ranges), weekdays=frozenset(weekdays)
    )
    interval = named("i", spec)
    start = at = utc(ZONES[zone]) + half_hours * timedelta(minutes=30)
    while at < start + timedelta(days=8) and interval.holds(at) is interval.holds(start):
        at += timedelta(minutes=1)
    found = interval.until(start)
    assert found == at or (at == start + timedelta(days=8) and (found is None or found >= at))


@pytest.mark.parametrize(
    ("t", "until"),
    [
        ("2026-10-25T00:40", "2026-10-25T01:00"),  # 02:40: ends when the clock goes back to 02:00
        ("2026-10-25T01:10", "2026-10-25T01:30"),  # 02:10 again: begins once more
        ("2026-10-25T00:10", "2026-10-25T00:30"),
        ("2026-10-25T01:40", "2026-10-25T04:00"),
        ("2026-03-29T00:50", "2026-03-29T01:00"),  # 01:50: 02:30 is skipped, it begins at 03:00
        ("2026-03-29T01:10", "2026-03-29T03:00"),
    ],
)
def test_an_interval_within_the_changed_hour_holds_by_the_clock_on_the_wall(t: str, until: str) -> None:
    """02:30 to 05:00 in Budapest."""
    early = named("early", Interval(zone=BUDAPEST, times=(parse_range("02:30-05:00"),)))
    assert utc(until) == early.until(utc(t))


NIGHT = named("night", Interval(zone=BUDAPEST, times=(parse_range("22:00-07:00"),)))
OFFICE = named("office", Interval(zone=BUDAPEST, times=(parse_range("08:00-18:00"),), weekdays=WEEKDAYS))
LUNCH = named("lunch", Interval(zone=BUDAPEST, times=(parse_range("12:00-13:00"),)))


def test_a_route_is_muted_during_intervals_and_outside_of_those_in_which_it_is_active() -> None:
    mute = Mute(during=(LUNCH,), active=(OFFICE,))
    assert "" == mute.holds(utc("2026-12-01T09:00"))
    assert "lunch" == mute.holds(utc("2026-12-01T11:30"))
    assert "outside of office" == mute.holds(utc("2026-12-01T18:00"))
    assert utc("2026-12-01T12:00") == mute.until(utc("2026-12-01T11:30"))
    assert utc("2026-12-07T07:00") == mute.until(utc("2026-12-04T18:00"))  # over the weekend


def test_a_route_that_is_muted_for_good_has_no_end() -> None:
    assert Mute(during=(named("always", Interval()),)).until(utc("2026-12-01T00:00")) is None


def test_quiet_hours_wait_but_for_what_is_excepted() -> None:
    quiet = QuietHours(interval=NIGHT, but=(one_of("severity", [">= critical"]),))
    night, day = utc("2026-12-01T22:00"), utc("2026-12-01T12:00")
    assert quiet.holds({"severity": "error"}, night)
    assert not quiet.holds({"severity": "critical"}, night)
    assert not quiet.holds({"severity": "error"}, day)
    assert QuietHours(interval=NIGHT).holds({"severity": "critical"}, night)


def test_maintenance_mutes_what_it_matches_from_to_or_during() -> None:
    short = Maintenance(
        start=utc("2026-12-01T20:00"), end=utc("2026-12-01T23:00"), match=(one_of("Target", ["aks-eu"]),),
        but=(one_of("severity", [">= critical"]),), place="m:1",
    )  # fmt: skip
    fields = {"Target": "aks-eu", "severity": "error"}
    assert short.holds(fields, utc("2026-12-01T20:00")) and not short.holds(fields, utc("2026-12-01T23:00"))
    assert not short.holds({"Target": "aks-us"}, utc("2026-12-01T21:00"))
    assert not short.holds({**fields, "severity": "critical"}, utc("2026-12-01T21:00"))
    nightly = Maintenance(during=NIGHT, place="m:2")
    at = utc("2026-12-01T21:30")
    assert "m:2" == getattr(maintained([short, nightly], fields, at), "place", "")  # the one that ends last
    assert utc("2026-12-02T06:00") == nightly.until(at)
    assert maintained([short, nightly], fields, utc("2026-12-01T12:00")) is None


def test_a_maintenance_of_a_file_mutes_what_it_matches_but_not_while_things_settle() -> None:
    (found,) = oncall(
        "maintenance: [{from: 2026-12-01T20:00Z, to: 2026-12-01T23:00Z, settle: 20m, match: {Target: aks-eu},"
        " except: {severity: '>= critical'}}]"
    ).maintenances
    fields = {"Target": "aks-eu", "severity": "error"}
    assert found.holds(fields, utc("2026-12-01T20:00")) and not found.holds(fields, utc("2026-12-01T23:00"))
    assert not found.holds({**fields, "severity": "critical"}, utc("2026-12-01T21:00"))
    assert not found.holds({**fields, "Target": "aks-us"}, utc("2026-12-01T21:00"))
    assert ("oncall.yaml:1", Then.DIGEST) == (found.place, found.then)


def test_a_maintenance_during_a_time_interval_comes_again() -> None:
    (found,) = oncall(
        "maintenance: [{during: weekends, match: {team: ranking}, then: drop}]\n"
        "time_intervals: [{name: weekends, weekdays: [sat, sun]}]"
    ).maintenances
    fields = {"team": "ranking"}
    held = [found.holds(fields, utc(f"2026-12-{day:02}T12:00")) for day in (4, 5, 6, 7, 12)]
    assert ([False, True, True, False, True], Then.DROP) == (held, found.then)


def test_times_are_those_of_the_zone() -> None:
    assert datetime(2026, 12, 1, 21, tzinfo=UTC) == NIGHT.until(utc("2026-12-01T12:00"))
