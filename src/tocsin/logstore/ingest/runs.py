"""Keeping ``Runs`` in the commit that brings its events (SEMANTICS.md, A retried run).

    new events ─┬─ after all that Runs knows of their run ── held state ──────────┐
                └─ late: the run is folded again ─────────── its stored events ───┴─► fold ─► tocsin.runs

The fold is ``model.run_state`` for the runs of a small commit, ``sql/fold_runs.sql`` for those of a large one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from tocsin.logstore.ddl import RUN_HASHES
from tocsin.logstore.ingest.dedupe import ranges
from tocsin.logstore.ingest.staging import MOVED_RUNS, RUN_NAMES, RUN_ROWS, Staging, table_of
from tocsin.logstore.recent.run_locator import NEVER, Place, RunLocator
from tocsin.logstore.sqlfiles import fold_sql, sql
from tocsin.model.event import MappedEvent
from tocsin.model.run_life import order
from tocsin.model.run_state import RunState, fold, forgotten, state_of, unknown

SMALL = 400
"""Events of a commit up to which Python is faster than planning the bulk statement."""

MOST_RUNS = 8_000
"""Runs that are folded by one statement: more take more memory than a store with a small limit has."""

Row = Mapping[str, Any]
Events = Mapping[str, list[Row]]
"""Rows of RunStatusChanged by run."""

_PAST = (
    f"SELECT {sql('stored_columns')} FROM RunStatusChanged"
    " WHERE TimeGenerated BETWEEN $lo AND $hi AND RunId IN (SELECT unnest($runs::VARCHAR[]))"
)
FEW_LATE = 64
"""So many late runs are each read by their own times: they lie anywhere, and what lies between them is most of the store.
"""


def update_runs(staging: Staging, known: RunLocator, *, rows: int, ingested: datetime, seq: int) -> list[str]:
    """Bring tocsin.runs up to date with ``live`` (``rows`` events); returns the runs that it touched."""
    con, stamps = staging.con, {"ingested": ingested.replace(tzinfo=None), "seq": seq}
    touched: list[str] = con.execute("SELECT DISTINCT RunId FROM live").to_arrow_table().column(0).to_pylist()
    place = known.place(touched)
    since = min(place.since, place.old_since)
    con.execute(sql("hold_recent"), {"since": place.since})
    _hold_old(con, place)
    if since != NEVER:
        con.execute("DELETE FROM tocsin.runs WHERE rowid IN (SELECT row_id FROM held)")
    if rows <= SMALL:
        held = {row["RunId"]: state_of(row) for row in rows_of(con, "FROM held")}
        events: dict[str, list[Row]] = defaultdict(list)
        for event in rows_of(con, sql("new_events"), **stamps):
            events[event["RunId"]].append(event)
        put_runs(staging, (state.row() for state in fold_events(con, held, events).values()))
    else:
        late = con.execute(sql("late_runs")).fetchall() if since != NEVER else []
        if late:
            _read_past(con, late)
        parts = -(-len(touched) // MOST_RUNS)
        for part in range(parts):
            _fold_part(con, late=bool(late), part=part, parts=parts, stamps=stamps)
    return touched


def _hold_old(con: duckdb.DuckDBPyConnection, place: Place) -> None:
    """Put into ``held`` the runs that were not active lately.

    A few are each looked for where they most likely lie, so that zone maps leave little of ten years of runs. Those that
    have moved since, or only look as if they were known, are looked for by the keys of all.
    """
    left = list(place.old)
    if 0 < len(left) <= FEW_LATE:
        each = " UNION ALL ".join(
            f"SELECT rowid, * FROM tocsin.runs WHERE CommitSeq >= {seqs.start} AND CommitSeq < {min(seqs.stop, place.since)}"
            f" AND RunKey = md5_number($run{n})"
            for n, seqs in enumerate(place.old.values())
        )
        con.execute(f"INSERT INTO held {each}", {f"run{n}": run for n, run in enumerate(left)})
        found = con.execute("SELECT RunId FROM held WHERE CommitSeq < $since", {"since": place.since}).fetchall()
        left = sorted({*left} - {run for (run,) in found})
    if left:
        old = json.dumps(left, ensure_ascii=False)  # a list as parameter takes 0.1 ms for each of its values
        con.execute(sql("hold_old"), {"since": place.old_since, "before": place.since, "old": old})


def put_runs(staging: Staging, rows: Iterable[Row]) -> None:
    """Insert rows into tocsin.runs."""
    staging.insert("tocsin.runs", "new_runs", table_of(rows, RUN_ROWS), f"*, {RUN_HASHES}")


def take_runs(staging: Staging, known: RunLocator, runs: list[str]) -> dict[str, RunState]:
    """Take what tocsin.runs holds of ``runs`` out of it."""
    since = known.since(runs)
    if since == NEVER:
        return {}
    with staging.registered("touched_runs", table_of(({"RunId": run} for run in runs), RUN_NAMES)) as con:
        return {row["RunId"]: state_of(row) for row in rows_of(con, sql("take_runs"), since=since)}


def move_runs(staging: Staging, known: RunLocator, beats: Mapping[str, Row], seq: int | None) -> frozenset[str]:
    """Move LastSeen and Progress of the runs of which ``beats`` came, rows of MOVED_RUNS by RunId; their rows are not
    read, which is most of the work. Returns those of which there are rows.
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


