"""CloudEvents of a run, as intake's ``events`` consumer reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin.clock import from_micros

STATUS_TYPE, HEARTBEAT_TYPE = "tocsin.run.status", "tocsin.run.heartbeat"
METRICS_TYPE, UPDATE_TYPE = "tocsin.run.metrics", "tocsin.run.update"
"""As in model.event, whose other values take long to load; a test holds them equal."""
LARGEST = 900_000
"""Bytes of the largest event; intake reads a mebibyte. Longer values are cut."""
_LARGEST_ROW = 20_000  # characters of a row of a table, or a larger object, that is sent
_CUT = 1_000  # characters of a value that are left where an event is too large


def iso(us: int | None) -> str | None:
    """Microseconds since the epoch as ISO 8601 with Z; None stays None."""
    return None if us is None else from_micros(us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def status_event(id: str, source: str, at_us: int, data: Mapping[str, Any], type_: str = STATUS_TYPE) -> str:
    """One event as JSON. Values of ``data`` that are None or '' are left out; one that is too large is cut."""
    kept = {key: value for key, value in data.items() if value not in (None, "")}
    text = _event(id, source, at_us, kept, type_)
    if len(text) > LARGEST:
        text = _event(id, source, at_us, {key: _shorter(value) for key, value in kept.items()}, type_)
    return text


def heartbeat_event(id: str, source: str, at_us: int, run_id: str, progress: float | None = None) -> str:
    """A sign of life."""
    data: dict[str, Any] = {"RunId": run_id}
    if progress is not None and math.isfinite(progress):
        data["Progress"] = progress
    return _event(id, source, at_us, data, HEARTBEAT_TYPE)


def metrics_event(
    id: str, source: str, run_id: str, experiment: str, points: Sequence[tuple[str, int | None, int, Any, str | None]]
) -> str:
    """Values that a run logged: (name, step, time in µs, number or text or None for NaN, a row as JSON) each."""
    data = {"RunId": run_id, "ExperimentName": experiment, "Metrics": [_point(*point) for point in points]}
    return _event(id, source, points[-1][2], data, METRICS_TYPE)


def _point(name: str, step: int | None, at_us: int, value: Any, columns: str | None) -> dict[str, Any]:
    point: dict[str, Any] = {"Name": name[:_CUT], "Time": iso(at_us)}
    if step is not None:
        point["Step"] = step
    if columns is not None:
        row = json.loads(columns, parse_constant=str) if len(columns) <= _LARGEST_ROW else None
        point["Columns"] = row if isinstance(row, dict) else {}
    elif isinstance(value, str):
        point["Value"] = value[:_CUT]
    else:
        point["Value"] = "NaN" if value is None else value if math.isfinite(value) else str(value)
    return point


def _event(id: str, source: str, at_us: int, data: Mapping[str, Any], type_: str) -> str:
    event = {"specversion": "1.0", "type": type_, "id": id, "source": source, "time": iso(at_us), "data": data}
    return json.dumps(event, separators=(",", ":"), default=str)


def _shorter(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _CUT else value[:_CUT] + "…"
    if isinstance(value, dict):
        out: dict[str, Any] = {}
        room = LARGEST // 4
        for key, one in value.items():
            short_key, short = _shorter(str(key)), _shorter(one)
            room -= 6 * (len(short_key) + len(str(short)))  # an escaped character takes six
            if room < 0:
                break
            out[short_key] = short
        return out
    return value
