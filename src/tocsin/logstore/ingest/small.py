"""A small commit, done in Python around a few small statements: planning the bulk statements would cost more than it
saves.

It does what ``commit.write`` does, to the same result; where it cannot be sure of that (``Undecided``) it leaves the
commit to the other, before anything is written.

``row_of`` makes a row of an event as ``sql/read_events.sql`` does in bulk. A commit that may be read in two ways goes the other way.

Stays beside the bulk statements: without it a commit of 20 events takes 43 ms of CPU in place of 7.8, and p50 of 1,000
events/s with 1,000 rules was 4,122 ms, not measured in a pair (docs/decisions/0019).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from tocsin.clock import from_micros
from tocsin.logstore.ingest.batch import AppendBatch, Group
from tocsin.logstore.ingest.dedupe import GAP, ranges
from tocsin.logstore.ingest.read import read_cloud_event, time_or_none
from tocsin.logstore.ingest.runs import fold_events, move_runs, put_runs, take_runs
from tocsin.logstore.ingest.staging import BEAT_ROWS, EVENT_ROWS, MOVED_RUNS, Staging, table_of
from tocsin.logstore.interface import Touched
from tocsin.logstore.recent.changes import SLOT, Brought, Key, NewestBeats, NewestKeys, Slot, slot_of
from tocsin.logstore.recent.run_locator import RunLocator
from tocsin.logstore.sqlfiles import sql
from tocsin.model.event import DeadLetter, DeadReason, MappedEvent, RawEvents
from tocsin.model.run_state import RunState, duration_ms, unknown
from tocsin.model.statuses import STATUS_WORDS, TERMINAL, Reason, Status
from tocsin.model.text.redact import redact
from tocsin.model.text.strictjson import ReadError, read_json
from tocsin.model.text.tails import stored_tail

_STATUS = {word.lower(): word for word in STATUS_WORDS if word != Status.UNKNOWN}
_REASONS = frozenset(r.value for r in Reason) - {Reason.NONE.value, Reason.UNKNOWN.value}
_TEXTS = (
    "ParentRunId", "Message", "ErrorCode", "LogTail", "ExperimentName", "WorkspaceName", "RunType", "DisplayName",
    "Target", "TriggeringUserName", "OwnerEmail", "Url",
)  # fmt: skip
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_LONG = re.compile(r"\d{1,18}", re.ASCII)
_SHARE = re.compile(r"[01](\.\d{1,17})?", re.ASCII)
_BOOLS = {"true": True, "false": False}


class Undecided(Exception):
    """Only SQL knows how it reads this; the commit goes the other way."""


def row_of(
    event: MappedEvent,
    *,
    consumer: str,
    time_us: int,
    own_time: bool,
    received_us: int,
    retries_unknown: bool,
    skew_us: int,
) -> dict[str, Any]:
    """The row of ``event``: columns of RunStatusChanged but for IngestedAt and CommitSeq, and is_status, received.

    ``time_us`` stands where the event has no time; one more than ``skew_us`` after the receipt counts as none. Times
    are naive UTC, as DuckDB has them. Raises ReadError for an event without a run or a status, Undecided where it has
    something that DuckDB reads in a way of its own.
    """
    given = {name: _text(value) for name, value in event.columns.items() if name not in ("Tags", "Properties")}
    get = given.get
    run, word = get("RunId", ""), get("Status", "")
    if not run.strip(" "):
        raise ReadError(DeadReason.NO_RUN_ID, "no RunId")
    if not event.heartbeat and not word.strip(" "):
        raise ReadError(DeadReason.NO_STATUS, "no Status")
    raw = event.raw.decode("utf-8", "replace").removeprefix("\ufeff")
    event_id = _without_nul(event.event_id)
    content = "\0".join((consumer, run, word, raw))
    at = from_micros(time_us) if event.time is None else event.time
    timed = event.time is not None or own_time
    ahead = timed and _naive(at) > _naive(from_micros(received_us + skew_us))
    reason = get("Reason", "").lower()
    parent = get("ParentRunId", "")
    row: dict[str, Any] = {name: get(name, "") for name in _TEXTS}
    return row | {
        "is_status": not event.heartbeat,
        "received": _naive(from_micros(received_us)),
        "named": event_id != "",
        "EventId": event_id or "sha256:" + hashlib.sha256(content.encode()).hexdigest(),
        "Source": _without_nul(event.source),
        "Consumer": consumer,
        "TimeGenerated": _naive(from_micros(received_us) if ahead else at),
        "RunId": run,
        "RootRunId": get("RootRunId") or parent or run,
        "JobKey": get("JobKey") or run,
        "Attempt": int(_number(_WHOLE, get("Attempt")) or 0),
        "WillRetry": _bool(get("WillRetry"), None if retries_unknown else False),
        "Status": _STATUS.get(word.strip(" ").lower(), Status.UNKNOWN.value),
        "OriginalStatus": get("OriginalStatus") or word,
        "Reason": reason if reason in _REASONS or not reason else Reason.UNKNOWN.value,
        "Message": redact(row["Message"]),
        "LogTail": stored_tail(row["LogTail"]),
        "Progress": _share(get("Progress")),
        "Tags": _object(event.columns.get("Tags")),
        "Properties": _object(event.columns.get("Properties")),
        "StartTime": _time(event.columns.get("StartTime")),
        "EndTime": _time(event.columns.get("EndTime")),
        "DurationMs": _long(get("DurationMs")),
        "Raw": raw,
        "TimeGiven": timed and not ahead,
        "StartDerived": False,
        "GivenTime": _naive(at) if ahead else None,
    }


def finish(row: dict[str, Any], run_start: datetime | None) -> None:
    """Derive what a terminal event leaves out; ``run_start`` is StartTime of its run."""
    if row["Status"] not in TERMINAL:
        return
    end = row["EndTime"] or row["TimeGenerated"]
    if row["StartTime"] is None and row["DurationMs"] is None and run_start is not None and run_start <= end:
        row["StartTime"], row["StartDerived"] = run_start, True
    row["EndTime"] = end
    if row["DurationMs"] is None:
        row["DurationMs"] = duration_ms(True, row["StartTime"], end)


def _text(value: object) -> str:
    if isinstance(value, str):
        return _without_nul(value)
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime):
        return ""
    raise Undecided


def _without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _number(form: re.Pattern[str], text: str | None) -> str | None:
    if not text:
        return None
    if not form.fullmatch(text):
        raise Undecided
    return text


def _long(text: str | None) -> int | None:
    found = _number(_LONG, text)
    return None if found is None else int(found)


def _share(text: str | None) -> float | None:
    found = _number(_SHARE, text)
    return None if found is None or float(found) > 1 else float(found)


def _bool(text: str | None, absent: bool | None) -> bool | None:
    if not text:
        return absent
    if text not in _BOOLS:
        raise Undecided
    return _BOOLS[text]


def _time(value: object) -> datetime | None:
    at = value if isinstance(value, datetime) else time_or_none(value)
    return None if at is None else _naive(at)


def _naive(at: datetime) -> datetime:
    return at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)


def _object(value: object) -> str:
    if not isinstance(value, Mapping):
        return "{}"
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if "\\u" in text or _has_exponent(value):
        raise Undecided
    return text


def _has_exponent(value: object) -> bool:
    if isinstance(value, float):
        return "e" in repr(value)
    if isinstance(value, Mapping):
        return any(_has_exponent(v) for v in value.values())
    if isinstance(value, list | tuple):
        return any(_has_exponent(v) for v in value)
    return False


def check_raw(payload: bytes) -> None:
    """Raises Undecided for a mapped event's payload that is no JSON: it is stored as a JSON string then."""
    try:
        read_json(payload, limit=len(payload))
    except ReadError as e:
        raise Undecided from e


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