def beat_runs(
    staging: Staging, known: RunLocator, touched: Iterable[str], *, ingested: datetime, seq: int, stored: bool
) -> list[str]:
    """The same for all heartbeats of a large commit, after its events, which ``touched`` runs; ``stored``: it takes
    ``seq``. A heartbeat of an unknown run makes a row of it. Returns their runs.
    """
    con = staging.con
    con.execute(sql("beats_of_commit"), {"seq": seq})
    moved: pa.Table = con.execute("SELECT RunId, LastSeen, BeatProgress, BeatAt FROM beaten").to_arrow_table()
    beaten: list[str] = moved.column(0).to_pylist()
    since = min(known.since({*beaten} - {*touched}), seq)  # those of ``touched`` have been written by this commit
    with staging.registered("moved_runs", moved.rename_columns(MOVED_RUNS.names).cast(MOVED_RUNS)):
        con.execute(sql("move_runs"), {"since": since, "seq": seq if stored else None})
    con.execute(
        f"INSERT INTO tocsin.runs BY NAME SELECT *, {RUN_HASHES} FROM ({sql('beats_make_runs')} {sql('unknown_runs')})",
        {"since": since, "ingested": ingested, "seq": seq},
    )
    return beaten


def label_runs(
    staging: Staging, known: RunLocator, events: Sequence[MappedEvent], *, at: datetime, seq: int
) -> list[str]:
    """Set tags, properties and descriptions of runs, after all else of the commit. A run that is not known becomes one
    with a heartbeat. Returns their runs.
    """
    if not events:
        return []
    runs = list(dict.fromkeys(str(event.columns["RunId"]) for event in events))
    since = min(known.since(runs), seq)  # the commit may have brought them
    with staging.registered("touched_runs", table_of(({"RunId": run} for run in runs), RUN_NAMES)) as con:
        states = {row["RunId"]: state_of(row) for row in rows_of(con, sql("take_runs"), since=since)}
    for event in events:
        run = str(event.columns["RunId"])
        if run not in states:
            states[run] = unknown(run, at, first_seen=at, source=event.source, seq=seq)
            con.execute("INSERT INTO Heartbeats VALUES ($run, $at, NULL, $seq)", {"run": run, "at": at, "seq": seq})
        assert event.labels is not None
        states[run] = states[run].labelled(event.labels, seq)
    put_runs(staging, (state.row() for state in states.values()))
    for state in states.values():
        con.execute(
            "INSERT INTO tocsin.run_updates VALUES ($run, $seq, $description, $tags, $properties)",
            {
                "run": state.run_id,
                "seq": seq,
                "description": state.description,
                "tags": state.tag_patch,
                "properties": state.property_patch,
            },
        )
    return runs


