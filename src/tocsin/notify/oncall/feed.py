"""iCalendar both ways (RFC 5545): a feed read as a schedule, and shifts written as a calendar.

In a feed the person whom an event names is on call while it lasts.

Bytes come in, shifts go out; who fetches them keeps the last good copy. A feed that cannot be read is never "nobody on call".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from tocsin.config.calendars.ical import occurrences
from tocsin.model.alert import fingerprint
from tocsin.model.calendars.wallclock import instant
from tocsin.notify.oncall.schedule import Entry, Schedule
from tocsin.notify.oncall.shifts import Shift, person_shifts, shift_at, shifts

WARN_AFTER = timedelta(hours=1)
"""A copy that is older, of a feed that cannot be read, is worth a warning."""


class FeedState(StrEnum):
    """What is known of a feed; `check`, the console and metrics show the text."""

    FRESH = "as fetched"
    RETRYING = "cannot be read; the last good copy counts"
    FAILING = "cannot be read for more than an hour; the last good copy counts"
    NEVER_READ = "has never been read; who takes what is uncovered is on call"


def state_of(fetched_at: datetime | None, failing_since: datetime | None, now: datetime) -> FeedState:
    """How far the copy that was fetched at ``fetched_at`` (None: never) can be relied on; ``failing_since`` is None where it can be read."""
    if fetched_at is None:
        return FeedState.NEVER_READ
    if failing_since is None:
        return FeedState.FRESH
    return FeedState.FAILING if now - failing_since >= WARN_AFTER else FeedState.RETRYING


class PeopleBy(StrEnum):
    """Where an event says whose shift it is."""

    SUMMARY = "summary"
    ATTENDEE = "attendee"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Shifts of a feed within a time, and the titles of events that name nobody who is known."""

    entries: tuple[Entry, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How a feed is read."""

    people: Mapping[str, str]  # name → address
    by: PeopleBy = PeopleBy.SUMMARY
    zone: ZoneInfo  # of times and days without one

    def read(self, raw: bytes, start: datetime, end: datetime) -> Feed:
        """The shifts of ``raw`` that have a part in [start, end). Raises BadCalendar."""
        entries: list[Entry] = []
        unknown: dict[str, None] = {}
        for event in occurrences(raw, start, end):
            title = " ".join(str(event.get("SUMMARY", "")).split())[:200]
            begin, upto = self._instant(event.start), self._instant(event.end)
            found = self._whose(event, title)
            if not found:
                unknown[title] = None
            entries += [Entry(start=begin, end=upto, who=who, title=title) for who in found if begin < upto]
        return Feed(entries=tuple(sorted(entries, key=lambda e: (e.start, e.end, e.who))), unknown=tuple(unknown))

    def _instant(self, at: date) -> datetime:
        if not isinstance(at, datetime):
            return instant(datetime.combine(at, time()), self.zone)
        return instant(at, self.zone) if at.tzinfo is None else at.astimezone(UTC)

    def _whose(self, event: Any, title: str) -> Sequence[str]:
        if self.by is PeopleBy.SUMMARY:
            return self._named(title)
        attendees = event.get("ATTENDEE", [])
        return [
            found
            for each in (attendees if isinstance(attendees, list) else [attendees])
            if (found := self._known(str(each).strip().lower().removeprefix("mailto:")))
        ]

    def _named(self, title: str) -> Sequence[str]:
        """Whom ``title`` names: an address, a person's name, or else the only person whose name is a word of it."""
        if exact := self._known(title.strip().lower()):
            return [exact]
        within = [name for name in self.people if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", title, re.IGNORECASE)]
        longest = [n for n in within if not any(n != m and n.lower() in m.lower() for m in within)]
        return longest if len(longest) == 1 else []

    def _known(self, text: str) -> str:
        """The person of this name or address; addresses of others are not taken out of a feed."""
        return next((n for n, address in self.people.items() if text in (n.lower(), address.lower())), "")


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
