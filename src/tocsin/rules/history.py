"""Events of runs as rules read them again: what decides about occurrences, and the whole rows of those that are
notified.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from tocsin.alerts.occurrences import RunEvent
from tocsin.clock import EPOCH
from tocsin.logstore.interface import LogReader, StoredRow
from tocsin.model.alert import EventKey
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.text.timespans import kql_text

if TYPE_CHECKING:
    import pyarrow as pa

_DYNAMIC = frozenset(c.name for c in RUN_STATUS_CHANGED if c.type is KqlType.DYNAMIC)
_CARRIED = tuple(c.name for c in RUN_STATUS_CHANGED if c.name != "Raw")
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PastEvent:
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


def listed(values: Iterable[str]) -> str:
    """A list as a parameter: JSON text, for ``($name::JSON)::VARCHAR[]``.

    DuckDB's Python client looks for pandas once for each element of a list, 0.1 ms each where it is not installed.
    """
    return json.dumps(list(values), ensure_ascii=False)


def run_rows(reader: LogReader, run_ids: Iterable[str], hi: int) -> tuple[str, dict[str, object]]:
    """SQL of all rows of these runs up to commit ``hi``: between their first and last times, so old history is not
    read.
    """
    runs = sorted(set(run_ids))
    spans = reader.spans(runs)
    first = min((s.first for s in spans.values()), default=EPOCH)
    last = max((s.last for s in spans.values()), default=EPOCH)
    among = "= $runs" if len(runs) == 1 else "IN (SELECT unnest(($runs::JSON)::VARCHAR[]))"
    sql = (
        "SELECT * FROM RunStatusChanged"
        " WHERE TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        f" AND RunId {among} AND CommitSeq <= $hi"
    )
    named = runs[0] if len(runs) == 1 else listed(runs)
    return sql, {"first": micros(first), "last": micros(last), "runs": named, "hi": hi}


def read(reader: LogReader, rows_sql: str, params: Mapping[str, object]) -> list[PastEvent]:
    """The events of ``rows_sql``."""
    table = reader.select(
        "SELECT RunId, Source, EventId, epoch_us(TimeGenerated), Attempt, Status, CommitSeq, TimeGiven, Consumer,"
        f" JobKey, WillRetry FROM ({rows_sql})",
        params,
    )
    columns = [table.column(i).to_pylist() for i in range(table.num_columns)]
    return [
        PastEvent(
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


def read_keys(
    reader: LogReader, keys: Iterable[EventKey], rows_sql: str, params: Mapping[str, object]
) -> list[PastEvent]:
    """Those events of ``rows_sql`` that have one of these keys."""
    wanted = set(keys)
    sql = f"SELECT * FROM ({rows_sql}) WHERE EventId IN (SELECT unnest(($ids::JSON)::VARCHAR[]))"
    found = read(reader, sql, {**params, "ids": listed({k.event_id for k in wanted})})
    return [s for s in found if s.event.key in wanted]


Row = Mapping[str, object]
"""A row of RunStatusChanged as JSON-able values by column; Raw is left out."""


def whole_rows(
    reader: LogReader, places: Iterable[tuple[EventKey, int]], only: Iterable[str] | None = None
) -> dict[EventKey, Row]:
    """The rows of events, given by key and CommitSeq; ``only`` these columns, where given."""
    wanted = dict(places)
    if not wanted:
        return {}
    names = _CARRIED if only is None else tuple(name for name in _CARRIED if name in set(only))
    listed_names = "".join(f', "{name}"' for name in names)
    table = reader.select(
        f"SELECT Source, EventId, epoch_us(TimeGenerated){listed_names} FROM RunStatusChanged"
        " WHERE CommitSeq >= $lo AND CommitSeq <= $hi"
        " AND TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        " AND EventId IN (SELECT unnest(($ids::JSON)::VARCHAR[]))",
        {
            "lo": min(wanted.values()),
            "hi": max(wanted.values()),
            "first": min(k.time_us for k in wanted),
            "last": max(k.time_us for k in wanted),
            "ids": listed({k.event_id for k in wanted}),
        },
    )
    found: dict[EventKey, Row] = {}
    keys = [table.column(i).to_pylist() for i in range(3)]
    columns = [_plain(table.column(3 + i), dynamic=name in _DYNAMIC) for i, name in enumerate(names)]
    for source, event_id, time_us, *values in zip(*keys, *columns, strict=True):
        key = EventKey(source=source, event_id=event_id, time_us=time_us)
        if key in wanted:
            found[key] = dict(zip(names, values, strict=True))
    return found


def key_of(row: StoredRow) -> EventKey:
    """The identity of a row in memory."""
    return EventKey(
        source=row["Source"], event_id=row["EventId"], time_us=micros(row["TimeGenerated"].replace(tzinfo=UTC))
    )


def carried(row: StoredRow) -> Row:
    """A row in memory as ``whole_rows`` would read it."""
    return {name: plain(row[name], dynamic=name in _DYNAMIC) for name in _CARRIED}


def _plain(column: pa.ChunkedArray, *, dynamic: bool) -> list[object]:
    """Its values as JSON takes them."""
    from pyarrow import types

    values: list[object] = column.to_pylist()
    kind = column.type
    if not dynamic and (types.is_string(kind) or types.is_integer(kind) or types.is_boolean(kind)):
        return values  # as they are
    return [plain(value, dynamic=dynamic) for value in values]


def past_event(key: EventKey, row: Row) -> PastEvent:
    """What evaluation needs of a whole row."""
    attempt, seq, will_retry = row["Attempt"], row["CommitSeq"], row["WillRetry"]
    assert isinstance(seq, int)
    return PastEvent(
        run_id=str(row["RunId"]),
        event=RunEvent(
            key=key,
            attempt=attempt if isinstance(attempt, int) else 0,
            status=str(row["Status"]),
            commit_seq=seq,
            has_time=row["TimeGiven"] is not False,
        ),
        consumer=str(row["Consumer"]),
        job=str(row["JobKey"] or row["RunId"]),
        will_retry=will_retry if isinstance(will_retry, bool) else None,
    )


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
        return kql_text(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value)
