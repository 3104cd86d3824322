"""What a mail says of something that did not happen: for how long, since when, what reported last, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tocsin.model.details import Wait
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import TERMINAL
from tocsin.model.text.causes import one_line
from tocsin.notify import context as c
from tocsin.notify.text import at_day_time, clock_time, day_time, did, isolate, length, moment, zone_name

IN_STATUS, SILENT, UNCHANGED, LONGER, ABSENT = "in_status_for", "silent_for", "unchanged", "duration", "absent"
"""What can be waited for, as the rule's key calls it."""
TOGETHER = timedelta(minutes=1)
"""What reported so soon after the last event was that event."""


def _wait(intent: Intent) -> Wait:
    return intent.details.wait or Wait(form="")


def form_of(intent: Intent) -> str:
    """What the rule waits for; '' where it waits for nothing."""
    return intent.details.wait.form if intent.details.wait is not None else ""


def lateness(intent: Intent) -> str:
    """``started 38 min late``, where what was expected came after all; else ''."""
    return one_line(intent.details.wait.late, 60) if intent.details.wait is not None else ""


def due_of(intent: Intent) -> datetime | None:
    """When it ought to have happened at the latest, by its rule; UTC."""
    return intent.details.wait.due if intent.details.wait is not None else None


def fields(intent: Intent) -> dict[str, object]:
    """Variables of a rule's `summary` about a wait; '' where it is about none. Times are those of the schedule's
    zone.
    """
    due, scheduled, zone, form = due_of(intent), _wait(intent).scheduled, _zone(intent), form_of(intent)
    return {
        "Due": _day_clock(due, intent.at, zone) if form and due else "",
        "Scheduled": _day_clock(scheduled, intent.at, zone) if form and scheduled else "",
        "Waited": length(_lasted(intent)) if form else "",
    }


def cause(intent: Intent) -> str:
    """What is wrong, in a few words that many alerts share; '' where the rule waits for nothing."""
    statuses = _statuses(intent)
    words = {
        IN_STATUS: f"still {statuses}", SILENT: "nothing received", UNCHANGED: "no progress",
        LONGER: "running longer than its baseline", ABSENT: f"not {statuses}" if statuses else "nothing came",
    }  # fmt: skip
    return words.get(form_of(intent), "")


def _day_clock(t: datetime, now: datetime, zone: ZoneInfo) -> str:
    """``06:00`` of these days; another day with its date. A subject stays as it is, so it says nothing like
    yesterday.
    """
    far = abs(now - t) > timedelta(hours=20)
    return f"{t.astimezone(zone):%Y-%m-%d %H:%M}" if far else clock_time(t, zone)


def zone_of(intent: Intent) -> ZoneInfo | None:
    """The zone of the schedule that it is about, in which its mail gives all times; None where it is about none."""
    return _zone(intent) if form_of(intent) == ABSENT else None


def _zone(intent: Intent) -> ZoneInfo:
    try:
        return ZoneInfo(_wait(intent).zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def _lasted(intent: Intent) -> timedelta | None:
    """How long it has been waited, or was."""
    wait = _wait(intent)
    since, ended = wait.since or wait.scheduled, wait.ended or intent.at
    return ended - since if since else None


def says(intent: Intent, run: c.Run | None, spoken: c.Says, zone: ZoneInfo, now: datetime) -> c.Says:
    """The phrases of a mail of an absence rule, made of those about its run."""
    over = intent.kind is IntentKind.RESOLVED
    by_schedule = form_of(intent) == ABSENT
    waited = _expected(intent, zone, now) if by_schedule else _waited(intent, zone, now)
    wait = _wait(intent)
    if wait.stood > 0:
        waited += f"; {length(wait.stood)} of maintenance not counted"
    if wait.missed > 1:
        waited += f"; missed {wait.missed} times since"
    last_event = "" if over and by_schedule else _last_event(intent, zone, now)
    ended = _ended(intent, run) if over else ""
    others = spoken.nearby if run is not None and run.nearby is not None and run.nearby.everywhere and not over else ""
    on = f"on {isolate(run.target)}" if run is not None and run.target else ""
    shown = [spoken.late, ended, waited if by_schedule else "", last_event, on, others]
    return replace(
        spoken,
        preheader=" · ".join(filter(None, shown)),
        happened=spoken.happened if over and by_schedule else "",
        nearby=others,
        last_success="" if over and by_schedule else spoken.last_success,
        waited=waited,
        last_event=last_event,
        ended=ended,
    )


def _waited(intent: Intent, zone: ZoneInfo, now: datetime) -> str:
    since, lasted, ended = _wait(intent).since, _lasted(intent), _wait(intent).ended
    if since is None or lasted is None:
        return ""
    words = {IN_STATUS: _statuses(intent), SILENT: "nothing received", UNCHANGED: "no progress", LONGER: "running"}
    span = f"since {day_time(since, now, zone)}"
    if ended is not None:
        span = f"from {day_time(since, now, zone)} to {day_time(ended, now, zone)}"
    baseline = ""
    if form_of(intent) == LONGER and (due := due_of(intent)) is not None:
        baseline = f"; {length(due - since)} is its baseline"
    return f"{words.get(form_of(intent), 'waiting')} for {length(lasted)}, {span} ({zone_name(zone)}){baseline}"


def _statuses(intent: Intent) -> str:
    names = [one_line(name, 40) for name in _wait(intent).statuses]
    return " or ".join(names[:3]) if len(names) <= 3 else "waiting"


def _expected(intent: Intent, zone: ZoneInfo, now: datetime) -> str:
    scheduled, due = _wait(intent).scheduled, due_of(intent)
    if scheduled is None:
        return ""
    text = f"expected {at_day_time(scheduled, now, zone)}"
    if due is not None and due != scheduled:
        text += f", by {day_time(due, now, zone)} at the latest"
    return f"{text} ({zone_name(zone)})"


def _last_event(intent: Intent, zone: ZoneInfo, now: datetime) -> str:
    """The last signs of life as of the decision: the last event by the producer's clock, what reported since by its
    receipt.
    """
    row: Mapping[str, object] = intent.event
    last, seen = moment(row.get("LastTime")), moment(row.get("LastSeen"))
    parts = []
    if last is not None:
        status = one_line(str(row.get("Status") or ""), 40)
        parts.append(f"last event {day_time(last, now, zone)}{f' ({status})' if status else ''}")
    if seen is not None and form_of(intent) != SILENT and (last is None or seen - last > TOGETHER):
        parts.append(f"last received {day_time(seen, now, zone)}")
    progress = row.get("Progress")
    if isinstance(progress, int | float):
        parts.append(f"progress {100 * progress:.0f} %" if 0 <= progress <= 1 else f"progress {progress:.4g}")
    return " · ".join(parts)


def _ended(intent: Intent, run: c.Run | None) -> str:
    late = lateness(intent)
    if late:
        return late
    lasted, status = length(_lasted(intent)), run.status if run is not None else ""
    after = f" after {lasted}" if lasted else ""
    if status in TERMINAL:
        return f"{did(status)}{after}"
    words = {IN_STATUS: status, SILENT: "received again", UNCHANGED: "it moves again", LONGER: status}
    return f"{words.get(form_of(intent), '')}{after}"
