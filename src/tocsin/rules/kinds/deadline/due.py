"""When a run's deadline is, by what its rule waits for (SEMANTICS.md, Absence rules).

in_status_for   since the run came into the set of statuses, event time: moving inside the set counts on
silent_for      since the receipt of its last event or heartbeat; time in which one of its consumers was unreachable
is left out
unchanged       since its progress last changed, not before it came into the set of statuses
duration        since the run's start; the length is the baseline of its peers

Time in which maintenance stops their clocks is left out of all of them, see ``clocks``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tocsin.alerts.occurrences import RunEvent, in_order, turns
from tocsin.logstore.interface import LogReader
from tocsin.model.run_life import Turn
from tocsin.model.watermarks import SourceProgress, Span
from tocsin.rules import history
from tocsin.rules.kinds import pausing
from tocsin.rules.kinds.deadline.few import Past
from tocsin.rules.kinds.deadline.replay.lengths import Lengths
from tocsin.rules.kinds.deadline.runs import AsOf, Fact, RunsAt, beats_of, rows_of, runs_at
from tocsin.rules.kinds.deadline.spec import DeadlineRule, DeadlineSpec, Form
from tocsin.rules.spec.baseline import Asked, Baseline, baseline_us

_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """A deadline and the moment from which it counts, µs since the epoch."""

    at_us: int
    since_us: int
    stood_us: int = 0  # how long maintenance stopped its clock; the deadline is so much later


@dataclass(frozen=True, slots=True)
class When:
    """As of which commit a run is evaluated, and at which T."""

    seq: int
    at: datetime


def due_deadlines(
    pairs: Iterable[tuple[DeadlineRule, str]],
    facts: Mapping[str, Fact],
    reader: LogReader,
    whens: Mapping[str, When],
    source_progress: SourceProgress,
    past: Past | None = None,
    runs: RunsAt | None = None,
) -> dict[tuple[str, str], Due]:
    """The deadline of each (rule, run), each run as of its own instant; left out where nothing is waited for. ``past``
    of the runs and the ``runs`` as of these instants are not read again, where given.
    """
    wanted = [(rule, run) for rule, run in pairs if run in facts]
    times_in_status = _times_in_status(wanted, facts, reader, whens, past)
    moving = {run: whens[run].seq for rule, run in wanted if rule.spec.form is Form.UNCHANGED}
    still = past.changes(moving) if past is not None else _changes(moving, facts, reader)
    baseline = _baseline(wanted, whens, reader, runs, past.lengths if past is not None else None)
    waits: dict[tuple[DeadlineRule, str], tuple[int, int]] = {}  # since when, how long
    for rule, run in wanted:
        fact = facts[run]
        since = times_in_status.get((rule.spec.statuses, run), fact.since_us)
        length = rule.spec.length // _US
        if rule.spec.form is Form.SILENT:
            since = fact.seen_us
        elif rule.spec.form is Form.UNCHANGED:
            if run not in still:
                continue  # it never said how far it is: nothing stands still
            since = max(since, still[run])
        elif rule.spec.form is Form.LONGER:
            if (rule.name, run) not in baseline:
                continue  # too little is known of its peers
            since = fact.start_us if fact.start_us is not None else since
            length = baseline[(rule.name, run)]
        waits[(rule, run)] = (since, length)
    return _with_pauses(waits, facts, reader, whens, source_progress)


def due_by_past(rule: DeadlineRule) -> bool:
    """Whether more than how a run stands is asked for its deadline: its events, its heartbeats, or other runs."""
    return rule.spec.form in (Form.UNCHANGED, Form.LONGER) or _time_in_status_counts(rule.spec)


def _baseline(
    pairs: Sequence[tuple[DeadlineRule, str]],
    whens: Mapping[str, When],
    reader: LogReader,
    runs: RunsAt | None,
    known: Lengths | None,
) -> dict[tuple[str, str], int]:
    """How long runs may take, in µs. Rules that compare alike ask once."""
    alike: dict[Baseline, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for rule, run in pairs:
        if rule.spec.baseline is not None:
            alike[rule.spec.baseline][rule.name].add(run)
    found: dict[tuple[str, str], int] = {}
    for baseline, by_rule in alike.items():
        as_of = {run: whens[run].seq for run in set().union(*by_rule.values())}
        rows = (runs or runs_at(reader, as_of)).rows(reader, as_of.keys(), baseline.of)
        asked = {
            run: Asked(
                like=tuple(str(row[name] or "") for name in baseline.of),
                at_us=history.micros(whens[run].at),
            )
            for run, row in rows.items()
        }
        if known is not None:
            lengths: Mapping[str, int] = known.baseline_us(asked)
        else:
            lengths = baseline_us(baseline, asked, reader) if asked else {}
        found |= {(name, run): lengths[run] for name, some in by_rule.items() for run in some if run in lengths}
    return found


def _with_pauses(
    waits: Mapping[tuple[DeadlineRule, str], tuple[int, int]],
    facts: Mapping[str, Fact],
    reader: LogReader,
    whens: Mapping[str, When],
    source_progress: SourceProgress,
) -> dict[tuple[str, str], Due]:
    """When so much time has passed on the clocks of runs. What stopped them is only asked where something may have."""
    anybody = pausing.together(source_progress.outages.values())
    may: dict[DeadlineRule, Sequence[Span]] = {}
    found: dict[tuple[str, str], Due] = {}
    stopped: list[tuple[DeadlineRule, str]] = []
    for (rule, run), (since, length) in waits.items():
        found[(rule.name, run)] = Due(since + length, since)
        if rule not in may:
            may[rule] = pausing.together(
                [pausing.spans_of(rule, None), anybody if rule.spec.form is Form.SILENT else ()]
            )
        if pausing.runs_out(since, length, may[rule]) != since + length:
            stopped.append((rule, run))
    if not stopped:
        return found
    outages = _outages(
        {run for rule, run in stopped if rule.spec.form is Form.SILENT}, facts, reader, whens, source_progress
    )
    rows = _rows({run for rule, run in stopped if rule.spec.pauses}, [r for r, _ in stopped], reader, whens)
    for rule, run in stopped:
        since, length = waits[(rule, run)]
        unreached = outages[run] if rule.spec.form is Form.SILENT else ()
        watermark_at = pausing.runs_out(since, length, unreached)
        pauses = pausing.spans_of(rule, {**rows.get(run, {}), **rule.spec.row})
        at = pausing.runs_out(since, length, pausing.together([unreached, pauses])) if pauses else watermark_at
        found[(rule.name, run)] = Due(at, since, at - watermark_at)
    return found


def _outages(
    runs: Collection[str],
    facts: Mapping[str, Fact],
    reader: LogReader,
    whens: Mapping[str, When],
    source_progress: SourceProgress,
) -> dict[str, Sequence[Span]]:
    """When runs could not be reached."""
    spans: dict[frozenset[str], Sequence[Span]] = {}
    brought = consumers_of(facts, reader, {run: whens[run].seq for run in runs})
    for names in set(brought.values()):
        spans[names] = pausing.together(source_progress.outages.get(name, ()) for name in names)
    return {run: spans[names] for run, names in brought.items()}


def _rows(
    runs: Collection[str], rules: Sequence[DeadlineRule], reader: LogReader, whens: Mapping[str, When]
) -> Mapping[str, history.Row]:
    """What says which maintenances are about runs."""
    names = frozenset().union(*(pausing.columns_of(rule) for rule in rules))
    if not runs or not names:
        return {}
    return runs_at(reader, {run: whens[run].seq for run in runs}).rows(reader, runs, names)


def consumers_of(
    facts: Mapping[str, Fact], reader: LogReader, as_of: AsOf, past: Past | None = None
) -> dict[str, frozenset[str]]:
    """Which consumers brought the events of runs."""
    found: dict[str, set[str]] = {run: {facts[run].consumer} - {""} for run in as_of}
    if past is not None:
        for run in as_of:
            found[run].update(past.consumers.get(run, ()))
    elif as_of:
        rows_sql, params = rows_of(reader, as_of, facts)
        table = reader.select(f"SELECT DISTINCT RunId, Consumer FROM ({rows_sql})", params)
        for run, consumer in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
            found[run].add(consumer)
    return {run: frozenset(names) for run, names in found.items()}


def _times_in_status(
    pairs: Sequence[tuple[DeadlineRule, str]],
    facts: Mapping[str, Fact],
    reader: LogReader,
    whens: Mapping[str, When],
    past: Past | None,
) -> dict[tuple[frozenset[str], str], int]:
    """Since when runs are in sets of several statuses."""
    wanted: dict[frozenset[str], set[str]] = defaultdict(set)
    for rule, run in pairs:
        if _time_in_status_counts(rule.spec):
            wanted[rule.spec.statuses].add(run)
    if not wanted:
        return {}
    events = past.events if past is not None else _events(set().union(*wanted.values()), facts, reader, whens)
    found: dict[tuple[frozenset[str], str], int] = {}
    for statuses, runs in wanted.items():
        for run in runs:
            since = time_in_status(events.get(run, ()), statuses)
            if since is not None:
                found[(statuses, run)] = min(since, facts[run].since_us)
    return found


def _time_in_status_counts(absence: DeadlineSpec) -> bool:
    """Whether it is of several statuses, so that since when a run is in one does not say since when it is in any."""
    return absence.form in (Form.IN_STATUS, Form.UNCHANGED) and len(absence.statuses) > 1


def _events(
    runs: Collection[str], facts: Mapping[str, Fact], reader: LogReader, whens: Mapping[str, When]
) -> Mapping[str, Sequence[RunEvent]]:
    rows_sql, params = rows_of(reader, {run: whens[run].seq for run in runs}, facts)
    events: dict[str, list[RunEvent]] = defaultdict(list)
    for seen in history.read(reader, rows_sql, params):
        events[seen.run_id].append(seen.event)
    return events


def time_in_status(events: Iterable[RunEvent], statuses: Collection[str]) -> int | None:
    """Since when the run, as it stands, is in ``statuses``, µs; None where it is not. A newer Attempt begins
    again.
    """
    ordered = in_order(events)
    since: int | None = None
    for event, turn in zip(ordered, turns(ordered), strict=True):
        if turn is Turn.IGNORED:
            continue
        if turn is Turn.NEWER_ATTEMPT or event.status not in statuses:
            since = None
        if since is None and event.status in statuses:
            since = event.key.time_us
    return since


def _changes(as_of: AsOf, facts: Mapping[str, Fact], reader: LogReader) -> dict[str, int]:
    """When the progress of runs last changed; runs that never said any are left out."""
    if not as_of:
        return {}
    rows_sql, params = rows_of(reader, as_of, facts)
    beats_sql, more = beats_of(as_of, facts)
    table = reader.select(
        "WITH said AS ("
        f"  SELECT RunId, TimeGenerated AS t, Progress AS p FROM ({rows_sql}) WHERE Progress IS NOT NULL"
        f"  UNION ALL SELECT RunId, ReceivedAt, Progress FROM ({beats_sql}) WHERE Progress IS NOT NULL),"
        " steps AS (SELECT RunId, t, p, lag(p) OVER (PARTITION BY RunId ORDER BY t, p) AS before FROM said)"
        " SELECT RunId, epoch_us(max(t)) FROM steps WHERE p IS DISTINCT FROM before GROUP BY RunId",
        {**params, **more},
    )
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def last_signs(as_of: AsOf, facts: Mapping[str, Fact], reader: LogReader) -> dict[str, datetime]:
    """The last sign of life of runs, by the producer's clock: an event's time, or a heartbeat's receipt."""
    signs = {run: facts[run].last_us or 0 for run in as_of}
    if as_of:
        sql, params = beats_of(as_of, facts)
        table = reader.select(f"SELECT RunId, epoch_us(max(ReceivedAt)) FROM ({sql}) GROUP BY RunId", params)
        for run, us in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True):
            signs[run] = max(signs[run], us)
    return {run: history.moment(us) for run, us in signs.items()}


def is_expired(rule: DeadlineRule, sign: datetime, due: Due, at: datetime) -> bool:
    """Whether the run belongs to a past that nobody is notified of."""
    own = rule.spec.length
    length = own + due.stood_us * _US if own else (due.at_us - due.since_us) * _US
    return at - sign > rule.max_event_age + length
