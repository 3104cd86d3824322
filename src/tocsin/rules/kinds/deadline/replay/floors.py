"""How long runs may take at the very least, by time: what a backtest of ``duration: {above: …}`` compares runs with.

The baseline at T is a percentile of the runs that Completed in ``last`` before T. For an occurrence of time it is
bounded from below:

    last                |------------- surely ------------|            in the window of every T of the occurrence,
and known by then
               |---------------- perhaps ---------------------|        in that of some T
    occurrence                                            |------|

The n-th of a set is never less than the n-th of one that contains it, and n never less than with as few as surely
are there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

from tocsin.logstore.interface import LogReader
from tocsin.rules.history import listed, micros
from tocsin.rules.spec.baseline import COMPLETED, Baseline, alike_sql, ended_sql

if TYPE_CHECKING:
    import pyarrow as pa

_US = timedelta(microseconds=1)
PARTS_OF_LAST = 8
"""An occurrence is so small a part of ``last``: the smaller, the nearer is the bound."""
MOST = 200
"""Occurrences."""
AT_ONCE = 2
"""Occurrences that are evaluated together: each takes one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What no run is usually shorter than, times the factor: by what makes runs alike, and by occurrence."""

    width: int  # of an occurrence, µs; the first begins where the backtest does
    us: Mapping[str, Sequence[int | None]]  # by occurrence, µs; None: too few are known for anything to be usual

    @property
    def least(self) -> int | None:
        """The smallest of all; None: nothing is ever usual."""
        return min((us for line in self.us.values() for us in line if us is not None), default=None)

    @property
    def params(self) -> dict[str, object]:
        """By name, for ``candidates``. ``lows`` are the smallest from each occurrence on."""
        lows = [low for line in self.us.values() for low in reversed([*accumulate(reversed(line), _smaller)])]
        return {
            "width": self.width,
            "alike": listed(name for name, line in self.us.items() for _ in line),
            "occurrences": json.dumps([number for line in self.us.values() for number in range(len(line))]),
            "floors": json.dumps([us for line in self.us.values() for us in line]),
            "lows": json.dumps(lows),
            "least": self.least,
        }


def _smaller(a: int | None, b: int | None) -> int | None:
    return min((each for each in (a, b) if each is not None), default=None)


def floors(baseline: Baseline, log: LogReader, since: datetime, until: datetime) -> Floors:
    """Bounds for every T in [since, until)."""
    first, end, last = micros(since), micros(until), baseline.last // _US
    width = max(last // PARTS_OF_LAST, -(-(end - first) // MOST), 1)
    occurrences_of = -(-(end - first) // width)
    us: dict[str, list[int | None]] = {}
    ended = ended_sql(
        COMPLETED,
        f"{alike_sql(baseline)} AS alike, hash(RunId) AS h, DurationMs, IngestedAt",
        "IngestedAt < make_timestamp($end::BIGINT)",
    )
    sql = (
        "SELECT alike, list_sort(list(DurationMs)) AS ms, count(DISTINCT h) FILTER ("
        "   ends > make_timestamp($end - $last::BIGINT) AND IngestedAt < make_timestamp($begin::BIGINT)) AS surely"
        f" FROM ({ended}) GROUP BY alike HAVING count(*) >= $least"
    )
    place = f"1 + greatest(0, floor({baseline.percentile / 100} * (surely - 1) - 0.000001))::BIGINT"
    asked = f"SELECT alike, ms[{place}] FROM ({sql})"

    def bounds(number: int) -> pa.Table:
        begin = first + number * width
        params = {"begin": begin, "end": begin + width, "last": last, "after": begin - last, "least": baseline.min_runs}
        return log.select(asked, params)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="usual") as pool:
        for number, table in enumerate(pool.map(bounds, range(occurrences_of))):
            for name, ms in zip(*(column.to_pylist() for column in table.columns), strict=True):
                us.setdefault(name, [None] * occurrences_of)[number] = int(ms * 1000 * baseline.factor) - 1
    return Floors(width=width, us=us)
