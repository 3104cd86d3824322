"""Retention (SEMANTICS.md): what is old is deleted by day, and open runs keep their last row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import duckdb

from tocsin.logstore.ingest.dedupe import forget_recent
from tocsin.logstore.sqlfiles import sql

DEAD_BYTES = 1 << 30
"""Bytes of dead letters that are kept; beyond it the oldest go first."""

_COLUMN = {
    "RunStatusChanged": "TimeGenerated",
    "Heartbeats": "ReceivedAt",
    "RunMetrics": "Time",
    "Alerts": "Time",
    "Notifications": "Time",
    "Actions": "Time",
    "DeadLetters": "Time",
}


def retain(
    con: duckdb.DuckDBPyConnection,
    now: datetime,
    keep: Mapping[str, timedelta],
    transaction: Callable[[duckdb.DuckDBPyConnection], AbstractContextManager[None]],
) -> dict[str, int]:
    """Delete what is older than ``keep`` says, whole days only; rows deleted by table. Each table is one
    ``transaction``.
    """
    deleted: dict[str, int] = {}
    for table, age in keep.items():
        if table not in _COLUMN:
            continue
        day = (now - age).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        with transaction(con):
            if table == "RunStatusChanged":
                deleted[table] = _count(con, sql("retain_rows"), {"before": day})
                deleted["Runs"] = _count(con, sql("retain_runs"), {"before": day})
                con.execute(sql("retain_commits"), {"before": day})
                con.execute("DELETE FROM tocsin.run_updates WHERE RunId NOT IN (SELECT RunId FROM tocsin.runs)")
            else:
                name = "tocsin.dead_letters" if table == "DeadLetters" else table
                deleted[table] = _count(con, f"DELETE FROM {name} WHERE {_COLUMN[table]} < $before", {"before": day})
                if table == "DeadLetters":
                    deleted[table] += _count(con, sql("retain_dead_bytes"), {"most": DEAD_BYTES})
    with transaction(con):
        forget_recent(con, now.replace(tzinfo=None))
    return deleted


def _count(con: duckdb.DuckDBPyConnection, statement: str, params: Mapping[str, object]) -> int:
    ((n,),) = con.execute(statement, dict(params)).fetchall()
    return int(n)
