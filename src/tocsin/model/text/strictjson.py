"""The one canonical reading of JSON; every other way of reading a payload must agree with it.

Duplicate keys: the last wins. A leading UTF-8 byte order mark is passed over. Integers keep all their digits.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

import msgspec

from tocsin.errors import TocsinError
from tocsin.model.event import MAX_NESTING, MAX_PAYLOAD, DeadReason

_BOM = b"\xef\xbb\xbf"
_LONG_DIGITS = re.compile(rb"[0-9]{309}")  # the shortest integers that no double holds have 309 digits
_SURROGATE = re.compile("[\ud800-\udfff]")
_decode: Callable[[bytes], object] = msgspec.json.Decoder().decode


class ReadError(TocsinError):
    """A payload cannot be read; ``reason`` and ``detail`` are those of its dead letter."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def read_json(payload: bytes, *, limit: int = MAX_PAYLOAD) -> object:
    """The value that ``payload`` holds, of dict, list, str, int, float, bool and None.

    Raises ReadError: too_large beyond ``limit`` bytes; not_utf8; not_json; too_deep beyond 64 levels of objects and
    arrays; bad_number for NaN, infinities and what overflows a double; bad_string for lone surrogates.
    """
    if len(payload) > limit:
        raise ReadError(DeadReason.TOO_LARGE, f"{len(payload)} bytes, at most {limit} are read")
    if payload[:3] == _BOM:
        payload = payload[3:]
    try:
        value = _decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = _read_slowly(payload)
    else:
        if len(payload) > 308 and _LONG_DIGITS.search(payload):
            value = _read_slowly(payload)
    # Nothing can be nested deeper than it has brackets.
    if payload.count(b"{") + payload.count(b"[") > MAX_NESTING and _deeper_than(value, MAX_NESTING):
        raise ReadError(DeadReason.TOO_DEEP, f"nested beyond {MAX_NESTING} levels")
    return value


def _read_slowly(payload: bytes) -> object:
    """The same with Python's reader, which finds out what is wrong."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as e:
        raise ReadError(DeadReason.NOT_UTF8, f"byte {e.start} is no UTF-8") from e
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite_float, parse_int=_finite_int)
    except RecursionError as e:
        raise ReadError(DeadReason.TOO_DEEP, f"nested beyond {MAX_NESTING} levels") from e
    except json.JSONDecodeError as e:
        raise ReadError(DeadReason.NOT_JSON, f"{e.msg} at character {e.pos}" if text.strip() else "empty") from e
    if _any_string(value, lambda s: _SURROGATE.search(s) is not None):
        raise ReadError(DeadReason.BAD_STRING, "a lone surrogate")
    return value


def _no_constant(word: str) -> object:
    raise ReadError(DeadReason.BAD_NUMBER, f"{word} is no JSON number")


def _finite_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ReadError(DeadReason.BAD_NUMBER, f"{digits[:24]} is out of range")
    return value


def _finite_int(digits: str) -> int:
    if len(digits) > 308:
        _finite_float(digits)
    return int(digits)


def _deeper_than(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return any(isinstance(node, dict | list) for node in level)


def _children(node: object) -> list[object]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in children if isinstance(child, dict | list)]


def _any_string(value: object, test: Callable[[str], bool]) -> bool:
    todo: list[object] = [value]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            if test(node):
                return True
        elif isinstance(node, dict):
            todo += node.keys()
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return False
