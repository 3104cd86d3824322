"""A consumer's mapping, compiled: from one event's value to a MappedEvent, a dead letter's reason, or nothing
(filtered).

An event is dead without RunId or Status, or with a time that is none. Any other value that its column cannot take is
left out, as in the canonical form: one odd field is no reason to lose a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tocsin.intake.expressions import ExpressionFailed, Getter, any_case, compile_getter, is_true, plain_path
from tocsin.intake.files import MAPPED, ConsumerFile
from tocsin.intake.formats import write
from tocsin.model.calendars.times import read_time
from tocsin.model.columns import KqlType
from tocsin.model.event import DeadReason, MappedEvent, Origin
from tocsin.model.statuses import STATUS_WORDS, Reason, Status
from tocsin.model.text.redact import redact
from tocsin.model.text.strictjson import ReadError, read_json
from tocsin.model.text.tails import stored_tail

_NAMES = frozenset({"RunId", "Status"})  # of words and numbers only: an object would name nothing
_SAFE: dict[str, Callable[[str], str]] = {"Message": redact, "LogTail": stored_tail}
"""How free text is stored; here too, so that a preview shows what is."""
_SHOWN_FIELDS = 8  # of an event, in a dead letter's detail
_REASONS = frozenset(r.value for r in Reason)


class Dead(Exception):
    """Ends the reading of one event; becomes its dead letter."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapper:
    """The compiled mapping of one consumer file."""

    read: Callable[[object, bytes, Origin, datetime | None], MappedEvent | None]


def compile_mapping(name: str, file: ConsumerFile) -> Mapper:
    """Compile what ``file`` (of consumer ``name``) says.

    ``Mapper.read(value, raw, origin, time)`` gives the event, or None where the filter drops it; ``time`` stands in
    where the payload has none. It raises Dead.
    """
    texts = {
        "heartbeat": file.heartbeat,
        "source": file.source,
        "event_id": file.event_id,
        "time": file.time,
        **{f"mapping.{column}": text for column, text in file.mapping.items()},
    }
    labels = [label for label, text in texts.items() if text is not None]
    getter = compile_getter([text for text in texts.values() if text is not None], ignore_case=file.ignore_case)
    at = {label: i for i, label in enumerate(labels)}
    wanted = compile_getter([file.filter], ignore_case=file.ignore_case) if file.filter is not None else None
    i_heartbeat = at.get("heartbeat")
    i_source, i_id, i_time = at.get("source"), at.get("event_id"), at.get("time")
    i_status = at.get("mapping.Status")
    statuses = {word.lower(): word for word in STATUS_WORDS} | {w.lower(): s for w, s in file.status_map.items()}
    columns = [(c, at[f"mapping.{c}"], _READERS[MAPPED[c].type], c in _NAMES) for c in file.mapping if c != "Status"]
    embedded = [plain_path(path) for path in file.json_in]

    def read(value: object, raw: bytes, origin: Origin, time: datetime | None) -> MappedEvent | None:
        if not isinstance(value, dict):
            raise Dead(DeadReason.NOT_AN_EVENT, f"{_kind(value)} is no event")
        for path in embedded:
            _embed(value, path, ignore_case=file.ignore_case)
        # The filter is evaluated first and alone: the rest need not make sense for an event that nobody wants.
        if wanted is not None and not is_true(_evaluated(wanted, value, ("filter",))[0]):
            return None
        found = _evaluated(getter, value, labels)
        heartbeat = i_heartbeat is not None and is_true(found[i_heartbeat])
        out: dict[str, object] = {}
        for column, index, reader, strict in columns:
            given = found[index]
            if given is None or given == "":
                continue
            if strict and isinstance(given, dict | list):
                raise Dead(DeadReason.BAD_FIELD, f"{column}: {_kind(given)}, not a word")
            if (read_value := reader(column, given)) is not None:
                out[column] = read_value
        if out.get("RunId") is None or not str(out["RunId"]).strip():
            raise Dead(DeadReason.NO_RUN_ID, _nothing_found("RunId", file, value))
        if not heartbeat:
            word = "" if i_status is None or found[i_status] is False else _word("Status", found[i_status])
            if not word.strip():
                raise Dead(DeadReason.NO_STATUS, _nothing_found("Status", file, value))
            out["Status"] = statuses.get(word.strip().lower(), Status.UNKNOWN.value)
            out.setdefault("OriginalStatus", word)
        return MappedEvent(
            source=_word("source", found[i_source]) if i_source is not None else name,
            event_id=_word("event_id", found[i_id]) if i_id is not None else "",
            time=(_event_time(found[i_time]) if i_time is not None else None) or time,
            columns=out,
            raw=raw,
            heartbeat=heartbeat,
            description=str(out.pop("Description", "")).strip(),
            origin=origin,
        )

    return Mapper(read=read)


