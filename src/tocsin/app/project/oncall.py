"""On-call files with all that they need from elsewhere: calendars, what alerts carry, feeds of schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pyarrow as pa
from jinja2 import TemplateSyntaxError

from tocsin.config.calendars.fetch import Fetched, get
from tocsin.config.calendars.ical import MOST_BYTES
from tocsin.config.project.home import Home
from tocsin.config.yaml.document import Placed
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.model.text.sandbox import words
from tocsin.notify.oncall.feed import Feed, FeedState, state_of
from tocsin.notify.oncall.models import ScheduleModel
from tocsin.notify.oncall.read import Known, feed_reader
from tocsin.notify.oncall.schedule import Schedule
from tocsin.notify.routing.files import OnCallFiles
from tocsin.notify.routing.lookup import AddressTables
from tocsin.notify.routing.oncall_file import Context, OnCallRules, read_files
from tocsin.rules.kinds.ruleset import RuleSet

FRESH = timedelta(minutes=15)
"""A feed's copy younger than this is not asked for again."""
BEFORE, AFTER = timedelta(days=35), timedelta(days=100)
"""How much of a feed is kept around now: a shift that is over is asked for by reports, one to come by `check`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What on-call files are read with."""

    home: Home
    calendars: Mapping[str, Calendar]
    now: datetime
    at: datetime | None = None  # an instant that is asked for besides, of feeds
    tables: Mapping[str, pa.Table] | None = None  # reference tables; None: not read


def read_oncall(
    files: OnCallFiles, around: Around, rules: RuleSet | None, problems: list[Problem]
) -> OnCallRules | None:
    """``files`` as one value, feeds fetched; None where something is wrong, which goes to ``problems``, as do
    warnings about feeds. ``rules`` say what alerts carry; None where they are not known.
    """
    fields = None if rules is None else {"rule", "severity", *rules.fields}
    tables = None if around.tables is None else AddressTables(around.tables)
    context = Context(calendars=around.calendars, fields=fields, tables=tables, template_fault=_template_fault)
    found = read_files(files.files, context, problems)
    if found is not None and tables is not None:
        found = replace(found, tables=tables)
    return found if found is None else _with_feeds(found, files, around, problems)


def _template_fault(text: str) -> str:
    try:
        words().compile(text)
    except TemplateSyntaxError as e:
        return e.message or "it cannot be read"
    return ""


def _with_feeds(rules: OnCallRules, files: OnCallFiles, around: Around, problems: list[Problem]) -> OnCallRules:
    placed = [
        Placed(model=model, document=document, path=("schedules", i))
        for document, file in files.files
        for i, model in enumerate(file.schedules)
        if model.ical
    ]
    if not placed:
        return rules
    known = Known(people={name: person.email for name, person in rules.people.items()})
    fed = {p.model.name: _fed(rules.schedules[p.model.name], p, known, around, problems) for p in placed}
    return replace(rules, schedules={**rules.schedules, **fed})


def _fed(
    schedule: Schedule, placed: Placed[ScheduleModel], known: Known, around: Around, problems: list[Problem]
) -> Schedule:
    """``schedule`` with the shifts of its feed. A feed that cannot be read counts on with its last good copy."""
    reader, now = feed_reader(placed.model, known), around.now
    start, end = min(now, around.at or now) - BEFORE, max(now, around.at or now) + AFTER

    def read(raw: bytes) -> Feed:
        return reader.read(raw, start, end)

    fetched = get(placed.model.ical, around.home.calendar_cache, now, read, MOST_BYTES, FRESH)
    if fetched.fault:
        problems.append(placed.problem(("ical",), fetched.fault, _counts(fetched, now), warning=True))
    if fetched.content is None:
        return schedule
    feed = read(fetched.content)
    for title in feed.unknown[:5]:
        message = f"'{title}' names nobody of people:"
        problems.append(placed.problem(("ical",), message, "write the person's name or address into it", warning=True))
    return replace(schedule, feed=feed.entries)


def _counts(fetched: Fetched, now: datetime) -> str:
    """What is in use instead of a feed that cannot be read: failing since its copy ceased to be fresh."""
    state: FeedState = state_of(fetched.at, fetched.at + FRESH if fetched.at is not None else None, now)
    return f"{state.value}; the copy is of {fetched.at:%Y-%m-%d %H:%M} UTC" if fetched.at else state.value


def refresh_feeds(files: OnCallFiles, home: Home, now: datetime) -> bool:
    """Fetch feeds again whose copies are older than ``FRESH``; whether one says something else now."""
    urls = {model.ical for _, file in files.files for model in file.schedules if model.ical}
    found = [get(url, home.calendar_cache, now, _any, MOST_BYTES, FRESH) for url in urls]
    return any(each.changed for each in found)


def _any(raw: bytes) -> None:
    """A copy that nobody can read is refused where it is read."""
    if b"BEGIN:VCALENDAR" not in raw[:4096].upper():
        raise ValueError("is no calendar")
