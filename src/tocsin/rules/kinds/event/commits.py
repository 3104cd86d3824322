"""Event rules over commits.

    commits      c1      c2      c3          T of each: its IngestedAt
    rows        Failed  Running Failed       one run
                  |        |       |
    decided     after c1, after c2, after c3, each time over the run's events up to there

Several commits at once are read together and decided one by one, so that they say what they would have notified one by
one. A rule meets a run's history only where one of several things may be one occurrence: it has notified something of
the run already, matched twice, or the run is older than the rule. A run's first match is notified without reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tocsin.alerts.active import phases
from tocsin.alerts.decisions import evaluate, why_expired
from tocsin.alerts.occurrences import occurrences_of
from tocsin.logstore.interface import CommitInfo, LogReader, Rows, StoredRow, Touched
from tocsin.model.alert import EventKey, Occurrence, Why, fingerprint
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.remembered import Attempt
from tocsin.model.watermarks import SourceProgress
from tocsin.rules import history
from tocsin.rules.history import PastEvent, Row, carried, key_of, moment
from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.event.decisions import Decision, write
from tocsin.rules.kinds.event.matching import matches, matches_in_memory
from tocsin.rules.kinds.event.parents.collapse import Brought, collapse, remembered_parents
from tocsin.rules.kinds.event.resolve import commits as recovery
from tocsin.rules.kinds.event.rules import EventRules
from tocsin.rules.kinds.event.spec import EventHit, EventRule
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.queries import Failures

FEW = 256
"""Up to so many matching events are read whole at once, since most of them will be notified."""


@dataclass(slots=True)
class _Work:
    """What is known of the (rule, run) pairs that these commits touch."""

    takes: Callable[[str], bool]  # whether a rule is evaluated
    hits: dict[Pair, dict[EventKey, EventHit]] = field(default_factory=lambda: defaultdict(dict))
    runs: list[str] = field(default_factory=list)  # distinct RunIds of the commits
    rows: Mapping[EventKey, Row] = field(default_factory=dict)  # whole rows, where they are few
    seen: dict[str, dict[EventKey, PastEvent]] = field(default_factory=lambda: defaultdict(dict))  # by run
    notified: Mapping[Pair, Sequence[Occurrence]] = field(default_factory=dict)
    again: set[Pair] = field(default_factory=set)  # pairs whose history is read
    failures: Failures = field(default_factory=Failures)


def evaluate_commits(
    rules: EventRules,
    commits: Sequence[CommitInfo],
    after: int,
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
    takes: Callable[[str], bool] = lambda _: True,
) -> Failures:
    """Decide what ``rules`` notify of ``commits``, which follow commit ``after``; into ``memory``. ``takes`` says of a
    rule by name whether it takes part.

    Returns what failed; of a rule that did, nothing was decided.
    """
    work = _Work(takes=takes)
    hi = commits[-1].seq
    recent = reader.recent_rows(after, hi)
    if recent is None:
        _match(rules.index, reader.rows_of(after, hi), reader, work)
    else:
        _match_in_memory(rules.index, recent, reader.rows_of(after, hi), reader, work)
    _wake(rules.by_name, reader, memory, work, reader.recent_runs(after, hi))
    _read_again(rules.by_name, hi, reader, memory, work)
    decisions: list[Decision] = []
    times = {c.seq: c.ingested_at for c in commits}
    for pair in sorted(work.hits.keys() | work.again):
        if pair[0] not in work.failures.rules:
            decisions += _decide(rules.by_name[pair[0]], pair, times, memory, source_progress, work)
    collapsing = [rule for rule in rules.collapsing if takes(rule.name) and rule.name not in work.failures.rules]
    if collapsing:
        parents = {r.name: remembered_parents(r, work.runs, memory) for r in collapsing}
        brought = Brought(times=times, parents=parents, rules={r.name: r for r in collapsing})
        decisions = collapse(decisions, reader, memory, source_progress, hi, brought)
    rows = write(decisions, memory, reader, source_progress, work.rows)
    taking = [rule for rule in rules.recovering if takes(rule.name)]
    alone = {pair: hit for pair, hits in work.hits.items() if pair not in work.again for hit in hits.values()}
    span = recovery.Span(
        times=times, after=after, reader=reader, memory=memory, failures=work.failures, rows=rows
    )  # fmt: skip
    recovery.on_commits(taking, work.again, alone, span)
    return work.failures


def _match_in_memory(
    index: RuleIndex[EventRule], recent: Sequence[StoredRow], rows: Rows, reader: LogReader, work: _Work
) -> None:
    """As ``_match``, of rows that are in memory: a commit of a few events is planned by no SQL."""
    work.runs = list(dict.fromkeys(row["RunId"] for row in recent))
    found, left = matches_in_memory(index, recent, work.takes)
    found += matches(reader, left, *rows, work.failures)
    hit = {one.key for one in found}
    work.rows = {key: carried(row) for row in recent if (key := key_of(row)) in hit}
    _note(work, found, [history.past_event(key, row) for key, row in work.rows.items()])


def _match(index: RuleIndex[EventRule], rows: Rows, reader: LogReader, work: _Work) -> None:
    """Find what matches among the new rows."""
    rows_sql, params = rows
    keys = reader.select(index.keys_sql(rows_sql), params)
    work.runs = keys.column(0).unique().to_pylist()
    rules = [rule for i in index.touched(keys) if work.takes((rule := index.rules[i]).name)]
    found = matches(reader, rules, rows_sql, params, work.failures)
    if not found:
        return
    if len(found) <= FEW:
        work.rows = history.whole_rows(reader, ((hit.key, hit.commit_seq) for hit in found))
        seen = [history.past_event(key, row) for key, row in work.rows.items()]
    else:
        seen = history.read_keys(reader, (hit.key for hit in found), rows_sql, params)
    _note(work, found, seen)


def _note(work: _Work, found: Iterable[EventHit], seen: Iterable[PastEvent]) -> None:
    for one in seen:
        work.seen[one.run_id][one.event.key] = one
    for hit in found:
        work.hits[(hit.rule.name, hit.run_id)][hit.key] = hit


def _wake(
    rules: Mapping[str, EventRule],
    reader: LogReader,
    memory: Memory,
    work: _Work,
    runs: Mapping[str, Touched] | None,
) -> None:
    """Find the pairs whose history decides; ``runs`` are those of the commits, where they are in memory."""
    notified_of = memory.rules_notified_of(work.runs)
    work.again |= {
        (name, run) for run, names in notified_of.items() for name in names if name in rules and work.takes(name)
    }
    work.again |= {pair for pair, hits in work.hits.items() if len(hits) > 1}
    first = [pair for pair in work.hits if pair not in work.again]
    older = _older_runs([p for p in first if memory.record(p[0]).start_seq > 0], reader, memory, runs)
    work.again |= older


def _older_runs(
    pairs: Sequence[Pair], reader: LogReader, memory: Memory, known: Mapping[str, Touched] | None
) -> set[Pair]:
    """Those pairs whose run may have events from before the rule's start."""
    if not pairs:
        return set()
    begins: dict[int, datetime | None] = {}
    for start in {memory.record(rule).start_seq for rule, _ in pairs}:
        following = reader.commits(start, 1)
        begins[start] = following[0].ingested_at if following else None
    since = _first_seen({run for _, run in pairs}, reader, known)
    older = set()
    for rule, run in pairs:
        begin, first = begins[memory.record(rule).start_seq], since.get(run)
        if begin is None or first is None or first < history.micros(begin):
            older.add((rule, run))
    return older


