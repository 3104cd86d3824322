"""Calendars with a name, as on-call files declare them: public holidays, dates, or an iCalendar file of the project directory or
of a URL.

calendars:
  hu-holidays: {country: HU}
  company: {ical: calendars/company.ics, dates: [2026-12-24]}
  bank: {ical: "https://example.org/bank.ics"}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from pydantic import Field

from tocsin.config.calendars.fetch import Fetched, get, is_url
from tocsin.config.calendars.ical import MOST_BYTES, BadCalendar, days_off
from tocsin.config.content import files_in
from tocsin.config.yaml.document import Document, KeyPath, YamlModel, suggest
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar, countries, known_country

_FILE = re.compile(r"calendars/[^/\\\0]+\.ics")


class DaysModel(YamlModel):
    """Days that do not count."""

    country: str = Field("", description="its public holidays", examples=["HU"])
    subdivision: str = Field("", description="a part of the country", examples=["BY"])
    dates: tuple[str, ...] = Field((), description="these days", examples=[["2026-12-24"]])


class CalendarModel(DaysModel):
    """A calendar with a name: whatever of these says that a day does not count."""

    ical: str = Field(
        "",
        description="an iCalendar file, from the project directory on, or its URL: days that an event covers whole",
        examples=["calendars/company.ics", "https://example.org/bank.ics"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A calendar where it is written."""

    model: CalendarModel
    document: Document
    path: KeyPath

    def problem(self, path: KeyPath, message: str, hint: str = "", *, warning: bool = False) -> Problem:
        """A problem of it, ``path`` from the calendar on."""
        return self.document.problem((*self.path, *path), message, hint, warning=warning)


def days_faults(model: DaysModel) -> Iterator[tuple[KeyPath, str, str]]:
    """(path, what is wrong, what would be right) of countries and dates."""
    if model.subdivision and not model.country:
        yield ("subdivision",), "stands without a country", "write country: beside it"
    elif model.country and not known_country(model.country):
        yield ("country",), f"the holidays of '{model.country}' are not known", _meant(model.country)
    elif model.subdivision and not known_country(model.country, model.subdivision):
        parts = countries().get(model.country, ())
        yield (
            ("subdivision",),
            f"'{model.subdivision}' is no part of {model.country}",
            suggest(model.subdivision, parts),
        )
    for i, text in enumerate(model.dates):
        if _date(text) is None:
            yield ("dates", i), f"'{text}' is no date", "write for example 2026-12-24"


def _meant(country: str) -> str:
    known = countries()
    return f"did you mean '{country.upper()}'?" if country.upper() in known else "two letters, as in HU, DE, US"


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def days(model: DaysModel, more: frozenset[date] = frozenset()) -> Calendar:
    """The days of a model without faults, and ``more``."""
    said = frozenset(found for text in model.dates if (found := _date(text)) is not None)
    return Calendar(country=model.country, subdivision=model.subdivision, dates=said | more)


def read_calendars(
    declared: Mapping[str, Declared], home: Path, cache: Path, now: datetime, problems: list[Problem]
) -> dict[str, Calendar]:
    """The calendars by name. What is wrong goes to ``problems``: a URL that does not answer is a warning, its last good
    copy under ``cache`` counts on, and without one the calendar is what else it says.
    """
    found: dict[str, Calendar] = {}
    for name, each in declared.items():
        model = each.model
        if not (model.country or model.subdivision or model.dates or model.ical):
            problems.append(each.problem((), "says no day", "write for example country: HU, ical: or dates:"))
        problems += [each.problem(path, message, hint) for path, message, hint in days_faults(model)]
        read = _days_of(each, home, cache, now, problems) if model.ical else frozenset()
        found[name] = days(model, read)
    return found


def _days_of(each: Declared, home: Path, cache: Path, now: datetime, problems: list[Problem]) -> frozenset[date]:
    where = each.model.ical
    if is_url(where):
        fetched = get(where, cache, now, lambda raw: days_off(raw, now.date()), MOST_BYTES)
        if fetched.fault:
            problems.append(each.problem(("ical",), *_notified(fetched), warning=True))
        return days_off(fetched.content, now.date()) if fetched.content else frozenset()
    if "://" in where:
        problems.append(each.problem(("ical",), f"'{where.split('://')[0]}' cannot be fetched", "use http or https"))
        return frozenset()
    if not _FILE.fullmatch(where):
        problems.append(
            each.problem(("ical",), f"'{where}' is no file of calendars/", "write for example calendars/company.ics")
        )
        return frozenset()
    try:
        with (home / where).open("rb") as file:
            return days_off(file.read(MOST_BYTES + 1), now.date())
    except BadCalendar as e:
        problems.append(each.problem(("ical",), f"'{where}' {e}"))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        near = [f"calendars/{path.name}" for path in files_in(home / "calendars", (".ics",))]
        problems.append(each.problem(("ical",), f"'{where}' cannot be read: {reason}", suggest(where, near)))
    return frozenset()


def _notified(fetched: Fetched) -> tuple[str, str]:
    if fetched.at is None:
        return fetched.fault, "until it answers, no day of it is left out"
    return fetched.fault, f"the copy of {fetched.at:%Y-%m-%d %H:%M} UTC counts on"


def refresh(declared: Mapping[str, Declared], cache: Path, now: datetime) -> bool:
    """Fetch again the copies of URLs that are older than a day; whether one of them says something else now."""
    found = [
        get(each.model.ical, cache, now, lambda raw: days_off(raw, now.date()), MOST_BYTES)
        for each in declared.values()
        if is_url(each.model.ical)
    ]
    return any(each.changed for each in found)
