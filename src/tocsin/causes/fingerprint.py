"""What two failures of one cause have in common, as a short text that stays the same over restarts and versions.

With a cause: its name and its key captures. Without one: the type of the exception, the innermost frame of the user's own
code, and the message without what differs from run to run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from tocsin.causes.engine import MOST_TEXT, Found
from tocsin.model.text.causes import cause_of, one_line

VERSION = 1
"""Stands in each fingerprint: texts are normalised otherwise in another version."""
_READ = 8 << 10
"""Characters at the end of a text in which exception and frame are looked for."""

_FRAME = re.compile(r'File "([^"\n]{1,300})", line \d{1,7}, in ([^\n]{1,100})')
_TYPE = re.compile(
    r"^(?:\[[^\]\n]{0,40}\]:? ?)?((?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60}(?:Error|Exception|Interrupt|Exit|Failure))(?::|$)",
    re.MULTILINE,
)
_NOT_OURS = re.compile(
    r"site-packages|dist-packages|/lib/python\d|\\lib\\python|<frozen|<string>|/torch/|/runpy\.py|/importlib/"
)
_NORMAL: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"), "<time>"),
    (re.compile(r"\b(?:https?|s3|gs|abfss?|file|hdfs)://\S{1,400}"), "<path>"),
    (re.compile(r"\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'|`[^`\n]{0,200}`"), "<value>"),
    (re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.@+~-]{1,80}){2,20}"), "<path>"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "<host>"),
    (re.compile(r"\b(?:[A-Za-z][\w-]{0,40}\.){1,6}(?:com|org|net|io|internal|local|example)(?::\d{1,5})?\b"), "<host>"),
    (
        re.compile(
            r"\b(?:rank|worker|node|gpu|host|pod|pid|device|cuda|process)[-_ :#=]{0,3}\d{1,18}\b", re.IGNORECASE
        ),
        "<rank>",
    ),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]{0,31}\d)(?=\d{0,31}[a-f])[0-9a-f]{7,64}\b"), "<hex>"),
    (re.compile(r"[-+]?\d[\d_,]*(?:\.\d+)?(?:[eE][-+]?\d+)?"), "<n>"),
)


def fingerprint(found: Found, row: Mapping[str, object]) -> str:
    """The fingerprint of a failed run; '' of one that says nothing at all. ``row`` has its ``Message`` and ``LogTail``."""
    if found.cause:
        return _hashed("cause", found.cause, *found.keys)
    tail, message = (str(row.get(name) or "")[-MOST_TEXT:] for name in ("LogTail", "Message"))
    text = f"{tail[-_READ:]}\n{message[-_READ:]}"
    types = _TYPE.findall(text)
    frames = [frame for frame in _FRAME.findall(text) if not _NOT_OURS.search(frame[0])]
    place = "" if not frames else f"{frames[-1][0].replace(chr(92), '/').rpartition('/')[2]}:{frames[-1][1]}"
    said = normalised(cause_of({**row, "Message": message or last_line(tail)}))
    parts = (types[-1].rpartition(".")[2] if types else "", place, said, str(row.get("ErrorCode") or "")[:100])
    return _hashed("text", *parts) if any(parts) else ""


def normalised(text: str) -> str:
    """``text`` with numbers, ids, times, paths, hosts, ranks, addresses and quoted values replaced."""
    text = one_line(text, 300)
    for pattern, name in _NORMAL:
        text = pattern.sub(name, text)
    return " ".join(text.lower().split())


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text[-_READ:].splitlines()) if line.strip()), "")


def _hashed(*parts: str) -> str:
    return f"{VERSION}-{hashlib.sha256(chr(31).join(parts).encode(errors='replace')).hexdigest()[:20]}"
