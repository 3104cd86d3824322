"""Which runs of the history a waiting rule can say of at all, and at which commits it is evaluated.

Between two commits that bring something of a run nothing of it changes but time. So a deadline can only pass where so
much time lies before the next one:

    commits of a run    Queued ── 5m ── Preparing ── 2h ──────────── Running
    in_status_for 45m                        ^ evaluated: 45m after Queued lies before Running

A statement finds these places for so many runs at a time. It may find too many (the engine evaluates them), never too
few: time counts from the last event of another status, or from the first of these where a later try has earlier times.
Of events of the same time one that is waited for is taken for the last.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from tocsin.logstore.interface import LogReader
from tocsin.rules.history import listed, micros
from tocsin.rules.kinds.deadline.replay.floors import floors
from tocsin.rules.kinds.deadline.replay.histories import Span
from tocsin.rules.kinds.deadline.spec import DeadlineSpec, Form
from tocsin.rules.spec.baseline import alike_sql

PART = 250_000
"""Rows of the history that are evaluated together."""
SHORT = timedelta(days=2)
"""Runs that took no longer are evaluated with those that began at about the same time."""
_US = timedelta(microseconds=1)
_NEVER = 253_402_300_799_000_000
"""The last second of the year 9999."""
_LAG = "INTERVAL 1 MINUTE"
"""A deadline ends with the commit of the last event, and Runs has only its receipt: the commit comes up to so much
later.
"""
_ENDED = "('Completed', 'Failed', 'Canceled')"


def _occurrence(us: str) -> str:
    """SQL of the occurrence of time in which ``us`` lies, see ``floors``."""
    return f"(greatest({us}, $since::BIGINT) - $since::BIGINT) // $width::BIGINT"


_RUNS = f"""
  SELECT RunId, FirstTime, coalesce(FirstTime, FirstSeen) AS begins, greatest(LastTime, LastSeen, FirstSeen) AS ends,
    least(FirstTime, FirstSeen) AS known, Status IN {_ENDED} AS ended
  FROM Runs WHERE Status NOT IN {_ENDED} OR (greatest(LastTime, LastSeen, FirstSeen) >= make_timestamp($since::BIGINT) - {_LAG}
    AND greatest(LastTime, LastSeen, FirstSeen) - least(FirstTime, FirstSeen) >= to_microseconds($lived::BIGINT) - {_LAG})
"""
"""Runs of which something can be notified: no deadline has passed of one that ended sooner than its length
(``lived``).
"""
# seq, came: the commit and its T. t, key: when it happened, and its place among the events of its run; NULL of a
# heartbeat.
_SIGNS = f"""
  SELECT RunId, CommitSeq AS seq, epoch_us(IngestedAt) AS came, epoch_us(TimeGenerated) AS t, Status AS s, Progress AS p,
    epoch_us(StartTime) AS began, $like AS alike,
    coalesce(Attempt, 0)::HUGEINT * 18446744073709551616 + epoch_us(TimeGenerated)::HUGEINT * 2 + (Status IN {_ENDED})::INT AS key
  FROM RunStatusChanged SEMI JOIN chosen USING (RunId)
  WHERE TimeGenerated BETWEEN make_timestamp($first::BIGINT) AND make_timestamp($last::BIGINT)
    AND IngestedAt < make_timestamp($until::BIGINT)
  UNION ALL BY NAME
  SELECT RunId, CommitSeq AS seq, epoch_us(ReceivedAt) AS came, epoch_us(ReceivedAt) AS t, Progress AS p
  FROM Heartbeats SEMI JOIN chosen USING (RunId)
  WHERE ReceivedAt BETWEEN make_timestamp($first::BIGINT) AND make_timestamp($last::BIGINT)
    AND ReceivedAt < make_timestamp($until::BIGINT)
"""
_SOME = " UNION ALL ".join(
    f"""
  SELECT RunId, known, ends, ended FROM ({_RUNS})
  WHERE {begins} >= make_timestamp($first::BIGINT) AND {begins} < make_timestamp($next::BIGINT) AND {which}
    AND (ends - begins > to_microseconds($short::BIGINT)) = $long AND hash(RunId) % $parts = $part