def _first_seen(
    runs: Collection[str], reader: LogReader, known: Mapping[str, Touched] | None
) -> Mapping[str, int | None]:
    """When runs were first seen, µs."""
    rows = {run: known[run].row if known is not None and run in known else None for run in runs}
    found = {run: history.micros(row["FirstSeen"].replace(tzinfo=UTC)) for run, row in rows.items() if row is not None}
    if len(found) == len(rows):
        return found
    runs_sql, params = reader.runs_of(runs)
    table = reader.select(f"SELECT RunId, epoch_us(FirstSeen) FROM ({runs_sql})", params)
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def _read_again(rules: Mapping[str, EventRule], hi: int, reader: LogReader, memory: Memory, work: _Work) -> None:
    """Read the history of the pairs that need it, and what the rules match there."""
    if not work.again:
        return
    work.notified = memory.notified(work.again)
    rows_sql, params = history.run_rows(reader, (run for _, run in work.again), hi)
    for seen in history.read(reader, rows_sql, params):
        work.seen[seen.run_id][seen.event.key] = seen
    again = [rules[name] for name in sorted({name for name, _ in work.again})]
    for hit in matches(reader, again, rows_sql, params, work.failures):
        pair = (hit.rule.name, hit.run_id)
        if pair in work.again:
            work.hits[pair][hit.key] = hit


