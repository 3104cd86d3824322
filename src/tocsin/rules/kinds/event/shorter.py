"""Events of runs that ended shorter than its baseline, ``duration: {below: 0.2 * p05, …}``: as many as there are, at
once.

Each is compared with the other runs like it of which it had arrived, a minute before it did, that they ended within
``last``:

    last          |────────────────────────────────────────|─ 1m ─|
    ends             r1    r2       r3     (notified of later: r4)    r5 arrives: r1, r2, r3 count

The events themselves are read, not ``Runs``, which says how things are at the head: so the answer is the same whenever
it is asked, of one event or of a year.

Of many, most took longer than can be shorter than its baseline. For a span of time a percentile is bounded from above:
the n-th of those that count whenever it is asked is never less than the n-th of them and others.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.history import listed
from tocsin.rules.spec.baseline import Baseline, Below, Like, columns, ended_sql, quoted

FEW = 200
"""So many are compared without a bound."""
AT_ONCE = 2_000
"""So many are compared by one query."""
DELAY_US = 60_000_000
"""What arrived within the last minute is not the baseline, µs."""
_US = timedelta(microseconds=1)
_ASKED = "Source, EventId, epoch_us(TimeGenerated) AS time, RunId, epoch_us(IngestedAt) AS came, DurationMs"


@dataclass(frozen=True, slots=True)
class _Ended:
    """An event of a run that ended; times are µs."""

    key: EventKey
    run: str
    came: int
    ms: int
    like: tuple[str, ...]  # its values of the columns that make runs comparable


@dataclass(frozen=True, slots=True)
class Shorter:
    """How long the event's run took, and the baseline, in ms by percentile, of how many runs."""

    ms: int
    baseline_ms: Mapping[int, int]
    runs: int

    def than(self, baseline: Baseline) -> bool:
        """Whether it ended sooner than ``baseline``."""
        return self.runs >= baseline.min_runs and self.ms < baseline.factor * self.baseline_ms[baseline.percentile]

    def computed(self, baseline: Baseline) -> dict[str, object]:
        """What an alert can carry of it."""
        return {"baseline_ms": self.baseline_ms[baseline.percentile], "baseline_runs": self.runs}


def shorter(
    below: Collection[Below], rows_sql: str, params: Mapping[str, object], reader: LogReader, few: int = FEW
) -> dict[EventKey, Shorter]:
    """Those events of ``rows_sql`` that ended shorter than its baseline by one of ``below``, which have the same
    ``past``. So ``few`` are compared without a bound.
    """
    candidates = sorted(_candidates(below, rows_sql, params, reader, few), key=lambda each: each.came)
    one = next(iter(below)).baseline
    found: dict[EventKey, Shorter] = {}
    while candidates:
        until = candidates[0].came + one.last // _US  # those compared together share most of their past
        n = min(AT_ONCE, bisect_right(candidates, until, key=lambda each: each.came))
        for each, said in _compared(below, candidates[:n], reader):
            if any(said.than(b.baseline) for b in below):
                found[each.key] = said
        del candidates[:n]
    return found


def _candidates(
    below: Collection[Below], rows_sql: str, params: Mapping[str, object], reader: LogReader, few: int
) -> Iterator[_Ended]:
    """Events that may have: all of few, of many those below the bound."""
    one = next(iter(below))
    ended = f"FROM ({rows_sql}) WHERE Status IN ({quoted(one.statuses)}) AND DurationMs IS NOT NULL"
    asked = f"SELECT {_ASKED}, {columns(one.baseline)} {ended}"
    table = reader.select(f"{asked} LIMIT {few + 1}", params)
    if table.num_rows > few:
        span = reader.select(f"SELECT epoch_us(min(IngestedAt)), epoch_us(max(IngestedAt)) {ended}", params)
        first, last = (span.column(i)[0].as_py() for i in range(2))
        bounded, more = _bounded(asked, below, first, last)
        table = reader.select(bounded, {**params, **more})
    for source, event, time, run, came, ms, *like in zip(*(c.to_pylist() for c in table.columns), strict=True):
        yield _Ended(EventKey(source=source, event_id=event, time_us=time), run, came, ms, tuple(like))


