"""What comes in, by consumer, and how runs end, by hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tocsin.logstore.interface import LogReader

Row = dict[str, Any]

_DAY = timedelta(days=1)
_EVENTS = """
SELECT Consumer, count(*) AS events, max(IngestedAt) AS last FROM RunStatusChanged
WHERE IngestedAt >= $since GROUP BY Consumer
"""
_DEAD = "SELECT Consumer, count(*) AS dead FROM DeadLetters WHERE ReplayedAt IS NULL GROUP BY Consumer"
_HOURS = """
SELECT date_trunc('hour', TimeGenerated) AS hour,
  count(*) FILTER (Status = 'Failed' AND WillRetry IS NOT TRUE) AS failed,
  count(*) FILTER (Status = 'Completed') AS completed,
  quantile_disc(DurationMs, 0.5) FILTER (Status = 'Completed') AS median,
  quantile_disc(DurationMs, 0.95) FILTER (Status = 'Completed') AS p95
FROM RunStatusChanged
WHERE TimeGenerated >= $since AND TimeGenerated < $until AND Status IN ('Failed', 'Completed')
GROUP BY hour ORDER BY hour
"""


def consumers(store: LogReader, status: Mapping[str, Mapping[str, Any]], now: datetime) -> list[Row]:
    """A row a consumer: how it is (``status``), events of the last 24 h, the last one, dead letters that wait.
    First those with dead letters, then those with events.
    """
    events = {row["Consumer"]: row for row in store.select(_EVENTS, {"since": _naive(now - _DAY)}).to_pylist()}
    dead = {row["Consumer"]: int(row["dead"]) for row in store.select(_DEAD).to_pylist()}
    names = sorted({*status, *dead}, key=lambda name: (name not in dead, name not in events, name))
    return [
        {
            "consumer": name, "runs": name in status, "connector": str(status.get(name, {}).get("connector") or ("kafka" if name in status else "")),
            "connected": status.get(name, {}).get("connected"), "lag": status.get(name, {}).get("lag"),
            "watermark": status.get(name, {}).get("watermark"), "error": status.get(name, {}).get("last_error") or "",
            "events_24h": int(events[name]["events"]) if name in events else 0,
            "last_event": _aware(events[name]["last"]) if name in events else None, "dead_letters": dead.get(name, 0),
        }
        for name in names
    ]  # fmt: skip


def by_hour(store: LogReader, now: datetime, hours: int) -> list[Row]:
    """The last ``hours`` whole hours and the one that runs: runs that failed for good and that completed, by event time;
    of the latter the median and the 95th percentile of their durations in ms, None where there is none.
    """
    last = now.replace(minute=0, second=0, microsecond=0)
    first = last - timedelta(hours=hours)
    bounds = {"since": _naive(first), "until": _naive(last + timedelta(hours=1))}
    found = {_aware(row["hour"]): row for row in store.select(_HOURS, bounds).to_pylist()}
    out: list[Row] = []
    for n in range(hours + 1):
        hour = first + timedelta(hours=n)
        row = found.get(hour)
        out.append({
            "hour": hour, "failed": int(row["failed"]) if row else 0, "completed": int(row["completed"]) if row else 0,
            "median": row["median"] if row else None, "p95": row["p95"] if row else None,
        })  # fmt: skip
    return out


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
