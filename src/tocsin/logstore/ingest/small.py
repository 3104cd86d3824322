"""A small commit, done in Python around a few small statements: planning the bulk statements would cost more than it
saves.

It does what ``commit.write`` does, to the same result; where it cannot be sure of that (``Undecided``) it leaves the
commit to the other, before anything is written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb

from tocsin.logstore.ingest.batch import AppendBatch, Group
from tocsin.logstore.ingest.cleaning import Undecided, check_raw, finish, row_of
from tocsin.logstore.ingest.dedupe import GAP, ranges
from tocsin.logstore.ingest.read import read_cloud_event
from tocsin.logstore.ingest.relations import BEAT_ROWS, EVENT_ROWS, MOVED_RUNS, table_of
from tocsin.logstore.ingest.runs import fold_events, move_runs, put_runs, take_runs
from tocsin.logstore.ingest.staging import Staging
from tocsin.logstore.interface import Touched
from tocsin.logstore.recent.changes import Brought
from tocsin.logstore.recent.heartbeats import SLOT, NewestBeats, Slot, slot_of
from tocsin.logstore.recent.keys import Key, NewestKeys
from tocsin.logstore.recent.run_locator import RunLocator
from tocsin.logstore.sqlfiles import sql
from tocsin.model.event import DeadLetter, MappedEvent, RawEvents
from tocsin.model.run_state import RunState, unknown
from tocsin.model.text.strictjson import ReadError

MOST = 400
"""Messages of a commit up to which it counts as small."""

_SLOT = timedelta(seconds=SLOT)
_REMEMBERED = tuple(name for name in EVENT_ROWS.names if name != "Raw")

Row = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Small:
    """A small commit, read and without duplicates; nothing is written yet."""

    rows: list[Row] = field(default_factory=list)
    beats: list[Row] = field(default_factory=list)
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    duplicates: Counter[int] = field(default_factory=Counter)  # by batch
    kept: list[Row] = field(default_factory=list)  # of ``beats``, those to store


def read_small(
    con: duckdb.DuckDBPyConnection, append_batch: AppendBatch, newest: NewestBeats, keys: NewestKeys
) -> Small | None:
    """Read and dedupe ``append_batch`` inside the open transaction; None where it has to go the other way."""
    if append_batch.size > MOST or append_batch.bulk:
        return None
    small = Small()
    try:
        for group in append_batch.groups:
            _read_group(group, append_batch, small)
    except Undecided:
        return None
    _drop_duplicates(con, small, keys)
    if small.beats:
        _thin(con, small, newest)
    return small


def _read_group(group: Group, append_batch: AppendBatch, small: Small) -> None:
    for i, payload in enumerate(group.payloads):
        n = group.first + i
        try:
            event = _event(group, i, payload)
            row = row_of(
                event,
                consumer=group.consumer,
                time_us=group.times[i] if group.times is not None else group.received_us,
                own_time=group.own_time,
                received_us=group.received_us,
                retries_unknown=group.retries_unknown,
                skew_us=append_batch.skew_us,
            )
        except ReadError as e:
            small.dead[n] = append_batch.dead_letter(n, e)
            continue
        if event.unknown:
            append_batch.unknown[n] = event.unknown
        row["n"], row["b"], row["kept"] = n, group.batch, False
        if not row["is_status"]:
            small.beats.append(row)
        elif row["TimeGiven"]:
            small.rows.append(row)
        else:
            raise Undecided


def _event(group: Group, i: int, payload: bytes) -> MappedEvent:
    source = group.origin
    if isinstance(source, RawEvents):
        return read_cloud_event(payload)
    check_raw(payload)
    return source.events[group.taken[i] if group.taken is not None else i]


def key_of(row: Mapping[str, Any]) -> Key:
    """What an event with a producer's time is recognised by."""
    return (row["Source"], row["EventId"], row["TimeGenerated"])


def _drop_duplicates(con: duckdb.DuckDBPyConnection, small: Small, keys: NewestKeys) -> None:
    new: dict[Key, Row] = {}
    for row in small.rows:
        if new.setdefault(key_of(row), row) is not row:
            small.duplicates[row["b"]] += 1
    if asked := keys.unknown(new):
        times = sorted(key[2] for key in asked)
        spans = [(times[0], times[-1])] if times[-1] - times[0] <= GAP else ranges([(t, t) for t in times])
        ids = list({key[1] for key in asked})
        for lo, hi in spans:
            for key in con.execute(sql("stored_keys"), {"lo": lo, "hi": hi, "ids": ids}).fetchall():
                if (row_found := new.pop(key, None)) is not None:
                    small.duplicates[row_found["b"]] += 1
    small.rows = list(new.values())


