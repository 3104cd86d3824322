"""What a backtest reads and remembers: history as it lies, or as if each event had arrived when it happened.

    stored      CommitSeq 1 2 3 …               IngestedAt as stamped then
    as if live  CommitSeq = µs of TimeGenerated IngestedAt = TimeGenerated: every event a commit of its own, in event
order

Nothing is written: what the rule decides stays in a ``Recorder`` in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import pyarrow as pa

from tocsin.logstore.interface import CommitInfo, Head, Limits, LogReader, Rows, RunSpan, StoredRow, Touched
from tocsin.logstore.query.as_of import runs_as_of
from tocsin.model.alert import Occurrence
from tocsin.model.instants import Timer
from tocsin.model.remembered import Attempt, ConditionState
from tocsin.rules import history
from tocsin.rules.history import moment
from tocsin.rules.memory import Pair
from tocsin.rules.ranges import commit
from tocsin.state.interface import Backfill, Outcome, RuleRecord

_EVENTS = (
    "SELECT * REPLACE (epoch_us(TimeGenerated) AS CommitSeq, TimeGenerated AS IngestedAt) FROM main.RunStatusChanged"
)
_BEATS = "SELECT * REPLACE (epoch_us(ReceivedAt) AS CommitSeq) FROM main.Heartbeats"
_RUNS = (
    "SELECT r.* REPLACE (coalesce(FirstTime, FirstSeen) AS FirstSeen, greatest(LastTime, beat) AS LastSeen,"
    " epoch_us(greatest(LastTime, beat)) AS CommitSeq) FROM main.Runs AS r"
    " LEFT JOIN (SELECT RunId, max(ReceivedAt) AS beat FROM main.Heartbeats GROUP BY RunId) USING (RunId)"
)
_RUNS_WITHOUT_BEATS = (
    "SELECT * REPLACE (coalesce(FirstTime, FirstSeen) AS FirstSeen, LastTime AS LastSeen, epoch_us(LastTime) AS CommitSeq)"
    " FROM main.Runs"
)
_TABLES = {"RunStatusChanged": _EVENTS, "Runs": _RUNS, "Heartbeats": _BEATS}
_NAMED = ", ".join(f"{name} AS NOT MATERIALIZED ({sql})" for name, sql in _TABLES.items())
_COMMITS = "CommitSeq > $lo AND CommitSeq <= $hi"
_BETWEEN = "{time} > make_timestamp($lo::BIGINT) AND {time} <= make_timestamp($hi::BIGINT)"
"""Says the same of the times themselves, and so lets old row groups be skipped."""


class AsIfLive(LogReader):
    """A log in which every event arrived at its TimeGenerated. A CommitSeq is µs since the epoch."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._next: dict[int, int | None] = {}
        self._beats: bool | None = None  # whether there are heartbeats; None: not asked yet

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        return self._reader.select(f"WITH {_NAMED} SELECT * FROM ({sql})", params, limits)

    def table(self, name: str) -> str:
        return f"({_TABLES[name]})" if name in _TABLES else self._reader.table(name)

    def rows_of(self, after: int, hi: int) -> Rows:
        between = _BETWEEN.format(time="TimeGenerated")
        return f"SELECT * FROM RunStatusChanged WHERE {_COMMITS} AND {between}", {"lo": after, "hi": hi}

    def runs_touched(self, after: int, hi: int) -> Rows:
        sql = f"SELECT * FROM Runs WHERE {_COMMITS}"
        if not self._has_beats():
            sql = f"SELECT * FROM ({_RUNS_WITHOUT_BEATS}) WHERE {_COMMITS} AND {_BETWEEN.format(time='LastTime')}"
        return sql, {"lo": after, "hi": hi}

    def _has_beats(self) -> bool:
        if self._beats is None:
            self._beats = bool(self._reader.select("SELECT 1 FROM Heartbeats LIMIT 1").num_rows)
        return self._beats

    def head(self) -> Head:
        newest = self._reader.select("SELECT max(epoch_us(TimeGenerated)) FROM RunStatusChanged").column(0)[0].as_py()
        return Head(seq=newest or 0, ingested_at=moment(newest or 0))

    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        if limit == 1:
            if after not in self._next:
                sql = "SELECT min(CommitSeq) FROM RunStatusChanged WHERE CommitSeq > $after"
                self._next[after] = self.select(sql, {"after": after}).column(0)[0].as_py()
            found = self._next[after]
            return [] if found is None else [commit(found, found, 1)]
        sql = (
            "SELECT CommitSeq, count(*) FROM RunStatusChanged WHERE CommitSeq > $after"
            " GROUP BY CommitSeq ORDER BY CommitSeq LIMIT $limit"
        )
        table = self.select(sql, {"after": after, "limit": limit})
        return [commit(s, s, n) for s, n in zip(*(c.to_pylist() for c in table.columns), strict=True)]

    def spans(self, run_ids: Iterable[str]) -> Mapping[str, RunSpan]:
        return self._reader.spans(run_ids)

    def runs_of(self, run_ids: Collection[str]) -> Rows:
        """See ``LogReader.runs_of``. Runs are computed here."""
        return _among("RunId", run_ids)

    def runs_of_jobs(self, job_keys: Collection[str]) -> Rows:
        return _among("JobKey", job_keys)

    def runs_as_of(self, seq: int) -> Rows:
        """See ``LogReader.runs_as_of``. Runs are computed here."""
        return runs_as_of(seq, head=self.head().seq, table=self.table)

    def recent_runs(self, after: int, hi: int) -> Mapping[str, Touched] | None:
        """See ``LogReader.recent_runs``. What is in memory has other commits."""
        return None

    def recent_rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        """See ``LogReader.recent_rows``. What is in memory has other commits."""
        return None

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        return self._reader.schema()


