"""Where the events are in a message: one, an array, JSON lines, or wherever a JMESPath says.

A bad event never takes its neighbours along: what cannot be read comes out as its own piece with a reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from tocsin.intake.expressions import ExpressionFailed, base64_bytes, compile_getter
from tocsin.model.event import MAX_PAYLOAD, DeadReason
from tocsin.model.text.strictjson import ReadError, read_json

WORDS = ("auto", "one", "array", "json lines")
"""Formats with a name; any other is a JMESPath to the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One event of a message: its own bytes and its value, or why it is dead. ``value`` is None with ``dead``."""

    raw: bytes
    value: object = None
    dead: DeadReason | None = None
    detail: str = ""


_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(rb"\S[^\n]*")
_FIRST_LINES = 10  # of which one says that it is JSON lines

MAX_VALUES = 2_000_000
"""Most values in one message. Each takes some 70 bytes of memory, so that a MiB of them would become 35."""

Splitter = Callable[[bytes], Iterable[Piece]]
_raw_list: Callable[[bytes], list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw]).decode


def splitter(form: str, *, limit: int = MAX_PAYLOAD) -> Splitter:
    """A function from a message's bytes to its pieces. ``limit`` is that of the whole message; an event's is 1 MiB.

    ``auto`` takes one object, an array of them, or JSON lines. Raises ValueError where ``form`` is no format.
    """
    if form == "one":
        return lambda message: [_read(message)]
    if form == "array":
        return lambda message: _array(message, limit, alone=False)
    if form == "json lines":
        return _lines
    if form == "auto":
        return lambda message: _auto(message, limit)
    getter = compile_getter([form])
    return lambda message: _selected(message, limit, lambda value: getter(value)[0])


def is_json(message: bytes) -> bool:
    """Whether a message is JSON at all: one value, or lines of which one is. What is JSON but not readable counts."""
    text = message.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        json.loads(text)
        return True
    except RecursionError:
        return True
    except ValueError as e:
        if not isinstance(e, json.JSONDecodeError):
            return True  # an integer of too many digits
    return "\n" in text.strip() and any(is_json(line.encode()) for line in text.splitlines() if line.strip())


def _read(raw: bytes) -> Piece:
    try:
        return Piece(raw=raw, value=read_json(raw))
    except ReadError as e:
        return Piece(raw=raw, dead=e.reason, detail=e.detail)


def too_many_values(message: bytes) -> bool:
    """Whether a message holds more values than are read. Counted without reading it: one that is refused costs nothing."""
    return sum(map(message.count, (b",", b"[", b"{"))) > MAX_VALUES


def _auto(message: bytes, limit: int) -> Iterable[Piece]:
    message = message.removeprefix(_BOM)
    if message.lstrip()[:1] == b"[":
        return _array(message, limit, alone=True)
    piece = _read(message)
    if piece.dead in (DeadReason.NOT_JSON, DeadReason.TOO_LARGE, DeadReason.NOT_UTF8) and _looks_like_lines(message):
        return _lines(message)
    if isinstance(piece.value, str) and piece.value.lstrip()[:1] in ("{", "["):
        return _auto(piece.value.encode("utf-8"), limit)  # JSON inside a string, as queues wrap it
    return [piece]


def _looks_like_lines(message: bytes) -> bool:
    """More than one line, and the first one is JSON by itself, or one of the next an object: the first may be cut off."""
    lines = message.strip().split(b"\n", _FIRST_LINES)[:_FIRST_LINES]
    if len(lines) < 2:
        return False
    whole = _read(lines[0]).dead not in (DeadReason.NOT_JSON, DeadReason.TOO_LARGE)
    return whole or any(isinstance(_read(line).value, dict) for line in lines[1:])


def _lines(message: bytes) -> Iterable[Piece]:
    return (_read(found[0]) for found in _LINE.finditer(message.removeprefix(_BOM)))


def _array(message: bytes, limit: int, *, alone: bool) -> Iterable[Piece]:
    """The elements' own bytes. What cannot be cut so (a NaN in one of them) is read leniently and written again."""
    if len(message) > limit:
        return [Piece(raw=message, dead=DeadReason.TOO_LARGE, detail=f"{len(message)} bytes, at most {limit} are read")]
    try:
        found = _raw_list(message.removeprefix(_BOM))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _elements(message, limit, alone=alone)
    return (_read(bytes(raw)) for raw in found)  # one by one: the values of all would be many times the message


def _elements(message: bytes, limit: int, *, alone: bool) -> Iterable[Piece]:
    whole: Piece
    try:
        value = read_json(message, limit=limit)
    except ReadError as e:
        whole = Piece(raw=message, dead=e.reason, detail=e.detail)
        if alone and _looks_like_lines(message):
            return _lines(message)
        if e.reason is DeadReason.NOT_UTF8:
            return [whole]
        try:
            value = json.loads(message.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return [whole]
    if isinstance(value, list):
        return (_read(write(element)) for element in value)
    if alone:
        return [_read(message)]
    return [Piece(raw=message, dead=DeadReason.NOT_AN_EVENT, detail="the format is array, this is none")]


def _selected(message: bytes, limit: int, select: Callable[[object], object]) -> Iterable[Piece]:
    try:
        found = select(read_json(message, limit=limit))
    except ReadError as e:
        return [Piece(raw=message, dead=e.reason, detail=e.detail)]
    except ExpressionFailed as e:
        return [Piece(raw=message, dead=DeadReason.MAPPING_FAILED, detail=f"format: {e.why}")]
    if found is None:
        return [Piece(raw=message, dead=DeadReason.NOT_AN_EVENT, detail="the format finds no events in it")]
    return (_read(write(element)) for element in (found if isinstance(found, list) else [found]))


def write(value: object) -> bytes:
    """``value`` as compact JSON. NaN, infinities and lone surrogates come out as what ``read_json`` refuses."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


BASE64_FIELD = b'"data_base64"'


def event_of_attributes(attributes: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """The event whose attributes came in headers and whose data is ``body``; ``body`` itself where that is no JSON."""
    event: dict[str, object] = dict(attributes)
    try:
        event["data"] = read_json(body, limit=len(body))
    except ReadError:
        return body  # goes the way of every body that cannot be read
    return write(event)


def put_data(event: object) -> bool:
    """Give ``event`` the ``data`` that its ``data_base64`` holds, JSON or text. False: it needs none or has none."""
    if not isinstance(event, dict) or event.get("data") is not None:
        return False
    data = base64_bytes(event.get("data_base64"))
    if data is None:
        return False
    try:
        event["data"] = read_json(data)
    except ReadError:
        try:
            event["data"] = data.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def plain(raw: bytes) -> bytes:
    """The event ``raw`` with its data in place of base64, as the store reads it; ``raw`` where there is nothing to do."""
    if BASE64_FIELD not in raw:
        return raw
    try:
        event = read_json(raw)
    except ReadError:
        return raw
    return write(event) if put_data(event) else raw
