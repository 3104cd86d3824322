"""What the log says of a few runs, read at once.

A deadline that has come asks since when the run is in its statuses, when its progress last changed, and which consumers brought
its events. Each is a statement of its own where thousands of runs are asked about (``deadlines_due``), which DuckDB answers best;
of a few runs to plan a statement costs more than to answer it, so their events and heartbeats are fetched by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from tocsin.alerts.occurrences import RunEvent
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.deadlines_runs import AsOf, Fact, beats_of, rows_of


class Past:
    """The events, and where asked for the heartbeats, of runs up to their commits."""

    def __init__(self, reader: LogReader, as_of: AsOf, facts: Mapping[str, Fact], *, beats: bool) -> None:
        rows_sql, params = rows_of(reader, as_of, facts)
        sql = (
            "SELECT RunId, epoch_us(TimeGenerated), Progress, Source, EventId, Attempt, Status, CommitSeq, TimeGiven, Consumer"
            f" FROM ({rows_sql})"
        )
        if beats:
            sql += (
                " UNION ALL SELECT RunId, epoch_us(ReceivedAt), Progress, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
                f" FROM ({beats_of(as_of, facts)[0]})"
            )
            params = {**params, **beats_of(as_of, facts)[1]}
        table = reader.select(sql, params)
        events: dict[str, list[RunEvent]] = defaultdict(list)
        consumers: dict[str, set[str]] = defaultdict(set)
        self._progress: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for run, us, progress, source, event_id, attempt, status, seq, given, consumer in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        ):
            if progress is not None:
                self._progress[run].append((us, progress))
            if status is not None:
                key = EventKey(source=source, event_id=event_id, time_us=us)
                has_time = given is not False
                event = RunEvent(key=key, attempt=attempt or 0, status=status, commit_seq=seq, has_time=has_time)
                events[run].append(event)
                consumers[run].add(consumer)
        self._beats = beats
        self.events: Mapping[str, Sequence[RunEvent]] = events
        self.consumers: Mapping[str, Collection[str]] = consumers

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
