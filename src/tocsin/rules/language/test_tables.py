"""Reference tables of inline tests: rows of the file as typed tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tocsin.config.yaml.document import resolved, suggest

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, str]
"""Column → KQL type."""
_ARROW: Mapping[str, str] = {
    "string": "string",
    "long": "int64",
    "int": "int32",
    "real": "float64",
    "decimal": "float64",
    "bool": "bool",
    "datetime": "timestamp[us]",
}
"""KQL type → Arrow's name of its own."""


def faults(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], known: Mapping[str, Columns]
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """(path below ``tables``, what is wrong, what would be right); ``known`` are the reference tables that the rule
    reads.
    """
    for name, rows in tables.items():
        if name not in known:
            yield (name,), "is no reference table that the rule reads", suggest(name, known)
            continue
        for i, row in enumerate(rows):
            for column, value in row.items():
                if column not in known[name]:
                    yield (name, i, column), "is no column of the table", suggest(column, known[name])
                    continue
                try:
                    _value(value, known[name][column])
                except (TypeError, ValueError):
                    yield (name, i, column), f"'{value}' is no {known[name][column]}", ""


def table(rows: Sequence[Mapping[str, Any]], columns: Columns) -> pa.Table:
    """``rows`` as a table with just these columns; what a row leaves out is '' or null."""
    import pyarrow as pa

    data = {
        name: pa.array(
            [_value(row[name], kind) if name in row else "" if kind == "string" else None for row in rows],
            pa.type_for_alias(_ARROW.get(kind, "string")),
        )
        for name, kind in columns.items()
    }
    return pa.table(data)


def _value(value: Any, kind: str) -> object:
    if kind not in _ARROW or kind == "string":
        return "" if value is None else str(value)
    plain = resolved(value)
    if plain is None:
        return None
    if kind == "datetime":
        time = datetime.fromisoformat(str(value))
        return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    if kind == "bool":
        if not isinstance(plain, bool):
            raise ValueError(value)
        return plain
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise ValueError(value)
    return int(plain) if kind in ("int", "long") else float(plain)
