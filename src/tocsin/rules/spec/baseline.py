"""A run's length against those of the past: ``duration: {above: 1.5 * p95, of: [ExperimentName], last: 30d,
min_runs: 10}``.

``above`` is a deadline of a run under way: its start, and so many times the baseline. ``below`` is an event rule of a
run that has ended. The baseline are runs that Completed in ``last``, alike in ``of``; fewer than ``min_runs`` say
nothing.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tocsin.config.yaml.document import KeyPath, suggest
from tocsin.logstore.interface import LogReader
from tocsin.model.columns import RUNS, KqlType
from tocsin.model.statuses import TERMINAL
from tocsin.rules.history import listed
from tocsin.rules.language.schema import Past, PastWhen

_SAID = re.compile(r"(?:(\d+(?:\.\d+)?)\s*\*\s*)?p(\d{1,2})")
_ALIKE = {c.name for c in RUNS if c.type is KqlType.STRING}
"""Columns that can make runs comparable."""
COMPLETED = ("Completed",)
"""Of runs under way, those that ended so are the baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The baseline."""

    factor: float
    percentile: int  # 1 to 99
    of: tuple[str, ...]
    last: timedelta
    min_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """What an event of a run that ended is compared with."""

    baseline: Baseline
    statuses: tuple[str, ...]  # that such an event has, and those which were usual

    @property
    def past(self) -> tuple[object, ...]:
        """Those that have the same are compared together."""
        return self.baseline.of, self.baseline.last, self.statuses


def faults(when: PastWhen) -> Iterator[tuple[KeyPath, str, str]]:
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


def below(when: PastWhen) -> Below | None:
    """What a rule that has ``below`` compares with."""
    if when.duration is None or not when.duration.below:
        return None
    return Below(baseline=baseline(when.duration), statuses=tuple(when.status or ()))


UNCOMPARED = ("| where isnotnull(DurationMs)", "| extend baseline_ms = long(null), baseline_runs = long(null)")
"""Lines of KQL after the events of a ``below`` rule: those that ``shorter`` compares, and the fields that it makes."""


def below_query(when: PastWhen, statuses: str) -> tuple[list[str], list[str]]:
    """Lines of KQL before and after the events of a ``below`` rule, for people to read: they say what ``shorter`` does,
    of one event that arrives now.
    """
    assert when.duration is not None
    past = baseline(when.duration)
    by = ", ".join(past.of)
    days = f"{past.last // timedelta(seconds=1)}s"
    before = [
        f"let usual = Runs | where {statuses} and EndTime > ago({days}) and LastSeen < ago(1m) and isnotnull(DurationMs)"
        f" | summarize baseline_ms = percentile(DurationMs, {past.percentile}), baseline_runs = count() by {by};"
    ]
    after = [
        f"| lookup usual on {by}",
        f"| where baseline_runs >= {past.min_runs} and DurationMs < {past.factor} * baseline_ms",
    ]
    return before, after


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A run of which it is asked how long it may take."""

    like: tuple[str, ...]  # its values of the columns that make runs comparable
    at_us: int  # T, µs since the epoch; what had arrived by then is seen


