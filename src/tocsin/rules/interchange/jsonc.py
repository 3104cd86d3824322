"""JSON as Azure Resource Manager reads it: comments, commas too many, and strings that go over several lines."""

from __future__ import annotations

import json
import re
from typing import Any

from tocsin.config.document import MAX_DEPTH
from tocsin.errors import ContentError, Problem

MAX_BYTES = 16 * 1024 * 1024
"""Largest file that is read; Azure takes templates of 4 MiB."""

_PIECE = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<comment>//[^\n]*|/\*.*?\*/)
    | (?P<comma>,(?=(?>\s|//[^\n]*+(?:\n|\Z)|/\*.*?\*/)*+[\]}]))
    """,
    re.VERBOSE | re.DOTALL,
)


def load_jsonc(text: str, file: str) -> Any:
    """The value that ``text`` holds. Raises ContentError with the line where it is no JSON, or is nested too deep."""
    if len(text) > MAX_BYTES:
        raise ContentError([Problem(file=file, message=f"is larger than {MAX_BYTES // 1024 // 1024} MiB")])
    plain = _PIECE.sub(_kept, text.removeprefix("\ufeff"))
    try:
        value = json.loads(plain, strict=False, parse_constant=_no_constant)
    except json.JSONDecodeError as e:
        raise ContentError([Problem(file=file, line=e.lineno, message=f"is no JSON: {e.msg}")]) from e
    except (RecursionError, ValueError) as e:
        raise ContentError([Problem(file=file, message=f"is no JSON: {e}")]) from e
    if _deeper(value, MAX_DEPTH):
        raise ContentError([Problem(file=file, message=f"is nested deeper than {MAX_DEPTH} levels")])
    return value


def looks_like_json(text: str) -> bool:
    """Whether ``text`` is JSON rather than YAML: what follows its comments is a bracket."""
    return _PIECE.sub(_kept, text[:100_000].removeprefix("\ufeff")).lstrip()[:1] in ("{", "[")


def _kept(match: re.Match[str]) -> str:
    """A string as it is; a comment's line breaks only, so that lines keep their numbers."""
    if match.lastgroup == "string":
        return match.group()
    return "\n" * match.group().count("\n") or " "


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _deeper(value: object, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [c for n in level for c in (n.values() if isinstance(n, dict) else n) if isinstance(c, dict | list)]
        if not level:
            return False
    return True
