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
_COMPARED = re.compile(r"(?P<left>.*?)\s*(?P<op>==|!=|>=|<=|>|<)\s*(?P<number>-?[0-9.]+(?:e[+-]?\d+)?)", re.DOTALL)
_SUM = re.compile(r"sum\s*(?:by\s*\(\s*(?P<by>\w*)\s*\)\s*)?\(\s*(?P<inner>.*)\s*\)", re.DOTALL)
_DEEPEST = 8
_PLAIN_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_DOUBLED = re.compile(r"(==|!=|>=|<=|>|<|\*|/)\s*(==|!=|>=|<=|>|<|\*|/)")
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


_LOGQL = re.compile(r"\}\s*(?:\|[=~]|!=|!~|\|\s*[a-z])")
_DANGLES = re.compile(r"(?:[-+*/%^<>]|[=!<>]=|=~|!~|\b(?:and|or|unless))\s*$")


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
    if _LOGQL.search(_QUOTED.sub('""', expr)):
        return "it is LogQL, which counts lines of logs that tocsin does not get; leave it in Loki"
    if fault := fault_of(expr):
        return f"its expression is invalid: {fault}"
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
        return f"of {listed}, only increase() or rate() over a range, a ratio of two in sum(), times or over a number, against a number is a query"
    return f"it reads {listed}, tocsin's own figure of the pipeline, of which no table has the rows; leave it in Prometheus"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """``sum(increase(metric{…}[1h]))``: rows of a table that are counted."""

    table: str
    filters: tuple[str, ...]
    by: tuple[str, ...]
    seconds: float
    rate: bool
    summed: bool

    @property
    def condition(self) -> str:
        return " and ".join(line.removeprefix("| where ") for line in self.filters)


def counted(expr: str) -> Counted | None:
    """``expr`` as a query over tocsin's tables: a count, a ratio of two, with factors. None where it has none. Raises
    Refused where only a part of it has.
    """
    outer = _COMPARED.fullmatch(_unwrapped(_COMMENT.sub("", expr).strip()))
    if outer is None:
        return None
    scale, above, below = 1.0, None, None
    for divides, text in _factors(_unwrapped(outer["left"])):
        if _PLAIN_NUMBER.fullmatch(text):
            number = float(text)
            if not number:
                return None
            scale = scale / number if divides else scale * number
            continue
        part = _part(text)
        if part is None or (below if divides else above) is not None:
            return None
        above, below = (above, part) if divides else (part, below)
    if above is None or scale <= 0:
        return None
    if outer["op"] == "!=":
        raise Refused("a threshold with != is not mapped")
    by = f" by {', '.join(above.by)}" if above.by else ""
    if below is None:
        threshold = float(outer["number"]) * (above.seconds if above.rate else 1) / scale
        lines = [above.table, *above.filters, f"| summarize value = count(){by}"]
    else:
        alike = (below.table, below.by, below.seconds, below.rate) == (above.table, above.by, above.seconds, above.rate)
        if not alike or not (above.summed and below.summed):
            return None  # PromQL divides series of the same labels
        threshold = float(outer["number"]) / scale
        counts = ", ".join(
            f"{name} = {f'countif({part.condition})' if part.filters else 'count()'}"
            for name, part in (("part", above), ("whole", below))
        )
        lines = [
            above.table, f"| summarize {counts}{by}", "| where whole > 0", "| extend value = todouble(part) / whole",
        ]  # fmt: skip
    condition = f"value {outer['op']} {number_text(threshold)}"
    return Counted(query="\n".join(lines), condition=condition, by=above.by, value="value", seconds=above.seconds)


def fault_of(expr: str) -> str:
    """What makes an expression invalid, '' where nothing is seen."""
    plain = _COMMENT.sub("", _QUOTED.sub('""', expr))
    closes, opened = {")": "(", "]": "[", "}": "{"}, []
    for c in plain:
        if c in closes.values():
            opened.append(c)
        elif c in closes and (not opened or opened.pop() != closes[c]):
            return f"'{c}' closes no bracket"
    if opened:
        return f"'{opened[-1]}' is not closed"
    if dangles := _DANGLES.search(plain.rstrip()):
        return f"nothing follows '{dangles[0].strip()}'"
    doubled = _DOUBLED.search(plain)
    return f"'{doubled[1]}' and '{doubled[2]}' stand side by side" if doubled else ""


def _factors(text: str, divides: bool = False, deep: int = 0) -> list[tuple[bool, str]]:
    """What is multiplied and divided (True), brackets that hold nothing else opened."""
    pieces, depth, at = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if c in "*/" and not depth:
            pieces.append((text[at - 1 : at] == "/", text[at:i]))
            at = i + 1
    pieces.append((text[at - 1 : at] == "/", text[at:]))
    if len(pieces) == 1 or deep > _DEEPEST:
        return [(divides, text)]
    return [
        each for under, piece in pieces for each in _factors(_unwrapped(piece.strip()), divides is not under, deep + 1)
    ]


def _part(text: str) -> _Part | None:
    total = _SUM.fullmatch(text)
    inner = _RANGE.fullmatch((total["inner"] if total else text).strip())
    if inner is None or inner["metric"] not in _TABLES:
        return None
    table, columns = _TABLES[inner["metric"]]
    seconds = seconds_of(inner["range"])
    if not seconds:
        raise Refused(f"[{inner['range']}] is no range")
    filters, fixed = _filters(inner["labels"] or "", columns)
    by: tuple[str, ...] = ()
    if total is None:
        by = tuple(c for label, c in columns.items() if label not in fixed)
    elif total["by"]:
        if total["by"] not in columns:
            raise Refused(f"{inner['metric']} has no label {total['by']}")
        by = (columns[total["by"]],)
    return _Part(
        table=table, filters=tuple(filters), by=by, seconds=seconds, rate=inner["f"] == "rate", summed=total is not None
    )


def _unwrapped(text: str) -> str:
    for _ in range(8):
        if text.startswith("(") and text.endswith(")") and _wraps(text):
            text = text[1:-1].strip()
    return text


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
