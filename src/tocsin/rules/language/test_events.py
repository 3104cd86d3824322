"""Events of inline tests: what stands in the file as columns of RunStatusChanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tocsin.config.yaml.document import resolved, suggest
from tocsin.config.yaml.durations import parse_duration
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.statuses import STATUS_WORDS
from tocsin.rules.language.schema import EVENT_COLUMNS, TestEvent

TYPES: Mapping[str, KqlType] = {c.name: c.type for c in RUN_STATUS_CHANGED if c.name in EVENT_COLUMNS}
OF_HEARTBEAT = ("RunId", "Progress", "Source", "Consumer")
"""Columns that a heartbeat may set."""
OF_METRICS = ("RunId", "ExperimentName", "TimeGenerated", "Source", "Consumer")
"""Columns that an event with metrics may set."""


def faults(event: TestEvent) -> Iterator[tuple[str, str, str]]:
    """(column, what is wrong, what would be right) of an event."""
    extra = event.model_extra or {}
    for name in ("RunId",) if event.heartbeat or event.metrics else ("RunId", "Status"):
        if name not in extra:
            yield name, "is missing", ""
    for name, value in extra.items():
        if event.heartbeat and name not in OF_HEARTBEAT:
            yield name, "is not what a heartbeat brings", f"it brings {', '.join(OF_HEARTBEAT)}"
            continue
        if event.metrics and name not in OF_METRICS:
            yield name, "does not come with metrics", f"what comes with them is {', '.join(OF_METRICS)}"
            continue
        if name not in TYPES:
            yield name, "is no column that a test event has", suggest(name, TYPES)
            continue
        try:
            column_value(name, value, datetime(2026, 1, 5, tzinfo=UTC))
        except ValueError as e:
            yield name, str(e), ""
    for name, value in event.metrics.items():
        if isinstance(value, (Mapping, list)):
            yield "metrics", f"{name} is neither a number nor text", "write {loss: 0.5} or {loss: NaN}"
    status = extra.get("Status")
    if status is not None and status not in STATUS_WORDS:
        yield "Status", f"'{status}' is no status", suggest(str(status), STATUS_WORDS)


def columns(event: TestEvent, start: datetime) -> dict[str, object]:
    """Columns that ``event`` sets, read by their types; times relative to ``start``. Raises ValueError."""
    return {name: column_value(name, value, start) for name, value in (event.model_extra or {}).items()}


def column_value(name: str, value: Any, start: datetime) -> object:
    """``value`` of a file as column ``name``. Raises ValueError that says what would be right."""
    kind = TYPES[name]
    if kind is KqlType.DYNAMIC:
        if not isinstance(value, Mapping):
            raise ValueError(f"must be an object, e.g. {{{name}: {{team: ranking}}}}")
        return resolved(value)
    if kind is KqlType.STRING:
        if isinstance(value, (Mapping, list)):
            raise ValueError("must be text")
        return "" if value is None else str(value)
    if value is None:
        return None
    plain = resolved(value)
    if kind is KqlType.DATETIME:
        return _time(str(value), start)
    if kind is KqlType.BOOL:
        if not isinstance(plain, bool):
            raise ValueError(f"'{value}' is neither true nor false nor null")
        return plain
    if kind is KqlType.REAL:
        if isinstance(plain, bool) or not isinstance(plain, (int, float)):
            raise ValueError(f"'{value}' is no number")
        return float(plain)
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise ValueError(f"'{value}' is no whole number")
    return plain


def _time(text: str, start: datetime) -> datetime:
    sign = -1 if text.startswith("-") else 1
    try:
        return start + sign * parse_duration(text.removeprefix("-"))
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' is no time; write 5m (from the test's start) or 2026-01-05T12:00:00Z") from None
    if time.tzinfo is None:
        raise ValueError(f"'{text}' has no zone; write 2026-01-05T12:00:00Z")
    return time.astimezone(UTC)
