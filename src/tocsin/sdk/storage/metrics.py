"""Logged values: what may be logged, how it is stored, and the shapes in which azureml gives it back."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.storage.database import Database
from tocsin.sdk.text import clean

Point = tuple[int, str, int, int | None, int, Any, str | None]
"""run, name, kind, step, time in µs, value, columns as JSON: one row of ``metrics``."""

_INSERT = "INSERT INTO metrics (run, name, kind, step, at_us, value, columns) VALUES (?, ?, ?, ?, ?, ?, ?)"
_LARGEST_INT = 2**63 - 1


class Kind(IntEnum):
    """What one row of ``metrics`` holds."""

    VALUE = 0  # a number (NULL is NaN, which SQLite cannot hold) or a string
    LIST = 1  # one item of log_list
    ROW = 2  # one row of log_row or log_table
    OBJECT = 3  # a confusion matrix, an accuracy table …


def scalar(name: str, value: Any) -> Any:
    """A number or string as SQLite holds it. Raises UserErrorException for lists and other things."""
    kind = type(value)
    if kind is float:
        return None if value != value else value
    if kind is int:
        return value if -_LARGEST_INT <= value <= _LARGEST_INT else float(value)
    if kind is bool:
        return int(value)
    if isinstance(value, str):
        return clean(value)
    item = getattr(value, "item", None)  # numpy, torch, jax
    if callable(item):
        try:
            return scalar(name, item())
        except (TypeError, ValueError, RuntimeError):
            pass  # it has several
    if isinstance(value, int | float) or hasattr(value, "__float__"):
        try:
            return scalar(name, float(value))
        except (TypeError, ValueError, OverflowError):
            pass
    if value is None:
        return ""
    raise UserErrorException(
        f"log({clean(name)[:80]!r}) takes a number or a string, not a {kind.__name__}; log_list, log_row and log_table take more"
    )


def columns(name: str, row: Mapping[str, Any]) -> str:
    """One row as JSON; NaN and infinities as they are."""
    return json.dumps({clean(k): scalar_or_nan(name, v) for k, v in row.items()})


def scalar_or_nan(name: str, value: Any) -> Any:
    """As ``scalar``, but NaN stays what it is: JSON text holds it."""
    out = scalar(name, value)
    return math.nan if out is None else out


def table_rows(name: str, table: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a dict of lists. Raises UserErrorException where lengths differ."""
    lists = {key: list(value) if not isinstance(value, str) else [value] for key, value in table.items()}  # fmt: skip
    lengths = {key: len(value) for key, value in lists.items()}
    if len(set(lengths.values())) > 1:
        raise UserErrorException(f"log_table({clean(name)[:80]!r}): its columns have different lengths: {lengths}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def write(tx: sqlite3.Connection, points: Sequence[Point]) -> None:
    """Store points inside the caller's transaction. Raises sqlite3.Error."""
    tx.executemany(_INSERT, points)


def read(database: Database, run: int, name: str | None = None) -> dict[str, Any]:
    """Metrics of a run in azureml's shapes: one value bare, several a list; one row a dict, several a dict of lists."""
    where, parameters = ("", [run]) if name is None else (" AND name = ?", [run, clean(name)])
    rows = database.read(f"SELECT name, kind, value, columns FROM metrics WHERE run = ?{where} ORDER BY id", parameters)
    found: dict[str, list[tuple[int, Any]]] = {}
    for metric, kind, value, text in rows:
        found.setdefault(metric, []).append((kind, _value(kind, value, text)))
    return {metric: _shape(items) for metric, items in found.items()}


def _value(kind: int, value: Any, text: str | None) -> Any:
    if kind in (Kind.ROW, Kind.OBJECT):
        return json.loads(text or "null")
    return math.nan if value is None else value


def _shape(items: Sequence[tuple[int, Any]]) -> Any:
    values = [value for _, value in items]
    kind = items[0][0]
    if kind == Kind.ROW and all(isinstance(v, dict) for v in values):
        if len(values) == 1:
            return values[0]
        keys = {key: None for row in values for key in row}
        return {key: [row.get(key) for row in values] for key in keys}
    if kind == Kind.LIST:
        return values
    return values[0] if len(values) == 1 else values


def history(database: Database, run: int, name: str) -> list[tuple[int | None, int, Any]]:
    """(step, time in µs, value) of each point of one metric, in order."""
    try:
        return [
            (step, at, _value(kind, value, text))
            for step, at, kind, value, text in database.read(
                "SELECT step, at_us, kind, value, columns FROM metrics WHERE run = ? AND name = ? ORDER BY id",
                (run, clean(name)),
            )
        ]
    except sqlite3.Error:
        return []
