"""The histories of runs that are evaluated as of many commits, read once, as a backtest needs them.

    c2 computed    c2 evaluated at its deadline    c2 notified again    c5 ended        one history: folded up to c2,
                                                                                        and as Runs has it at c5

What ``kinds.deadline.runs`` would read of a run as of a commit is made of its history in memory: its row in ``Runs``,
where nothing touched it since, else its events and heartbeats up to there. Runs of which there is too much to be kept
are not known here: they are read each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tocsin.logstore.interface import LogReader
from tocsin.model.run_state import Beat
from tocsin.rules.kinds.deadline.few import Past, Sign
from tocsin.rules.kinds.deadline.replay.lengths import Lengths
from tocsin.rules.kinds.deadline.runs import (
    NAMES,
    OF_HISTORY,
    AsOf,
    RunsAt,
    as_given,
    beats_of,
    fold_runs,
    labels_of,
    rows_of,
    us_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 50_000
"""Events and heartbeats of runs that are read together."""
ROOM = 100_000
"""Events and heartbeats that are kept at a time."""
_SIGN = ("Progress", "Source", "EventId", "Attempt", "Status", "CommitSeq", "TimeGiven", "Consumer")
_BEGAN = tuple(
    f"{at} >= make_timestamp($first::BIGINT) AND {at} < make_timestamp($next::BIGINT) AND {which}"
    for at, which in (("FirstTime", "true"), ("FirstSeen", "FirstTime IS NULL"))
)
"""Asked by the columns themselves, most of the table need not be read."""
_BEAT = ("RunId", "CommitSeq", "ReceivedAt", "Progress")
Span = tuple[int, int]
"""From when to when, µs since the epoch; the end is excluded."""


@dataclass(slots=True)
class _Run:
    """A run's history."""

    head: dict[str, Any]  # its row in Runs
    events: list[dict[str, Any]] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)  # in order

    @property
    def size(self) -> int:
        return 1 + len(self.events) + len(self.beats)

    def events_upto(self, seq: int) -> list[dict[str, Any]]:
        return [event for event in self.events if event["CommitSeq"] <= seq]

    def beats_upto(self, seq: int) -> list[Beat]:
        return [beat for beat in self.beats if beat[0] <= seq]


class Known:
    """Histories of runs. One thread."""

    def __init__(self, reader: LogReader, lengths: Lengths | None = None) -> None:
        self._reader, self._lengths = reader, lengths
        self._runs: dict[str, _Run] = {}
        self._size = 0

    @cached_property
    def _has_labels(self) -> bool:
        """Whether people have set tags of any run."""
        return bool(self._reader.select("SELECT 1 FROM tocsin.run_updates LIMIT 1").num_rows)

    def __contains__(self, run: str) -> bool:
        return run in self._runs

    def read(self, upto: AsOf, begin: Span) -> None:
        """Know these runs, all of which began in ``begin``, up to these commits, where that is not too much."""
        if self._size >= ROOM or not upto:
            return
        heads_sql, params = self._reader.runs_of(sorted(upto))
        heads = self._reader.select(
            " UNION ALL ".join(f"SELECT {NAMES} FROM ({heads_sql}) WHERE {began}" for began in _BEGAN),
            {**params, "first": begin[0], "next": begin[1]},
        )
        facts = as_given({row["RunId"]: row for row in heads.to_pylist()}).facts(self._reader)
        some = {run: seq for run, seq in upto.items() if run in facts}
        events_sql, params = rows_of(self._reader, some, facts)
        events = self._at_most(f"SELECT {OF_HISTORY} FROM ({events_sql})", params, MOST_ROWS)
        beats_sql, params = beats_of(some, facts)
        ordered = f"SELECT {', '.join(_BEAT)} FROM ({beats_sql}) ORDER BY ReceivedAt"
        beats = self._at_most(ordered, params, MOST_ROWS - events.num_rows)
        rows = events.num_rows + beats.num_rows
        if rows > MOST_ROWS or self._size + rows > ROOM:
            return
        found = {row["RunId"]: _Run(row) for row in heads.to_pylist()}
        for event in events.to_pylist():
            found[event["RunId"]].events.append(event)
        for run, seq, at, progress in zip(*(beats.column(name).to_pylist() for name in _BEAT), strict=True):
            found[run].beats.append((seq, at, progress))
        self._runs |= found
        self._size += sum(run.size for run in found.values())

    def _at_most(self, sql: str, params: Mapping[str, object], rows: int) -> pa.Table:
        """The answer, or so much of it that it is seen to have more than so many rows."""
        return self._reader.select(f"{sql} LIMIT {max(rows, 0) + 1}", params)

    def forget(self, run: str) -> None:
        """It is evaluated no more."""
        known = self._runs.pop(run, None)
        self._size -= known.size if known is not None else 0

    def runs_at(self, as_of: AsOf) -> RunsAt:
        """As ``kinds.deadline.runs.runs_at``, of runs that are known."""
        asked = {run: self._runs[run] for run in as_of}
        rows = {run: known.head for run, known in asked.items() if known.head["CommitSeq"] <= as_of[run]}
        moved = as_given({run: known.head for run, known in asked.items() if run not in rows}).facts(self._reader)
        events = {run: asked[run].events_upto(as_of[run]) for run in moved}
        beats = {run: asked[run].beats_upto(as_of[run]) for run in moved}
        labels = labels_of(self._reader, {run: as_of[run] for run in moved}) if moved and self._has_labels else {}
        return as_given(rows | {row["RunId"]: row for row in fold_runs(moved, events, beats, labels)})

    def past(self, as_of: AsOf) -> Past:
        """The events and heartbeats of runs that are known."""
        signs: list[Sign] = []
        for run, seq in as_of.items():
            known = self._runs[run]
            signs += (
                Sign(run, us_of(event["TimeGenerated"]) or 0, *map(event.__getitem__, _SIGN))
                for event in known.events_upto(seq)
            )
            signs += (Sign(run, us_of(at) or 0, progress) for _, at, progress in known.beats_upto(seq))
        return Past(signs, beats=True, lengths=self._lengths)
