"""Lengths of time as text: KQL's form for programs (``1.02:03:04``), words for people (``1 d 2 h 3 min``).

No library: Python writes the first as ``1 day, 2:03:04``.
"""

from __future__ import annotations

import re
from datetime import timedelta

_SECOND = timedelta(seconds=1)
_FORM = re.compile(r"(-?)(?:(\d{1,9})\.)?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?")
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def kql_text(d: timedelta) -> str:
    """KQL's text of a timespan, e.g. ``00:09:50`` or ``1.02:03:04.5000000``."""
    sign, us = ("-", -d // timedelta(microseconds=1)) if d < timedelta(0) else ("", d // timedelta(microseconds=1))
    seconds, rest = divmod(us, 1_000_000)
    days, seconds = divmod(seconds, 86_400)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return sign + (f"{days}." if days else "") + text + (f".{rest:06}0" if rest else "")


def read_kql_text(text: str) -> timedelta | None:
    """What ``kql_text`` wrote; None for any other text."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    sign, days, hours, minutes, seconds, rest = found.groups()
    length = timedelta(
        days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=int(seconds),
        microseconds=int((rest or "").ljust(7, "0")) // 10,
    )  # fmt: skip
    return -length if sign else length


def spoken(d: timedelta) -> str:
    """``d`` for people, in at most two units: ``9 min 50 s``, ``1 d 2 h``, ``1.5 s``, ``250 ms``."""
    if d < timedelta(0):
        return f"-{spoken(-d)}"
    if d < _SECOND:
        ms = d / timedelta(milliseconds=1)
        return f"{ms:.3g} ms" if d else "0 s"
    if d < 10 * _SECOND:
        return f"{d / _SECOND:.3g} s"
    left, parts = round(d / _SECOND), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
