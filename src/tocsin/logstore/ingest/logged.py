"""Events of a run that are no status change: metrics that it logged, and tags that people set.

They come as ``tocsin.run.metrics`` and ``tocsin.run.update``. They are no status change, so they go beside the others from the start: read here, and written in the same commit. Like all events without a place in a run's line they are deduped by their ids of the last day.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from tocsin.clock import from_micros
from tocsin.logstore.ingest.read import time_or_none
from tocsin.logstore.sqlfiles import sql
from tocsin.model.event import (
    METRICS_TYPE,
    STATUS_TYPE,
    UPDATE_TYPE,
    DeadReason,
    Labels,
    MappedEvent,
    MetricPoint,
    Origin,
)
from tocsin.model.text.strictjson import ReadError, read_json

_MARK = re.compile(b"|".join(re.escape(kind.encode()) for kind in (METRICS_TYPE, UPDATE_TYPE)))
_DESCRIBES = b'"Description"'
_NO_NUMBERS = {"nan": math.nan, "infinity": math.inf, "inf": math.inf, "-infinity": -math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An event of metrics or labels in an append."""

    batch: int  # its number
    event: MappedEvent
    received_us: int
    counted: bool = True  # False for what a status change brings along

    @property
    def key(self) -> tuple[str, str]:
        """What it is deduped by."""
        return self.event.source, self.event.event_id or "sha256:" + hashlib.sha256(self.event.raw).hexdigest()


def may_be_one(payload: bytes) -> bool:
    """Whether ``payload`` has to be looked at."""
    return _MARK.search(payload) is not None


def read_beside(payload: bytes, origin: Origin) -> MappedEvent | None:
    """The event that a canonical payload holds; None where it is of another type, or cannot be read at all.

    Raises ReadError: no_run_id, and bad_field for points or labels that are none.
    """
    try:
        value = read_json(payload)
    except ReadError:
        return None
    if not isinstance(value, dict) or value.get("type") not in (METRICS_TYPE, UPDATE_TYPE):
        return None
    data = value.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("RunId"), str) or not data["RunId"].strip():
        raise ReadError(DeadReason.NO_RUN_ID, "no RunId")
    points: Any = ()
    labels = None
    if value["type"] == UPDATE_TYPE:
        labels = _labels(data)
    elif not isinstance(points := data.get("Metrics"), list) or not points:
        raise ReadError(DeadReason.BAD_FIELD, 'Metrics is no list; write [{"Name": "loss", "Value": 0.5, "Step": 1}]')
    return MappedEvent(
        source=_text(value.get("source")),
        event_id=_text(value.get("id")),
        time=time_or_none(value.get("time")),
        columns={"RunId": data["RunId"], "ExperimentName": _text(data.get("ExperimentName"))},
        raw=payload,
        origin=origin,
        metrics=tuple(_point(number, point) for number, point in enumerate(points)),
        labels=labels,
    )


def describes(payload: bytes) -> bool:
    """Whether a status change may bring a description along."""
    return _DESCRIBES in payload


def described(event: MappedEvent, batch: int, received_us: int) -> Logged:
    """The description that a status change brings: it stands until somebody sets another."""
    id_ = event.event_id or hashlib.sha256(event.raw).hexdigest()
    labels = Labels(description=event.description, first=True)
    apart = replace(event, event_id=f"{id_}#description", labels=labels)
    return Logged(batch=batch, event=apart, received_us=received_us, counted=False)


def read_described(payload: bytes, origin: Origin) -> MappedEvent | None:
    """A canonical status change that has a description; None for any other payload."""
    try:
        value = read_json(payload)
    except ReadError:
        return None
    if not isinstance(value, dict) or value.get("type") != STATUS_TYPE:
        return None
    data = value.get("data")
    if not isinstance(data, dict) or not all(
        _text(data.get(name)).strip() for name in ("RunId", "Status", "Description")
    ):
        return None
    return MappedEvent(
        source=_text(value.get("source")), event_id=_text(value.get("id")), time=time_or_none(value.get("time")),
        columns={"RunId": data["RunId"]}, raw=payload, origin=origin, description=data["Description"].strip(),
    )  # fmt: skip


