"""The last 24 hours as a strip of bars: runs by the status that they reached in each hour, alerts as marks above."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

HOURS: Final = 24
RUNS: Final = f"Runs | where StatusSince > ago({HOURS}h) | summarize N = count() by Hour = bin(StatusSince, 1h), Status"
ALERTS: Final = (
    f"Alerts | where Time > ago({HOURS}h) and To == 'firing' | summarize N = count() by Hour = bin(Time, 1h)"
)
"""What the strip asks of the store."""

_ORDER: Final = ("Failed", "NotResponding", "Canceled", "Completed")
"""Statuses from the bottom of a bar; all others lie above them."""
_HEIGHT: Final = 60.0
_LEAST: Final = 3.0
"""A single run among thousands is still seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Runs of one status in one hour; lengths in units of the picture, from its top."""

    status: str
    n: int
    y: float
    height: float
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One bar."""

    start: datetime  # UTC
    parts: tuple[Part, ...]
    alerts: int


def strip(runs: Iterable[Mapping[str, Any]], alerts: Iterable[Mapping[str, Any]], now: datetime) -> tuple[Hour, ...]:
    """The bars of the 24 hours that end with that of ``now``, the oldest first."""
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    found: dict[datetime, dict[str, int]] = {last - timedelta(hours=n): {} for n in reversed(range(HOURS))}
    for row in runs:
        if (hour := _utc(row["Hour"])) in found:
            found[hour][row["Status"]] = row["N"]
    marks = {_utc(row["Hour"]): row["N"] for row in alerts}
    most = max((sum(counts.values()) for counts in found.values()), default=0)
    return tuple(
        Hour(start=hour, parts=_parts(hour, counts, most), alerts=marks.get(hour, 0)) for hour, counts in found.items()
    )


def _parts(hour: datetime, counts: Mapping[str, int], most: int) -> tuple[Part, ...]:
    order = [*(s for s in _ORDER if s in counts), *sorted(counts.keys() - set(_ORDER))]
    heights = {status: max(_HEIGHT * counts[status] / most, _LEAST) for status in order}
    shrink = min(1.0, _HEIGHT / sum(heights.values())) if heights else 1.0
    parts, y = [], _HEIGHT
    for status in order:
        height = heights[status] * shrink
        y -= height
        until = hour + timedelta(hours=1)
        asked = {"status": status, "since": f"{hour:%Y-%m-%dT%H:%MZ}", "until": f"{until:%Y-%m-%dT%H:%MZ}"}
        href = "/runs?" + urlencode(asked)
        parts.append(Part(status=status, n=counts[status], y=round(y, 2), height=round(height, 2), href=href))
    return tuple(parts)


def _utc(hour: datetime) -> datetime:
    return hour.replace(tzinfo=UTC) if hour.tzinfo is None else hour.astimezone(UTC)
