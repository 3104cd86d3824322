"""Wall clocks over both changes."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.oracle.oncall import Walls
from tocsin.model.calendars.wallclock import TimeRange, changes, instant, parse_range, parse_weekdays

BUDAPEST = ZoneInfo("Europe/Budapest")
CHANGES = [
    ("Europe/Budapest", "2026-03-29"), ("Europe/Budapest", "2026-10-25"),
    ("America/Los_Angeles", "2026-03-08"), ("America/Los_Angeles", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),  # by half an hour
    ("Africa/Cairo", "2026-04-24"), ("Africa/Cairo", "2026-10-30"),  # at midnight
]  # fmt: skip


def test_a_skipped_time_means_the_change_and_one_that_comes_twice_the_first() -> None:
    assert datetime(2026, 3, 29, 1, tzinfo=UTC) == instant(datetime(2026, 3, 29, 2, 30), BUDAPEST)
    assert datetime(2026, 10, 25, 0, 30, tzinfo=UTC) == instant(datetime(2026, 10, 25, 2, 30), BUDAPEST)


@given(st.sampled_from(CHANGES), st.integers(min_value=-1440, max_value=2 * 1440))
@example(CHANGES[6], 0)
@example(CHANGES[7], -30)
def test_an_instant_is_the_first_minute_at_which_the_clock_has_reached_it(change: tuple[str, str], minute: int) -> None:
    midnight = datetime.fromisoformat(change[1])
    walls, wall = clocks(*change), midnight + timedelta(minutes=minute)
    assert walls.minutes[walls.first(wall)] == instant(wall, ZoneInfo(change[0]))


@cache
def clocks(zone: str, day: str) -> Walls:
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Walls(zone, midnight - timedelta(days=4), midnight + timedelta(days=4))


def test_changes_of_a_year() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = list(changes(start, start + timedelta(days=365), BUDAPEST))
    assert [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)] == found


def test_a_night_lasts_an_hour_less_in_spring() -> None:
    night = parse_range("22:00-07:00")
    begin, end = night.on(date(2026, 3, 28), BUDAPEST)
    assert timedelta(hours=8) == end - begin


@pytest.mark.parametrize(
    ("text", "start", "end"), [("08:00-20:00", 480, 1200), ("22:00-00:00", 1320, 1440), ("00:00-24:00", 0, 1440)]
)
def test_ranges_are_read(text: str, start: int, end: int) -> None:
    assert TimeRange(start=start, end=end) == parse_range(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8-20", "'8' is not a time of the day; write 08:00, in quotes"),
        ("08:00", "'08:00' is not a range of times; write 08:00-20:00"),
        ("08:00-08:00", "'08:00-08:00' is empty; write 00:00-24:00 for the whole day"),
        ("08:00-25:00", "'25:00' is not a time of the day; write 08:00, in quotes"),
    ],
)
def test_what_is_no_range_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_range(text)
    assert said == str(caught.value)


def test_weekdays_are_read_as_days_and_ranges() -> None:
    assert frozenset({0, 1, 2, 3, 4}) == parse_weekdays("mon-fri") == parse_weekdays("Monday:friday")
    assert frozenset({5, 6, 0}) == parse_weekdays("sat-mon")
    with pytest.raises(ValueError, match="'caturday' is not a day of the week; write one of mon, tue"):
        parse_weekdays("caturday")
