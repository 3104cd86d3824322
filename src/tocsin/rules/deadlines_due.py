"""When a run's deadline is, by what its rule waits for (SEMANTICS.md, Absence rules).

in_status_for   since the run came into the set of statuses, event time: moving inside the set counts on
silent_for      since the receipt of its last event or heartbeat; time in which its consumers were deaf is left out
unchanged       since its progress last changed, not before it came into the set of statuses
    duration        since the run's start; the length is what is usual of its like
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.alerts.occurrences import in_order
from tocsin.logstore.interface import LogReader
from tocsin.model.heard import Heard, Span
from tocsin.rules import history
from tocsin.rules.absence import Form
from tocsin.rules.baselines import Baseline, usual_us
from tocsin.rules.deadlines_runs import Fact, rows_of
from tocsin.rules.history import listed, micros
from tocsin.rules.rule import Rule

_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """A deadline and the moment from which it counts, µs since the epoch."""

    at_us: int
    since_us: int


def dues(
    pairs: Iterable[tuple[Rule, str]],
    facts: Mapping[str, Fact],
    reader: LogReader,
    at: datetime,
    hi: int,
    heard: Heard,
) -> dict[tuple[str, str], Due]:
    """The deadline of each (rule, run) as of commit ``hi`` at ``at``; left out where nothing is waited for."""
    wanted = [(rule, run) for rule, run in pairs if run in facts and rule.absence is not None]
    spells = _spells(wanted, facts, reader, hi)
    still = _changes([run for rule, run in wanted if _form(rule) is Form.UNCHANGED], reader, hi)
    usual = _usual(wanted, at, hi, reader)
    consumers = {fact.consumer for fact in facts.values()}
    deaf = {name: heard.deaf.get(name, ()) for name in consumers}
    found: dict[tuple[str, str], Due] = {}
    for rule, run in wanted:
        assert rule.absence is not None
        length = rule.absence.length // _US
        fact = facts[run]
        since = spells.get((rule.absence.statuses, run), fact.since_us)
        if rule.absence.form is Form.SILENT:
            since = fact.seen_us
            due = _audible(since, length, deaf[fact.consumer])
        elif rule.absence.form is Form.UNCHANGED:
            if run not in still:
                continue  # it never said how far it is: nothing stands still
            since = max(since, still[run])
            due = since + length
        elif rule.absence.form is Form.LONGER:
            if (rule.name, run) not in usual:
                continue  # too little is known of its like
            since = fact.start_us if fact.start_us is not None else since
            due = since + usual[(rule.name, run)]
        else:
            due = since + length
        found[(rule.name, run)] = Due(due, since)
    return found


def _form(rule: Rule) -> Form | None:
    return rule.absence.form if rule.absence else None


def _usual(pairs: Sequence[tuple[Rule, str]], at: datetime, hi: int, reader: LogReader) -> dict[tuple[str, str], int]:
    """How long runs may take, in µs. Rules that compare alike ask once."""
    alike: dict[Baseline, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for rule, run in pairs:
        if rule.absence is not None and rule.absence.usual is not None:
            alike[rule.absence.usual][rule.name].add(run)
    found: dict[tuple[str, str], int] = {}
    for usual, by_rule in alike.items():
        lengths = usual_us(usual, set().union(*by_rule.values()), at, hi, reader)
        found |= {(name, run): lengths[run] for name, runs in by_rule.items() for run in runs if run in lengths}
    return found


def _audible(since: int, length: int, deaf: Sequence[Span]) -> int:
    """When ``length`` of hearing has passed since ``since``; ``deaf`` are spans in which nothing could be heard, in order."""
    at = since + length
    for begin, end in deaf:
        first, last = max(micros(begin), since), micros(end)
        if last > first and first < at:
            at += last - first
    return at


def _spells(
    pairs: Sequence[tuple[Rule, str]], facts: Mapping[str, Fact], reader: LogReader, hi: int
) -> dict[tuple[frozenset[str], str], int]:
    """Since when runs are in sets of several statuses."""
    wanted: dict[frozenset[str], set[str]] = defaultdict(set)
    for rule, run in pairs:
        assert rule.absence is not None
        if rule.absence.form is not Form.SILENT and len(rule.absence.statuses) > 1:
            wanted[rule.absence.statuses].add(run)
    if not wanted:
        return {}
    rows_sql, params = rows_of(reader, set().union(*wanted.values()), hi)
    events: dict[str, list[history.Seen]] = defaultdict(list)
    for seen in history.read(reader, rows_sql, params):
        events[seen.run_id].append(seen)
    found: dict[tuple[frozenset[str], str], int] = {}
    for statuses, runs in wanted.items():
        for run in runs:
            since = _since(events.get(run, ()), statuses)
            if since is not None:
                found[(statuses, run)] = min(since, facts[run].since_us)
    return found


def _since(events: Sequence[history.Seen], statuses: Collection[str]) -> int | None:
    """Since when the run, as it stands, is in ``statuses``. A new try begins anew."""
    since: int | None = None
    attempt: int | None = None
    for event in in_order(s.event for s in events):
        if event.attempt != attempt:
            since, attempt = None, event.attempt
        if event.status not in statuses:
            since = None
        elif since is None:
            since = event.key.time_us
    return since


def _changes(runs: Sequence[str], reader: LogReader, hi: int) -> dict[str, int]:
    """When the progress of runs last changed; runs that never said any are left out."""
    if not runs:
        return {}
    rows_sql, params = rows_of(reader, runs, hi)
    table = reader.select(
        "WITH said AS ("
        f"  SELECT RunId, TimeGenerated AS t, Progress AS p FROM ({rows_sql}) WHERE Progress IS NOT NULL"
        "  UNION ALL SELECT RunId, ReceivedAt, Progress FROM Heartbeats WHERE Progress IS NOT NULL AND CommitSeq <= $hi"
        "    AND RunId IN (SELECT unnest(($still::JSON)::VARCHAR[]))),"
        " steps AS (SELECT RunId, t, p, lag(p) OVER (PARTITION BY RunId ORDER BY t, p) AS before FROM said)"
        " SELECT RunId, epoch_us(max(t)) FROM steps WHERE p IS DISTINCT FROM before GROUP BY RunId",
        {**params, "still": listed(runs)},
    )
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))
