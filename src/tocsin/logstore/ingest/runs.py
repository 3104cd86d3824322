"""Keeping ``Runs`` in the commit that brings its events (SEMANTICS.md, A retried run).

Most runs of a large commit are plain: their new events come after all that is known of them, and nothing ended
reopens. SQL
moves those in bulk. The others, and all runs of a small commit, are notified event by event by ``notified``, which
is the
specification; where an event came late, the run is notified again from its history. So no order of arrival changes
the result.

    live ─► held ─► sums ─── plain ────► tocsin.runs
                      └─ others ─► notified ─┘
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb

from tocsin.logstore.ddl import RUN_HASHES
from tocsin.logstore.ingest.cleaning import millis
from tocsin.logstore.ingest.dedupe import ranges
from tocsin.logstore.ingest.relations import MOVED_RUNS, RUN_NAMES, RUN_ROWS, table_of
from tocsin.logstore.ingest.staging import Staging
from tocsin.logstore.recent.run_locator import NEVER, RunLocator
from tocsin.logstore.sqlfiles import sql
from tocsin.model.statuses import TERMINAL

SMALL = 400
"""Events of a commit up to which Python alone is faster than planning the bulk statements."""

Row = Mapping[str, Any]

_OF_STATE = ("WillRetry", "OriginalStatus", "Reason", "Message", "ErrorCode", "LogTail", "Source", "Consumer", "Status")
_CARRIED = (
    "ParentRunId", "ExperimentName", "WorkspaceName", "RunType", "DisplayName", "Target", "TriggeringUserName",
    "OwnerEmail", "Url",
)  # fmt: skip


def update_runs(staging: Staging, known: RunLocator, *, rows: int, ingested: datetime, seq: int) -> list[str]:
    """Bring tocsin.runs up to date with ``live`` (``rows`` events); returns the runs that it touched."""
    con = staging.con
    touched: list[str] = con.execute("SELECT DISTINCT RunId FROM live").to_arrow_table().column(0).to_pylist()
    since = known.since(touched)
    con.execute(sql("hold_runs"), {"since": since})
    if since != NEVER:
        con.execute("DELETE FROM tocsin.runs WHERE rowid IN (SELECT row_id FROM held)")
    at = ingested.replace(tzinfo=None)
    if rows <= SMALL:
        names = touched
    else:
        con.execute(sql("sum_runs"))
        con.execute(sql("turn_runs"), {"ingested": at, "seq": seq})
        found = con.execute("SELECT DISTINCT RunId FROM live WHERE rh IN (SELECT rh FROM sums WHERE NOT plain)")
        names = [name for (name,) in found.fetchall()]
    if names:
        put_runs(staging, _notify(con, names, ingested=at, seq=seq))
    return touched


def put_runs(staging: Staging, rows: Iterable[Row]) -> None:
    """Insert rows into tocsin.runs."""
    staging.insert("tocsin.runs", "new_runs", table_of(rows, RUN_ROWS), f"*, {RUN_HASHES}")


def _notify(con: duckdb.DuckDBPyConnection, runs: list[str], *, ingested: datetime, seq: int) -> list[dict[str, Any]]:
    """New rows of tocsin.runs for ``runs``."""
    held = {r["RunId"]: r for r in rows_of(con, "SELECT * FROM held WHERE RunId IN (SELECT unnest($runs))", runs=runs)}
    events: dict[str, list[Row]] = {}
    for e in rows_of(con, sql("new_of_runs"), runs=runs):
        events.setdefault(e["RunId"], []).append(e)
    return notify_runs(con, held, events, ingested=ingested, seq=seq)


def take_runs(staging: Staging, known: RunLocator, runs: list[str]) -> dict[str, Row]:
    """Take what tocsin.runs holds of ``runs`` out of it."""
    since = known.since(runs)
    if since == NEVER:
        return {}
    with staging.registered("touched_runs", table_of(({"RunId": run} for run in runs), RUN_NAMES)) as con:
        return {r["RunId"]: r for r in rows_of(con, sql("take_runs"), since=since)}


def move_runs(staging: Staging, known: RunLocator, beats: Mapping[str, Row], seq: int | None) -> frozenset[str]:
    """Move LastSeen and Progress of the runs of which ``beats`` came, rows of MOVED_RUNS by RunId; their rows are
    not read, which is
    most of the work. Returns those of which there are rows.
    """
    since = known.since(beats)
    if since == NEVER:
        return frozenset()
    with staging.registered("moved_runs", table_of(beats.values(), MOVED_RUNS)) as con:
        statement = "touch_runs" if all(beat["progress"] is None for beat in beats.values()) else "move_runs"
        ((moved,),) = con.execute(sql(statement), {"since": since, "seq": seq}).fetchall()
        if moved == len(beats):
            return frozenset(beats)
        some = (
            "SELECT RunId FROM tocsin.runs"
            " WHERE CommitSeq >= $since AND RunKey IN (SELECT md5_number(RunId) FROM moved_runs)"
        )
        return frozenset(run for (run,) in con.execute(some, {"since": since}).fetchall())


def notify_runs(
    con: duckdb.DuckDBPyConnection,
    held: Mapping[str, Row],
    events: dict[str, list[Row]],
    *,
    ingested: datetime,
    seq: int,
) -> list[dict[str, Any]]:
    """New rows of tocsin.runs after ``events`` (by run), read again from history where one came late."""
    late = [
        run
        for run, new in events.items()
        if (known := held.get(run)) is not None
        and known["StateTime"] is not None
        and min(map(order, new))
        <= (known["Attempt"], *(known[k] for k in ("MaxTime", "MaxTerminal", "MaxSource", "MaxEvent")))
    ]
    if late:
        for lo, hi in ranges(sorted((held[r]["FirstTime"], held[r]["LastTime"]) for r in late)):
            for e in rows_of(con, sql("history"), runs=late, lo=lo, hi=hi):
                events[e["RunId"]].append(e)
    anew = frozenset(late)
    return [notified(held.get(run), new, anew=run in anew, ingested=ingested, seq=seq) for run, new in events.items()]


def rows_of(con: duckdb.DuckDBPyConnection, statement: str, **params: object) -> list[dict[str, Any]]:
    """Rows of a query by column; times are naive UTC."""
    found = con.execute(statement, params)
    names = [d[0] for d in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def order(event: Row) -> tuple[int, datetime, bool, str, str]:
    """Event-time order of a run."""
    return (
        event["Attempt"], event["TimeGenerated"], event["Status"] in TERMINAL, event["Source"], event["EventId"],
    )  # fmt: skip


def notified(held: Row | None, events: Iterable[Row], *, anew: bool, ingested: datetime, seq: int) -> dict[str, Any]:
    """What Runs holds of a run after ``events``: the state goes on from ``held``, or begins ``anew`` with all its
    events.

    Of a run that has ended, a non-terminal event changes nothing, unless its Source has ended the run before in the
    same
    try (then it is later, by the order) and gives times, or it belongs to a later try.
    """
    goes_on = held is not None and held["StateTime"] is not None and not anew
    run: dict[str, Any] = dict(held) if goes_on and held is not None else _fresh(held)
    enders: set[str] = set(run["EndedBy"])
    attempts: set[int] = set(run["AttemptNumbers"])
    line = sorted(events, key=order)
    for e in line:
        attempt, status, at = e["Attempt"], e["Status"], e["TimeGenerated"]
        run["RunId"] = e["RunId"]
        attempts.add(attempt)
        run["FirstTime"], run["LastTime"] = _least(run["FirstTime"], at), _greatest(run["LastTime"], at)
        if status == "Running":
            run["FirstRunning"] = _least(run["FirstRunning"], at)
        if e.get("received") is not None:
            run["LastSeen"] = _greatest(run["LastSeen"], e["received"])
        terminal, first = status in TERMINAL, run["StateTime"] is None
        newer = not first and attempt > run["Attempt"]
        if newer:
            enders.clear()
        ended = not first and not newer and run["Status"] in TERMINAL
        if ended and not terminal and not (e["TimeGiven"] and e["Source"] in enders):
            continue
        if first or newer or run["Status"] != status:
            run["StatusSince"] = at
        if terminal:
            enders.add(e["Source"])
        _take_state(run, e)
    last = line[-1]
    run |= {
        "MaxTime": last["TimeGenerated"],
        "MaxTerminal": last["Status"] in TERMINAL,
        "MaxSource": last["Source"],
        "MaxEvent": last["EventId"],
        "EndedBy": sorted(enders),
        "AttemptNumbers": sorted(attempts),
        "Attempts": max(len(attempts - {0}), 1),
        "CommitSeq": seq,
        "FirstSeen": run["FirstSeen"] or ingested,
    }
    run.pop("row_id", None)
    return _derive(run)


def _fresh(held: Row | None) -> dict[str, Any]:
    run: dict[str, Any] = dict.fromkeys(RUN_ROWS.names)
    run |= dict.fromkeys(_CARRIED, "") | {"Tags": "{}", "Properties": "{}", "EndedBy": [], "AttemptNumbers": []}
    if held is not None:
        run |= {k: held[k] for k in ("FirstSeen", "LastSeen", "BeatProgress", "BeatAt")}
    return run


def _take_state(run: dict[str, Any], e: Row) -> None:
    run |= {k: e[k] for k in _OF_STATE}
    run |= {k: e[k] for k in _CARRIED if e[k]}
    for k in ("Tags", "Properties"):
        if e[k] != "{}":
            run[k] = e[k]
    for k in ("RootRunId", "JobKey"):
        if e[k] != e["RunId"] or not run[k]:
            run[k] = e[k]
    run |= {
        "Attempt": e["Attempt"],
        "StateTime": e["TimeGenerated"],
        "StateEvent": e["EventId"],
        # A stored terminal event has the end that was derived for it, which is the one derived here.
        "GivenEnd": e["EndTime"],
        "GivenMs": e["DurationMs"],
        "GivenStart": e["StartTime"] or run["GivenStart"],
    }
    if e["Progress"] is not None:
        run |= {"EventProgress": e["Progress"], "EventProgressAt": e["TimeGenerated"]}


def _derive(run: dict[str, Any]) -> dict[str, Any]:
    ended = run["Status"] in TERMINAL
    start = run["GivenStart"] or run["FirstRunning"]
    end = run["GivenEnd"] or (run["StateTime"] if ended else None)
    length = run["GivenMs"]
    if length is None and ended and start is not None and end is not None and end >= start:
        length = millis(end) - millis(start)
    beats = run["BeatProgress"] is not None and (
        run["EventProgressAt"] is None or run["BeatAt"] >= run["EventProgressAt"]
    )
    return run | {
        "StartTime": start,
        "EndTime": end,
        "DurationMs": length,
        "Progress": run["BeatProgress"] if beats else run["EventProgress"],
    }


def _least(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b < a else a


def _greatest(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b > a else a