def _among(column: str, values: Collection[str]) -> Rows:
    return f"SELECT * FROM Runs WHERE {column} IN (SELECT unnest(($of::JSON)::VARCHAR[]))", {
        "of": history.listed(values)
    }


class Recorder:
    """The state of one backtest: a ``StateView`` that lives in dicts, and its timers."""

    def __init__(self, records: Iterable[RuleRecord]) -> None:
        self._rules = {r.name: r for r in records}
        self._notified: dict[Pair, list[Occurrence]] = {}
        self._rules_of: dict[str, frozenset[str]] = {}  # by run
        self._alone: dict[str, frozenset[str]] = {}  # one set for all runs of which a rule alone has notified
        self._conditions: dict[str, dict[str, ConditionState]] = defaultdict(dict)
        self._backfills: dict[tuple[str, str], Backfill] = {}
        self._timers: dict[tuple[str, str, str], Timer] = {}

    def rules(self) -> Mapping[str, RuleRecord]:
        """As ``State.rules``."""
        return self._rules

    def notified(self, pairs: Iterable[Pair]) -> Mapping[Pair, Sequence[Occurrence]]:
        """As ``State.notified``."""
        return {pair: self._notified[pair] for pair in pairs if pair in self._notified}

    def rules_notified_of(self, run_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """As ``State.rules_notified_of``."""
        return {run: self._rules_of[run] for run in self._rules_of.keys() & set(run_ids)}

    @property
    def runs(self) -> set[str]:
        """Runs of which something is remembered, parents of such ones too."""
        parents = (state.instance.get("RunId") for each in self._conditions.values() for state in each.values())
        return set(self._rules_of).union(parent for parent in parents if isinstance(parent, str))

    @property
    def timers(self) -> Collection[Timer]:
        """Those that are set."""
        return self._timers.values()

    def forget(self, runs: Iterable[str]) -> None:
        """What was notified of ``runs`` is asked for no more; those that a timer is about are kept."""
        waiting = {timer.data.run for timer in self._timers.values() if isinstance(timer.data, Attempt)}
        for run in runs:
            if run not in waiting:
                for rule in self._rules_of.pop(run, ()):
                    self._notified.pop((rule, run), None)

    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        """As ``State.conditions``."""
        return self._conditions[rule]

    def backfills(self) -> Sequence[Backfill]:
        """As ``State.backfills``."""
        return list(self._backfills.values())

    def take(self, outcome: Outcome) -> None:
        """What an evaluation decided is remembered."""
        self._rules.update({r.name: r for r in outcome.rules})
        for one in outcome.occurrences:
            self._notified.setdefault((one.rule, one.run_id), []).append(one)
            known = self._rules_of.get(one.run_id)
            if known is None or one.rule not in known:
                alone = self._alone.setdefault(one.rule, frozenset((one.rule,)))
                self._rules_of[one.run_id] = alone if known is None else known | alone
        for state in outcome.conditions:
            self._conditions[state.rule][state.key] = state
        for rule, key in outcome.conditions_gone:
            self._conditions[rule].pop(key, None)
        for gone in outcome.backfills_gone:
            self._backfills.pop(gone, None)
        self._backfills.update({(c.rule, c.consumer): c for c in outcome.backfills})
        for name, kind, key in outcome.timers_gone:
            self._timers.pop((name, str(kind), key), None)
        self._timers.update({(t.rule, str(t.kind), t.key): t for t in outcome.timers})
