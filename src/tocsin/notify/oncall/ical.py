"""Shifts as an iCalendar file (RFC 5545): CRLF, lines folded at 75 octets, stable UIDs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tocsin.model.alert import fingerprint
from tocsin.notify.oncall.schedule import Schedule
from tocsin.notify.oncall.shifts import Shift, person_shifts, shift_at, shifts


def export(
    schedule: Schedule, start: datetime, end: datetime, stamp: datetime, *, who: str = "", addresses: Mapping[str, str]
) -> bytes:
    """Shifts that have a part in [start, end), whole, of all or of ``who``; ``addresses`` by name. ``stamp`` is
    DTSTAMP, UTC.

    A shift has the same UID in every export, so that calendars update it and never show it twice.
    """
    from icalendar import Calendar, Event, vCalAddress

    calendar = Calendar()
    calendar.add("PRODID", "-//tocsin//on call//EN")
    calendar.add("VERSION", "2.0")
    calendar.add("X-WR-CALNAME", f"on call: {schedule.name}")
    for shift in _whole(schedule, start, end):
        (each,) = shift.on_call
        if who and each.who != who:
            continue
        event = Event()
        event.add("UID", f"{fingerprint(schedule.name, each.who, shift.start.isoformat())}@tocsin")
        event.add("DTSTAMP", stamp)
        event.add("DTSTART", shift.start)
        event.add("DTEND", shift.end)
        event.add("SUMMARY", f"{each.who} on call ({schedule.name})")
        event.add("DESCRIPTION", each.text)
        if address := addresses.get(each.who):
            event.add("ATTENDEE", vCalAddress(f"mailto:{address}"))
        calendar.add_component(event)
    return bytes(calendar.to_ical())


def _whole(schedule: Schedule, start: datetime, end: datetime) -> Iterable[Shift]:
    """Each person's shifts, those cut by ``start`` or ``end`` as long as they are."""
    if start >= end:
        return []
    begin = shift_at(schedule, start).start
    upto = max(shift_at(schedule, end).end, end)
    found = person_shifts(shifts(schedule, begin, upto))
    return [each for each in found if each.start < end and start < each.end]
