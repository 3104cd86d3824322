"""What rules with ``collapse:`` read of the log: who is whose child, how many children there are, why they match.

Everything is read as of a commit, from the events: what is counted does not change when it is counted again after a crash.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.model.causes import cause_of, one_line
from tocsin.rules import history
from tocsin.rules.history import Seen, listed

_MESSAGE = "CASE WHEN length(Message) > 4000 THEN left(Message, 2000) || chr(10) || right(Message, 2000) ELSE Message END AS Message"


@dataclass(frozen=True, slots=True)
class Child:
    """A child and the commit that first brought something of it."""

    first_seq: int
    run: str


@dataclass(frozen=True, slots=True)
class Children:
    """Children of one parent, in the order in which they came to be known."""

    known: tuple[Child, ...]

    def upto(self, seq: int) -> tuple[Child, ...]:
        """Those known as of commit ``seq``."""
        return self.known[: bisect_right(self.known, seq, key=lambda child: child.first_seq)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A child that matches, as a mail shows it. All text is one line, without secrets."""

    run: str
    key: EventKey
    commit_seq: int
    status: str
    cause: str  # '' where nobody said
    name: str
    url: str  # as the event gave it: not safe yet to be a link


def parents_of(
    reader: LogReader, column: str, runs: Collection[str], hi: int
) -> Mapping[str, tuple[tuple[int, str], ...]]:
    """For each of ``runs`` that has a parent by ``column``: (the commit that first said so, the parent), in order."""
    rows_sql, params = history.run_rows(reader, runs, hi)
    table = reader.select(
        f"SELECT RunId, min(CommitSeq), {column} FROM ({rows_sql}) WHERE {column} <> '' AND {column} <> RunId"
        f" GROUP BY RunId, {column} ORDER BY 1, 2, 3",
        params,
    )
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for run, seq, parent in zip(*(c.to_pylist() for c in table.columns), strict=True):
        found[run].append((seq, parent))
    return {run: tuple(named) for run, named in found.items()}


def lines_of(reader: LogReader, runs: Collection[str], hi: int) -> Mapping[str, list[Seen]]:
    """All events of ``runs`` up to commit ``hi``."""
    found: dict[str, list[Seen]] = defaultdict(list)
    if runs:
        for seen in history.read(reader, *history.run_rows(reader, runs, hi)):
            found[seen.run_id].append(seen)
    return found


def children_of(
    reader: LogReader, column: str, parents: Collection[str], begin: int, hi: int
) -> dict[str, Children]:  # fmt: skip
    """The children by ``column`` of each of ``parents`` of which commits in (``begin``, ``hi``] brought something."""
    asked = listed(sorted(parents))
    span = reader.select(
        "SELECT epoch_us(min(FirstTime)), epoch_us(max(LastTime)) FROM Runs"
        f" WHERE CommitSeq > $begin AND {column} IN (SELECT unnest(($parents::JSON)::VARCHAR[]))",
        {"begin": begin, "parents": asked},
    )
    first, last = (span.column(i).to_pylist()[0] for i in range(2))
    table = reader.select(
        f"SELECT {column}, min(CommitSeq), RunId FROM RunStatusChanged"
        " WHERE TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        " AND CommitSeq > $begin AND CommitSeq <= $hi"
        f" AND {column} IN (SELECT unnest(($parents::JSON)::VARCHAR[])) AND {column} <> RunId"
        f" GROUP BY {column}, RunId ORDER BY 1, 2, 3",
        {"first": first or 0, "last": last or 0, "begin": begin, "hi": hi, "parents": asked},
    )
    found: dict[str, list[Child]] = {parent: [] for parent in parents}
    for parent, seq, run in zip(*(c.to_pylist() for c in table.columns), strict=True):
        found[parent].append(Child(seq, run))
    return {parent: Children(tuple(children)) for parent, children in found.items()}


def matched_of(reader: LogReader, keys: Mapping[str, EventKey], hi: int) -> list[Matched]:
    """Why runs match, given the event of each; in the order in which it happened."""
    if not keys:
        return []
    table = reader.select(
        "SELECT RunId, Source, EventId, epoch_us(TimeGenerated) AS us, CommitSeq, Status, Reason, ErrorCode, DisplayName,"
        f" Url, {_MESSAGE} FROM RunStatusChanged"
        " WHERE TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        " AND CommitSeq <= $hi AND EventId IN (SELECT unnest(($ids::JSON)::VARCHAR[]))",
        {
            "first": min(k.time_us for k in keys.values()),
            "last": max(k.time_us for k in keys.values()),
            "hi": hi,
            "ids": json.dumps(sorted({k.event_id for k in keys.values()}), ensure_ascii=False),
        },
    )
    found = []
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        key = EventKey(source=row["Source"], event_id=row["EventId"], time_us=row["us"])
        if keys.get(row["RunId"]) == key:
            found.append(
                Matched(
                    run=row["RunId"],
                    key=key,
                    commit_seq=row["CommitSeq"],
                    status=row["Status"],
                    cause=cause_of(row),
                    name=one_line(row["DisplayName"] or row["RunId"], 120),
                    url=row["Url"][:2000],
                )
            )
    return sorted(found, key=lambda m: (m.key.time_us, m.run))
