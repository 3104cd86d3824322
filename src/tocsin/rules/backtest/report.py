"""A backtest in words, as a line of bars, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tocsin.rules.backtest.run import Backtest, Notified

BARS = "▁▂▃▄▅▆▇█"
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
MOST_BARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """How many were notified in one span of time."""

    begins: datetime  # UTC
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The whole range in equal spans."""

    unit: str  # hour, day or week
    bars: tuple[Bar, ...]

    @property
    def peak(self) -> int:
        """The largest count."""
        return max((b.count for b in self.bars), default=0)


def timeline(found: Backtest, most: int = MOST_BARS) -> Timeline:
    """By the hour, day or week, whichever gives at most ``most`` bars."""
    sizes = (("hour", HOUR), ("day", DAY), ("week", WEEK))
    unit, size = next((s for s in sizes if (found.until - found.since) / s[1] <= most), sizes[-1])
    first = found.since.replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        first = first.replace(hour=0)
    if unit == "week":
        first -= timedelta(days=first.weekday())
    counts: dict[int, int] = {}
    for hour, n in found.hours.items():
        counts[(hour - first) // size] = counts.get((hour - first) // size, 0) + n
    length = max(1, -(-(found.until - first) // size))
    return Timeline(unit=unit, bars=tuple(Bar(begins=first + i * size, count=counts.get(i, 0)) for i in range(length)))


def sparkline(line: Timeline) -> str:
    """One character a span; a middle dot where nothing was notified."""
    peak = line.peak
    return "".join("·" if not b.count else BARS[min(7, b.count * 8 // (peak + 1))] for b in line.bars)


def headline(found: Backtest) -> str:
    """E.g. ``would have notified 14 times, 11 of them the same ExperimentName: churn``."""
    n = found.notified_count
    if not n:
        return "would have notified nothing"
    times = "once" if n == 1 else f"{n:,} times"
    if found.most is None:
        return f"would have notified {times}"
    share = "all" if found.most.count == n else f"{found.most.count:,}"
    return f"would have notified {times}, {share} of them the same {found.most.field}: {found.most.value}"


def notes(found: Backtest) -> list[str]:
    """What a reader has to know besides: expired ones, errors, how it was computed."""
    out = []
    if not found.events:
        out.append("no event lies in this range" + ("" if found.as_if_live else " of arrival times"))
    if found.expired:
        hint = "" if found.as_if_live else "; for imported history try --as-if-live"
        out.append(
            f"{found.expired:,} more were older than max_event_age when they arrived: recorded, not notified{hint}"
        )
    if found.limited:
        out.append(f"{found.limited:,} more were beyond its limit: in digests, or dropped, as it says")
    if sum(found.by_kind.values()) > len(found.notified):
        out.append(f"the first {len(found.notified):,} are listed")
    out += [f"the rule failed: {error}" for error in found.errors]
    out += [f"{n:,} evaluations were made one after the other: {reason}" for reason, n in found.apart.items()]
    return out


def about(notified: Notified) -> str:
    """What it is about, in a few words."""
    words = [str(v) for v in notified.carried.values() if isinstance(v, (str, int, float)) and v != ""]
    shown = [f"{k}={v}" for k, v in notified.instance.items() if k != "RunId" and v not in (None, "")]
    return " ".join(dict.fromkeys(filter(None, [*words[:1], *shown])))


def as_json(found: Backtest) -> dict[str, Any]:
    """For programs; times ISO with Z."""
    line = timeline(found)
    return {
        "Rule": found.rule,
        "Severity": found.severity.word,
        "From": iso(found.since),
        "To": iso(found.until),
        "AsIfLive": found.as_if_live,
        "Events": found.events,
        "Fired": found.fired,
        "Notified": found.notified_count,
        "Resolved": found.resolved,
        "Headline": headline(found),
        "Notes": notes(found),
        "ByKind": dict(found.by_kind),
        "Most": {"Field": found.most.field, "Value": found.most.value, "Count": found.most.count}
        if found.most
        else None,
        "Expired": found.expired,
        "Errors": list(found.errors),
        "Seconds": round(found.seconds, 3),
        "Unit": line.unit,
        "Timeline": [{"From": iso(b.begins), "Notified": b.count} for b in line.bars],
        "Alerts": [
            {
                "Time": iso(t.at), "TimeGenerated": iso(t.event_time), "Kind": t.kind, "Severity": t.severity.word,
                "RunId": t.run_id, "Subject": about(t), "Instance": dict(t.instance), "Fields": dict(t.carried),
                "Message": t.message, "Why": t.why, "Value": t.value,
            }
            for t in found.notified
        ],
    }  # fmt: skip


def iso(t: datetime) -> str:
    """UTC with Z."""
    return t.isoformat().replace("+00:00", "Z")


Answer = Mapping[str, Any]
"""What ``as_json`` gives; the same from a running tocsin."""


def spark_of(answer: Answer) -> str:
    """The line of bars of a JSON answer."""
    return sparkline(timeline_of(answer))


def timeline_of(answer: Answer) -> Timeline:
    """The timeline of a JSON answer."""
    entries: Sequence[Mapping[str, Any]] = answer["Timeline"]
    bars = (Bar(begins=datetime.fromisoformat(str(e["From"])), count=int(e["Notified"])) for e in entries)
    return Timeline(unit=str(answer["Unit"]), bars=tuple(bars))
