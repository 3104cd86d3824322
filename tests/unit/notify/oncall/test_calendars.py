"""Calendar feeds as schedules, and schedules as calendars."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from tests.oracle.effort import examples
from tests.oracle.oncall import utc
from tocsin.config.calendars.ical import MOST_BYTES, BadCalendar
from tocsin.model.calendars.wallclock import parse_range
from tocsin.notify.oncall.feed import FeedState, PeopleBy, Reader, export, state_of
from tocsin.notify.oncall.schedule import Entry, Layer, Override, Rotation, Schedule

BUDAPEST = ZoneInfo("Europe/Budapest")
PEOPLE = {"anna": "anna@example.org", "bela": "bela@example.org", "Anna-Maria": "am@example.org"}
START, END = utc("2026-12-01T00:00"), utc("2027-01-01T00:00")


def ics(*events: str) -> bytes:
    body = "".join(f"BEGIN:VEVENT\r\nUID:{n}\r\n{event}\r\nEND:VEVENT\r\n" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\n{body}END:VCALENDAR\r\n".encode()


def read(*events: str, by: PeopleBy = PeopleBy.SUMMARY) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    found = Reader(people=PEOPLE, by=by, zone=BUDAPEST).read(ics(*events), START, END)
    return [(f"{e.start:%d %H:%M}", f"{e.end:%d %H:%M}", e.who) for e in found.entries], found.unknown


WEEK = "DTSTART:20261207T080000Z\r\nDTEND:20261214T080000Z\r\n"


@pytest.mark.parametrize(
    ("summary", "who"),
    [
        ("anna", "anna"),
        ("Anna", "anna"),
        ("BELA@example.org", "bela"),
        ("On call: bela (primary)", "bela"),
        ("Anna-Maria is on call", "Anna-Maria"),  # the longer name, not the one within it
    ],
)
def test_an_event_names_a_person_by_name_address_or_one_word_of_its_summary(summary: str, who: str) -> None:
    assert ([("07 08:00", "14 08:00", who)], ()) == read(f"{WEEK}SUMMARY:{summary}")


@pytest.mark.parametrize("summary", ["dora", "anna or bela", "annabel", "mallory@example.org"])
def test_an_event_that_names_nobody_or_two_is_said_and_puts_nobody_on_call(summary: str) -> None:
    """An address that no person has is not taken out of a feed: else whoever writes into the calendar could page the world."""
    assert ([], (summary,)) == read(f"{WEEK}SUMMARY:{summary}")


def test_attendees_are_on_call_where_people_are_by_attendee() -> None:
    event = f"{WEEK}SUMMARY:shift\r\nATTENDEE;CN=Anna:mailto:anna@example.org\r\nATTENDEE:MAILTO:bela@example.org"
    expected = [("07 08:00", "14 08:00", "anna"), ("07 08:00", "14 08:00", "bela")]
    assert (expected, ()) == read(event, by=PeopleBy.ATTENDEE)


def test_days_and_times_without_a_zone_are_the_schedules() -> None:
    event = "DTSTART;VALUE=DATE:20261207\r\nDTEND;VALUE=DATE:20261209\r\nSUMMARY:anna"
    assert ([("06 23:00", "08 23:00", "anna")], ()) == read(event)
    assert ([("07 07:00", "07 08:00", "anna")], ()) == read(
        "DTSTART:20261207T080000\r\nDTEND:20261207T090000\r\nSUMMARY:anna"
    )


def test_recurring_events_are_expanded_and_cancelled_ones_left_out() -> None:
    weekly = "DTSTART:20261207T080000Z\r\nDTEND:20261208T080000Z\r\nRRULE:FREQ=WEEKLY;COUNT=3\r\nSUMMARY:anna"
    cancelled = f"{WEEK}SUMMARY:bela\r\nSTATUS:CANCELLED"
    expected = [("07 08:00", "08 08:00", "anna"), ("14 08:00", "15 08:00", "anna"), ("21 08:00", "22 08:00", "anna")]
    assert (expected, ()) == read(weekly, cancelled)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"<html>", "is no iCalendar file: it does not begin with BEGIN:VCALENDAR"),
        (b"BEGIN:VCALENDAR" + b" " * MOST_BYTES, "is larger than 2 MiB"),
        (ics("DTSTART:20261207T080000Z\r\nRRULE:FREQ=SECONDLY\r\nSUMMARY:anna"), "recurs more often than daily"),
        (ics("DTSTART:nonsense\r\nSUMMARY:anna"), "is no iCalendar file that can be read"),
    ],
    ids=["html", "large", "secondly", "nonsense"],
)
def test_hostile_feeds_are_refused(raw: bytes, said: str) -> None:
    with pytest.raises(BadCalendar, match=said):
        Reader(people=PEOPLE, zone=BUDAPEST).read(raw, START, END)


@settings(max_examples=examples(50), deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_read_or_refused(tail: bytes) -> None:
    try:
        Reader(people=PEOPLE, zone=BUDAPEST).read(b"BEGIN:VCALENDAR\r\n" + tail, START, END)
    except BadCalendar:
        pass


def test_a_feed_that_cannot_be_read_is_a_warning_after_an_hour() -> None:
    now, hour = utc("2026-12-01T12:00"), timedelta(hours=1)
    assert FeedState.NEVER_READ is state_of(None, now - hour, now)
    assert FeedState.FRESH is state_of(now - 5 * hour, None, now)
    assert FeedState.RETRYING is state_of(now - 5 * hour, now - hour + timedelta(seconds=1), now)
    assert FeedState.FAILING is state_of(now - 5 * hour, now - hour, now)


# -- export ------------------------------------------------------------------------------------------------------------

LAYER = Layer(
    name="eu",
    zone=BUDAPEST,
    hours=(parse_range("08:00-20:00"),),
    rotation=Rotation(members=("anna", "bela"), start=datetime(2026, 1, 5, 9)),
)
LONG = Override(start=utc("2026-12-10T00:00"), end=utc("2026-12-20T00:00"), who="bela", reason="ű" * 200)
SCHEDULE = Schedule(name="primary", zone=BUDAPEST, layers=(LAYER,), overrides=(LONG,))
STAMP = utc("2026-11-29T12:00")


def exported(first: str, last: str, who: str = "") -> bytes:
    return export(SCHEDULE, utc(first), utc(last), STAMP, who=who, addresses=PEOPLE)


def test_lines_end_with_crlf_and_are_folded_at_75_octets() -> None:
    raw = exported("2026-12-01T00:00", "2026-12-31T00:00")
    lines = raw.split(b"\r\n")
    assert b"" == lines[-1] and not any(b"\n" in line or b"\r" in line for line in lines)
    assert 75 == max(map(len, lines))
    for event in Calendar.from_ical(raw).walk("VEVENT"):
        assert STAMP == event.decoded("DTSTAMP")
    assert any("ű" * 200 in str(e["DESCRIPTION"]) for e in Calendar.from_ical(raw).walk("VEVENT"))


def test_a_shift_has_one_uid_in_every_export() -> None:
    """A shift that the range cuts is exported whole: a calendar updates it and never shows it twice."""
    by_start = [
        {str(e["UID"]): (e.decoded("DTSTART"), e.decoded("DTEND")) for e in Calendar.from_ical(raw).walk("VEVENT")}
        for raw in (exported("2026-12-01T00:00", "2026-12-31T00:00"), exported("2026-12-15T00:00", "2026-12-16T00:00"))
    ]
    assert [(LONG.start, LONG.end)] == list(by_start[1].values())
    assert by_start[1].items() <= by_start[0].items()
    assert len(by_start[0]) == len(set(by_start[0].values()))


def test_a_persons_own_calendar_has_only_her_shifts() -> None:
    events = list(Calendar.from_ical(exported("2026-12-01T00:00", "2026-12-31T00:00", "anna")).walk("VEVENT"))
    assert events and all("anna on call (primary)" == str(e["SUMMARY"]) for e in events)
    assert all("mailto:anna@example.org" == str(e["ATTENDEE"]) for e in events)


def test_an_export_read_as_a_feed_says_the_same() -> None:
    raw = exported("2026-12-01T00:00", "2026-12-31T00:00")
    found = Reader(people=PEOPLE, zone=BUDAPEST).read(raw, START, END)
    assert () == found.unknown
    shifts = {(e.start, e.end, e.who) for e in found.entries}
    assert (LONG.start, LONG.end, "bela") in shifts
    assert (utc("2026-12-01T07:00"), utc("2026-12-01T19:00"), "bela") in shifts
    assert all(isinstance(e, Entry) for e in found.entries)
