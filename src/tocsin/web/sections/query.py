"""The page of KQL: an answer as a table, as CSV, and as the chart that `render` names. No script is needed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tocsin.app.runs.curves import Curve
from tocsin.errors import QueryError
from tocsin.kql.tokens import TokenKind, tokenize
from tocsin.model.active import AuditKind
from tocsin.web.answers import plain, scripted
from tocsin.web.guard import from_elsewhere
from tocsin.web.ports import ColumnInfo, Row
from tocsin.web.runs.plots import COLORS, Plot

_EXAMPLE = "RunStatusChanged\n| where Status == 'Failed'\n| summarize failed = count() by ExperimentName\n| order by failed desc"
_SHOWN = 500
"""Rows of the table; CSV has all."""
_BARS = 50
"""Bars of a chart."""
_LINES = frozenset({"timechart", "linechart", "areachart", "scatterchart"})
_BAR = frozenset({"barchart", "columnchart", "piechart"})
_NUMBERS = frozenset({"int", "long", "real", "decimal"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the begin of a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a chart."""

    name: str
    value: float


class QueryPages:
    """Handlers over what ``Pages`` renders."""

    def __init__(self, ask: Any, page: Callable[..., Response]) -> None:
        self._ask, self._app, self._page = ask, ask.app, page

    def routes(self) -> list[BaseRoute]:
        """The page, and its answer as a file."""
        return [Route("/query", self._query), Route("/query.csv", self._csv)]

    async def _query(self, request: Request) -> Response:
        kql = request.query_params.get("kql", "")
        columns: list[ColumnInfo] = []
        rows: list[Row] = []
        error = ""
        elsewhere = from_elsewhere(request.headers, self._app.settings.http.url)
        if kql and elsewhere:  # a page of another site may not make a browser run queries; a person may, here
            error = "This query comes from another site. Read it, then press Run."
        elif kql:
            self._ask.audit(request, AuditKind.QUERY, kql)
            try:
                columns, rows = await self._ask.query(kql)
            except QueryError as e:
                error = str(e)
        chart = "" if error or not rows else chart_of(kql)
        return scripted(
            self._page(
                "query", request, 403 if kql and elsewhere else 200, kql=kql or _EXAMPLE,
                asked=bool(kql) and not elsewhere, columns=columns, rows=rows[:_SHOWN], count=len(rows), error=error,
                plot=plot_of(columns, rows, kql) if chart in _LINES else None,
                bars=bars_of(columns, rows) if chart in _BAR else (),
            )
        )  # fmt: skip

    async def _csv(self, request: Request) -> Response:
        """All rows, for a spreadsheet."""
        if from_elsewhere(request.headers, self._app.settings.http.url):
            raise HTTPException(403, "this query comes from another site; run it on the page")
        kql = request.query_params.get("kql", "")
        self._ask.audit(request, AuditKind.QUERY, kql)
        try:
            columns, rows = await self._ask.query(kql)
        except QueryError as e:
            raise HTTPException(400, str(e)) from e
        named = {"Content-Disposition": 'attachment; filename="query.csv"'}
        return Response(csv_of(columns, rows), media_type="text/csv", headers=named)


def chart_of(kql: str) -> str:
    """The chart that a query ends with: ``… | render timechart``; '' for none."""
    tokens = tokenize(kql)
    if "with" in (texts := [t.text.lower() for t in tokens]):  # render timechart with (title = 'x')
        last = len(texts) - 1 - texts[::-1].index("with")
        tokens = tokens[:last] if texts[last - 2 : last - 1] == ["render"] else tokens
    ends = [t for t in tokens if t.text != ";"][-3:]
    if len(ends) < 3 or (ends[0].text, ends[1].text.lower()) != ("|", "render") or ends[2].kind is not TokenKind.NAME:
        return ""
    return ends[2].text.lower()


def csv_of(columns: Sequence[ColumnInfo], rows: Sequence[Row]) -> str:
    """RFC 4180, in UTF-8. A text that a spreadsheet would run as a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([_harmless(column["name"]) for column in columns])
    for row in rows:
        writer.writerow([_cell(row.get(column["name"])) for column in columns])
    return out.getvalue()


def _cell(value: Any) -> object:
    if isinstance(value, datetime):
        return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    found = plain(value)
    return "" if found is None else found if isinstance(found, int | float) else _harmless(_text(found))


def _text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _split(columns: Sequence[ColumnInfo]) -> tuple[list[str], list[str], list[str]]:
    """Names of (times, numbers, texts)."""
    times = [c["name"] for c in columns if c["type"] == "datetime"]
    numbers = [c["name"] for c in columns if c["type"] in _NUMBERS]
    return times, numbers, [c["name"] for c in columns if c["type"] == "string"]


def plot_of(columns: Sequence[ColumnInfo], rows: Sequence[Row], title: str) -> Plot | None:
    """Lines over the first time, else over the first number; a line a number, and a text where there is one. None
    where that makes no lines.
    """
    times, numbers, texts = _split(columns)
    across = (times or numbers)[:1]
    ups = [name for name in numbers if name not in across]
    if not across or not ups:
        return None
    given = [row for row in rows if row[across[0]] is not None]
    xs = [row[across[0]] for row in given]
    axis, at = _axis(xs, across[0])
    lines: dict[str, list[tuple[float, float]]] = {}
    for row, x in zip(given, at, strict=True):
        for up in ups:
            if row[up] is not None:
                of = [str(row[texts[0]] or "–")] if texts else []
                lines.setdefault(", ".join([*of, *([up] if len(ups) > 1 or not of else [])]), []).append(
                    (x, float(row[up]))
                )
    names = list(lines)[: 2 * COLORS]
    curves = [
        Curve(run=name, name=title, stepped=True, x=tuple(x for x, _ in ordered), y=tuple(y for _, y in ordered))
        for name in names
        if (ordered := sorted(lines[name]))
    ]
    return Plot(name=", ".join(ups), axis=axis, curves=tuple(curves), runs=tuple(names)) if curves else None


def _axis(xs: Sequence[Any], name: str) -> tuple[str, list[float]]:
    """What x is, and each as a number: times as hours after the first."""
    if not xs or not isinstance(xs[0], datetime):
        return name, [float(x) for x in xs]
    first = min(xs)
    span = max(xs) - first
    unit, word = (timedelta(days=1), "days") if span > timedelta(days=4) else (timedelta(hours=1), "hours")
    unit, word = (timedelta(minutes=1), "minutes") if span < timedelta(hours=2) else (unit, word)
    return f"{word} after {first:%Y-%m-%d %H:%M} UTC", [(x - first) / unit for x in xs]


def bars_of(columns: Sequence[ColumnInfo], rows: Sequence[Row]) -> list[Bar]:
    """The first number of each row, by what is no number in it; the first rows."""
    _, numbers, _ = _split(columns)
    if not numbers:
        return []
    others = [c["name"] for c in columns if c["name"] not in numbers] or [
        c["name"] for c in columns if c["name"] != numbers[0]
    ]
    found = [(", ".join(str(_cell(row[name])) for name in others), row[numbers[0]]) for row in rows[:_BARS]]
    return [Bar(name=name or "–", value=float(value)) for name, value in found if value is not None]
