"""What a window sees of each table: cut to its span of event time, and to the commits up to its instant.

──────────┬────────────── over ──────────────┬── lateness ──┐
          lo  <  TimeGenerated  <=           hi             T
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.kql.plan.before import INSIDE
from tocsin.kql.plan.windowplan import AML, EVENTS, scoped_view
from tocsin.logstore.interface import LogReader
from tocsin.model.columns import RUNS
from tocsin.model.statuses import TERMINAL
from tocsin.rules.history import listed, micros
from tocsin.rules.spec.rule import Life

NOTHING, MICROSECOND = timedelta(0), timedelta(microseconds=1)
ENDED_STAYS = timedelta(hours=24)
"""How long an ended run stays in a window that is the life of runs."""

_TERMINAL = ", ".join(f"'{status}'" for status in sorted(TERMINAL))
_SPAN = "make_timestamp($tocsin_lo::BIGINT)", "make_timestamp($tocsin_hi::BIGINT)"
_TIMES: Mapping[str, str] = {
    "Heartbeats": "ReceivedAt",
    "Alerts": "T",
    "Notifications": "Time",
    "DeadLetters": "Time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """SELECTs that stand for tables, by table, and their parameters."""

    tables: Mapping[str, str]
    parameters: Mapping[str, object]
    hi: datetime  # what now() means; UTC


def scope(
    tables: frozenset[str],
    over: timedelta | Life,
    lateness: timedelta,
    at: datetime,
    commit_seq: int,
    reader: LogReader,
    own: Iterable[str] = (),
    reach: timedelta = NOTHING,
) -> Scope:
    """What a window at ``at`` that saw commits up to ``commit_seq`` reads of ``tables``; of Alerts not those of
    ``own`` rules.

    With a ``reach`` it sees so much older events too, and the column INSIDE says of each whether it is in the window.
    """
    hi = at - lateness
    made: dict[str, str] = {}
    lo = micros(hi - over) if isinstance(over, timedelta) else 0
    if tables & {EVENTS, AML}:
        made[EVENTS] = _events(over, reach)
        if isinstance(over, timedelta):
            lo -= reach // MICROSECOND
        else:
            lo = _begins(over, hi, reader) - 1
        if AML in tables:
            made[AML] = scoped_view()
    for name in tables & _TIMES.keys():
        seq = " AND CommitSeq <= $tocsin_seq" if name == "Heartbeats" else ""
        if name == "Alerts":
            seq = " AND Rule NOT IN (SELECT unnest(($tocsin_own::JSON)::VARCHAR[]))"
        made[name] = (
            f'SELECT * FROM main."{name}" WHERE "{_TIMES[name]}" > {_SPAN[0]} AND "{_TIMES[name]}" <= {_SPAN[1]}{seq}'
        )
    if "Runs" in tables:
        made["Runs"] = _runs(reader.head().seq > commit_seq)
    values: dict[str, object] = {
        "tocsin_lo": lo,
        "tocsin_from": lo + reach // MICROSECOND,
        "tocsin_hi": micros(hi),
        "tocsin_seq": commit_seq,
        "tocsin_ended": micros(hi - ENDED_STAYS),
        "tocsin_own": listed(own),
    }
    written = " ".join(made.values())
    return Scope(tables=made, parameters={k: v for k, v in values.items() if f"${k}" in written}, hi=hi)


def _events(over: timedelta | Life, reach: timedelta) -> str:
    inside = f", TimeGenerated > make_timestamp($tocsin_from::BIGINT) AS {INSIDE}" if reach else ""
    sql = (
        f'SELECT *{inside} FROM main."{EVENTS}" WHERE TimeGenerated > {_SPAN[0]} AND TimeGenerated <= {_SPAN[1]}'
        " AND CommitSeq <= $tocsin_seq"
    )
    if isinstance(over, timedelta):
        return sql
    column = "RunId" if over is Life.RUN else "RootRunId"
    return f"{sql} AND {column} IN (SELECT {column} FROM main.Runs WHERE {_living()})"


def _living() -> str:
    return f"Status NOT IN ({_TERMINAL}) OR LastTime > make_timestamp($tocsin_ended::BIGINT)"


def _begins(over: Life, hi: datetime, reader: LogReader) -> int:
    """When the first of the runs began that a window of lives is about, µs since the epoch."""
    column = "RunId" if over is Life.RUN else "RootRunId"
    found = reader.select(
        f"SELECT min(epoch_us(FirstTime)) FROM main.Runs"
        f" WHERE {column} IN (SELECT {column} FROM main.Runs WHERE {_living()})",
        {"tocsin_ended": micros(hi - ENDED_STAYS)},
    )
    first = found.column(0)[0].as_py()
    return micros(hi) if first is None else int(first)


_OF_EVENT = frozenset((
    "RunId", "ParentRunId", "RootRunId", "JobKey", "WillRetry", "OriginalStatus", "Reason", "Message", "ErrorCode",
    "LogTail", "ExperimentName", "WorkspaceName", "RunType", "DisplayName", "Target", "TriggeringUserName", "OwnerEmail",
    "Tags", "Properties", "Url", "Source", "Consumer", "Status", "Attempt", "Progress", "EndTime", "DurationMs",
))  # fmt: skip
_MADE: Mapping[str, str] = {
    "StatusSince": "TimeGenerated",
    "FirstSeen": 'min("IngestedAt") OVER r',
    "LastSeen": 'max("IngestedAt") OVER r',
    "StartTime": 'coalesce("StartTime", min(CASE WHEN "Status" = \'Running\' THEN TimeGenerated END) OVER r)',
    "Attempts": 'count(DISTINCT "Attempt") OVER r',
    "FirstTime": "min(TimeGenerated) OVER r",
    "LastTime": "max(TimeGenerated) OVER r",
    "CommitSeq": "max(CommitSeq) OVER r",
}


def _runs(behind: bool) -> str:
    """``Runs`` as of the instant: the table, and, where it has gone on, the runs that changed since from their events.

    Of those, the last event in event-time order stands for the run; heartbeats of then are not known any more.
    """
    if not behind:
        return "SELECT * FROM main.Runs"
    columns = ", ".join(f'"{c.name}"' if c.name in _OF_EVENT else f'{_MADE[c.name]} AS "{c.name}"' for c in RUNS)
    return (
        "SELECT * FROM main.Runs WHERE CommitSeq <= $tocsin_seq UNION ALL"
        f" SELECT {', '.join(chr(34) + c.name + chr(34) for c in RUNS)} FROM (SELECT {columns},"
        " row_number() OVER (PARTITION BY RunId ORDER BY Attempt DESC, TimeGenerated DESC,"
        f" CASE WHEN Status IN ({_TERMINAL}) THEN 1 ELSE 0 END DESC, Source DESC, EventId DESC) AS tocsin_place"
        f' FROM main."{EVENTS}" WHERE CommitSeq <= $tocsin_seq'
        " AND RunId IN (SELECT RunId FROM main.Runs WHERE CommitSeq > $tocsin_seq)"
        " WINDOW r AS (PARTITION BY RunId)) WHERE tocsin_place = 1"
    )
