"""Runs as of commits. ``Runs`` holds them at the head: a run that a later commit touched is notified again from its
history.

          c7         c8 (as of)     c9
r1      Queued                                   Runs has it as of c7: the same at c8
r2      Queued                    Running        Runs has it as of c9: notified from its events up to c8

Each run may be evaluated as of a commit of its own: runs do not depend on each other, so a backtest evaluates
thousands at once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sys import intern
from typing import Any

from tocsin.logstore.interface import LogReader, Touched
from tocsin.logstore.sqlfiles import sql
from tocsin.model.columns import DUCKDB, RUN_STATUS_CHANGED, RUNS, KqlType
from tocsin.model.run_state import Beat, fold_all
from tocsin.rules.history import Row, listed, micros, moment, plain

_IN_QUEUE = 3_600_000_000
"""A heartbeat is stored at most so long after its receipt, µs: what waits longer is received again."""

FEW = 50
"""So many runs are read whole at once: to plan a second statement costs more than to fetch more columns."""

AsOf = Mapping[str, int]
"""Runs, each with the CommitSeq as of which it is evaluated."""

OF_HISTORY = sql("stored_columns")
_AS_EVENT = {
    "EventId": "''",
    "TimeGenerated": "coalesce(StatusSince, FirstSeen)",
    "IngestedAt": "LastSeen",
    "Raw": "'{}'::JSON",
    "TimeGiven": "true",
    "StartDerived": "false",
    "GivenTime": "NULL::TIMESTAMP",
}
_TYPES = json.dumps({c.name: "VARCHAR" if c.type is KqlType.DYNAMIC else DUCKDB[c.type] for c in RUNS})
_CAST = ", ".join(f'"{c.name}"::{DUCKDB[c.type]} AS "{c.name}"' for c in RUNS)
_COLUMNS = tuple(c.name for c in RUNS)
_DYNAMIC = frozenset(c.name for c in RUNS if c.type is KqlType.DYNAMIC)
NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_AGAIN = f"SELECT {_CAST} FROM (SELECT unnest(from_json($again::JSON, '[{_TYPES}]'), recursive := true))"
"""Runs that are given as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What deadlines are computed from. Times are µs since the epoch."""

    run: str
    status: str
    since_us: int  # since when it has this status (event time)
    seen_us: int  # receipt of its last event or heartbeat
    known_us: int  # when its first event or heartbeat was stored
    first_us: int | None  # least TimeGenerated of its events; None: only heartbeats came
    last_us: int | None  # greatest TimeGenerated of its events
    consumer: str  # that brought its last event
    progress: float | None
    start_us: int | None  # when it began to run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsAt:
    """Some runs, each as of a commit: those that ``Runs`` has so, and those of which the rows are known."""

    stored: str = ""  # SELECT of the former, with the columns of Runs; '': there are none
    asked: Mapping[str, object] = field(default_factory=dict)  # its parameters
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the others; naive UTC, dynamic ones as JSON
    known: Mapping[str, Fact] | None = None  # of all of them, where they have been read already

    @property
    def sql(self) -> str:
        """SELECT of all of them, with the columns of Runs."""
        return " UNION ALL ".join(filter(None, (self.stored, _AGAIN if self.given or not self.stored else "")))

    @property
    def params(self) -> dict[str, object]:
        """Of ``sql``. Made only where it is asked: to write thousands of rows as JSON and to read them again takes
        long.
        """
        rows = [{name: row[name] for name in _COLUMNS} for row in self.given.values()]
        return {**self.asked, "again": json.dumps(rows, default=_json)} if rows or not self.stored else dict(self.asked)

    @property
    def as_events(self) -> str:
        """SELECT with the columns of RunStatusChanged, one row a run: what an event query can evaluate."""
        columns = ", ".join(f'{_AS_EVENT.get(c.name, _quoted(c.name))} AS "{c.name}"' for c in RUN_STATUS_CHANGED)
        return f"SELECT {columns} FROM ({self.sql})"

    def facts(self, reader: LogReader) -> Mapping[str, Fact]:
        """What deadlines of the runs are computed from, by run."""
        if self.known is not None:
            return self.known
        return {fact.run: fact for fact, _ in _facts(reader, self.stored, self.asked)}

    def rows(self, reader: LogReader, runs: Collection[str], columns: Collection[str] = ()) -> dict[str, Row]:
        """The runs as an alert carries them: JSON-able values by column, of all or of ``columns``."""
        wanted = sorted({"RunId", *columns}) if columns else _COLUMNS
        found = [self.given[run] for run in runs if run in self.given]
        others = [run for run in runs if run not in self.given] if self.stored else []
        if others:
            some, params = _among(others)
            names = ", ".join(map(_quoted, wanted))
            table = reader.select(f"SELECT {names} FROM ({self.stored}){some}", {**self.asked, **params})
            found += table.to_pylist()
        return {
            str(row["RunId"]): {name: plain(row[name], dynamic=name in _DYNAMIC) for name in wanted} for row in found
        }


def _facts(reader: LogReader, sql: str, params: Mapping[str, object]) -> Iterator[tuple[Fact, int]]:
    """Facts of the runs of ``sql``, each with the commit that touched it last."""
    table = reader.select(
        "SELECT RunId, Status, epoch_us(coalesce(StatusSince, FirstSeen)), epoch_us(LastSeen), epoch_us(FirstTime),"
        f" epoch_us(LastTime), Consumer, Progress, epoch_us(StartTime), epoch_us(FirstSeen), CommitSeq FROM ({sql})",
        params,
    )
    columns = [table.column(i).to_pylist() for i in range(11)]
    for run, status, since, seen, first, last, consumer, progress, start, known, seq in zip(*columns, strict=True):
        yield (
            Fact(
                run=run,
                status=intern(status),
                since_us=since,
                seen_us=seen if seen is not None else since,
                known_us=known,
                first_us=first,
                last_us=last,
                consumer=intern(consumer or ""),
                progress=progress,
                start_us=start,
            ),
            seq,
        )


def touched(reader: LogReader, after: int, hi: int) -> dict[str, int | None]:
    """Runs of which commits in (``after``, ``hi``] brought an event or a heartbeat, each with the least time of what is
    new, µs: an event's TimeGenerated, a heartbeat's receipt. None: a heartbeat that said nothing new.
    """
    table = reader.select(
        "SELECT RunId, min(us) FROM ("
        "  SELECT RunId, epoch_us(TimeGenerated) AS us FROM RunStatusChanged WHERE CommitSeq > $lo AND CommitSeq <= $hi"
        "  UNION ALL SELECT RunId, epoch_us(ReceivedAt) FROM Heartbeats WHERE CommitSeq > $lo AND CommitSeq <= $hi"
        "  UNION ALL SELECT RunId, NULL FROM Runs WHERE CommitSeq > $lo AND CommitSeq <= $hi"
        ") GROUP BY RunId",
        {"lo": after, "hi": hi},
    )
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def as_left(changed: Mapping[str, Touched], runs: Collection[str]) -> RunsAt:
    """``runs`` as the commits left them that brought ``changed``; nothing is read."""
    return as_given({run: row for run in runs if (row := changed[run].row) is not None})


def as_given(rows: Mapping[str, Mapping[str, Any]]) -> RunsAt:
    """Runs of which the rows are known: naive UTC, dynamic columns as JSON."""
    return RunsAt(given=rows, known={run: _fact(row) for run, row in rows.items()})


def _fact(row: Mapping[str, Any]) -> Fact:
    since, seen = us_of(row["StatusSince"] or row["FirstSeen"]), us_of(row["LastSeen"])
    known = us_of(row["FirstSeen"])
    assert since is not None and known is not None
    return Fact(
        run=row["RunId"],
        status=intern(row["Status"]),
        since_us=since,
        seen_us=since if seen is None else seen,
        known_us=known,
        first_us=us_of(row["FirstTime"]),
        last_us=us_of(row["LastTime"]),
        consumer=intern(row["Consumer"] or ""),
        progress=row["Progress"],
        start_us=us_of(row["StartTime"]),
    )


def us_of(t: datetime | None) -> int | None:
    """µs since the epoch of a naive UTC time."""
    return None if t is None else micros(t.replace(tzinfo=UTC))


def touches(reader: LogReader, runs: Collection[str], after: int, hi: int) -> dict[str, list[int]]:
    """The commits in (``after``, ``hi``] that touched ``runs``, in order."""
    some = "CommitSeq > $lo AND CommitSeq <= $hi AND RunId IN (SELECT unnest(($runs::JSON)::VARCHAR[]))"
    table = reader.select(
        f"SELECT DISTINCT RunId, CommitSeq FROM RunStatusChanged WHERE {some}"
        f" UNION SELECT RunId, CommitSeq FROM Heartbeats WHERE {some}"
        f" UNION SELECT RunId, CommitSeq FROM Runs WHERE {some} ORDER BY ALL",
        {"lo": after, "hi": hi, "runs": listed(sorted(runs))},
    )
    found: dict[str, list[int]] = defaultdict(list)
    for run, seq in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
        found[run].append(seq)
    return found


def runs_at(reader: LogReader, as_of: AsOf, *, whole: bool = True) -> RunsAt:
    """The runs as of their commits; those of which nothing was known by then are left out. Of a few, ``whole`` rows are
    read at once, where they will be asked for.
    """
    sql, params = reader.runs_of(sorted(as_of))
    if whole and len(as_of) <= FEW:
        rows = {row["RunId"]: row for row in reader.select(sql, params).to_pylist()}
        moved = {run: _fact(row) for run, row in rows.items() if row["CommitSeq"] > as_of[run]}
        folded = _fold(reader, {run: as_of[run] for run in moved}, moved) if moved else []
        return as_given(
            {run: row for run, row in rows.items() if run not in moved} | {row["RunId"]: row for row in folded}
        )
    known, later = dict[str, Fact](), dict[str, Fact]()
    for fact, seq in _facts(reader, sql, params):
        (later if seq > as_of[fact.run] else known)[fact.run] = fact
    if not later:
        return RunsAt(stored=sql, asked=params, known=known)
    again = as_given({row["RunId"]: row for row in _fold(reader, {run: as_of[run] for run in later}, later)})
    if not known:
        return again
    sql, params = reader.runs_of(sorted(known))
    return RunsAt(stored=sql, asked=params, given=again.given, known={**known, **again.facts(reader)})


def active_at(hi: int, part: int, parts: int) -> RunsAt:
    """Runs under way that no commit beyond ``hi`` has touched: one of so many parts of them."""
    return RunsAt(
        stored=f"SELECT {NAMES} FROM Runs WHERE Status NOT IN ('Completed', 'Failed', 'Canceled') AND CommitSeq <= $as_of"
        " AND hash(RunId) % $parts = $part",
        asked={"as_of": hi, "part": part, "parts": parts},
    )


def count_active(reader: LogReader, hi: int) -> int:
    """How many runs ``active_at`` has in all parts."""
    sql = "SELECT count(*) FROM Runs WHERE Status NOT IN ('Completed', 'Failed', 'Canceled') AND CommitSeq <= $as_of"
    return int(reader.select(sql, {"as_of": hi}).column(0)[0].as_py())


def rows_of(reader: LogReader, as_of: AsOf, facts: Mapping[str, Fact] | None = None) -> tuple[str, dict[str, object]]:
    """As ``history.run_rows``, also for a hundred thousand runs: SQL of all their rows up to their commits, and its
    parameters.

    ``facts`` of all of them, where known, say between which times the rows lie.
    """
    asked, params = _asked(as_of)
    if facts is None:
        runs_sql, of_runs = reader.runs_of(as_of.keys())
        table = reader.select(f"SELECT epoch_us(min(FirstTime)), epoch_us(max(LastTime)) FROM ({runs_sql})", of_runs)
        first, last = (table.column(i).to_pylist()[0] for i in range(2))
    else:
        times = [(f.first_us, f.last_us) for f in map(facts.__getitem__, as_of) if f.first_us is not None and f.last_us]
        first, last = min((t[0] for t in times), default=0), max((t[1] for t in times), default=0)
    sql = (
        f"SELECT e.* FROM RunStatusChanged AS e{asked}"
        " AND TimeGenerated >= make_timestamp($first::BIGINT) AND TimeGenerated <= make_timestamp($last::BIGINT)"
        " AND CommitSeq <= $hi"
    )
    return sql, {**params, "first": first or 0, "last": last or 0, "hi": max(as_of.values(), default=0)}


def beats_of(as_of: AsOf, facts: Mapping[str, Fact] | None = None) -> tuple[str, dict[str, object]]:
    """SQL of the stored heartbeats of runs up to their commits, and its parameters, which go with those of ``rows_of``.

    ``facts`` of all of them, where known, say before when there are none: a month of all runs' heartbeats is not
    looked through.
    """
    asked, params = _asked(as_of)
    sql = f"SELECT e.* FROM Heartbeats AS e{asked}"
    if facts is None or not as_of:
        return sql, params
    source_progress = min(facts[run].known_us for run in as_of) - _IN_QUEUE
    return f"{sql} AND ReceivedAt >= make_timestamp($source_progress::BIGINT)", {
        **params,
        "source_progress": source_progress,
    }


def _asked(as_of: AsOf) -> tuple[str, dict[str, object]]:
    """What comes after ``FROM … AS e``, and goes on with AND. A constant reaches the scan; to plan a join costs 1 ms
    more.
    """
    if len(as_of) == 1:
        ((run, upto),) = as_of.items()
        return " WHERE e.RunId = $run AND e.CommitSeq <= $upto", {"run": run, "upto": upto}
    runs = sorted(as_of)
    params: dict[str, object] = {"runs": listed(runs), "upto": json.dumps([as_of[run] for run in runs])}
    asked = "(SELECT unnest(($runs::JSON)::VARCHAR[]) AS run, unnest(($upto::JSON)::BIGINT[]) AS upto)"
    return f" JOIN {asked} AS asked ON e.RunId = asked.run AND e.CommitSeq <= asked.upto WHERE true", params


def _fold(reader: LogReader, as_of: AsOf, heads: Mapping[str, Fact]) -> list[dict[str, Any]]:
    """The runs as their events notify them; ``heads`` are facts of them as of a later commit."""
    rows_sql, params = rows_of(reader, as_of, heads)
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in reader.select(f"SELECT {OF_HISTORY} FROM ({rows_sql})", params).to_pylist():
        events[event["RunId"]].append(event)
    beats: dict[str, list[Beat]] = defaultdict(list)
    beats_sql, params = beats_of(as_of)
    found = reader.select(
        f"SELECT RunId, CommitSeq, ReceivedAt, Progress FROM ({beats_sql}) ORDER BY ReceivedAt", params
    )
    for run, *beat in zip(*(found.column(i).to_pylist() for i in range(4)), strict=True):
        beats[run].append((beat[0], beat[1], beat[2]))
    return fold_runs(heads, events, beats, labels_of(reader, as_of))


def labels_of(reader: LogReader, as_of: AsOf) -> dict[str, dict[str, Any]]:
    """The last rows of tocsin.run_updates of runs up to a commit each."""
    asked, params = _asked(as_of)
    found = reader.select(f"SELECT e.* FROM tocsin.run_updates AS e{asked} ORDER BY e.CommitSeq", params)
    return {row["RunId"]: row for row in found.to_pylist()}


def fold_runs(
    heads: Mapping[str, Fact],
    events: Mapping[str, Sequence[Mapping[str, Any]]],
    beats: Mapping[str, Sequence[Beat]],
    labels: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The runs after their ``events`` (of ``OF_HISTORY``), ``beats`` (in order) and ``labels`` up to a commit each.
    ``heads`` are facts of them as of a later one.
    """
    states = (
        fold_all(
            run,
            events.get(run, ()),
            beats.get(run, ()),
            first_seen=naive(head.known_us),
            consumer=head.consumer,
            labels=labels.get(run),
        )
        for run, head in heads.items()
    )
    return [state.row() for state in states if state is not None]


def naive(us: int) -> datetime:
    """The time that is ``us`` µs after the epoch, naive UTC."""
    return moment(us).replace(tzinfo=None)


def _among(runs: Collection[str]) -> tuple[str, dict[str, object]]:
    return " WHERE RunId IN (SELECT unnest(($among::JSON)::VARCHAR[]))", {"among": listed(runs)}


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _quoted(name: str) -> str:
    return f'"{name}"'
