"""The one reading of times that producers write."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation

from tocsin.clock import EPOCH

_ZONE = r"(?:\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?))?"
_ISO = re.compile(
    r"(?P<y>\d{4})-(?P<mo>\d{2})-(?P<d>\d{2})"
    r"(?:(?:T|\s+)(?P<h>\d{2}):(?P<mi>\d{2})(?::(?P<s>\d{2})(?:[.,](?P<f>\d+))?)?" + _ZONE + ")?",
    re.ASCII | re.IGNORECASE,
)
_CLOCK = r"(?P<h>\d{1,2}):(?P<mi>\d{2})(?::(?P<s>\d{2})(?:\.(?P<f>\d+))?)?(?:\s*(?P<half>[AP]M))?" + _ZONE
_AMERICAN = re.compile(r"(?P<mo>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})(?:,?\s+" + _CLOCK + ")?", re.ASCII | re.IGNORECASE)
_WORDS = re.compile(
    r"(?P<month>[A-Za-z]{3,9})\.?\s+(?P<d>\d{1,2}),\s*(?P<y>\d{4})(?:,?\s+" + _CLOCK + ")?", re.ASCII | re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{1,40})?([eE][+-]?\d{1,2})?", re.ASCII)
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_LONGEST = 64
_MICROSECOND = timedelta(microseconds=1)


def read_time(value: object) -> datetime | None:
    """The UTC time that a producer wrote, cut (never rounded) to µs; None where it says "none".

    ISO 8601 with any precision and offset (no zone: UTC), epoch seconds, milliseconds, µs or ns as number or string
    (notified apart by size), ``3/22/2019 1:36:31 PM`` (month first), ``Sep 1, 2017 4:12:29 PM``. None is said by null,
    '' and .NET's ``0001-01-01T00:00:00Z``. Raises ValueError for anything else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _read_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a {type(value).__name__} is no time")
    return _from_epoch(Decimal(value) if isinstance(value, int) else Decimal(repr(value)))


def _read_text(text: str) -> datetime | None:
    text = text.strip()
    if not text:
        return None
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:_LONGEST]!r}… is no time")
    for form in (_ISO, _AMERICAN, _WORDS):
        if match := form.fullmatch(text):
            try:
                return _from_parts(match.groupdict())
            except (ValueError, OverflowError) as e:
                raise ValueError(f"{text!r} is no time: {e}") from e
    if _NUMBER.fullmatch(text):
        return _from_epoch(Decimal(text))
    raise ValueError(f"{text!r} is no time")


def _from_parts(parts: dict[str, str | None]) -> datetime | None:
    year, day = int(parts["y"] or 0), int(parts["d"] or 0)
    month = int(parts["mo"] or 0) if "month" not in parts else _month(parts["month"] or "")
    hour, minute, second = (int(parts[k] or 0) for k in ("h", "mi", "s"))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            raise ValueError("hour must be in 1..12 with AM or PM")
        hour = hour % 12 + (12 if half.upper() == "PM" else 0)
    leap = second == 60  # the next second, as everybody does who has no leap seconds
    fraction = int(((parts["f"] or "") + "000000")[:6])
    local = datetime(year, month, day, hour, minute, 59 if leap else second, fraction, _zone(parts["zone"]))
    if leap:
        local += timedelta(seconds=1)
    if (year, month, day) == (1, 1, 1):
        return None
    return local.astimezone(UTC)


def _month(word: str) -> int:
    found = [i for i, name in enumerate(_MONTHS, 1) if name == word.lower() or name[:3] == word.lower()]
    if not found:
        raise ValueError(f"{word!r} is no month")
    return found[0]


def _zone(text: str | None) -> timezone:
    if text is None or text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    digits = text[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    if minutes > 59 or seconds > 59:
        raise ValueError("minutes of an offset must be in 0..59")
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return timezone(-offset if text[0] == "-" else offset)


def _from_epoch(number: Decimal) -> datetime:
    """Seconds reach to the year 5138 before they count as milliseconds, and those back to 1973."""
    try:
        size = abs(number)
        scale = 1_000_000 if size < 10**11 else 1000 if size < 10**14 else 1 if size < 10**17 else Decimal("0.001")
        micros = int((number * scale).to_integral_value("ROUND_FLOOR"))
        return EPOCH + micros * _MICROSECOND
    except (InvalidOperation, OverflowError, ValueError) as e:
        raise ValueError(f"{number} is no time") from e
