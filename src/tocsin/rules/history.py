"""Events of runs as rules read them again: what decides about occurrences, and the whole rows of those that are told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from tocsin.alerts.occurrences import RunEvent
from tocsin.clock import EPOCH
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType

_DYNAMIC = frozenset(c.name for c in RUN_STATUS_CHANGED if c.type is KqlType.DYNAMIC)
_CARRIED = tuple(c.name for c in RUN_STATUS_CHANGED if c.name != "Raw")
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """An event of a run as evaluation needs it."""

    run_id: str
    event: RunEvent
    consumer: str
    job: str
    will_retry: bool | None


def micros(t: datetime) -> int:
    """µs since the epoch."""
    return (t - EPOCH) // _US


def moment(us: int) -> datetime:
    """The time that is ``us`` µs after the epoch, UTC."""
    return EPOCH + timedelta(microseconds=us)


def naive(t: datetime) -> datetime:
    """As DuckDB's TIMESTAMP takes it."""
    return t.astimezone(UTC).replace(tzinfo=None)


def commit_rows(lo: int, hi: int) -> tuple[str, dict[str, object]]:
    """SQL of the rows of commits in (lo, hi], and its parameters."""
    return "SELECT * FROM RunStatusChanged WHERE CommitSeq > $lo AND CommitSeq <= $hi", {"lo": lo, "hi": hi}


def run_rows(reader: LogReader, run_ids: Iterable[str], hi: int) -> tuple[str, dict[str, object]]:
    """SQL of all rows of these runs up to commit ``hi``: between their first and last times, so old history is not read."""
    runs = sorted(set(run_ids))
    spans = reader.spans(runs)
    first = min((s.first for s in spans.values()), default=EPOCH)
    last = max((s.last for s in spans.values()), default=EPOCH)
    sql = (
        "SELECT * FROM RunStatusChanged WHERE TimeGenerated >= $first AND TimeGenerated <= $last"
        " AND RunId IN (SELECT unnest($runs::VARCHAR[])) AND CommitSeq <= $hi"
    )
    return sql, {"first": naive(first), "last": naive(last), "runs": runs, "hi": hi}


def read(reader: LogReader, rows_sql: str, params: Mapping[str, object]) -> list[Seen]:
    """The events of ``rows_sql``."""
    table = reader.select(
        "SELECT RunId, Source, EventId, epoch_us(TimeGenerated), Attempt, Status, CommitSeq, TimeGiven, Consumer,"
        f" JobKey, WillRetry FROM ({rows_sql})",
        params,
    )
    columns = [table.column(i).to_pylist() for i in range(table.num_columns)]
    return [
        Seen(
            run_id=run_id,
            event=RunEvent(
                key=EventKey(source=source, event_id=event_id, time_us=time_us),
                attempt=attempt or 0,
                status=status,
                commit_seq=seq,
                has_time=given is not False,
            ),
            consumer=consumer,
            job=job or run_id,
            will_retry=will_retry,
        )
        for run_id, source, event_id, time_us, attempt, status, seq, given, consumer, job, will_retry in zip(
            *columns, strict=True
        )
    ]


def read_keys(reader: LogReader, keys: Iterable[EventKey], rows_sql: str, params: Mapping[str, object]) -> list[Seen]:
    """Those events of ``rows_sql`` that have one of these keys."""
    wanted = set(keys)
    ids = sorted({k.event_id for k in wanted})
    sql = f"SELECT * FROM ({rows_sql}) WHERE EventId IN (SELECT unnest($ids::VARCHAR[]))"
    return [s for s in read(reader, sql, {**params, "ids": ids}) if s.event.key in wanted]


def whole_rows(reader: LogReader, events: Sequence[RunEvent]) -> dict[EventKey, dict[str, object]]:
    """The rows of ``events`` as JSON-able values by column; Raw is left out."""
    if not events:
        return {}
    listed = ", ".join(f'"{name}"' for name in _CARRIED)
    table = reader.select(
        f"SELECT {listed}, epoch_us(TimeGenerated) AS time_us FROM RunStatusChanged"
        " WHERE CommitSeq >= $lo AND CommitSeq <= $hi AND TimeGenerated >= $first AND TimeGenerated <= $last"
        " AND EventId IN (SELECT unnest($ids::VARCHAR[]))",
        {
            "lo": min(e.commit_seq for e in events),
            "hi": max(e.commit_seq for e in events),
            "first": naive(moment(min(e.key.time_us for e in events))),
            "last": naive(moment(max(e.key.time_us for e in events))),
            "ids": sorted({e.key.event_id for e in events}),
        },
    )
    wanted = {e.key for e in events}
    found: dict[EventKey, dict[str, object]] = {}
    for row in table.to_pylist():
        key = EventKey(source=row["Source"], event_id=row["EventId"], time_us=row.pop("time_us"))
        if key in wanted:
            found[key] = {name: plain(value, dynamic=name in _DYNAMIC) for name, value in row.items()}
    return found


def plain(value: object, *, dynamic: bool = False) -> object:
    """``value`` as JSON takes it: times as ISO text with Z, what has no JSON form as text."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return json.loads(value) if dynamic else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return utc.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value)