def _decide(
    rule: EventRule,
    pair: Pair,
    times: Mapping[int, datetime],
    memory: Memory,
    source_progress: SourceProgress,
    work: _Work,
) -> list[Decision]:
    """Decide for one rule and run after each commit that brought something."""
    hits, seen = work.hits.get(pair, {}), work.seen[pair[1]]
    remembered = phases(work.notified.get(pair, ()))
    start = memory.record(rule.name).start_seq
    events = [s.event for s in seen.values()] if pair in work.again else [seen[key].event for key in hits]
    decisions: list[Decision] = []
    for seq in sorted({e.commit_seq for e in events} & times.keys()):
        if not remembered and not any(hit.commit_seq == seq for hit in hits.values()):
            continue
        visible = [e for e in events if e.commit_seq <= seq]
        matching = {e.key for e in visible if e.key in hits}
        for occurrence in occurrences_of(visible, matching):
            verdict = evaluate(
                occurrence,
                remembered,
                start,
                expired=lambda e: staleness(rule, seen[e.key], times[seq], source_progress),  # noqa: B023 (called at once)
                waits=lambda e: waits_for(rule, seen[e.key]),
            )
            for event in verdict.waiting:
                consumers = frozenset(s.consumer for s in seen.values())
                memory.put_timer(deadline(rule, seen[event.key], consumers, times.get(event.commit_seq)))
            if verdict.event is None:
                continue
            decision = Decision(
                rule=rule,
                run_id=pair[1],
                event=verdict.event,
                consumer=seen[verdict.event.key].consumer,
                why=verdict.why,
                at=times[seq],
                commit_seq=seq,
                computed=hits[verdict.event.key].computed,
            )
            decisions.append(decision)
            remembered[verdict.event.key] = decision.occurrence.phase
    return decisions


def waits_for(rule: EventRule, seen: PastEvent) -> bool:
    """Whether it has to be waited until it is known that no other attempt follows."""
    return rule.spec.waits(seen.event.status, seen.will_retry)


def staleness(rule: EventRule, seen: PastEvent, at: datetime, source_progress: SourceProgress) -> Why | None:
    """Why the event is too old for the rule to notify at ``at``."""
    within = rule.max_event_age + (rule.spec.final_after if waits_for(rule, seen) else timedelta(0))
    return why_expired(
        moment(seen.event.key.time_us), at, within=within, first_start=source_progress.expired_before(seen.consumer)
    )


def deadline(rule: EventRule, seen: PastEvent, consumers: frozenset[str], came: datetime | None) -> Timer:
    """When it is known that no other attempt came. The event may have come later than that: ``came``, where it is
    among these commits.
    """
    key = seen.event.key
    due = moment(key.time_us) + rule.spec.final_after
    return Timer(
        rule=rule.name,
        kind=TimerKind.FINAL_AFTER,
        key=fingerprint(seen.run_id, key.source, key.event_id, str(key.time_us)),
        due=due,
        consumers=consumers,
        data=Attempt(
            run=seen.run_id,
            event=key,
            due_us=history.micros(due),
            came_us=history.micros(came) if came is not None and came > due else 0,
        ),
    )
