"""How long runs may take at the very least, by time: what a backtest of ``duration: {above: …}`` looks at runs with.

What is usual at T is a percentile of the runs that Completed in ``last`` before T. For a stretch of time it is bounded from below:

    last                |------------- surely ------------|            in the window of every T of the stretch, and known by then
               |---------------- perhaps ---------------------|        in that of some T
    stretch                                            |------|

The n-th of a set is never less than the n-th of one that contains it, and n never less than with as few as surely are there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.logstore.interface import LogReader
from tocsin.rules.baselines import Baseline
from tocsin.rules.history import listed, micros

_US = timedelta(microseconds=1)
PARTS_OF_LAST = 8
"""A stretch is so small a part of ``last``: the smaller, the nearer is the bound."""
MOST = 200
"""Stretches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What no run is usually shorter than, times the factor: by what makes runs alike, and by stretch; where too few are known for
    anything to be usual there is none.
    """

    width: int  # of a stretch, µs; the first begins where the backtest does
    alike: str  # list of texts, as a parameter
    stretches: str  # list of numbers, as a parameter
    us: str  # list of µs, as a parameter

    @property
    def params(self) -> dict[str, object]:
        """By name, for ``backtest_visits``."""
        return {"width": self.width, "alike": self.alike, "stretches": self.stretches, "floors": self.us}


def alike_sql(usual: Baseline) -> str:
    """What makes an event's run comparable, as one text."""
    return "concat_ws(chr(31), {})".format(", ".join(f'"{name}"' for name in usual.of))


def floors(usual: Baseline, log: LogReader, since: datetime, until: datetime) -> Floors:
    """Bounds for every T in [since, until)."""
    first, end, last = micros(since), micros(until), usual.last // _US
    width = max(last // PARTS_OF_LAST, -(-(end - first) // MOST), 1)
    alike: list[str] = []
    stretches: list[int] = []
    us: list[int] = []
    sql = (
        f"SELECT {alike_sql(usual)} AS alike, list_sort(list(DurationMs)) AS ms, count(DISTINCT RunId) FILTER ("
        "   ends > make_timestamp($end - $last::BIGINT) AND IngestedAt < make_timestamp($begin::BIGINT)) AS surely"
        " FROM (SELECT *, coalesce(EndTime, TimeGenerated) AS ends FROM RunStatusChanged"
        "   WHERE Status = 'Completed' AND DurationMs IS NOT NULL AND IngestedAt < make_timestamp($end::BIGINT))"
        " WHERE ends > make_timestamp($begin - $last::BIGINT)"
        " GROUP BY alike HAVING count(DISTINCT RunId) >= $least"
    )
    place = f"1 + greatest(0, floor({usual.percentile / 100} * (surely - 1) - 0.000001))::BIGINT"
    for number in range(-(-(end - first) // width)):
        begin = first + number * width
        table = log.select(
            f"SELECT alike, ms[{place}] FROM ({sql})",
            {"begin": begin, "end": begin + width, "last": last, "least": usual.min_runs},
        )
        for name, ms in zip(*(column.to_pylist() for column in table.columns), strict=True):
            alike.append(name)
            stretches.append(number)
            us.append(int(ms * 1000 * usual.factor) - 1)
    return Floors(width=width, alike=listed(alike), stretches=json.dumps(stretches), us=json.dumps(us))