def fold_events(con: duckdb.DuckDBPyConnection, held: Mapping[str, RunState], events: Events) -> dict[str, RunState]:
    """The states of runs after their new ``events``; where one came late, all events of its run are read."""
    late = [
        (run, state.first_time, state.last_time)
        for run, new in events.items()
        if (state := held.get(run)) is not None
        and (greatest := state.greatest) is not None
        and min(map(order, new)) <= greatest
    ]
    if not late:
        return {run: fold(held.get(run), new) for run, new in events.items()}
    again = {run: forgotten(held[run]) for run, _, _ in late}
    past: dict[str, list[Row]] = defaultdict(list)
    for lo, hi in ranges(sorted((first, last) for _, first, last in late if first is not None and last is not None)):
        for event in rows_of(con, _PAST, runs=[*again], lo=lo, hi=hi):
            past[event["RunId"]].append(event)
    return {run: fold(again.get(run, held.get(run)), [*new, *past.get(run, ())]) for run, new in events.items()}


def rows_of(con: duckdb.DuckDBPyConnection, statement: str, **params: object) -> list[dict[str, Any]]:
    """Rows of a query by column; times are naive UTC."""
    found = con.execute(statement, params)
    names = [d[0] for d in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _fold_part(
    con: duckdb.DuckDBPyConnection, *, late: bool, part: int, parts: int, stamps: Mapping[str, object]
) -> None:
    """Write the runs of the commit that are in part ``part`` of ``parts``; ``late``: ``past`` holds events."""
    line = sql("new_events")
    if parts > 1:
        line += f" WHERE rh % {parts} = {part}"
    if late:
        line += " UNION ALL BY NAME SELECT -1 - rowid AS n, * FROM past"
        if parts > 1:
            line += f" WHERE hash(RunId) % {parts} = {part}"
    line = f"WITH line AS NOT MATERIALIZED ({line})"
    con.execute(f"CREATE OR REPLACE TEMP TABLE placed AS {line} {sql('place_events')}", stamps)
    ((ended, sparse),) = con.execute(sql("odd_events")).fetchall()
    con.execute(
        f"INSERT INTO tocsin.runs BY NAME SELECT *, {RUN_HASHES} FROM ("
        f"{line}, base AS NOT MATERIALIZED (FROM held), {fold_sql(ended=ended, sparse=sparse)})",
        stamps,
    )


def _read_past(con: duckdb.DuckDBPyConnection, late: list[tuple[str, datetime, datetime]]) -> None:
    """Put the stored events of ``late`` runs (with their first and last times) into ``past``; ``held`` forgets them."""
    runs = [run for run, _, _ in late]
    con.execute(f"CREATE OR REPLACE TEMP TABLE past AS SELECT {sql('stored_columns')} FROM RunStatusChanged LIMIT 0")
    if len(late) <= FEW_LATE:
        params: dict[str, object] = {}
        alone = []
        for n, (run, lo, hi) in enumerate(late):
            where = f"RunId = $run{n} AND TimeGenerated BETWEEN $lo{n} AND $hi{n}"
            alone.append(f"SELECT {sql('stored_columns')} FROM RunStatusChanged WHERE {where}")
            params |= {f"run{n}": run, f"lo{n}": lo, f"hi{n}": hi}
        con.execute(f"INSERT INTO past {' UNION ALL '.join(alone)}", params)
    else:
        for lo, hi in ranges(sorted((first, last) for _, first, last in late)):
            con.execute(f"INSERT INTO past {_PAST}", {"runs": runs, "lo": lo, "hi": hi})
    con.execute(sql("forget_events"), {"runs": runs})
