"""A run's length against those of the past: ``duration: {above: 1.5 * p95, of: [ExperimentName], last: 30d, min_runs: 10}``.

``above`` is a deadline of a run under way: its start, and so many times what was usual. ``below`` is a row rule of a run
that has ended. What was usual are runs that Completed in ``last``, alike in ``of``; fewer than ``min_runs`` say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.config.document import KeyPath, suggest
from tocsin.logstore.interface import LogReader
from tocsin.model.columns import RUNS, KqlType
from tocsin.model.statuses import TERMINAL
from tocsin.rules.history import listed, micros
from tocsin.rules.schema import Past, When

_SAID = re.compile(r"(?:(\d+(?:\.\d+)?)\s*\*\s*)?p(\d{1,2})")
_ALIKE = {c.name for c in RUNS if c.type is KqlType.STRING}
"""Columns that can make runs comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is usual."""

    factor: float
    percentile: int  # 1 to 99
    of: tuple[str, ...]
    last: timedelta
    min_runs: int


def faults(when: When) -> Iterator[tuple[KeyPath, str, str]]:
    """What is wrong with a ``duration``."""
    past = when.duration
    assert past is not None
    at: KeyPath = ("when", "duration")
    said = [key for key in ("above", "below") if getattr(past, key)]
    if len(said) != 1:
        yield at, "says neither above: nor below:" if not said else "says above: and below:", "a rule has one of them"
        return
    if not _SAID.fullmatch(getattr(past, said[0]).strip()) or baseline(past).percentile == 0:
        yield (
            (*at, said[0]),
            f"'{getattr(past, said[0])}' is no multiple of a percentile",
            "write for example 1.5 * p95",
        )
    for i, name in enumerate(past.of):
        if name not in _ALIKE:
            yield (*at, "of", i), f"'{name}' is no text column of Runs", suggest(name, _ALIKE)
    ended = [word for word in when.status or () if word in TERMINAL]
    if said == ["above"] and (ended or not when.status):
        yield (*at, "above"), "is about a run under way", "write status: Running"
    if said == ["below"] and len(ended) != len(when.status or ("",)):
        yield (*at, "below"), "is about a run that has ended", "write status: Completed"


def baseline(past: Past) -> Baseline:
    """What ``past`` compares with. One that cannot be read has percentile 0."""
    match = _SAID.fullmatch((past.above or past.below).strip())
    return Baseline(
        factor=float(match[1] or 1) if match else 0.0,
        percentile=int(match[2]) if match else 0,
        of=past.of,
        last=past.last,
        min_runs=past.min_runs,
    )


def below_query(when: When, statuses: str) -> tuple[list[str], list[str]]:
    """Lines of KQL before and after the events of a ``below`` rule.

    What came in within the last minute is not what was usual: the run itself would be among it.
    """
    assert when.duration is not None
    usual = baseline(when.duration)
    by = ", ".join(usual.of)
    days = f"{usual.last // timedelta(seconds=1)}s"
    before = [
        f"let usual = Runs | where {statuses} and EndTime > ago({days}) and LastSeen < ago(1m) and isnotnull(DurationMs)"
        f" | summarize usual_ms = percentile(DurationMs, {usual.percentile}), usual_runs = count() by {by};"
    ]
    after = [
        f"| lookup usual on {by}",
        f"| where usual_runs >= {usual.min_runs} and DurationMs < {usual.factor} * usual_ms",
    ]
    return before, after


def usual_us(usual: Baseline, runs: Collection[str], at: datetime, hi: int, reader: LogReader) -> Mapping[str, int]:
    """How long each of ``runs`` may take, in µs: a multiple of what was usual at ``at``; left out where too little is known."""
    names = ", ".join(f'"{name}"' for name in usual.of)
    table = reader.select(
        f"WITH asked AS (SELECT RunId, {names} FROM Runs"
        "  WHERE CommitSeq >= $since AND RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[]))),"
        f" alike AS (SELECT DISTINCT {names} FROM asked),"
        f" usual AS (SELECT {names}, quantile_cont(DurationMs, {usual.percentile / 100}) AS ms, count(*) AS n"
        f"   FROM Runs SEMI JOIN alike USING ({names})"
        "   WHERE Status = 'Completed' AND DurationMs IS NOT NULL AND CommitSeq <= $hi"
        "   AND EndTime > make_timestamp($from::BIGINT)"
        f"   GROUP BY {names})"
        f" SELECT RunId, ms FROM asked JOIN usual USING ({names}) WHERE n >= $least",
        {
            "runs": listed(runs),
            "since": reader.since(runs),
            "hi": hi,
            "from": micros(at - usual.last),
            "least": usual.min_runs,
        },
    )
    return {
        run: round(ms * 1000 * usual.factor)
        for run, ms in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
    }