def _bounded(asked: str, below: Collection[Below], first: int, last: int) -> tuple[str, dict[str, object]]:
    """SQL of those that ``asked`` gives which may have ended sooner, and its parameters; they arrived from ``first``
    to ``last``, µs.

    Of a run that is said to have ended several times, the longest counts. One place more is for the run itself, which
    is left out when it is compared.
    """
    one = next(iter(below))
    names = columns(one.baseline)
    place = f"ceil({max(b.baseline.percentile for b in below) / 100} * sum(n))::BIGINT + 2"
    past = ended_sql(
        one.statuses,
        f"{names}, hash(RunId) AS h, DurationMs, IngestedAt",
        "IngestedAt < make_timestamp($past_last::BIGINT)",
    )
    sql = (
        f"WITH past AS ({past}), each AS (SELECT {names}, max(DurationMs) AS ms, count(*) AS n, bool_or("
        "   IngestedAt < make_timestamp($past_first::BIGINT) AND ends > make_timestamp($past_surely::BIGINT)) AS surely"
        f"   FROM past GROUP BY {names}, h),"
        f" bounds AS (SELECT {names}, list_sort(list(ms) FILTER (surely))[{place}] AS bound FROM each"
        f"   GROUP BY {names} HAVING sum(n) >= $past_least)"
        f" SELECT asked.* FROM ({asked}) AS asked JOIN bounds USING ({names})"
        " WHERE bound IS NULL OR DurationMs < $past_factor * bound"
    )
    return sql, {
        "past_first": first - DELAY_US,
        "past_last": last - DELAY_US,
        "past_surely": last - one.baseline.last // _US,
        "past_least": min(b.baseline.min_runs for b in below),
        "past_factor": max(b.baseline.factor for b in below),
        "after": first - one.baseline.last // _US,
    }


def _compared(below: Collection[Below], asked: Sequence[_Ended], reader: LogReader) -> Iterator[tuple[_Ended, Shorter]]:
    """The baseline when each of ``asked`` arrived; left out where too little was known."""
    one = next(iter(below))
    names, like = columns(one.baseline), Like.of(one.baseline, [each.like for each in asked])
    percentiles = sorted({b.baseline.percentile for b in below})
    past = ended_sql(
        one.statuses,
        f"{names}, RunId, hash(RunId) AS h, epoch_us(IngestedAt) AS came, TimeGenerated, DurationMs",
        f"IngestedAt < make_timestamp($until::BIGINT) AND {like.where}",
    )
    visible = (
        f"FROM asked JOIN past USING ({names})"
        " WHERE past.came < t - $delay::BIGINT AND ends > make_timestamp(t - $last::BIGINT) AND RunId <> own"
    )
    table = reader.select(
        "WITH asked AS MATERIALIZED (SELECT unnest(range($n::BIGINT)) AS i, unnest(($at::JSON)::BIGINT[]) AS t,"
        f"   unnest(($own::JSON)::VARCHAR[]) AS own, {like.unnested}),"
        f" past AS MATERIALIZED ({past}),"
        " often AS MATERIALIZED (SELECT h FROM past GROUP BY h HAVING count(*) > 1),"  # said to have ended several times
        f" each AS (SELECT i, DurationMs AS ms {visible} AND h NOT IN (FROM often)"
        f"   UNION ALL SELECT i, arg_max(DurationMs, ROW(TimeGenerated, DurationMs)) AS ms {visible} AND h IN (FROM often)"
        "   GROUP BY i, RunId)"
        f" SELECT i, quantile_disc(ms, {[p / 100 for p in percentiles]}), count(*) FROM each GROUP BY i HAVING count(*) >= $least",
        {
            "n": len(asked),
            "at": json.dumps([each.came for each in asked]),
            "own": listed(each.run for each in asked),
            **like.params,
            "until": asked[-1].came - DELAY_US,
            "after": asked[0].came - one.baseline.last // _US,
            "delay": DELAY_US,
            "last": one.baseline.last // _US,
            "least": min(b.baseline.min_runs for b in below),
        },
    )
    for i, ms, runs in zip(*(column.to_pylist() for column in table.columns), strict=True):
        yield asked[i], Shorter(asked[i].ms, dict(zip(percentiles, ms, strict=True)), runs)
