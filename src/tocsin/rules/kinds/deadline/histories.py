"""The histories of runs that are evaluated as of many commits, read once, as a backtest needs them.

    c2 computed    c2 evaluated at its deadline    c2 notified again    c5 ended        one history: notified up to
c2, and as Runs has it at c5

What ``kinds.deadline.runs`` would read of a run as of a commit is made of its history in memory: its row in ``Runs``,
where nothing touched
it since, else its events and heartbeats up to there. They are kept as columns, of some hundred runs together, as
long as one of these
is evaluated. Runs of which there is too much to be kept are not known here: they are read each time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from tocsin.logstore.interface import LogReader
from tocsin.model.run_state import Beat
from tocsin.rules.kinds.deadline.few import Past, Sign
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

MOST_ROWS = 50_000
"""Events and heartbeats of runs that are read together."""
MOST_BYTES = 16 << 20
"""What is kept at a time."""
OF_ROW = 150
"""Bytes by which where a row lies, or a heartbeat, is kept."""
_SIGN = (
    "RunId", "TimeGenerated", "Progress", "Source", "EventId", "Attempt", "Status", "CommitSeq", "TimeGiven", "Consumer",
)  # fmt: skip
_BEGAN = tuple(
    f"{at} >= make_timestamp($first::BIGINT) AND {at} < make_timestamp($next::BIGINT) AND {which}"
    for at, which in (("FirstTime", "true"), ("FirstSeen", "FirstTime IS NULL"))
)
"""Asked by the columns themselves, most of the table need not be read."""
_BEAT = ("RunId", "CommitSeq", "ReceivedAt", "Progress")
Span = tuple[int, int]
"""From when to when, µs since the epoch; the end is excluded."""


@dataclass(slots=True)
class _Part:
    """Runs that were read together."""

    heads: pa.Table  # their rows in Runs
    events: pa.Table
    evaluated_at: int  # how many of them still are
    size: int  # bytes


@dataclass(slots=True)
class _Run:
    """Where a run's history lies."""

    part: _Part
    head: int  # row of ``heads``
    head_seq: int  # the commit that touched it last
    events: list[tuple[int, int]] = field(default_factory=list)  # CommitSeq, row of ``events``
    beats: list[Beat] = field(default_factory=list)  # in order

    def events_upto(self, seq: int) -> list[int]:
        return [row for commit, row in self.events if commit <= seq]

    def beats_upto(self, seq: int) -> list[Beat]:
        return [beat for beat in self.beats if beat[0] <= seq]


class Known:
    """Histories of runs. One thread."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._runs: dict[str, _Run] = {}
        self._size = 0

    @cached_property
    def _has_labels(self) -> bool:
        """Whether people have set tags of any run."""
        return bool(self._reader.select("SELECT 1 FROM tocsin.run_updates LIMIT 1").num_rows)

    def __contains__(self, run: str) -> bool:
        return run in self._runs

    @property
    def full(self) -> bool:
        """Whether it is time that runs are forgotten."""
        return self._size > MOST_BYTES // 2

    def read(self, upto: AsOf, begin: Span) -> None:
        """Know these runs, all of which began in ``begin``, up to these commits, where that is not too much."""
        if self._size >= MOST_BYTES or not upto:
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
        part = _Part(_packed(heads), _packed(events), len(some), heads.nbytes + events.nbytes + rows * OF_ROW)
        if rows > MOST_ROWS or self._size + part.size > MOST_BYTES:
            return
        self._size += part.size
        for row, (run, seq) in enumerate(_lines(heads, ("RunId", "CommitSeq"))):
            self._runs[run] = _Run(part, row, seq)
        for row, (run, seq) in enumerate(_lines(events, ("RunId", "CommitSeq"))):
            self._runs[run].events.append((seq, row))
        for run, seq, at, progress in _lines(beats, _BEAT):
            self._runs[run].beats.append((seq, at, progress))

    def _at_most(self, sql: str, params: Mapping[str, object], rows: int) -> pa.Table:
        """The answer, or so much of it that it is seen to have more than so many rows."""
        return self._reader.select(f"{sql} LIMIT {max(rows, 0) + 1}", params)

    def forget(self, run: str) -> None:
        """It is evaluated no more."""
        known = self._runs.pop(run, None)
        if known is not None:
            known.part.evaluated_at -= 1
            self._size -= 0 if known.part.evaluated_at else known.part.size

    def runs_at(self, as_of: AsOf) -> RunsAt:
        """As ``kinds.deadline.runs.runs_at``, of runs that are known."""
        asked = {run: self._runs[run] for run in as_of}
        heads = {row["RunId"]: row for row in _taken("heads", ((known.part, [known.head]) for known in asked.values()))}
        rows = {run: row for run, row in heads.items() if row["CommitSeq"] <= as_of[run]}
        moved = as_given({run: row for run, row in heads.items() if run not in rows}).facts(self._reader)
        events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        lines = ((asked[run].part, asked[run].events_upto(as_of[run])) for run in moved)
        for event in _taken("events", lines):
            events[event["RunId"]].append(event)
        beats = {run: asked[run].beats_upto(as_of[run]) for run in moved}
        labels = labels_of(self._reader, {run: as_of[run] for run in moved}) if moved and self._has_labels else {}
        return as_given(rows | {row["RunId"]: row for row in fold_runs(moved, events, beats, labels)})

    def past(self, as_of: AsOf) -> Past:
        """The events and heartbeats of runs that are known."""
        asked = {run: self._runs[run] for run in as_of}
        lines = ((known.part, known.events_upto(as_of[run])) for run, known in asked.items())
        signs = [
            Sign(run, us_of(at) or 0, *more)
            for run, at, *more in (row.values() for row in _taken("events", lines, _SIGN))
        ]
        for run, known in asked.items():
            signs += (Sign(run, us_of(at) or 0, progress) for _, at, progress in known.beats_upto(as_of[run]))
        return Past(signs, beats=True)


def _packed(table: pa.Table) -> pa.Table:
    """The same in memory of Arrow's own, no larger than it is: DuckDB's would keep apart what it frees around it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _lines(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in columns), strict=True)


def _taken(
    of: str, wanted: Iterable[tuple[_Part, Sequence[int]]], columns: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """Rows of the ``of`` of parts, part by part."""
    parts: dict[int, tuple[_Part, list[int]]] = {}
    for part, rows in wanted:
        parts.setdefault(id(part), (part, []))[1].extend(rows)
    for part, rows in parts.values():
        table: pa.Table = getattr(part, of)
        some = table.select(list(columns)) if columns else table
        yield from some.take(pa.array(rows, pa.int64())).to_pylist()
