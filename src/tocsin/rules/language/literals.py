"""Values of a reference table as KQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
"""All that KQL reads back: other letters stand as they are."""


def literal(value: object) -> str:
    """``value`` as KQL; what is not there is ''."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value >= 0 else f"(-{-value})"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return f"datetime({utc.isoformat().replace('+00:00', 'Z')})"
    return '"' + ("" if value is None else str(value)).translate(_ESCAPED) + '"'


def extension(row: Mapping[str, object]) -> str:
    """What gives a query the row's columns."""
    return "\n| extend " + ", ".join(f"{name} = {literal(value)}" for name, value in row.items()) if row else ""
