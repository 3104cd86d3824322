"""Days that do not count: a country's public holidays, and dates. A plain value; what reads one is in
``config.calendars``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Days that do not count; the empty one leaves out none."""

    country: str = ""  # ISO 3166-1, its public holidays
    subdivision: str = ""
    dates: frozenset[date] = field(default=frozenset(), repr=False)

    def __contains__(self, day: object) -> bool:
        return isinstance(day, date) and (day in self.dates or (bool(self.country) and day in self._holidays()))

    def __bool__(self) -> bool:
        return bool(self.country or self.dates)

    def _holidays(self) -> Mapping[date, str]:
        return _country(self.country, self.subdivision)


@lru_cache(maxsize=64)
def _country(country: str, subdivision: str) -> Mapping[date, str]:
    """A country's holidays, each year's made when it is asked for. Raises NotImplementedError for an unknown one."""
    import holidays  # a fifth of a second; only who names a country pays for it

    found: Mapping[date, str] = holidays.country_holidays(country, subdiv=subdivision or None)
    return found


def known_country(country: str, subdivision: str = "") -> bool:
    """Whether the public holidays of a country (or of a part of it) are known."""
    try:
        _country(country, subdivision)
    except NotImplementedError:
        return False
    return True


def countries() -> Mapping[str, tuple[str, ...]]:
    """Countries whose holidays are known, each with its subdivisions."""
    import holidays

    return {code: tuple(parts) for code, parts in holidays.list_supported_countries(include_aliases=False).items()}


Wanted = Mapping[str, frozenset[str]]
"""Field → texts, one of which it has. Fields are columns of a run, labels, ``rule`` and ``severity``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """The clocks of what it matches stand still from ``begin`` until ``settle`` after ``end``."""

    begin: datetime  # UTC
    end: datetime  # UTC
    settle: timedelta = timedelta(0)
    match: Wanted = field(default_factory=dict)  # all of these; the empty one matches everything
    but: Wanted = field(default_factory=dict)  # what has all of these goes on; the empty one is nothing
    place: str = ""  # file:line

    @property
    def until(self) -> datetime:
        """When clocks go on; UTC."""
        return self.end + self.settle
