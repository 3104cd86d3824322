"""The one spelling of durations: ``90s 45m 12h 30d 1w``.

No library: pydantic reads ``PT90S`` and a bare number as seconds, and refuses ``90s``.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(text: str) -> timedelta:
    """``1h30m`` as a timedelta. Raises ValueError that says what would be right."""
    if text == "0":
        return timedelta(0)
    pieces = _FORM.findall(text)
    if not pieces or "".join(n + u for n, u in pieces) != text:
        raise ValueError(f"'{text}' is not a duration; write 90s, 45m, 12h or 30d")
    return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in pieces))


def format_duration(d: timedelta) -> str:
    """The shortest spelling, e.g. ``1h30m``."""
    ms = d // timedelta(milliseconds=1)
    out = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        if ms >= size:
            out += f"{ms // size}{unit}"
            ms %= size
    return out or "0s"


def in_words(d: timedelta | float | None) -> str:
    """A length as people say it: ``45 s``, ``12 min``, ``6 h 12``, ``3 d 4 h``; a number is seconds, None is ''."""
    if d is None:
        return ""
    seconds = round(d.total_seconds() if isinstance(d, timedelta) else d)
    if seconds < 0:
        seconds = 0
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02}" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _validate(value: Any) -> Any:
    return value if isinstance(value, timedelta) else parse_duration(str(value))


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(0|(\d+(\.\d+)?(ms|s|m|h|d|w))+)$", "examples": ["90s", "45m", "12h", "30d"]}
    ),
]
"""A pydantic field that reads ``90s 45m 12h 30d``."""
