"""What a window sees of each table: cut to its span of event time, and to the commits up to its instant.

──────────┬────────────── over ──────────────┬── lateness ──┐
          lo  <  TimeGenerated  <=           hi             T
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from tocsin.kql.plan.before import INSIDE
from tocsin.kql.plan.windowplan import AML, EVENTS, scoped_view
from tocsin.logstore.interface import LogReader
from tocsin.model.statuses import TERMINAL
from tocsin.rules.history import listed, micros
from tocsin.rules.kinds.window.spec import Life

NOTHING, MICROSECOND = timedelta(0), timedelta(microseconds=1)
ENDED_STAYS = timedelta(hours=24)
"""How long an ended run stays in a window that is the life of runs."""

_TERMINAL = ", ".join(f"'{status}'" for status in sorted(TERMINAL))
_SPAN = "make_timestamp($tocsin_lo::BIGINT)", "make_timestamp($tocsin_hi::BIGINT)"
_TIMES: Mapping[str, str] = {
    "Heartbeats": "ReceivedAt",
    "RunMetrics": "Time",
    "Alerts": "T",
    "Notifications": "Time",
    "Actions": "Time",
    "DeadLetters": "Time",
}


class Span(NamedTuple):
    """What a window is about."""

    over: timedelta | Life
    lateness: timedelta
    reach: timedelta = NOTHING  # of older events that it sees too


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """SELECTs that stand for tables, by table, and their parameters."""

    tables: Mapping[str, str]
    parameters: Mapping[str, object]
    hi: datetime  # what now() means; UTC


def scope(
    tables: frozenset[str],
    span: Span,
    at: datetime,
    commit_seq: int,
    reader: LogReader,
    own: Iterable[str] = (),
) -> Scope:
    """What a window at ``at`` that saw commits up to ``commit_seq`` reads of ``tables``; of Alerts not those of
    ``own`` rules.

    With a ``reach`` it sees so much older events too, and the column INSIDE says of each whether it is in the window.
    """
    over, reach, hi = span.over, span.reach, at - span.lateness
    made: dict[str, str] = {}
    runs, of_runs = reader.runs_as_of(commit_seq) if "Runs" in tables or not isinstance(over, timedelta) else ("", {})
    lo = micros(hi - over) if isinstance(over, timedelta) else 0
    if tables & {EVENTS, AML}:
        made[EVENTS] = _events(reader.table(EVENTS), over, reach, runs)
        if isinstance(over, timedelta):
            lo -= reach // MICROSECOND
        else:
            lo = _begins(over, hi, reader, runs, of_runs) - 1
        if AML in tables:
            made[AML] = scoped_view()
    for name in tables & _TIMES.keys():
        seq = " AND CommitSeq <= $tocsin_seq" if name in ("Heartbeats", "RunMetrics") else ""
        if name == "Alerts":
            seq = " AND Rule NOT IN (SELECT unnest(($tocsin_own::JSON)::VARCHAR[]))"
        made[name] = (
            f'SELECT * FROM {reader.table(name)} WHERE "{_TIMES[name]}" > {_SPAN[0]} AND "{_TIMES[name]}" <= {_SPAN[1]}{seq}'
        )
    if "Runs" in tables:
        made["Runs"] = runs
    values: dict[str, object] = {
        "tocsin_lo": lo,
        "tocsin_from": lo + reach // MICROSECOND,
        "tocsin_hi": micros(hi),
        "tocsin_seq": commit_seq,
        "tocsin_ended": micros(hi - ENDED_STAYS),
        "tocsin_own": listed(own),
        **of_runs,
    }
    written = " ".join(made.values())
    return Scope(tables=made, parameters={k: v for k, v in values.items() if f"${k}" in written}, hi=hi)


def _events(table: str, over: timedelta | Life, reach: timedelta, runs: str) -> str:
    inside = f", TimeGenerated > make_timestamp($tocsin_from::BIGINT) AS {INSIDE}" if reach else ""
    sql = (
        f"SELECT *{inside} FROM {table} WHERE TimeGenerated > {_SPAN[0]} AND TimeGenerated <= {_SPAN[1]}"
        " AND CommitSeq <= $tocsin_seq"
    )
    if isinstance(over, timedelta):
        return sql
    column = "RunId" if over is Life.RUN else "RootRunId"
    return f"{sql} AND {column} IN (SELECT {column} FROM ({runs}) WHERE {_living()})"


def _living() -> str:
    return f"Status NOT IN ({_TERMINAL}) OR LastTime > make_timestamp($tocsin_ended::BIGINT)"


def _begins(over: Life, hi: datetime, reader: LogReader, runs: str, of_runs: Mapping[str, object]) -> int:
    """When the first of the runs began that a window of lives is about, µs since the epoch."""
    column = "RunId" if over is Life.RUN else "RootRunId"
    found = reader.select(
        f"WITH runs AS MATERIALIZED ({runs})"
        f" SELECT min(epoch_us(FirstTime)) FROM runs WHERE {column} IN (SELECT {column} FROM runs WHERE {_living()})",
        {**of_runs, "tocsin_ended": micros(hi - ENDED_STAYS)},
    )
    first = found.column(0)[0].as_py()
    return micros(hi) if first is None else int(first)
