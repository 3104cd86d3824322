"""Where the events are in a message: one, an array, JSON lines, or wherever a JMESPath says.

A bad event never takes its neighbours along: what cannot be read comes out as its own piece with a reason.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

import msgspec

from tocsin.errors import TocsinError
from tocsin.intake.counting import is_dense, more_elements
from tocsin.intake.expressions import ExpressionFailed, compile_getter
from tocsin.model.event import MAX_MESSAGES, MAX_PAYLOAD, DeadReason
from tocsin.model.strictjson import ReadError, read_json

WORDS = ("auto", "one", "array", "json lines")
"""Formats with a name; any other is a JMESPath to the events."""


class TooMuch(TocsinError):
    """A message holds more than is read of one message. Nothing of it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One event of a message: its own bytes and its value, or why it is dead. ``value`` is None with ``dead``."""

    raw: bytes
    value: object = None
    dead: DeadReason | None = None
    detail: str = ""


class Splitter(Protocol):
    """Cuts a message into pieces.

    How many there are is checked before the first is made, and each is made when it is asked for: memory follows the
    message's bytes, not the number of values in it. Raises TooMuch where there are more than ``most``.
    """

    def __call__(self, message: bytes, most: int = MAX_MESSAGES, /) -> Iterable[Piece]:
        """The pieces of ``message``, in order."""


_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"\S[^\n]*")  # without the blanks before it: what is matched needs no second look
_BRACKET = re.compile(rb"\s*\[")
_raw_list: Callable[[bytes], list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw]).decode
_whole = threading.Lock()
"""A message of more than 1 MiB that is built as one value takes up to 20 times its bytes for a moment: one at a time."""


def splitter(form: str, *, limit: int = MAX_PAYLOAD) -> Splitter:
    """A function from a message's bytes to its pieces. ``limit`` is that of the whole message; an event's is 1 MiB.

    ``auto`` takes one object, an array of them, or JSON lines. Raises ValueError where ``form`` is no format.
    """
    if form == "one":
        return lambda message, most=MAX_MESSAGES: [_read(message)]
    if form == "array":
        return lambda message, most=MAX_MESSAGES: _array(message, limit, most, alone=False)
    if form == "json lines":
        return lambda message, most=MAX_MESSAGES: _lines(message, most)
    if form == "auto":
        return lambda message, most=MAX_MESSAGES: _auto(message, limit, most)
    getter = compile_getter([form])
    return lambda message, most=MAX_MESSAGES: _selected(message, limit, most, lambda value: getter(value)[0])


def is_json(message: bytes) -> bool:
    """Whether a message is JSON at all: one value, or lines of which one is. What is JSON but not readable counts."""
    if len(message) > MAX_PAYLOAD and is_dense(message):
        return True  # what would take far more memory than its bytes is not built only to be refused
    text = message.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        json.loads(text)
        return True
    except RecursionError:
        return True
    except ValueError as e:
        if not isinstance(e, json.JSONDecodeError):
            return True  # an integer of too many digits
    lines = _LINE.finditer(message)
    first = next(lines, None)
    return first is not None and first[0] != message and any(is_json(line[0]) for line in chain([first], lines))


def _read(raw: bytes) -> Piece:
    try:
        return Piece(raw=raw, value=read_json(raw))
    except ReadError as e:
        return Piece(raw=raw, dead=e.reason, detail=e.detail)


def _auto(message: bytes, limit: int, most: int) -> Iterable[Piece]:
    message = message.removeprefix(_BOM)
    if _BRACKET.match(message):
        return _array(message, limit, most, alone=True)
    piece = _read(message)
    if piece.dead in (DeadReason.NOT_JSON, DeadReason.TOO_LARGE, DeadReason.NOT_UTF8) and _looks_like_lines(message):
        return _lines(message, most)
    if isinstance(piece.value, str) and piece.value.lstrip()[:1] in ("{", "["):
        return _auto(piece.value.encode("utf-8"), limit, most)  # JSON inside a string, as queues wrap it
    return [piece]


def _looks_like_lines(message: bytes) -> bool:
    """More than one line, and the first one is JSON by itself."""
    lines = _LINE.finditer(message)
    first, second = next(lines, None), next(lines, None)
    return (
        first is not None
        and second is not None
        and _read(first[0]).dead not in (DeadReason.NOT_JSON, DeadReason.TOO_LARGE)
    )


def _lines(message: bytes, most: int) -> Iterable[Piece]:
    message = message.removeprefix(_BOM)
    if message.count(b"\n") >= most and next(islice(_LINE.finditer(message), most, None), None) is not None:
        raise _too_many(most)
    return (_read(line[0]) for line in _LINE.finditer(message))


def _too_many(most: int) -> TooMuch:
    return TooMuch(f"it holds more than {most:,} events")


def _array(message: bytes, limit: int, most: int, *, alone: bool) -> Iterable[Piece]:
    """The elements' own bytes. What cannot be cut so (a NaN in one of them) is read leniently and written again."""
    if len(message) > limit:
        return [Piece(raw=message, dead=DeadReason.TOO_LARGE, detail=f"{len(message)} bytes, at most {limit} are read")]
    message = message.removeprefix(_BOM)
    if more_elements(message, most):
        raise _too_many(most)
    try:
        return _each(_raw_list(message))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return _elements(message, limit, most, alone=alone)


def _each(raws: Iterable[msgspec.Raw]) -> Iterator[Piece]:
    return (_read(bytes(raw)) for raw in raws)


def _elements(message: bytes, limit: int, most: int, *, alone: bool) -> Iterable[Piece]:
    whole: Piece
    with _building(message):
        try:
            value = read_json(message, limit=limit)
        except ReadError as e:
            whole = Piece(raw=message, dead=e.reason, detail=e.detail)
            if e.reason is DeadReason.NOT_UTF8:
                return [whole]
            try:
                value = json.loads(message.decode("utf-8-sig"))
            except (ValueError, RecursionError):
                return [whole]
        if isinstance(value, list):
            return _written(value, most)
    if alone:
        return [_read(message)]
    return [Piece(raw=message, dead=DeadReason.NOT_AN_EVENT, detail="the format is array, this is none")]


def _selected(message: bytes, limit: int, most: int, select: Callable[[object], object]) -> Iterable[Piece]:
    with _building(message):
        try:
            found = select(read_json(message, limit=limit))
        except ReadError as e:
            return [Piece(raw=message, dead=e.reason, detail=e.detail)]
        except ExpressionFailed as e:
            return [Piece(raw=message, dead=DeadReason.MAPPING_FAILED, detail=f"format: {e.why}")]
        if found is None:
            return [Piece(raw=message, dead=DeadReason.NOT_AN_EVENT, detail="the format finds no events in it")]
        return _written(found if isinstance(found, list) else [found], most)


def _written(values: list[object], most: int) -> Iterator[Piece]:
    """Pieces of ``values``, which are let go at once: as text they take a fraction."""
    if len(values) > most:
        raise _too_many(most)
    return map(_read, [write(value) for value in values])


@contextmanager
def _building(message: bytes) -> Iterator[None]:
    """Around building all of ``message``. Raises TooMuch where its values would take far more memory than its bytes."""
    if len(message) <= MAX_PAYLOAD:
        yield
        return
    if is_dense(message):
        raise TooMuch("it holds more than one value in 12 bytes, which is too dense to be read as a whole")
    with _whole:
        yield


def write(value: object) -> bytes:
    """``value`` as compact JSON. NaN, infinities and lone surrogates come out as what ``read_json`` refuses."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")
