"""Days off out of iCalendar files, good and hostile."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.config.calendars.ical import BadCalendar, days_off

TODAY = date(2026, 11, 25)


def ics(*events: str) -> bytes:
    body = "".join(f"BEGIN:VEVENT\r\nUID:{n}\r\n{event}\r\nEND:VEVENT\r\n" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\n{body}END:VCALENDAR\r\n".encode()


def found(*events: str, year: int = 2026) -> list[str]:
    return sorted(d.isoformat() for d in days_off(ics(*events), TODAY) if d.year == year)


def test_a_whole_day_is_off_and_the_end_is_not_part_of_it() -> None:
    """DTEND of a date is exclusive; without one the event is a day long."""
    assert ["2026-12-24"] == found("DTSTART;VALUE=DATE:20261224")
    assert ["2026-12-24", "2026-12-25"] == found("DTSTART;VALUE=DATE:20261224\r\nDTEND;VALUE=DATE:20261226")


def test_a_meeting_leaves_no_day_out_a_weekend_away_two() -> None:
    """A day counts as off only where it is covered from midnight to midnight."""
    assert [] == found("DTSTART:20261224T090000Z\r\nDTEND:20261224T170000Z")
    assert ["2026-12-19", "2026-12-20"] == found("DTSTART:20261218T180000Z\r\nDTEND:20261221T080000Z")


def test_days_are_those_of_the_events_own_zone() -> None:
    """Midnight to midnight in Budapest is the day there, though it begins the day before in UTC."""
    event = "DTSTART;TZID=Europe/Budapest:20261224T000000\r\nDTEND;TZID=Europe/Budapest:20261225T000000"
    assert ["2026-12-24"] == found(event)


def test_what_recurs_is_found_each_year_but_for_its_exceptions() -> None:
    """RRULE and EXDATE, some years around the present one."""
    event = "DTSTART;VALUE=DATE:20200501\r\nRRULE:FREQ=YEARLY\r\nEXDATE;VALUE=DATE:20270501"
    days = days_off(ics(event), TODAY)
    assert {date(year, 5, 1) for year in (2024, 2025, 2026, 2028, 2029, 2030, 2031)} == days


def test_a_moved_occurrence_is_off_on_its_new_day() -> None:
    """RECURRENCE-ID overrides one of a series."""
    raw = ics("DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=MONTHLY;COUNT=3").replace(
        b"END:VCALENDAR",
        b"BEGIN:VEVENT\r\nUID:0\r\nRECURRENCE-ID;VALUE=DATE:20260201\r\nDTSTART;VALUE=DATE:20260202\r\nEND:VEVENT\r\n"
        b"END:VCALENDAR",
    )
    assert {date(2026, 1, 1), date(2026, 2, 2), date(2026, 3, 1)} == days_off(raw, TODAY)


def test_a_canceled_event_is_no_day_off() -> None:
    """STATUS:CANCELLED."""
    assert [] == found("DTSTART;VALUE=DATE:20261224\r\nSTATUS:CANCELLED")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=SECONDLY", "more often than daily"),
        ("DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=DAILY;BYHOUR=1,2,3", "more often than daily"),
        ("DTSTART;VALUE=DATE:00010101\r\nRRULE:FREQ=DAILY", "before 1900"),
        ("DTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=DAILY;COUNT=9;BYMONTH=2;BYMONTHDAY=30", "a number of times"),
    ],
)
def test_what_would_take_long_is_refused(event: str, says: str) -> None:
    """A file that somebody else writes costs no minutes."""
    with pytest.raises(BadCalendar, match=says):
        days_off(ics(event), TODAY)


def test_too_many_recurrences_are_refused() -> None:
    """A thousand daily events are a million occurrences."""
    with pytest.raises(BadCalendar, match="too many"):
        days_off(ics(*["DTSTART;VALUE=DATE:20200101\r\nRRULE:FREQ=DAILY"] * 1000), TODAY)


@pytest.mark.timeout(10)
def test_an_event_of_ten_thousand_years_and_an_impossible_one_cost_nothing() -> None:
    """Days are made within a few years only, and a 30 February is not looked for up to the year 9999."""
    days = days_off(
        ics(
            "DTSTART;VALUE=DATE:16010101\r\nDTEND;VALUE=DATE:90001231",
            "DTSTART;VALUE=DATE:20200101\r\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        ),
        TODAY,
    )
    assert date(2024, 1, 1) == min(days)
    assert date(2031, 12, 31) == max(days)
    assert (date(2031, 12, 31) - date(2024, 1, 1)) / timedelta(days=1) + 1 == len(days)


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>sign in</html>", b"\xff\xfe", ics("DTSTART:never"), ics() * 40_000],
    ids=lambda raw: str(len(raw)),
)
def test_what_is_no_calendar_is_refused_with_words(raw: bytes) -> None:
    """A page that asks to sign in is no calendar without days."""
    with pytest.raises(BadCalendar):
        days_off(raw, TODAY)


_LINES = st.sampled_from([
    "BEGIN:VEVENT", "END:VEVENT", "BEGIN:VTIMEZONE", "END:VTIMEZONE", "UID:1", "DTSTART;VALUE=DATE:20260101",
    "DTSTART:20260101T000000", "DTSTART;TZID=Nowhere:20260101T000000", "DTEND:20260103T000000Z", "DURATION:P3D", "DURATION:-P9D",
    "RRULE:FREQ=WEEKLY;BYDAY=MO", "RRULE:FREQ=YEARLY;BYWEEKNO=53", "RRULE:BYDAY=MO", "RRULE:FREQ=DAILY;INTERVAL=0", "EXDATE:x",
    "RDATE;VALUE=DATE:20260301", "RRULE:FREQ=DAILY;UNTIL=20260110T000000Z", "RECURRENCE-ID:20260101", "STATUS:cancelled", "DTEND;VALUE=DATE:99991231",
    "X-WR-TIMEZONE:Mars/Olympus", "END:VCALENDAR", "BEGIN:VCALENDAR", ":", "RRULE:FREQ=MONTHLY;COUNT=99999",
])  # fmt: skip


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.one_of(_LINES, st.text(max_size=20)), max_size=14))
def test_whatever_stands_in_it_days_or_a_refusal_come_out(lines: list[str]) -> None:
    """No other error gets out."""
    raw = "\r\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR"]).encode("utf-8", "surrogatepass")
    try:
        assert all(2024 <= day.year <= 2031 for day in days_off(raw, TODAY))
    except BadCalendar:
        pass
