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
MOST_NAMES: Final = 60
"""Metrics of a page."""

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
    min(Step) AS FirstStep, max(Step) AS LastStep, min(Moment) AS First, max(Moment) AS Last
  FROM points GROUP BY ALL
), known AS (
  SELECT *, NOT Stepped AND bool_or(Stepped) OVER (PARTITION BY Name) AS Counted FROM spans
), placed AS (
  SELECT p.RunId, p.Name, s.Stepped, Value, CASE WHEN Stepped THEN Step ELSE Moment - First END AS X,
    CASE WHEN Stepped THEN (Step - FirstStep) / nullif(LastStep - FirstStep, 0) ELSE (Moment - First) / nullif(Last - First, 0) END AS Part
  FROM points p JOIN known s ON p.RunId = s.RunId AND p.Name = s.Name AND NOT s.Counted
  UNION ALL
  SELECT p.RunId, p.Name, true, Value, row_number() OVER one - 1, (row_number() OVER one - 1) / count(*) OVER (PARTITION BY p.RunId, p.Name)
  FROM points p JOIN known s ON p.RunId = s.RunId AND p.Name = s.Name AND s.Counted
  WINDOW one AS (PARTITION BY p.RunId, p.Name ORDER BY Moment)
)
SELECT RunId, Name, Stepped, CAST(floor(coalesce(Part, 0) * $buckets) AS INTEGER) AS Bucket,
  arg_min(X, Value) AS LeastX, min(Value) AS Least, arg_max(X, Value) AS GreatestX, max(Value) AS Greatest
FROM placed GROUP BY ALL ORDER BY Name, RunId, Bucket
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One metric of one run. ``x`` are steps. Where none of the runs gave steps ``x`` are seconds since the first value; where
    only some did, the values of the others are counted from 0.
    """

    run: str
    name: str
    stepped: bool
    x: tuple[float, ...]
    y: tuple[float, ...]


def logged(select: Select, run: str) -> list[Row]:
    """What a run logged: a row a metric with ``Name Points Numbers Last Least Greatest LastText LastColumns``."""
    return select(_NAMES, run=run, limit=500)


def curves(select: Select, runs: Sequence[str], names: Sequence[str]) -> list[Curve]:
    """Curves of these metrics of these runs, by name and then in the order of ``runs``."""
    if not runs or not names:
        return []
    rows = select(_CURVES, runs=list(runs), names=list(names)[:MOST_NAMES], buckets=BUCKETS)
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
    """A number in few characters."""
    return "–" if value is None else str(value) if not math.isfinite(value) else f"{value:.6g}"
