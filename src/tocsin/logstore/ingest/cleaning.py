"""An event as a row, in Python: what ``sql/read_events.sql`` does in bulk, for commits too small to plan it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tocsin.clock import from_micros
from tocsin.logstore.ingest.read import time_or_none
from tocsin.model.event import DeadReason, MappedEvent
from tocsin.model.run_state import duration_ms
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