def _evaluated(getter: Getter, value: object, labels: Sequence[str]) -> tuple[object, ...]:
    try:
        return getter(value)
    except ExpressionFailed as e:
        raise Dead(DeadReason.MAPPING_FAILED, f"{labels[e.index]}: {e.why}") from e


def _nothing_found(column: str, file: ConsumerFile, value: Mapping[str, object]) -> str:
    """What a person needs to fix the mapping: the expression, and what the event has instead."""
    fields = [f"{key[:40]} ({_kind(v)})" for key, v in list(value.items())[:_SHOWN_FIELDS]]
    more = ", …" if len(value) > _SHOWN_FIELDS else ""
    has = f"the event has {', '.join(fields)}{more}" if fields else "the event has no field"
    return f"{column}: `{' '.join(file.mapping.get(column, '').split())[:100]}` finds nothing; {has}"


def _embed(value: dict[str, object], path: tuple[str, ...], *, ignore_case: bool) -> None:
    """Put what the string of JSON at ``path`` holds in its place; what is none stays."""
    holder: object = value
    for part in path[:-1]:
        if not isinstance(holder, dict):
            return
        holder = holder.get(part) or (any_case(holder, part) if ignore_case else None)
    if not isinstance(holder, dict):
        return
    wanted = path[-1]
    for key in [k for k in holder if k == wanted or (ignore_case and k.lower() == wanted.lower())]:
        text = holder[key]
        if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
            try:
                holder[key] = read_json(text.encode("utf-8"))
            except ReadError:
                pass  # an ordinary string that begins with a bracket


# --- one value of a column: what its type takes ---


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _word(label: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise Dead(DeadReason.BAD_FIELD, f"{label}: {_kind(value)}, not a word")
    return value if isinstance(value, str) else write(value).decode("utf-8")


def _event_time(value: object) -> datetime | None:
    try:
        return read_time(value)
    except ValueError as e:
        raise Dead(DeadReason.BAD_TIME, f"time: {e}") from e


def _string(column: str, value: object) -> object:
    if column == "Reason":
        word = str(value).lower()
        return word if word in _REASONS else Reason.UNKNOWN.value
    if not isinstance(value, str):
        return value  # the store writes numbers and objects as text, for canonical events too
    safe = _SAFE.get(column)
    return safe(value) if safe is not None else value


def _time_or_none(column: str, value: object) -> object:
    try:
        return read_time(value)
    except ValueError:
        return None


def _scalar(column: str, value: object) -> object:
    """As it is: the store reads numbers and truth alike for canonical events."""
    return None if isinstance(value, dict | list) else value


def _object(column: str, value: object) -> object:
    if isinstance(value, str):
        try:
            value = read_json(value.encode("utf-8"))
        except ReadError:
            return None
    return value if isinstance(value, dict) else None


_READERS: Mapping[KqlType, Callable[[str, object], object]] = {
    KqlType.STRING: _string,
    KqlType.DATETIME: _time_or_none,
    KqlType.INT: _scalar,
    KqlType.LONG: _scalar,
    KqlType.REAL: _scalar,
    KqlType.BOOL: _scalar,
    KqlType.DYNAMIC: _object,
}
