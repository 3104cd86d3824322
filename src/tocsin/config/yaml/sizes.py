"""The one spelling of sizes: ``64KiB 160MiB 1GiB``.

No library: pydantic's ByteSize takes bits too, and writes 160 MiB as ``160.0MiB``, which is not what was given.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}  # fmt: skip
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """``160MiB`` in bytes. Raises ValueError that says what would be right."""
    found = _FORM.fullmatch(text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError(f"'{text}' is not a size; write 64KiB, 160MiB or 1GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def format_size(size: int) -> str:
    """The shortest exact spelling in binary units, e.g. ``160MiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _UNITS[unit.upper()] == 0:
            return f"{size // _UNITS[unit.upper()]}{unit}"
    return f"{size}B"


def human_size(size: int) -> str:
    """A size in three figures, e.g. ``13.4 MiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _validate(value: Any) -> Any:
    return value if type(value) is int else parse_size(str(value))


Size = Annotated[
    int,
    BeforeValidator(_validate),
    PlainSerializer(format_size, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*[A-Za-z]*$", "examples": ["64KiB", "160MiB"]}),
]
"""A pydantic field that reads ``160MiB`` and is an int of bytes."""
