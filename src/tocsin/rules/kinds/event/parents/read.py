"""What rules with ``collapse:`` read of the log: who is whose child, how many children there are, why they match.

Everything is read as of a commit, from the events: what is counted does not change when it is counted again after a
crash.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Phase
from tocsin.model.text.causes import cause_of, one_line
from tocsin.rules import history
from tocsin.rules.history import PastEvent, Row, listed
from tocsin.rules.kinds.deadline.runs import runs_at
from tocsin.rules.memory import Pair

_MESSAGE = "CASE WHEN length(Message) > 4000 THEN left(Message, 2000) || chr(10) || right(Message, 2000) ELSE Message END AS Message"

COUNTS = frozenset({Phase.FIRED, Phase.COLLAPSED})
"""Occurrences of children that count."""
DESCRIBES = (
    "ExperimentName", "WorkspaceName", "RunType", "Target", "TriggeringUserName", "OwnerEmail", "Tags",
)  # fmt: skip
"""What a parent has from its children where its own events do not say, or none has come."""


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


def lines_of(reader: LogReader, runs: Collection[str], hi: int) -> Mapping[str, list[PastEvent]]:
    """All events of ``runs`` up to commit ``hi``."""
    found: dict[str, list[PastEvent]] = defaultdict(list)
    if runs:
        for seen in history.read(reader, *history.run_rows(reader, runs, hi)):
            found[seen.run_id].append(seen)
    return found


Place = tuple[str, int]
"""A parent, and the commit after which its children count."""


def children_of(reader: LogReader, column: str, places: Collection[Place], hi: int) -> dict[Place, Children]:
    """The children by ``column`` at each of ``places``: those of which commits from there up to ``hi`` brought
    something.
    """
    ordered = sorted(places)
    rows_sql, bounds = reader.rows_of(min(begin for _, begin in ordered), hi)
    table = reader.select(
        f"SELECT {column}, begin, min(CommitSeq), RunId FROM ({rows_sql}) AS rows JOIN"
        "  (SELECT unnest(($parents::JSON)::VARCHAR[]) AS parent, unnest(($begins::JSON)::BIGINT[]) AS begin) AS asked"
        f" ON {column} = asked.parent AND CommitSeq > asked.begin"
        f" WHERE {column} <> RunId GROUP BY {column}, begin, RunId ORDER BY 1, 2, 3, 4",
        {
            **bounds,
            "parents": listed(parent for parent, _ in ordered),
            "begins": json.dumps([begin for _, begin in ordered]),
        },
    )
    found: dict[Place, list[Child]] = {place: [] for place in ordered}
    for parent, begin, seq, run in zip(*(c.to_pylist() for c in table.columns), strict=True):
        found[(parent, begin)].append(Child(seq, run))
    return {place: Children(tuple(children)) for place, children in found.items()}


Match = tuple[str, EventKey]
"""A run, and the event by which it matches."""


def matched_of(reader: LogReader, wanted: Set[Match], hi: int) -> dict[Match, Matched]:
    """Why runs match."""
    if not wanted:
        return {}
    keys = {key for _, key in wanted}
    table = reader.select(
        "SELECT RunId, Source, EventId, epoch_us(TimeGenerated) AS us, CommitSeq, Status, Reason, ErrorCode, DisplayName,"
        f" Url, {_MESSAGE} FROM RunStatusChanged"
        " WHERE TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        " AND CommitSeq <= $hi AND EventId IN (SELECT unnest(($ids::JSON)::VARCHAR[]))",
        {
            "first": min(k.time_us for k in keys),
            "last": max(k.time_us for k in keys),
            "hi": hi,
            "ids": json.dumps(sorted({k.event_id for k in keys}), ensure_ascii=False),
        },
    )
    found: dict[Match, Matched] = {}
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        key = EventKey(source=row["Source"], event_id=row["EventId"], time_us=row["us"])
        if (row["RunId"], key) in wanted:
            found[(row["RunId"], key)] = Matched(
                run=row["RunId"],
                key=key,
                commit_seq=row["CommitSeq"],
                status=row["Status"],
                cause=cause_of(row),
                name=one_line(row["DisplayName"] or row["RunId"], 120),
                url=row["Url"][:2000],
            )
    return found


def newest_of(notified: Mapping[Pair, Sequence[Occurrence]], begin: int, seq: int) -> dict[str, EventKey]:
    """The newest occurrence that counts of each run, among those of commits in (``begin``, ``seq``]."""
    return {
        run: max(counting, key=lambda key: (key.time_us, key.source, key.event_id))
        for (_, run), seen in notified.items()
        if (counting := [o.event for o in seen if o.phase in COUNTS and begin < o.commit_seq <= seq])
    }


@dataclass(frozen=True, slots=True)
class Expected:
    """A parent group that is about to be notified."""

    parent: str
    seq: int  # as of which commit
    newest: Mapping[str, EventKey]  # what its children match by


@dataclass(slots=True)
class Rows:
    """What parent groups are notified with. Each row is read once, and at once with all others that are expected to
    be needed.
    """

    reader: LogReader
    hi: int  # the last commit that anything sees
    _counted: dict[tuple[str, Place], Children] = field(default_factory=dict)  # by column
    _matched: dict[Match, Matched | None] = field(default_factory=dict)
    _parents: dict[tuple[str, int], Row] = field(default_factory=dict)
    _children: dict[EventKey, Row] = field(default_factory=dict)

    def expect(self, parent_groups: Sequence[Expected]) -> None:
        """Read what these are notified with."""
        self._read_matched({match for parent_group in parent_groups for match in parent_group.newest.items()})
        last = (matched[-1] for parent_group in parent_groups if (matched := self.matched(parent_group.newest)))
        self._read_children({one.key: one.commit_seq for one in last})
        waiting = sorted({(parent_group.parent, parent_group.seq) for parent_group in parent_groups})
        while waiting:  # a run as of one commit each time
            as_of = dict(reversed(waiting))
            self._read_parents(as_of)
            waiting = [(parent, seq) for parent, seq in waiting if as_of[parent] != seq]

    def children(self, column: str, place: Place, others: Collection[Place] = ()) -> Children:
        """The children at ``place``; where they are to be read, those at ``others`` are read with them."""
        if (column, place) not in self._counted:
            wanted = {place, *others}
            self._counted |= {(column, p): c for p, c in children_of(self.reader, column, wanted, self.hi).items()}
        return self._counted[(column, place)]

    def matched(self, newest: Mapping[str, EventKey]) -> list[Matched]:
        """Why runs match, given the event of each; in the order in which it happened."""
        self._read_matched(newest.items() - self._matched.keys())
        found = (self._matched[match] for match in newest.items())
        return sorted((one for one in found if one is not None), key=lambda m: (m.key.time_us, m.run))

    def parent(self, run: str, seq: int) -> Row:
        """A run as of commit ``seq``; empty where nothing was known of it."""
        if (run, seq) not in self._parents:
            self._read_parents({run: seq})
        return self._parents[(run, seq)]

    def child(self, one: Matched) -> Row:
        """What a child says of its parent, ``DESCRIBES``; empty where its row is gone."""
        if one.key not in self._children:
            self._read_children({one.key: one.commit_seq})
        return self._children[one.key]

    def _read_matched(self, wanted: Set[Match]) -> None:
        found = matched_of(self.reader, wanted, self.hi)
        self._matched |= {match: found.get(match) for match in wanted}

    def _read_parents(self, as_of: Mapping[str, int]) -> None:
        found = runs_at(self.reader, as_of).rows(self.reader, as_of.keys())
        self._parents |= {(run, seq): found.get(run, {}) for run, seq in as_of.items()}

    def _read_children(self, places: Mapping[EventKey, int]) -> None:
        found = history.whole_rows(self.reader, places.items(), ("RootRunId", *DESCRIBES))
        self._children |= {key: found.get(key, {}) for key in places}
