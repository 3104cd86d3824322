"""A history in parts of so many rows, and the commits in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from tocsin.logstore.interface import CommitInfo, Head, LogReader
from tocsin.rules.history import micros, moment

BUCKETS = 20_000
"""Into so many pieces the history is cut to find the parts."""
_US = timedelta(microseconds=1)
_BETWEEN = "IngestedAt >= make_timestamp($since::BIGINT) AND IngestedAt < make_timestamp($until::BIGINT)"


class Range(NamedTuple):
    """A part of a history: commits in (after, hi]."""

    after: int
    hi: int
    rows: int
    last: datetime  # when its last commit came; UTC
    end: datetime  # the same, or when the history ends; UTC
    share: float  # of the history that is done with it


def head_before(log: LogReader, since: datetime) -> Head:
    """The last commit that came before ``since``; 0 where there is none."""
    sql = "SELECT max(CommitSeq) FROM RunStatusChanged WHERE IngestedAt < make_timestamp($since::BIGINT)"
    return Head(seq=log.select(sql, {"since": micros(since)}).column(0)[0].as_py() or 0, ingested_at=since)


def count(log: LogReader, since: datetime, until: datetime) -> int:
    """How many events arrived in [since, until)."""
    sql = f"SELECT count(*) FROM RunStatusChanged WHERE {_BETWEEN}"
    return int(log.select(sql, {"since": micros(since), "until": micros(until)}).column(0)[0].as_py())


def ranges(log: LogReader, since: datetime, until: datetime, rows: int) -> Iterator[Range]:
    """What arrived in [since, until), in parts of about so many rows. At least one, though nothing may have come."""
    bounds: dict[str, object] = {"since": micros(since), "until": micros(until)}
    (found,) = log.select(
        f"SELECT min(CommitSeq) AS lo, max(CommitSeq) AS hi FROM RunStatusChanged WHERE {_BETWEEN}", bounds
    ).to_pylist()
    if found["lo"] is None:
        seq = head_before(log, since).seq
        yield Range(after=seq, hi=seq, rows=0, last=since, end=until - _US, share=1.0)
        return
    lo, hi = int(found["lo"]), int(found["hi"])
    width = max(1, (hi - lo + 1) // BUCKETS)
    table = log.select(
        "SELECT (CommitSeq - $lo) // $width AS bucket, count(*) AS n FROM RunStatusChanged"
        f" WHERE {_BETWEEN} GROUP BY bucket ORDER BY bucket",
        {**bounds, "lo": lo, "width": width},
    )
    buckets = list(zip(*(c.to_pylist() for c in table.columns), strict=True))
    total, done, here, after = sum(n for _, n in buckets), 0, 0, lo - 1
    for bucket, n in buckets:
        here += n
        last = min(hi, lo + (bucket + 1) * width - 1)
        if here >= rows or last >= hi:
            done += here
            came = _last(log, after, last)
            end = until - _US if last >= hi else came
            yield Range(after=after, hi=last, rows=here, last=came, end=end, share=done / total)
            after, here = last, 0


def _last(log: LogReader, after: int, hi: int) -> datetime:
    rows_sql, bounds = log.rows_of(after, hi)
    return moment(log.select(f"SELECT epoch_us(max(IngestedAt)) FROM ({rows_sql})", bounds).column(0)[0].as_py())


def commits_in(
    log: LogReader, after: int, hi: int, where: str = "", params: Mapping[str, object] | None = None
) -> list[CommitInfo]:
    """The commits in (after, hi] with rows ``where`` something holds of them, in order."""
    rows_sql, bounds = log.rows_of(after, hi)
    listed = f" AND ({where})" if where else ""
    table = log.select(
        f"SELECT CommitSeq, epoch_us(min(IngestedAt)), count(*) FROM ({rows_sql}{listed}) GROUP BY 1 ORDER BY 1",
        {**bounds, **(params or {})},
    )
    return [commit(seq, us, n) for seq, us, n in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def commit(seq: int, at_us: int, rows: int) -> CommitInfo:
    """A commit as rules meet it, stamped at µs ``at_us``."""
    return CommitInfo(seq=seq, ingested_at=moment(at_us), rows=rows, heartbeats=0)
