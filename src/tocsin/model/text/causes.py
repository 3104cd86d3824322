"""What went wrong, in one line: text from outside, made fit for a subject, a label or a count of reasons."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from tocsin.model.text.redact import redact

SUBJECT_LENGTH = 150
"""Characters of the longest subject."""

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ZERO = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\u2065\ufeff\ufff9\ufffa\ufffb"
_TAGS = "\U000e0000-\U000e007f"
_INVISIBLE = re.compile(f"[{BIDI}{_ZERO}{_TAGS}\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_LOOKS_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5]")  # those of ``_INVISIBLE`` that are printable to Python
ANSI = re.compile("\x1b\\[[0-9;?]{0,20}[A-Za-z]|\x1b\\][^\x07\x1b]{0,200}(?:\x07|\x1b\\\\)?")
_BLANKS = re.compile(r"\s+")


_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w{0,60}\.){0,8}([A-Z]\w{0,60}(?:Error|Exception|Interrupt|Exit|Failure|Warning)):\s+(\S.*)"
)
_SENTENCE = re.compile(r"(.{12,160}?[\w)\"'»”])[.。！!](?:\s|(?<=[。！]))")


def one_line(text: str, length: int = SUBJECT_LENGTH) -> str:
    """``text`` fit for a header: no line breaks, controls, bidi controls or zero-width characters; cut at ``length``."""
    text = text[: length * 20]
    if text.isprintable() and (text.isascii() or not _LOOKS_BLANK.search(text)):
        return cut(" ".join(text.split()), length)  # nothing to remove but blanks, as in nearly every text
    flat = _BLANKS.sub(" ", _INVISIBLE.sub("", ANSI.sub("", text))).strip()
    return cut(flat, length)


def cut(text: str, length: int) -> str:
    """The first ``length`` characters, the last an ellipsis where something is cut; no combining mark is torn off."""
    if len(text) <= length:
        return text
    end = max(length - 1, 0)
    while end > 0 and unicodedata.combining(text[end]):
        end -= 1
    return text[:end].rstrip() + "…"


def cause(message: str, reason: str = "", code: str = "") -> str:
    """What went wrong, in one line: the notifying line of a message, else the reason's words, else the code, else ''."""
    lines = [line for line in (one_line(raw, 300) for raw in message[:20_000].splitlines()) if line]
    if lines:
        traceback = any(line.startswith("Traceback (most recent call last)") for line in lines)
        line = lines[-1] if traceback else lines[0]
        named = _EXCEPTION.match(line)
        if named and len(named[2].split()) < 3:
            return f"{named[1]}: {named[2]}"
        said = named[2] if named else line
        first = _SENTENCE.match(said)
        return first[1] if first else said
    if reason and reason != "unknown":
        return reason.replace("_", " ")
    return one_line(code, 60)


def cause_of(event: Mapping[str, object]) -> str:
    """What went wrong in an event, in one line, without secrets; '' where nobody said."""
    message = str(event.get("Message") or "")[:20_000]
    return _cause_of(message, str(event.get("Reason") or ""), str(event.get("ErrorCode") or ""))


@lru_cache(128)
def _cause_of(message: str, reason: str, code: str) -> str:
    """Asked for several times of each mail, and of many alerts with the same message."""
    return cause(redact(message), one_line(reason, 300), one_line(code, 300))
