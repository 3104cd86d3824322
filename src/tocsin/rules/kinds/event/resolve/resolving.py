"""Events that end the alerts of event rules (`resolve: {when: …}`), as far as it matters: of each status and each set
of columns that alerts have in common with them, the latest one, after each commit.

An event is over once one of them happened later, so of all that came up to a commit only the latest counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tocsin.alerts.active import ResolvePolicy
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.rules.history import listed
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.memory import Memory, Pair

Values = tuple[str, ...]
_JOB = "coalesce(nullif(JobKey, ''), RunId)"  # an absent JobKey is the RunId
Key = tuple[Values, str, Values]
"""(columns, status, values)"""


class ResolvingEvent(NamedTuple):
    """An event that ends something. Compared by time first."""

    time_us: int  # TimeGenerated, µs since the epoch
    run_id: str
    status: str


class Line(NamedTuple):
    """Resolving events of one key, in order of CommitSeq: of each commit that brought one later than all before, the
    latest. Columns, since there are as many as a day of a year of 10 million events brings.
    """

    seqs: list[int]
    times: list[int]  # as ``ResolvingEvent.time_us``
    runs: list[str]

    def add(self, seq: int, time_us: int, run: str) -> None:
        """Take what a commit brought, which is not before the last one."""
        times = self.times
        if not times or time_us > times[-1] or (time_us == times[-1] and run > self.runs[-1]):
            self.seqs.append(seq)
            times.append(time_us)
            self.runs.append(run)


@dataclass(frozen=True, slots=True)
class ResolvingEvents:
    """The latest ones, by commit. One that happened before another one that was known already ends nothing more."""

    _found: Mapping[Key, Line] = field(default_factory=dict)

    def and_then(self, later: ResolvingEvents) -> ResolvingEvents:
        """These, and those of ``later`` commits."""
        found = dict(later._found)
        for key, line in self._found.items():
            both = Line([*line.seqs], [*line.times], [*line.runs])
            for seq, time_us, run in zip(*later._found.get(key, ((), (), ())), strict=True):
                both.add(seq, time_us, run)
            found[key] = both
        return ResolvingEvents(found)

    def later(
        self, resolve_policy: ResolvePolicy, values: Values, time_us: int, commit_seq: int
    ) -> ResolvingEvent | None:
        """The latest one known as of ``commit_seq`` that happened later than ``time_us``."""
        best: ResolvingEvent | None = None
        for status, line in self._lines(resolve_policy, values):
            last = bisect_right(line.seqs, commit_seq) - 1
            if last >= 0 and line.times[last] > time_us:
                resolving_event = ResolvingEvent(line.times[last], line.runs[last], status)
                best = resolving_event if best is None else max(best, resolving_event)
        return best

    def first(self, resolve_policy: ResolvePolicy, values: Values, time_us: int) -> int | None:
        """The commit as of which one is known that happened later than ``time_us``."""
        found = (
            line.seqs[i]
            for _, line in self._lines(resolve_policy, values)
            if (i := bisect_right(line.times, time_us)) < len(line.seqs)
        )
        return min(found, default=None)

    def _lines(self, resolve_policy: ResolvePolicy, values: Values) -> Iterator[tuple[str, Line]]:
        for status in resolve_policy.statuses:
            if line := self._found.get((resolve_policy.same, status, values)):
                yield status, line


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What some commits brought."""

    resolving_events: ResolvingEvents
    waiting: frozenset[Pair] = frozenset()  # runs with open alerts that may be over by them


def resolving_now(rules: Iterable[EventRule], after: int, hi: int, reader: LogReader, memory: Memory) -> Now:
    """What the commits in (``after``, ``hi``] brought that ends alerts of ``rules``."""
    by_columns: dict[Values, list[EventRule]] = defaultdict(list)
    for rule in rules:
        assert rule.spec.resolve_policy is not None
        by_columns[rule.spec.resolve_policy.same].append(rule)
    found: dict[Key, Line] = {}
    for same, alike in by_columns.items():
        statuses = {
            status for rule in alike if rule.spec.resolve_policy for status in rule.spec.resolve_policy.statuses
        }
        rows_sql, params = reader.rows_of(after, hi)
        found |= _read(
            reader, same, f"SELECT CommitSeq AS seq, {columns_sql(same, rows_sql)} WHERE true", params, statuses
        )
    if not found:
        return Now(resolving_events=ResolvingEvents())
    by_values: dict[tuple[Values, Values], set[str]] = defaultdict(set)
    for same, status, values in found:
        by_values[(same, values)].add(status)
    waiting: set[Pair] = set()
    for rule in rules:
        assert rule.spec.resolve_policy is not None
        for state in memory.conditions(rule.name).values():
            active = state.data.active
            for values in active.same if active is not None else ():
                if by_values.get((rule.spec.resolve_policy.same, values), set()) & rule.spec.resolve_policy.statuses:
                    assert active is not None
                    waiting.add((rule.name, active.run))
    return Now(resolving_events=ResolvingEvents(found), waiting=frozenset(waiting))