def _thin(con: duckdb.DuckDBPyConnection, small: Small, newest: NewestBeats) -> None:
    """Keep the first heartbeat of a run in ten seconds, and each change of Progress."""
    since = min(b["received"] for b in small.beats) - _SLOT
    stored = newest.known(since)
    if stored is None:
        runs = list({b["RunId"] for b in small.beats})
        found = con.execute(sql("stored_beats"), {"since": since, "runs": runs}).fetchall()
        stored = {(run, slot): progress for run, slot, progress in found}
    before: dict[Slot, float | None] = {}
    for b in small.beats:
        slot, progress = slot_of(b), b["Progress"]
        there = slot in before or slot in stored
        said = before[slot] if slot in before else stored.get(slot)
        if not there or (progress is not None and progress != said):
            b["kept"] = True
            small.kept.append(b)
        before[slot] = progress if progress is not None else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there was of the runs of a small commit."""

    held: Mapping[str, RunState]  # rows that were taken out of Runs: of those that events came of
    moved: Mapping[
        str, Row
    ]  # rows of MOVED_RUNS: of those that only heartbeats came of, and that have been moved in their place


def find_runs(staging: Staging, known: RunLocator, small: Small, seq: int | None) -> Found:
    """Look up the runs that the commit touches. ``seq`` None: all heartbeats were thinned out."""
    names = {row["RunId"] for row in small.rows}
    held = take_runs(staging, known, list(names)) if names else {}
    beaten: dict[str, Row] = {}
    for beat in small.beats:
        if beat["RunId"] not in names:
            last = beaten.setdefault(beat["RunId"], dict.fromkeys(MOVED_RUNS.names) | {"RunId": beat["RunId"]})
            last["seen"] = beat["received"] if last["seen"] is None else max(last["seen"], beat["received"])
            progress = beat["Progress"] if beat["kept"] else None
            if progress is not None and (last["said"] is None or beat["received"] >= last["said"]):
                last["progress"], last["said"] = progress, beat["received"]
    known_ones = move_runs(staging, known, beaten, seq) if beaten else frozenset()
    return Found(held=held, moved={run: last for run, last in beaten.items() if run in known_ones})


def write_small(staging: Staging, small: Small, found: Found, at: datetime, seq: int | None) -> Brought:
    """Write rows, heartbeats and Runs, after ``find_runs``. Returns what evaluation may ask for."""
    if not small.rows and not small.beats:
        return Brought()
    stamp = at.replace(tzinfo=None)
    events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in small.rows:
        row["IngestedAt"], row["CommitSeq"] = stamp, seq
        events[row["RunId"]].append(row)
    states = fold_events(staging.con, found.held, events)
    for beat in small.beats:
        run = beat["RunId"]
        if run not in found.moved:
            state = states.get(run) or _unknown(beat, stamp, seq)
            states[run] = state.beaten(beat["received"], beat["Progress"] if beat["kept"] else None, seq)
    as_left = {run: state.row() for run, state in states.items()}
    if as_left:
        put_runs(staging, as_left.values())
    if small.rows:
        for row in small.rows:
            finish(row, states[row["RunId"]].start_time)
        staging.insert("RunStatusChanged", "new_events", table_of(small.rows, EVENT_ROWS))
    if small.kept:
        rows = [b | {"ReceivedAt": b["received"], "CommitSeq": seq} for b in small.kept]
        staging.insert("Heartbeats", "new_beats", table_of(rows, BEAT_ROWS))
    least: dict[str, datetime] = {}
    for run, new in [(r["RunId"], r["TimeGenerated"]) for r in small.rows] + [
        (b["RunId"], b["received"]) for b in small.kept
    ]:
        least[run] = min(new, least.get(run, new))
    runs = {run: Touched(least=least.get(run), row=row) for run, row in as_left.items()} | {
        run: Touched(least=least.get(run), row=None, seen=last["seen"], progress=last["progress"] is not None)
        for run, last in found.moved.items()
    }
    rows = [{name: row[name] for name in _REMEMBERED} for row in small.rows]
    return Brought(runs, rows, sum(len(row["Raw"]) for row in small.rows))


def _unknown(beat: Mapping[str, Any], stamp: datetime, seq: int | None) -> RunState:
    """The run of which ``beat`` is the first that came."""
    return unknown(
        beat["RunId"],
        beat["received"],
        first_seen=stamp,
        source=beat["Source"],
        consumer=beat["Consumer"],
        seq=seq or 0,
    )