"""
    for begins, which in (("FirstTime", "true"), ("begins", "FirstTime IS NULL"))
)
"""The runs of one part. Asked by the column itself, most of the table need not be read."""
_BACK = f"""
WITH chosen AS ({_SOME}), tries AS (
  SELECT RunId, coalesce(Attempt, 0) AS try, min(TimeGenerated) AS first, max(TimeGenerated) AS last
  FROM RunStatusChanged SEMI JOIN chosen USING (RunId)
  WHERE TimeGenerated BETWEEN make_timestamp($first::BIGINT) AND make_timestamp($last::BIGINT)
  GROUP BY RunId, try
)
SELECT DISTINCT a.RunId FROM tries AS a JOIN tries AS b ON a.RunId = b.RunId AND a.try < b.try AND a.last > b.first
"""
"""Runs of which a later try has earlier times."""
_BOUNDS = """
SELECT min(coalesce(Attempt, 0)), max(coalesce(Attempt, 0)) FROM RunStatusChanged
WHERE TimeGenerated BETWEEN make_timestamp($first::BIGINT) AND make_timestamp($last::BIGINT)
"""
_EVALUATIONS = f"""
WITH $chosen, signs AS ({_SIGNS}), line AS (
  SELECT RunId, seq, came, t, p,
    lead(seq) OVER w IS DISTINCT FROM seq AS last,
    coalesce(lead(came) OVER w, $until::BIGINT) AS next,
    coalesce(arg_max(s, key * 2 + (s IN ($statuses))::INT) OVER upto, 'Unknown') AS status,
    coalesce(max(CASE WHEN s NOT IN ($statuses) THEN t END) OVER upto, min(t) OVER upto) AS other,
    min(t) OVER upto AS first$more
  FROM signs
  WINDOW w AS (PARTITION BY RunId ORDER BY seq),
    before AS (PARTITION BY RunId ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    upto AS (PARTITION BY RunId ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
SELECT RunId, seq FROM $line
WHERE last AND next > $since::BIGINT AND status IN ($statuses) AND $from + $for < next
"""
_CHOSEN = f"chosen AS ({_SOME})"
_CHOSEN_LONG = f"""floors AS MATERIALIZED (
  SELECT unnest(($alike::JSON)::VARCHAR[]) AS alike, unnest(($occurrences::JSON)::BIGINT[]) AS occurrence,
    unnest(($floors::JSON)::BIGINT[]) AS us, unnest(($lows::JSON)::BIGINT[]) AS low
), candidates AS MATERIALIZED ({_SOME}), lives AS (
  SELECT RunId, min(StartTime) AS start, min(alike) AS alike, max(alike) IS DISTINCT FROM min(alike) AS varies
  FROM (SELECT RunId, StartTime, $like AS alike FROM RunStatusChanged SEMI JOIN candidates USING (RunId)
    WHERE TimeGenerated BETWEEN make_timestamp($first::BIGINT) AND make_timestamp($last::BIGINT))
  GROUP BY RunId
), chosen AS MATERIALIZED (
  SELECT RunId FROM candidates JOIN lives USING (RunId)
    LEFT JOIN floors ON floors.alike = lives.alike AND occurrence = {_occurrence("epoch_us(known)")}
  WHERE NOT ended OR ends - least(known, start) >= to_microseconds(CASE WHEN varies THEN $least::BIGINT ELSE low END) - {_LAG}
)"""
"""Runs that took longer than is ever usual of their peers from then on. A start that is given may lie before the
first event.
"""
_STILL = """(SELECT *, coalesce(max(CASE WHEN moves THEN t END) OVER upto, first) AS moved, bool_or(late) OVER upto AS odd FROM line
  WINDOW upto AS (PARTITION BY RunId ORDER BY seq, t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))"""
_MOVES = """,
    p IS NOT NULL AND p IS DISTINCT FROM last_value(p IGNORE NULLS) OVER before AS moves,
    coalesce(p IS NOT NULL AND t <= max(CASE WHEN p IS NOT NULL THEN t END) OVER before, false) AS late"""
_LONG = """,
    coalesce(least(min(began) OVER upto, min(CASE WHEN s = 'Running' THEN t END) OVER upto), min(t) OVER upto) AS begun,
    min(alike) OVER upto AS alike, max(alike) OVER upto IS DISTINCT FROM min(alike) OVER upto AS varies"""
_BASELINE = f"""(SELECT line.*, CASE WHEN varies THEN $least::BIGINT ELSE floors.us END AS usual
  FROM line LEFT JOIN floors ON floors.alike = line.alike AND floors.occurrence = {_occurrence("came")})"""
_OTHER = "CASE WHEN list_contains(($back::JSON)::VARCHAR[], RunId) THEN first ELSE other END"
_FROM = {
    Form.IN_STATUS: _OTHER,
    Form.SILENT: "came",
    Form.LONGER: "begun",
    Form.UNCHANGED: f"greatest({_OTHER}, CASE WHEN odd THEN first ELSE moved END)",
}
"""Not before which moment a deadline counts."""
_ALL = f"""
WITH chosen AS (SELECT unnest(($runs::JSON)::VARCHAR[]) AS RunId), signs AS ({_SIGNS})
SELECT RunId, seq, min(came) FROM signs GROUP BY RunId, seq ORDER BY RunId, seq
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A commit that brought something of a run."""

    seq: int
    at_us: int
    evaluations: bool  # whether a deadline may pass before the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Runs of which something can be notified, found together."""

    runs: Mapping[str, Sequence[Candidate]]  # each with all its commits before the range's end
    begin: Span  # of all of them, µs: of the least TimeGenerated, or where only heartbeats came of the first receipt
    share: float  # of the history that is done with them


def wanted(log: LogReader, absence: DeadlineSpec, since: datetime, until: datetime) -> Generator[Found]:
    """The runs of which ``absence`` can say something in [since, until), part by part."""
    length = absence.length // _US
    values: dict[str, object] = {"since": micros(since), "until": micros(until), "length": length}
    values["lived"] = (
        length if absence.baseline is None else 0
    )  # a start that is given may lie before a run's first event
    if absence.baseline is not None:
        usually = floors(absence.baseline, log, since, until)
        if usually.least is None:
            return
        values |= usually.params
    like = alike_sql(absence.baseline) if absence.baseline is not None else "NULL"
    sql, every = _evaluations(absence).replace("$like", like), _ALL.replace("$like", like)
    parts = list(_parts(log, values))
    for number, part in enumerate(parts, 1):
        here = {**values, **part}
        if "$back" in sql:
            here["back"] = listed(_column(log, _BACK, here) if _retried(log, here) else ())
        evaluations: dict[str, set[int]] = {}
        for run, seq in _rows(log, sql, here):
            evaluations.setdefault(run, set()).add(seq)
        found: dict[str, list[Candidate]] = {}
        if evaluations:
            for run, seq, at in _rows(log, every, {**here, "runs": listed(evaluations)}):
                found.setdefault(run, []).append(Candidate(seq, at, seq in evaluations[run]))
        yield Found(runs=found, begin=(part["first"], part["next"]), share=number / len(parts))


def _evaluations(absence: DeadlineSpec) -> str:
    """Which statement finds where a deadline can pass."""
    form = absence.form
    more, line = {Form.UNCHANGED: (_MOVES, _STILL), Form.LONGER: (_LONG, _BASELINE)}.get(form, ("", "line"))
    length = "usual" if form is Form.LONGER else "$length::BIGINT"
    chosen = _CHOSEN_LONG if form is Form.LONGER else _CHOSEN
    sql = (
        _EVALUATIONS.replace("$chosen", chosen)
        .replace("$more", more)
        .replace("$line", line)
        .replace("$from", _FROM[form])
        .replace("$for", length)
    )
    return sql.replace("$statuses", ", ".join(f"'{status}'" for status in sorted(absence.statuses)))


def _parts(log: LogReader, values: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """Which runs are evaluated together: short ones that began at about the same time, and some of the long ones."""
    ((rows,),) = _rows(
        log, "SELECT (SELECT count(*) FROM RunStatusChanged) + (SELECT count(*) FROM Heartbeats) AS n", values
    )
    ((runs,),) = _rows(log, "SELECT count(*) FROM Runs", values)
    each = max(1, PART * runs // max(rows, 1))
    short = SHORT // _US
    cut = (
        f"SELECT epoch_us(begins) FROM (SELECT begins, row_number() OVER (ORDER BY begins) AS n FROM ({_RUNS})"
        " WHERE ends - begins <= to_microseconds($short::BIGINT)) WHERE n % $each = 1 OR $each = 1 ORDER BY n"
    )
    begins = _column(log, cut, {**values, "short": short, "each": each})
    common = {"short": short, "part": 0, "parts": 1}
    for first, following in pairwise([*dict.fromkeys(begins), _NEVER]):
        yield {**common, "long": False, "first": first, "next": following, "last": min(following + short, _NEVER)}
    long = (
        f"SELECT count(*), epoch_us(min(begins)) FROM ({_RUNS}) WHERE ends - begins > to_microseconds($short::BIGINT)"
    )
    ((n, first),) = _rows(log, long, {**values, "short": short})
    parts = -(-n // max(1, each // 4))
    for part in range(parts):
        yield {
            "short": short,
            "part": part,
            "parts": parts,
            "long": True,
            "first": first,
            "next": _NEVER,
            "last": _NEVER,
        }


def _retried(log: LogReader, values: Mapping[str, object]) -> bool:
    """Whether any run was tried again in the time: only then may a later try have earlier times."""
    ((least, greatest),) = _rows(log, _BOUNDS, values)
    return bool(least != greatest)


def _rows(log: LogReader, sql: str, values: Mapping[str, object]) -> Iterator[tuple[Any, ...]]:
    named = set(re.findall(r"\$(\w+)", sql))
    table = log.select(sql, {name: value for name, value in values.items() if name in named})
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _column(log: LogReader, sql: str, values: Mapping[str, object]) -> list[Any]:
    return [value for (value,) in _rows(log, sql, values)]
