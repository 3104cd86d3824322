"""Days off out of an iCalendar file: those that an event covers from midnight to midnight, in the event's own zone.

A meeting leaves no day out, a weekend away from Friday evening to Monday morning two. What such a file says is hostile:
events are expanded within a few years only, and a file whose recurrences would take long is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

MOST_BYTES = 2 * 1024 * 1024
"""Size of a file, at most."""
MOST_STEPS = 100_000
"""Days that the events of a file may cover, each counted for itself; and occurrences, by an estimate from above."""
BACK, AHEAD = 2, 5
"""Years before and after the present one that are looked at."""

_DAY = timedelta(days=1)
_PROBE = 5_000
"""Steps that the search for a first day counts as, when there is none."""
_LENGTHS = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 28, "YEARLY": 365}
_RARE = ("BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS")
_OFTEN = ("BYHOUR", "BYMINUTE", "BYSECOND")
_PARSER_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RecursionError,
)
"""What the parsers raise on bytes that are no calendar."""


class BadCalendar(ValueError):
    """It cannot be read as a calendar of days; the text says why."""


def days_off(raw: bytes, today: date) -> frozenset[date]:
    """Days that events of ``raw`` cover whole, some years around ``today``. Raises BadCalendar."""
    if len(raw) > MOST_BYTES:
        raise BadCalendar(f"is larger than {MOST_BYTES // 1024 // 1024} MiB")
    if b"BEGIN:VCALENDAR" not in raw[:4096].upper():
        raise BadCalendar("is no iCalendar file: it does not begin with BEGIN:VCALENDAR")
    first, last = date(today.year - BACK, 1, 1), date(today.year + AHEAD, 12, 31)
    try:
        found: set[date] = set()
        for n, day in enumerate(_days(raw, first, last)):
            found.add(day)
            if n > MOST_STEPS:
                raise BadCalendar("has too many events")
        return frozenset(found)
    except BadCalendar:
        raise
    except _PARSER_FAULTS as e:
        raise BadCalendar(f"is no iCalendar file that can be read: {str(e)[:200] or type(e).__name__}") from e


def _days(raw: bytes, first: date, last: date) -> Iterator[date]:
    from icalendar import Calendar
    from recurring_ical_events import of

    for calendar in Calendar.from_ical(raw, multiple=True):
        for event in _alone(calendar, last):
            yield from _covered(event.start, event.end, first, last)
        for event in of(calendar).between(first, last + _DAY):
            yield from _covered(event.start, event.end, first, last)


def _alone(calendar: Any, last: date) -> list[Any]:
    """Take the events out of ``calendar`` that can cover a day and do not recur; what stays are those that do,
    within bounds.
    """
    alone: list[Any] = []
    kept: list[Any] = []
    steps = 0
    for part in calendar.subcomponents:
        if part.name == "VTIMEZONE":
            kept.append(part)
        if part.name != "VEVENT" or "DTSTART" not in part or str(part.get("STATUS", "")).upper() == "CANCELLED":
            continue
        if not list(_covered(part.start, part.end, date.min, date.max, most=1)):
            continue
        if not any(key in part for key in ("RRULE", "RDATE", "RECURRENCE-ID")):
            alone.append(part)
            continue
        kept.append(part)
        steps += sum(_steps(rule, part, last) for rule in _rules(part))
        if steps > MOST_STEPS:
            raise BadCalendar("has too many events")
    calendar.subcomponents = kept
    return alone


def _rules(event: Any) -> Sequence[Mapping[str, Any]]:
    found: Any = event.get("RRULE", [])
    return found if isinstance(found, list) else [found]


def occurrences(raw: bytes, start: datetime, end: datetime) -> list[Any]:
    """Events of ``raw`` that have a part in [start, end), recurring ones expanded: each an icalendar VEVENT with
    ``start`` and ``end``. Raises BadCalendar.
    """
    if len(raw) > MOST_BYTES:
        raise BadCalendar(f"is larger than {MOST_BYTES // 1024 // 1024} MiB")
    if b"BEGIN:VCALENDAR" not in raw[:4096].upper():
        raise BadCalendar("is no iCalendar file: it does not begin with BEGIN:VCALENDAR")
    try:
        return _occurrences(raw, start, end)
    except BadCalendar:
        raise
    except _PARSER_FAULTS as e:
        raise BadCalendar(f"is no iCalendar file that can be read: {str(e)[:200] or type(e).__name__}") from e


def _occurrences(raw: bytes, start: datetime, end: datetime) -> list[Any]:
    from icalendar import Calendar
    from recurring_ical_events import of

    found: list[Any] = []
    for calendar in Calendar.from_ical(raw, multiple=True):
        events = [e for e in calendar.subcomponents if e.name == "VEVENT" and "DTSTART" in e]
        kept = [e for e in events if str(e.get("STATUS", "")).upper() != "CANCELLED"]
        steps = len(kept) + sum(_steps(rule, event, end.date()) for event in kept for rule in _rules(event))
        if steps > MOST_STEPS:
            raise BadCalendar("has too many events")
        calendar.subcomponents = [*(e for e in calendar.subcomponents if e.name == "VTIMEZONE"), *kept]
        found += of(calendar).between(start, end)
    return found


def _steps(rule: Mapping[str, Any], event: Any, last: date) -> int:
    """How often an event recurs until ``last``, at most. Raises BadCalendar for what no calendar of days says."""
    often = [str(word).upper() for word in rule.get("FREQ", [])]
    if len(often) != 1 or often[0] not in _LENGTHS or any(key in rule for key in _OFTEN):
        raise BadCalendar("has an event that recurs more often than daily")
    if event.end - event.start > timedelta(days=366):
        raise BadCalendar("has a recurring event that is longer than a year")
    if event.start.year < 1900:
        raise BadCalendar("has a recurring event from before 1900")
    if often[0] in ("DAILY", "WEEKLY") and "COUNT" in rule and any(key in rule for key in _RARE):
        raise BadCalendar(
            "has an event that recurs daily or weekly, only in some months or days, and a number of times"
        )
    start = event.start.date() if isinstance(event.start, datetime) else event.start
    if often[0] in ("DAILY", "WEEKLY") and any(key in rule for key in _RARE) and _never(rule, start):
        del event["RRULE"]
        return _PROBE
    times = max((last - start).days, 0) // _LENGTHS[often[0]] + 1
    for key, values in rule.items():
        if key.upper().startswith("BY"):
            times *= max(len(values), 1)
    if "UNTIL" not in rule and "COUNT" not in rule:
        until = datetime.combine(last, time(23, 59), event.start.tzinfo) if isinstance(event.start, datetime) else last
        event["RRULE"]["UNTIL"] = [until]
    return times


def _never(rule: Mapping[str, Any], start: date) -> bool:
    """Whether the rule has no day at all, as each 30 February.

    It is searched up to the year 9999, whatever its end: 4 s from today. Days of the calendar repeat every 400 years,
    so the search begins as late as that allows.
    """
    from dateutil.rrule import rrulestr
    from icalendar import vRecur

    late = start.replace(year=start.year + (9999 - 140 - start.year) // 400 * 400)
    endless: Any = vRecur({key: values for key, values in rule.items() if key.upper() != "UNTIL"})
    days = iter(rrulestr(endless.to_ical().decode(), dtstart=datetime.combine(late, time())))
    return next(days, None) is None


def _covered(start: date, end: date, first: date, last: date, most: int = 4000) -> Iterable[date]:
    """Days from midnight to midnight between ``start`` and ``end``, within ``first`` and ``last``; ``most`` of them."""
    begin = start
    if isinstance(start, datetime):
        begin = start.date() if start.time() == time(0) else start.date() + _DAY
    beyond = end.date() if isinstance(end, datetime) else end
    at, upto = max(begin, first), min(beyond - _DAY, last)
    for n in range(min((upto - at).days + 1, most)):
        yield at + n * _DAY
