"""Alertmanager's time intervals as ours: each of ours is one range of times, days, months and years."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.interchange.azure.read import is_map

_DAYS = {
    day: day[:3] for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
}  # fmt: skip


def interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of ``time_intervals``, without its name."""
    out: dict[str, Any] = {}
    times = [t for t in entry.get("times") or () if is_map(t)]
    if times:
        out["times"] = [f"{t.get('start_time', '00:00')}-{t.get('end_time', '24:00')}" for t in times]
    if weekdays := entry.get("weekdays"):
        out["weekdays"] = [_weekdays(str(each)) for each in weekdays]
    for key in ("days_of_month", "months", "years"):
        if listed := entry.get(key):
            out[key] = [str(each).lower() for each in listed]
    if location := entry.get("location"):
        out["timezone"] = "UTC" if str(location) in ("UTC", "Local") else str(location)
    return out


def _weekdays(text: str) -> str:
    first, _, last = text.strip().lower().partition(":")
    words = [_DAYS.get(word, word) for word in (first, last) if word]
    return "-".join(words)


def named(name: str, entries: list[Any]) -> dict[str, Any]:
    """A named one of ours."""
    found = [interval(each) for each in entries if is_map(each)]
    return {"name": name, **found[0]} if len(found) == 1 else {"name": name, "any_of": found}
