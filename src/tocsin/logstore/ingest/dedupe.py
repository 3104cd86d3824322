"""Which events of a commit came before (SEMANTICS.md, Dedupe)."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb

from tocsin.logstore.sqlfiles import sql

RECENT = timedelta(hours=24)
"""How long ids of events without a producer time are remembered."""
RECENT_MAX = 2_000_000
"""How many of them, at most."""

GAP = timedelta(hours=1)
"""Producer times that are nearer than this are looked for together."""
_MAX_RANGES = 12

Range = tuple[datetime, datetime]


def ranges(buckets: list[Range]) -> list[Range]:
    """The segments of time that ``buckets`` (in order of their begins) fill: neighbours become one, and so do the
    nearest where there are too many. Each is read by one probe, so that a straggler does not widen the range of all
    others.
    """
    found: list[Range] = []
    for lo, hi in buckets:
        if found and lo - found[-1][1] <= GAP:
            found[-1] = (found[-1][0], max(found[-1][1], hi))
        else:
            found.append((lo, hi))
    while len(found) > _MAX_RANGES:
        nearest = min(range(1, len(found)), key=lambda i: found[i][0] - found[i - 1][1])
        found[nearest - 1 : nearest + 1] = [(found[nearest - 1][0], found[nearest][1])]
    return found


def find_timed(con: duckdb.DuckDBPyConnection, first: datetime, last: datetime, *, twins: bool) -> None:
    """Put into ``dups`` the numbers of events with producer times (``first`` to ``last``) that came before.

    ``twins``: two of the commit may be the same.
    """
    if twins:
        con.execute(sql("dups_in_batch"))
    spans = [(first, last)] if last - first <= GAP else ranges(con.execute(sql("time_buckets")).fetchall())
    for lo, hi in spans:
        con.execute(sql("dups_in_store"), {"lo": lo, "hi": hi})


def find_untimed(con: duckdb.DuckDBPyConnection, *, named: int, nameless: int) -> None:
    """The same for events without producer times: ``named`` ones have an id, ``nameless`` ones have neither."""
    if named:
        con.execute(sql("dups_recent"))
    if nameless:
        con.execute(sql("dups_repeated"))


def forget_recent(con: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Drop remembered ids that are older than a day or more than two million; returns how many are left."""
    con.execute("DELETE FROM tocsin.recent WHERE seen < $before", {"before": now - RECENT})
    ((count,),) = con.execute("SELECT count(*) FROM tocsin.recent").fetchall()
    if count <= RECENT_MAX:
        return int(count)
    ((cut,),) = con.execute(
        "SELECT seen FROM tocsin.recent ORDER BY seen DESC LIMIT 1 OFFSET $keep", {"keep": RECENT_MAX * 9 // 10}
    ).fetchall()
    con.execute("DELETE FROM tocsin.recent WHERE seen <= $cut", {"cut": cut})
    ((count,),) = con.execute("SELECT count(*) FROM tocsin.recent").fetchall()
    return int(count)
