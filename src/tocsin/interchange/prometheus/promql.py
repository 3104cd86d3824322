"""As much of PromQL as says which metrics an expression reads, and the few forms over tocsin's own that are queries.

Grammar: prometheus.io/docs/prometheus/latest/querying/basics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.interchange.report import Refused
from tocsin.interchange.words import number_text, text_literal
from tocsin.metrics.table import TABLE

OWN = {m.name: m for m in TABLE}
"""tocsin's own metrics."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w|y)")
_QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`")
_COMMENT = re.compile(r"#[^\n]*")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)", re.IGNORECASE)
_NAME = re.compile(r"(?<![\w:.])[A-Za-z_:][\w:]*")
_WORDS = frozenset({
    "and", "atan2", "bool", "by", "end", "group_left", "group_right", "ignoring", "inf", "nan", "offset", "on", "or",
    "start", "unless", "without",
})  # fmt: skip
_COUNT = re.compile(
    r"""(?:sum\s*(?:by\s*\(\s*(?P<by>\w*)\s*\)\s*)?\(\s*(?P<inner>.*?)\s*\)|(?P<bare>.*?))
    \s*(?P<op>==|!=|>=|<=|>|<)\s*(?P<number>-?[0-9.]+(?:e[+-]?\d+)?)""",
    re.VERBOSE | re.DOTALL,
)
_RANGE = re.compile(
    r"(?P<f>increase|rate)\s*\(\s*(?P<metric>[\w:]+)\s*(?:\{(?P<labels>[^{}]*)\})?\s*\[(?P<range>\w+)\]\s*\)"
)
_MATCHER = re.compile(r"""\s*(\w+)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*(?:,|$)""")

_TABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "tocsin_runs_status_changes_total": ("RunStatusChanged", {"status": "Status"}),
}
"""Counters of which each count is a row: their table, and the column of each label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A comparison of a count of rows, as a query over a window."""

    query: str
    condition: str
    by: tuple[str, ...]
    value: str
    seconds: float


def seconds_of(text: str) -> float | None:
    """Prometheus's durations: ``1h30m``; None where it is none."""
    pieces = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not pieces or "".join(n + u for n, u in pieces) != text:
        return None
    return sum(float(n) * _UNITS[u] for n, u in pieces)


def metrics_of(expr: str) -> list[str]:
    """Names of the series that an expression reads, in order."""
    plain = _COMMENT.sub("", _QUOTED.sub('""', expr))
    plain = re.sub(r"\{[^{}]*\}|\[[^\[\]]*\]", " ", plain)
    plain = _GROUPING.sub(" ", plain)
    out: list[str] = re.findall(r"\{[^{}]*\b__name__\b[^{}]*\}", expr)
    for match in _NAME.finditer(plain):
        rest = plain[match.end() :].lstrip()
        if match[0].lower() not in _WORDS and not rest.startswith("("):
            out.append(match[0])
    return list(dict.fromkeys(out))


def why_not(expr: str) -> str:
    """Why an expression has no counterpart in KQL."""
    metrics = metrics_of(expr)
    others = [m for m in metrics if m not in OWN]
    if not metrics:
        return "its expression reads no metric, only constants, so it says nothing of runs"
    absent = (
        " (absent() asks whether Prometheus has the series)" if re.search(r"\babsent(_over_time)?\s*\(", expr) else ""
    )
    if others:
        listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        return f"it reads {listed}, which Prometheus scrapes and tocsin does not get{absent}; leave it in Prometheus"
    listed = ", ".join(metrics[:3])
    if absent:
        return f"it asks whether Prometheus has {listed}, tocsin's own: when tocsin is gone, only Prometheus can say"
    if all(m in _TABLES for m in metrics):
        return f"of {listed}, only increase() or rate() over a range, perhaps in sum(), against a number is a query"
    return f"it reads {listed}, tocsin's own figure of the pipeline, of which no table has the rows; leave it in Prometheus"


def counted(expr: str) -> Counted | None:
    """``expr`` as a query over tocsin's tables; None where it has none. Raises Refused where only a part of it has."""
    plain = _COMMENT.sub("", expr).strip()
    for _ in range(8):
        if plain.startswith("(") and plain.endswith(")") and _wraps(plain):
            plain = plain[1:-1].strip()
    outer = _COUNT.fullmatch(plain)
    if outer is None:
        return None
    inner = _RANGE.fullmatch((outer["inner"] if outer["inner"] is not None else outer["bare"]).strip())
    if inner is None or inner["metric"] not in _TABLES:
        return None
    table, columns = _TABLES[inner["metric"]]
    seconds = seconds_of(inner["range"])
    if not seconds:
        raise Refused(f"[{inner['range']}] is no range")
    filters, fixed = _filters(inner["labels"] or "", columns)
    if outer["inner"] is None:
        by = tuple(c for label, c in columns.items() if label not in fixed)
    elif outer["by"]:
        if outer["by"] not in columns:
            raise Refused(f"{inner['metric']} has no label {outer['by']}")
        by = (columns[outer["by"]],)
    else:
        by = ()
    if outer["op"] == "!=":
        raise Refused("a threshold with != is not mapped")
    threshold = float(outer["number"]) * (seconds if inner["f"] == "rate" else 1)
    lines = [table, *filters, f"| summarize value = count(){' by ' + ', '.join(by) if by else ''}"]
    condition = f"value {outer['op']} {number_text(threshold)}"
    return Counted(query="\n".join(lines), condition=condition, by=by, value="value", seconds=seconds)


def _filters(text: str, columns: Mapping[str, str]) -> tuple[list[str], set[str]]:
    filters: list[str] = []
    fixed: set[str] = set()
    at = 0
    while text[at:].strip():
        match = _MATCHER.match(text, at)
        if match is None:
            raise Refused(f"its matchers {{{text}}} are not understood")
        label, op, value = match[1], match[2], match[3] if match[3] is not None else match[4]
        at = match.end()
        if label not in columns:
            if label in ("instance", "job"):
                continue  # which tocsin: this one
            raise Refused(f"its metric has no label {label}")
        values = value.split("|") if op in ("=~", "!~") else [value]
        if any(not re.fullmatch(r"[A-Za-z0-9_-]+", v) for v in values):
            raise Refused(f'its matcher {label}{op}"{value}" is no list of plain words')
        listed = ", ".join(text_literal(v) for v in values)
        one = len(values) == 1
        word = ("==" if one else "in") if op.startswith("=") else ("!=" if one else "!in")
        filters.append(f"| where {columns[label]} {word} {listed if one else f'({listed})'}")
        if word == "==":
            fixed.add(label)
    return filters, fixed


def _wraps(text: str) -> bool:
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return i == len(text) - 1
    return False
