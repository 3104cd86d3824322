"""What the log says of a few runs, read at once.

A deadline that has come asks since when the run is in its statuses, when its progress last changed, and which consumers
brought its events. Each is a statement of its own where thousands of runs are asked about (``kinds.deadline.due``),
which DuckDB answers best; of a few runs to plan a statement costs more than to answer it, so their events and
heartbeats are fetched by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from tocsin.alerts.occurrences import RunEvent
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.kinds.deadline.replay.lengths import Lengths
from tocsin.rules.kinds.deadline.runs import AsOf, Fact, beats_of, rows_of


class Sign(NamedTuple):
    """An event, or a heartbeat, of which ``status`` is None and only the first three are known."""

    run: str
    us: int  # TimeGenerated, or receipt; µs since the epoch
    progress: float | None
    source: str = ""
    event_id: str = ""
    attempt: int | None = None
    status: str | None = None
    seq: int = 0
    given: bool | None = None  # TimeGiven
    consumer: str = ""


_COLUMNS = "RunId, epoch_us(TimeGenerated), Progress, Source, EventId, Attempt, Status, CommitSeq, TimeGiven, Consumer"
_OF_BEAT = "RunId, epoch_us(ReceivedAt), Progress, NULL, NULL, NULL, NULL, NULL, NULL, NULL"


class Past:
    """The events, and where asked for the heartbeats, of runs up to their commits."""

    def __init__(self, signs: Iterable[Sign], *, beats: bool, lengths: Lengths | None = None) -> None:
        """``lengths`` of other runs, for who has read them."""
        self._beats = beats
        self.lengths = lengths
        self._events: dict[str, list[Sign]] = defaultdict(list)
        self._progress: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for sign in signs:
            if sign.progress is not None:
                self._progress[sign.run].append((sign.us, sign.progress))
            if sign.status is not None:
                self._events[sign.run].append(sign)

    @classmethod
    def read(cls, reader: LogReader, as_of: AsOf, facts: Mapping[str, Fact], *, beats: bool) -> Past:
        """Of the log."""
        rows_sql, params = rows_of(reader, as_of, facts)
        sql = f"SELECT {_COLUMNS} FROM ({rows_sql})"
        if beats:
            beats_sql, more = beats_of(as_of, facts)
            sql, params = f"{sql} UNION ALL SELECT {_OF_BEAT} FROM ({beats_sql})", {**params, **more}
        table = reader.select(sql, params)
        return cls(map(Sign, *(column.to_pylist() for column in table.columns)), beats=beats)

    @cached_property
    def consumers(self) -> Mapping[str, Collection[str]]:
        """Which brought the events of runs."""
        return {run: {sign.consumer for sign in line} for run, line in self._events.items()}

    @cached_property
    def events(self) -> Mapping[str, Sequence[RunEvent]]:
        """Those of runs, in no order."""
        return {run: [_event(sign) for sign in line] for run, line in self._events.items()}

    def changes(self, runs: Collection[str]) -> dict[str, int]:
        """When the progress of ``runs`` last changed, µs since the epoch; those that never said any are left out."""
        assert self._beats or not runs
        found: dict[str, int] = {}
        for run in runs:
            before: float | None = None
            for us, progress in sorted(self._progress.get(run, ())):
                if progress != before:
                    found[run] = us
                before = progress
        return found


def _event(sign: Sign) -> RunEvent:
    assert sign.status is not None
    return RunEvent(
        key=EventKey(source=sign.source, event_id=sign.event_id, time_us=sign.us),
        attempt=sign.attempt or 0,
        status=sign.status,
        commit_seq=sign.seq,
        has_time=sign.given is not False,
    )