def _labels(data: Mapping[str, object]) -> Labels:
    found: dict[str, Mapping[str, object]] = {}
    for name in ("Tags", "Properties"):
        value = data.get(name)
        if value is not None and (
            not isinstance(value, dict) or any(isinstance(v, dict | list) for v in value.values())
        ):
            raise ReadError(
                DeadReason.BAD_FIELD, f'{name} is no object of texts; write {{"team": "ranking", "old": null}}'
            )
        found[name] = value or {}
    description = data.get("Description")
    if description is not None and not isinstance(description, str):
        raise ReadError(DeadReason.BAD_FIELD, "Description is no text")
    text = None if description is None else description.strip()
    return Labels(tags=found["Tags"], properties=found["Properties"], description=text)


def _point(number: int, point: object) -> MetricPoint:
    where = f"Metrics[{number}]"
    if not isinstance(point, dict) or not _text(point.get("Name")):
        raise ReadError(DeadReason.BAD_FIELD, f"{where} has no Name")
    step, columns = point.get("Step"), point.get("Columns")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or abs(step) >= 1 << 63):
        raise ReadError(DeadReason.BAD_FIELD, f"{where}.Step is no whole number")
    if columns is not None and not isinstance(columns, dict):
        raise ReadError(DeadReason.BAD_FIELD, f"{where}.Columns is no object")
    value = point.get("Value")
    if isinstance(value, dict | list):
        raise ReadError(DeadReason.BAD_FIELD, f"{where}.Value is neither a number nor text; lists go to Columns")
    return MetricPoint(
        name=_text(point.get("Name")),
        value=value if isinstance(value, str) else None if value is None else float(value),
        step=step,
        time=time_or_none(point.get("Time")),
        columns=columns or {},
    )


def drop_duplicates(con: duckdb.DuckDBPyConnection, found: Sequence[Logged]) -> tuple[list[Logged], Counter[int]]:
    """The events of ``found`` that are new, and how many are not, by batch."""
    if not found:
        return [], Counter()
    new: dict[tuple[str, str], Logged] = {}
    twice: Counter[int] = Counter()
    for one in found:
        if new.setdefault(one.key, one) is not one:
            twice[one.batch] += one.counted
    sources, ids = zip(*new, strict=True)
    for key in con.execute(sql("recent_keys"), {"sources": list(sources), "ids": list(ids)}).fetchall():
        gone = new.pop(key)
        twice[gone.batch] += gone.counted
    return list(new.values()), twice


def rows_of(new: Sequence[Logged], *, seq: int, skew_us: int) -> list[Mapping[str, object]]:
    """Rows of RunMetrics."""
    return [row for one in new for row in _rows(one, seq, timedelta(microseconds=skew_us))]


def _rows(one: Logged, seq: int, skew: timedelta) -> list[Mapping[str, object]]:
    received = from_micros(one.received_us)
    said = one.event.columns
    return [
        {
            "Time": _time(point.time or one.event.time, received, skew),
            "RunId": said["RunId"],
            "ExperimentName": said.get("ExperimentName", ""),
            "Name": point.name,
            "Step": point.step,
            "Value": _NO_NUMBERS.get(point.value.lower()) if isinstance(point.value, str) else point.value,
            "Text": point.value if isinstance(point.value, str) and point.value.lower() not in _NO_NUMBERS else "",
            "Columns": json.dumps(point.columns, ensure_ascii=False, separators=(",", ":")),
            "CommitSeq": seq,
        }
        for point in one.event.metrics
    ]


def _time(given: datetime | None, received: datetime, skew: timedelta) -> datetime:
    if given is None or (given := given if given.tzinfo else given.replace(tzinfo=UTC)) > received + skew:
        given = received
    return given.astimezone(UTC).replace(tzinfo=None)


def _text(value: object) -> str:
    return value.replace("\0", "\ufffd") if isinstance(value, str) else ""
