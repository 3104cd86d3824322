"""What runs logged, as curves of few points: a long series keeps the least and the greatest value of each bucket."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = dict[str, Any]
Select = Callable[..., list[Row]]
"""Runs a SELECT with parameters by name."""

BUCKETS: Final = 300
"""Buckets of a curve; two points each at most."""
MOST_NAMES: Final = 500
"""Metrics of a page; where there are more it says so."""
_POINTS: Final = 20 * BUCKETS
"""Buckets of all curves of one run together: a page of many metrics draws each with fewer."""

_NAMES = """
SELECT Name, count(*) AS Points, count(Value) AS Numbers, arg_max(Value, (coalesce(Step, 0), "Time")) AS Last,
  min(Value) FILTER (isfinite(Value)) AS Least, max(Value) FILTER (isfinite(Value)) AS Greatest,
  arg_max(Text, "Time") AS LastText, arg_max(Columns, "Time") AS LastColumns, min(RunId) AS RunId
FROM RunMetrics WHERE RunId = $run GROUP BY Name ORDER BY Name LIMIT $limit
"""
_CURVES = """
WITH points AS (
  SELECT RunId, Name, CAST(Step AS DOUBLE) AS Step, epoch("Time") AS Moment, Value FROM RunMetrics
  WHERE list_contains($runs, RunId) AND list_contains($names, Name) AND isfinite(Value)
), spans AS (
  SELECT RunId, Name, count(*) = count(Step) AND (min(Step) < max(Step) OR count(*) = 1) AS Stepped,
    min(Step) AS FirstStep, max(Step) AS LastStep
  FROM points GROUP BY ALL
), placed AS (
  SELECT p.RunId, p.Name, true AS Stepped, Value, Step AS X, (Step - FirstStep) / nullif(LastStep - FirstStep, 0) AS Part
  FROM points p JOIN spans s ON p.RunId = s.RunId AND p.Name = s.Name AND s.Stepped
  UNION ALL
  SELECT p.RunId, p.Name, false, Value, row_number() OVER one - 1, (row_number() OVER one - 1) / count(*) OVER (PARTITION BY p.RunId, p.Name)
  FROM points p JOIN spans s ON p.RunId = s.RunId AND p.Name = s.Name AND NOT s.Stepped
  WINDOW one AS (PARTITION BY p.RunId, p.Name ORDER BY Moment)
)
SELECT RunId, Name, Stepped, CAST(floor(coalesce(Part, 0) * $buckets) AS INTEGER) AS Bucket,
  arg_min(X, Value) AS LeastX, min(Value) AS Least, arg_max(X, Value) AS GreatestX, max(Value) AS Greatest
FROM placed GROUP BY ALL ORDER BY Name, RunId, Bucket
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One metric of one run. ``x`` are steps; where the run gave none its values are counted from 0."""

    run: str
    name: str
    stepped: bool
    x: tuple[float, ...]
    y: tuple[float, ...]


def logged(select: Select, run: str) -> list[Row]:
    """What a run logged: a row a metric with ``Name Points Numbers Last Least Greatest LastText LastColumns``."""
    return select(_NAMES, run=run, limit=MOST_NAMES + 1)


def _buckets(names: int) -> int:
    return max(min(BUCKETS, _POINTS // max(names, 1)), 20)


def curves(select: Select, runs: Sequence[str], names: Sequence[str]) -> list[Curve]:
    """Curves of these metrics of these runs, by name and then in the order of ``runs``."""
    if not runs or not names:
        return []
    rows = select(_CURVES, runs=list(runs), names=list(names)[:MOST_NAMES], buckets=_buckets(len(names)))
    found: dict[tuple[str, str], tuple[bool, list[tuple[float, float]]]] = {}
    for row in rows:
        _, points = found.setdefault((row["Name"], row["RunId"]), (row["Stepped"], []))
        pair = {(row["LeastX"], row["Least"]), (row["GreatestX"], row["Greatest"])}
        points += sorted((float(x), float(y)) for x, y in pair)
    order = {run: n for n, run in enumerate(runs)}
    keys = sorted(found, key=lambda key: (key[0], order[key[1]]))
    return [
        Curve(
            run=run, name=name, stepped=found[name, run][0],
            x=tuple(x for x, _ in found[name, run][1]), y=tuple(y for _, y in found[name, run][1]),
        )
        for name, run in keys
    ]  # fmt: skip


def shown(value: float | None) -> str:
    """A number in few characters: 1.2 M, 3.4e-5."""
    if value is None:
        return "–"
    size = abs(value)
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if size < 1e-3 or size >= 1e15:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+", "e")
    for least, unit, word in ((1e12, 1e12, " T"), (1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e5, 1e3, " k")):
        if size >= least:
            return f"{value / unit:.4g}{word}"
    return f"{value:.5g}"
