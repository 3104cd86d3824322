"""The reading of canonical CloudEvents that is the specification; the SQL of ``sql/read_events.sql`` must agree with
it.

The SQL reads payloads that are plain; whatever might be read in two ways (duplicate keys, nesting, odd numbers and
times, …) goes through here first, and comes out as a text that is plain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice

from tocsin.model.calendars.times import read_time
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.event import (
    HEARTBEAT_TYPE,
    STATUS_TYPE,
    UNKNOWN_NAMES,
    DeadReason,
    MappedEvent,
    Origin,
    why_no_event,
)
from tocsin.model.text.strictjson import ReadError, read_json

WIRE = frozenset(c.name for c in RUN_STATUS_CHANGED if c.wire)
_KNOWN = WIRE | {"Description"}  # which is read apart, see logged.py
_TIMES = frozenset(c.name for c in RUN_STATUS_CHANGED if c.wire and c.type is KqlType.DATETIME)


def read_cloud_event(payload: bytes, origin: Origin = Origin()) -> MappedEvent:  # noqa: B008 frozen
    """The event that a canonical payload holds, its ``data`` by column as given; unknown fields are left out and named.

    Raises ReadError with the dead letter's reason: what ``read_json`` refuses; not_an_event for what is no object, of
    no known type, or without a ``data`` object; bad_field where ``id`` or ``source`` is no scalar; bad_time for a
    ``time`` that is none. A StartTime or EndTime that is none is left out.
    """
    value = read_json(payload)
    if why := why_no_event(value):
        raise ReadError(DeadReason.NOT_AN_EVENT, why)
    assert isinstance(value, dict)
    kind, data = value["type"], value.get("data")
    if kind not in (STATUS_TYPE, HEARTBEAT_TYPE):
        raise ReadError(DeadReason.NOT_AN_EVENT, f"type is {json.dumps(kind)[:80]}, not {STATUS_TYPE}")
    assert isinstance(data, dict)
    try:
        time = read_time(value.get("time"))
    except ValueError as e:
        raise ReadError(DeadReason.BAD_TIME, f"time: {e}") from e
    columns = {name: v for name, v in data.items() if name in WIRE and v is not None}
    for name in _TIMES & columns.keys():
        at = time_or_none(columns.pop(name))
        if at is not None:
            columns[name] = at
    return MappedEvent(
        source=_scalar(value, "source"),
        event_id=_scalar(value, "id"),
        time=time,
        columns=columns,
        raw=payload,
        heartbeat=kind == HEARTBEAT_TYPE,
        unknown=tuple(islice((name[:100] for name in data if name not in _KNOWN), UNKNOWN_NAMES)),
        origin=origin,
    )


def plain_text(event: MappedEvent) -> str:
    """``event`` as a canonical JSON text that the SQL reads without doubt. NUL characters become U+FFFD.

    Raises ReadError: bad_field for values that JSON does not have, bad_number for NaN and infinities, bad_string for
    lone surrogates.
    """
    columns: dict[str, object] = {}
    for name, value in event.columns.items():
        if value is None:
            continue
        if name in _TIMES and not isinstance(value, datetime):
            value = time_or_none(value)
        columns[name] = iso(value) if isinstance(value, datetime) else value
    wire: dict[str, object] = {
        "id": event.event_id,
        "source": event.source,
        "type": HEARTBEAT_TYPE if event.heartbeat else STATUS_TYPE,
        "data": columns,
    }
    if event.time is not None:
        wire["time"] = iso(event.time)
    try:
        text = _dump(wire)
        if "\\u0000" in text:
            text = _dump(_without_nul(wire))
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise ReadError(DeadReason.BAD_STRING, "a lone surrogate") from e
    except ValueError as e:
        raise ReadError(DeadReason.BAD_NUMBER, str(e)) from e
    except (TypeError, RecursionError) as e:
        raise ReadError(DeadReason.BAD_FIELD, str(e)[:200]) from e
    return text


def iso(at: datetime) -> str:
    """``at`` as UTC with microseconds and Z; without a zone it counts as UTC."""
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _scalar(event: Mapping[str, object], name: str) -> str:
    value = event.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    raise ReadError(DeadReason.BAD_FIELD, f"{name} is no text")


def time_or_none(value: object) -> datetime | None:
    """``read_time``, and None for what is no time."""
    try:
        return read_time(value)
    except ValueError:
        return None


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {str(_without_nul(k)): _without_nul(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(v) for v in value]
    return value
