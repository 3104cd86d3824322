"""JSON as Azure Resource Manager reads it: comments, commas too many, and strings that go over several lines."""

from __future__ import annotations

import json
import re
from typing import Any

from tocsin.config.yaml.document import MAX_DEPTH
from tocsin.errors import ConfigurationError, Problem

MAX_BYTES = 16 * 1024 * 1024
"""Largest file that is read; Azure takes templates of 4 MiB."""

_MARK = re.compile(r'["/,]')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def load_jsonc(text: str, file: str) -> Any:
    """The value that ``text`` holds. Raises ContentError with the line where it is no JSON, or is nested too deep."""
    if len(text) > MAX_BYTES:
        raise ConfigurationError([Problem(file=file, message=f"is larger than {MAX_BYTES // 1024 // 1024} MiB")])
    plain = _plain(text.removeprefix("\ufeff"))
    try:
        value = json.loads(plain, strict=False, parse_constant=_no_constant)
    except json.JSONDecodeError as e:
        raise ConfigurationError([Problem(file=file, line=e.lineno, message=f"is no JSON: {e.msg}")]) from e
    except (RecursionError, ValueError) as e:
        raise ConfigurationError([Problem(file=file, message=f"is no JSON: {e}")]) from e
    if _deeper(value, MAX_DEPTH):
        raise ConfigurationError([Problem(file=file, message=f"is nested deeper than {MAX_DEPTH} levels")])
    return value


def looks_like_json(text: str) -> bool:
    """Whether ``text`` is JSON rather than YAML: what follows its comments is a bracket."""
    return _plain(text[:100_000].removeprefix("\ufeff")).lstrip()[:1] in ("{", "[")


def _plain(text: str) -> str:
    """``text`` without comments and commas too many, in one pass; lines keep their numbers."""
    out: list[str] = []
    comma: int | None = None  # place in ``out`` of a comma that nothing has followed yet
    at = 0
    while at < len(text):
        mark = _MARK.search(text, at)
        end = mark.start() if mark else len(text)
        between = text[at:end].lstrip()
        if between:
            if comma is not None and between[0] in "]}":
                out[comma] = " "
            comma = None
        out.append(text[at:end])
        if mark is None:
            break
        at, piece = _piece(text, end)
        if piece and not piece.isspace():
            comma = len(out) if piece == "," else None
        out.append(piece)
    return "".join(out)


def _piece(text: str, start: int) -> tuple[int, str]:
    """What begins at a quote, slash or comma: where it ends, and what is kept of it."""
    if text[start] == '"':
        string = _STRING.match(text, start)
        end = string.end() if string else len(text)
        return end, text[start:end]
    if text.startswith("//", start):
        end = text.find("\n", start)
        return (end, " ") if end >= 0 else (len(text), " ")
    if text.startswith("/*", start):
        end = text.find("*/", start + 2)
        end = end + 2 if end >= 0 else len(text)
        return end, "\n" * text.count("\n", start, end) or " "
    return start + 1, text[start]


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _deeper(value: object, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [c for n in level for c in (n.values() if isinstance(n, dict) else n) if isinstance(c, dict | list)]
        if not level:
            return False
    return True