def resolving_events_of(
    asked: Iterable[tuple[EventRule, Sequence[tuple[int, Values]]]], hi: int, reader: LogReader
) -> ResolvingEvents:  # fmt: skip
    """What commits up to ``hi`` brought that ends events, of each rule given by (time, values)."""
    by_columns: dict[Values, tuple[set[str], set[Values], list[int]]] = {}
    for rule, events in asked:
        assert rule.spec.resolve_policy is not None
        statuses, values, times = by_columns.setdefault(rule.spec.resolve_policy.same, (set(), set(), []))
        statuses |= rule.spec.resolve_policy.statuses
        values |= {each for _, each in events if each}
        times += [time for time, each in events if each]
    found: dict[Key, Line] = {}
    for same, (statuses, values, times) in by_columns.items():
        if values:
            sql = (
                f"SELECT 0 AS seq, {columns_sql(same)} WHERE CommitSeq <= $hi AND TimeGenerated > make_timestamp($first::BIGINT)"
                f" AND {column_sql(same[0])} IN (SELECT unnest(($values::JSON)::VARCHAR[]))"
            )
            first = {each[0] for each in values}
            params = {"hi": hi, "first": min(times), "values": listed(sorted(first))}
            found |= _read(reader, same, sql, params, statuses)
    return ResolvingEvents(found)


def values_of(
    reader: LogReader, columns: Iterable[str], keys: Iterable[EventKey], rows_sql: str, params: Mapping[str, object]
) -> dict[tuple[str, EventKey], dict[str, str]]:
    """What those events of ``rows_sql`` that have one of ``keys`` have in ``columns``, as text; '' where one is
    absent.
    """
    names = tuple(sorted(columns))
    table = reader.select(
        f"SELECT RunId, Source, EventId, epoch_us(TimeGenerated), {', '.join(map(column_sql, names))} FROM ({rows_sql})"
        " WHERE EventId IN (SELECT unnest(($ids::JSON)::VARCHAR[]))",
        {**params, "ids": listed({key.event_id for key in keys})},
    )
    listed_columns = [table.column(i).to_pylist() for i in range(table.num_columns)]
    return {
        (run, EventKey(source=source, event_id=event_id, time_us=time_us)): dict(zip(names, values, strict=True))
        for run, source, event_id, time_us, *values in zip(*listed_columns, strict=True)
    }


def column_sql(name: str) -> str:
    """A column as text, '' where it is absent."""
    if name == "JobKey":
        return _JOB
    return f"coalesce(\"{name.replace(chr(34), chr(34) * 2)}\"::VARCHAR, '')"


def columns_sql(same: Values, rows_sql: str = "SELECT * FROM RunStatusChanged") -> str:
    """SELECT's list with the columns of ``same`` as text, s0, s1, …, and where they are from."""
    listed_columns = ", ".join(f"{column_sql(name)} AS s{i}" for i, name in enumerate(same))
    return f"Status, TimeGenerated, RunId, {listed_columns} FROM ({rows_sql})"


def _read(
    reader: LogReader, same: Values, sql: str, params: Mapping[str, object], statuses: Iterable[str]
) -> dict[Key, Line]:
    """The latest of each status and values, by commit."""
    names = ", ".join(f"s{i}" for i in range(len(same)))
    there = " AND ".join(f"s{i} <> ''" for i in range(len(same)))
    table = reader.select(
        f"SELECT seq, Status, {names}, max(epoch_us(TimeGenerated)) AS t, max_by(RunId, (TimeGenerated, RunId)) AS run"
        f" FROM ({sql} AND Status IN (SELECT unnest(($statuses::JSON)::VARCHAR[]))) WHERE {there}"
        f" GROUP BY seq, Status, {names} ORDER BY seq",
        {**params, "statuses": listed(sorted(statuses))},
    )
    found: dict[Values, Line] = defaultdict(lambda: Line([], [], []))
    seqs, *keys, times, runs = (table.column(i).to_pylist() for i in range(table.num_columns))
    for key, seq, time_us, run in zip(zip(*keys, strict=True), seqs, times, runs, strict=True):
        found[key].add(seq, time_us, run)
    return {(same, key[0], key[1:]): line for key, line in found.items()}