def columns(baseline: Baseline) -> str:
    """SQL of the columns that make runs comparable."""
    return ", ".join(f'"{name}"' for name in baseline.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """What runs of which it is asked have in those columns, for SQL."""

    unnested: str  # the columns, from parameters
    where: str  # only such can be like one of them
    params: Mapping[str, object]

    @staticmethod
    def of(baseline: Baseline, likes: Sequence[tuple[str, ...]]) -> Like:
        """Of runs with these values."""
        lists = [f"unnest(($like{i}::JSON)::VARCHAR[])" for i in range(len(baseline.of))]
        return Like(
            unnested=", ".join(f'{each} AS "{name}"' for each, name in zip(lists, baseline.of, strict=True)),
            where=" AND ".join(
                f'"{name}" IN (SELECT unnest(($among{i}::JSON)::VARCHAR[]))' for i, name in enumerate(baseline.of)
            ),
            params={f"like{i}": listed(like[i] for like in likes) for i in range(len(baseline.of))}
            | {f"among{i}": listed({like[i] for like in likes}) for i in range(len(baseline.of))},
        )


def alike_sql(baseline: Baseline) -> str:
    """What makes an event's run comparable, as one text."""
    return "concat_ws(chr(31), {})".format(", ".join(f'"{name}"' for name in baseline.of))


def quoted(statuses: Sequence[str]) -> str:
    """As SQL lists them."""
    return ", ".join(f"'{status}'" for status in statuses)


def ended_sql(statuses: Sequence[str], columns: str, where: str) -> str:
    """SQL of the events that say how long a run took, with ``columns``, and ``ends``: those that ended after µs
    ``$after``.

    Every event that ends a run has an EndTime. Asked by it, most of what ended before need not be read.
    """
    return (
        f"SELECT {columns}, EndTime AS ends FROM RunStatusChanged WHERE Status IN ({quoted(statuses)})"
        f" AND DurationMs IS NOT NULL AND EndTime > make_timestamp($after::BIGINT) AND {where}"
    )


def baseline_us(baseline: Baseline, asked: Mapping[str, Asked], reader: LogReader) -> Mapping[str, int]:
    """How long each of the runs ``asked`` may take, in µs: a multiple of the baseline; left out where too little is
    known.

    Each is compared with what had arrived by its own T. The events themselves are read, not ``Runs``, which says how
    things are at the head: so the answer is the same whenever it is asked, and whatever happened to those runs later.
    """
    found: dict[str, int] = {}
    last = baseline.last // timedelta(microseconds=1)
    line = sorted(asked, key=lambda run: asked[run].at_us)
    while line:
        until = asked[line[0]].at_us + last  # those asked together share most of their past
        some = {run: asked[run] for run in line[: bisect_right(line, until, key=lambda run: asked[run].at_us)]}
        line = line[len(some) :]
        found |= _baseline_us(baseline, some, reader)
    return found


def _baseline_us(baseline: Baseline, asked: Mapping[str, Asked], reader: LogReader) -> Mapping[str, int]:
    names, like = columns(baseline), Like.of(baseline, [each.like for each in asked.values()])
    keys = f"t, {names}"
    ended = ended_sql(
        COMPLETED,
        f"RunId, hash(RunId) AS h, epoch_us(IngestedAt) AS came, TimeGenerated, DurationMs, {names}",
        f"IngestedAt <= make_timestamp($until::BIGINT) AND {like.where}",
    )
    visible = (
        f"FROM instants JOIN ended AS e USING ({names})"
        " WHERE e.came <= instants.t AND e.ends > make_timestamp(instants.t - $last::BIGINT)"
    )
    table = reader.select(
        "WITH asked AS MATERIALIZED (SELECT unnest(($runs::JSON)::VARCHAR[]) AS run, unnest(($at::JSON)::BIGINT[]) AS t,"
        f"   {like.unnested}),"
        f" instants AS (SELECT DISTINCT {keys} FROM asked),"
        f" ended AS MATERIALIZED ({ended}),"
        " often AS MATERIALIZED (SELECT h FROM ended GROUP BY h HAVING count(*) > 1),"  # said to have ended several times
        f" past AS (SELECT {keys}, DurationMs AS ms {visible} AND h NOT IN (FROM often)"
        f"   UNION ALL SELECT {keys}, arg_max(DurationMs, ROW(TimeGenerated, DurationMs)) AS ms {visible} AND h IN (FROM often)"
        f"   GROUP BY {keys}, RunId),"
        f" usual AS (SELECT {keys}, quantile_cont(ms, {baseline.percentile / 100}) AS ms FROM past"
        f"   GROUP BY {keys} HAVING count(*) >= $least)"
        f" SELECT run, ms FROM asked JOIN usual USING ({keys})",
        {
            "runs": listed(asked),
            "at": json.dumps([each.at_us for each in asked.values()]),
            **like.params,
            "until": max(each.at_us for each in asked.values()),
            "after": min(each.at_us for each in asked.values()) - baseline.last // timedelta(microseconds=1),
            "last": baseline.last // timedelta(microseconds=1),
            "least": baseline.min_runs,
        },
    )
    return {
        run: round(ms * 1000 * baseline.factor)
        for run, ms in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
    }
