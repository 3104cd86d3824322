"""Words of the other systems as ours: severities, operators, durations, names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from tocsin.rules.language.schema import NAME, SEVERITIES

OPERATORS: Mapping[str, str] = {
    "equal": "==",
    "equals": "==",
    "greaterthan": ">",
    "greaterthanorequal": ">=",
    "lessthan": "<",
    "lessthanorequal": "<=",
}
"""Azure's words for comparisons, in lower case."""
AZURE_OPERATORS: Mapping[str, str] = {
    "==": "Equals", ">": "GreaterThan", ">=": "GreaterThanOrEqual", "<": "LessThan", "<=": "LessThanOrEqual",
}  # fmt: skip

AGGREGATES: Mapping[str, str] = {"average": "avg", "minimum": "min", "maximum": "max", "total": "sum", "count": "count"}
"""Azure's words for aggregates, in lower case, as KQL's functions."""
AZURE_AGGREGATES: Mapping[str, str] = {
    "avg": "Average", "min": "Minimum", "max": "Maximum", "sum": "Total", "count": "Count",
}  # fmt: skip

_ISO = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOLE = re.compile(r"\$\{[^{}]*\}")
_JINJA = re.compile(r"\{[{%#]")


def severity_of(number: int) -> str:
    """Azure's 0 to 4 as our word."""
    return SEVERITIES[number]


def iso_duration(text: str) -> timedelta | None:
    """``PT1H30M``; None where it is none, or of months and years, which have no fixed length."""
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    weeks, days, hours, minutes, seconds = (float(g or 0) for g in match.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        return None


def as_iso(d: timedelta) -> str:
    """A duration as Azure writes it: ``PT5M``, ``P1D``."""
    seconds = int(d.total_seconds())
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    return "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "") if days or time else "PT0S"


def rule_name(text: str) -> str:
    """The nearest name that a rule may have; '' where nothing of ``text`` can stand in one."""
    plain = re.sub(r"[^A-Za-z0-9_.:-]+", "-", _HOLE.sub("", text))
    plain = re.sub(r"-{2,}", "-", plain).strip("-_.:")[:120].rstrip("-_.:")
    return plain if re.fullmatch(NAME, plain) else ""


def without_holes(text: str) -> str:
    """``text`` without ``${…}`` and what joined it to the rest."""
    return _HOLE.sub("", text).strip(" -_.:/") if "${" in text else text


def column(name: str) -> str:
    """A column as KQL writes it: in brackets where it is no plain word."""
    if _IDENTIFIER.fullmatch(name):
        return name
    return "['" + name.replace("\\", "\\\\").replace("'", "\\'") + "']"


def text_literal(value: str) -> str:
    """A string as KQL writes it."""
    plain = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{plain}'"


def number_text(value: float) -> str:
    """A number as KQL and we write it: ``10``, ``0.2``."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def as_template(text: str) -> str:
    """Text of others where we read a template: its own brackets mean nothing there."""
    return _JINJA.sub(lambda m: "{{ '" + m[0] + "' }}", text)
