"""Event rules whose alerts stay open: notified again while they do, ended by a later event of the same columns, or
by time.

    commits     Failed churn      Completed churn        (event times: the one that ends it is later)
                   |                    |
    notified        fired               recovered
                   └── each `repeat_every`: again ──┘ └─ or, after its time: closed, without a notification

After each commit that brought events of a run that was notified, or events that can end something, the occurrences of
those runs are gone through by ``alerts.openings``. Several commits at once come to the same as one after the other. Of
a run whose first and only match they brought nothing is read again: that event is an occurrence by itself, whatever
else the run said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.alerts.active import ActiveAlert, ResolvePolicy, active_alert_of, marks
from tocsin.alerts.occurrences import EventOccurrence, RunEvent, occurrences_of
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Phase, Why
from tocsin.model.columns import RUN_STATUS_CHANGED, KqlType
from tocsin.model.details import Details, EndedBy
from tocsin.model.intent import IntentKind
from tocsin.rules import history
from tocsin.rules.emit import emit
from tocsin.rules.history import Row, moment, plain, whole_rows
from tocsin.rules.kinds.event.matching import matches
from tocsin.rules.kinds.event.resolve.active import (
    active_alert,
    change_of,
    columns_for,
    drop,
    fields_of,
    keep_open,
    mark,
    resolve_policy_of,
    settle,
)
from tocsin.rules.kinds.event.resolve.resolving import (
    ResolvingEvent,
    ResolvingEvents,
    resolving_events_of,
    resolving_now,
    values_of,
)
from tocsin.rules.kinds.event.spec import EventHit, EventRule
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.queries import Failures

_TEXTS = frozenset(c.name for c in RUN_STATUS_CHANGED if c.type is KqlType.STRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluation:
    """What is known of the runs to be gone through; those that are read."""

    events: Mapping[str, Sequence[RunEvent]]  # by run
    hits: Mapping[Pair, Mapping[EventKey, EventHit]]
    values: Mapping[tuple[str, EventKey], Mapping[str, str]]  # columns of `same`, by run and event
    resolving_events: ResolvingEvents


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Commits that may end alerts, or the instant of a timer. A rule that fails is added to ``failures``; then nothing
    was decided of it.
    """

    times: Mapping[int, datetime]  # CommitSeq → T
    after: int  # the commit that they follow
    reader: LogReader
    memory: Memory
    failures: Failures
    rows: Mapping[EventKey, Row] = field(default_factory=dict)  # that are known already


def on_commits(
    rules: Iterable[EventRule], pairs: Iterable[Pair], alone: Mapping[Pair, EventHit], span: Span
) -> None:  # fmt: skip
    """End what the commits of ``span`` are the end of.

    ``pairs`` are the runs that they brought events of and that were notified of, or may have been, but for those in
    ``alone``: of these they brought the first match, and no other.
    """
    recovering = {
        rule.name: rule for rule in rules if rule.spec.resolve_policy is not None and rule.spec.resolve_policy.recovers
    }
    recovering = {name: rule for name, rule in recovering.items() if name not in span.failures.rules}
    if not recovering:
        return
    ones = _ones(recovering, alone, span)
    touched = {pair for pair in (*pairs, *alone) if pair[0] in recovering and pair not in ones}
    now = resolving_now(recovering.values(), span.after, max(span.times), span.reader, span.memory)
    waiting = now.waiting - touched - ones.keys()
    _evaluate_all(recovering, ones, touched, waiting, now.resolving_events, span)


def at_instant(
    rules: Iterable[EventRule], pairs: Iterable[Pair], at: datetime, commit_seq: int, reader: LogReader, memory: Memory
) -> Failures:
    """End what was notified at a timer's instant, or is evaluated again, where its end is known already."""
    recovering = {
        rule.name: rule for rule in rules if rule.spec.resolve_policy is not None and rule.spec.resolve_policy.recovers
    }
    touched = {pair for pair in pairs if pair[0] in recovering}
    failures = Failures()
    if touched:
        span = Span(times={commit_seq: at}, after=commit_seq, reader=reader, memory=memory, failures=failures)
        _evaluate_all(recovering, {}, touched, frozenset(), ResolvingEvents(), span)
    return failures


def _evaluate_all(
    rules: Mapping[str, EventRule],
    ones: Mapping[Pair, _One],
    touched: set[Pair],
    waiting: frozenset[Pair],
    resolving_events: ResolvingEvents,
    span: Span,
) -> None:
    memory, known = span.memory, span.rows
    notified = memory.notified(touched | waiting)
    if not notified and not ones:
        return
    evaluate = _evaluate(rules, touched & notified.keys(), notified.keys(), ones, resolving_events, span)
    ends: list[_End] = []
    open_ = _open(notified.keys() | ones.keys(), memory)
    for pair in sorted(notified.keys() | ones.keys()):
        if pair[0] in span.failures.rules:
            continue
        if pair in ones:
            ends += _evaluate_one_rule(rules[pair[0]], ones[pair], open_[pair], evaluate.resolving_events, span)
        else:
            ends += _evaluate_rule(rules[pair[0]], pair[1], notified[pair], open_[pair], evaluate, span)
    unread = {e.active.event: e.active.commit_seq for e in ends if e.active.event not in known}
    rows = {**known, **whole_rows(span.reader, unread.items(), columns_for({e.rule for e in ends}, memory))}
    for end in sorted(ends, key=lambda e: (e.at, e.commit_seq, e.active.rule, e.active.run_id, e.active.occurrence)):
        _notify_end(end, rows.get(end.active.event, {}), memory)


def _open(pairs: Collection[Pair], memory: Memory) -> dict[Pair, dict[EventKey, ActiveAlert]]:
    """What is open of ``pairs``: gone through once, since thousands may be open."""
    found: dict[Pair, dict[EventKey, ActiveAlert]] = defaultdict(dict)
    for rule in {name for name, _ in pairs}:
        for state in memory.conditions(rule).values():
            kept = state.data.active
            if kept is not None and (rule, kept.run) in pairs and (active := active_alert_of(state)):
                found[(rule, active.run_id)][active.event] = active
    return found


@dataclass(frozen=True, slots=True)
class _One:
    """The first and only match of a run, notified by these commits."""

    hit: EventHit
    same: tuple[str, ...]  # what it has in the columns of `same`; () where one of them is absent


def _ones(rules: Mapping[str, EventRule], alone: Mapping[Pair, EventHit], span: Span) -> dict[Pair, _One]:
    """Those of ``alone`` that were notified, and are known to be alone: nothing is remembered of an earlier match that
    waits whether another attempt follows.
    """
    rows = span.rows
    plain_ = {name: rule for name, rule in rules.items() if _TEXTS.issuperset(resolve_policy_of(rule).same)}
    asked = {pair: hit for pair, hit in alone.items() if pair[0] in plain_ and hit.key in rows}
    if any(plain_[name].spec.final for name, _ in asked):
        waits = "SELECT 1 FROM RunStatusChanged WHERE WillRetry IS NULL AND CommitSeq <= $after LIMIT 1"
        if span.reader.select(waits, {"after": span.after}).num_rows:
            asked = {pair: hit for pair, hit in asked.items() if not plain_[pair[0]].spec.final}
    notified = span.memory.notified(asked)
    found: dict[Pair, _One] = {}
    for pair, hit in asked.items():
        if any(o.phase is Phase.FIRED for o in notified.get(pair, ())):
            row, same = rows[hit.key], resolve_policy_of(plain_[pair[0]]).same
            values = tuple(str(row.get(name) or (name == "JobKey" and hit.run_id) or "") for name in same)
            found[pair] = _One(hit, values if all(values) else ())
    return found


def _evaluate(
    rules: Mapping[str, EventRule],
    touched: set[Pair],
    pairs: Collection[Pair],
    ones: Mapping[Pair, _One],
    resolving_events: ResolvingEvents,
    span: Span,
) -> _Evaluation:
    """Read the runs of ``pairs``, and what ended events of those that were touched, and of ``ones``, before ``span``."""
    reader = span.reader
    events: dict[str, list[RunEvent]] = defaultdict(list)
    hits: dict[Pair, dict[EventKey, EventHit]] = defaultdict(dict)
    values: Mapping[tuple[str, EventKey], Mapping[str, str]] = {}
    if pairs:
        asking = [rules[name] for name in {name for name, _ in pairs}]
        rows_sql, params = history.run_rows(reader, (run for _, run in pairs), max(span.times))
        for seen in history.read(reader, rows_sql, params):
            events[seen.run_id].append(seen.event)
        for hit in matches(reader, asking, rows_sql, params, span.failures):
            if (hit.rule.name, hit.run_id) in pairs:
                hits[(hit.rule.name, hit.run_id)][hit.key] = hit
        columns = {name for rule in asking for name in resolve_policy_of(rule).same}
        values = values_of(reader, columns, {key for found in hits.values() for key in found}, rows_sql, params)
    since: dict[str, list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
    for (rule, _), one in ones.items():
        since[rule].append((one.hit.key.time_us, one.same))
    for rule, run in touched:
        for key in hits[(rule, run)]:
            since[rule].append((key.time_us, _same(resolve_policy_of(rules[rule]), values, run, key)))
    before = resolving_events_of([(rules[name], asked) for name, asked in since.items()], span.after, reader)
    return _Evaluation(events=events, hits=hits, values=values, resolving_events=before.and_then(resolving_events))


def _same(
    resolve_policy: ResolvePolicy, values: Mapping[tuple[str, EventKey], Mapping[str, str]], run: str, key: EventKey
) -> tuple[str, ...]:
    """What an event has in the columns of `same`; () where one of them is absent: then nothing is equal to it."""
    found = values.get((run, key), {})
    mine = tuple(found.get(name, "") for name in resolve_policy.same)
    return mine if all(mine) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """An alert that recovered."""

    rule: EventRule
    active: ActiveAlert
    resolving_event: ResolvingEvent
    ordinal: int
    computed: Mapping[str, object]
    at: datetime
    commit_seq: int


def _evaluate_one_rule(
    rule: EventRule,
    one: _One,
    open_: Mapping[EventKey, ActiveAlert],
    resolving_events: ResolvingEvents,
    span: Span,
) -> list[_End]:
    """As ``_evaluate_rule``, of a run with one match: an occurrence that nothing splits, over by the first event
    that ends it.
    """
    hit, resolve_policy, times, memory = one.hit, resolve_policy_of(rule), span.times, span.memory
    active = open_.get(hit.key)
    if active is None:
        return []
    active = replace(active, same=(one.same,) if one.same else ())
    first = resolving_events.first(resolve_policy, one.same, hit.key.time_us) if one.same else None
    seq = max(first, hit.commit_seq) if first is not None else -1
    resolving_event = resolving_events.later(resolve_policy, one.same, hit.key.time_us, seq) if seq in times else None
    if resolving_event is None:
        keep_open(active, resolve_policy, memory)
        return []
    drop(active, memory)
    mark(rule, hit.run_id, hit.key, Phase.CLOSED, times[seq], seq, memory)
    return [
        _End(
            rule=rule, active=active, resolving_event=resolving_event, ordinal=0, computed=hit.computed, at=times[seq], commit_seq=seq,
        )
    ]  # fmt: skip


def _evaluate_rule(
    rule: EventRule,
    run: str,
    notified: Sequence[Occurrence],
    open_: dict[EventKey, ActiveAlert],
    evaluate: _Evaluation,
    span: Span,
) -> list[_End]:
    """Go through a run's occurrences after each commit that can have changed something; ``open_`` are its alerts."""
    times, memory, resolve_policy = span.times, span.memory, resolve_policy_of(rule)
    hits, events = evaluate.hits.get((rule.name, run), {}), evaluate.events.get(run, ())
    same = {key: _same(resolve_policy, evaluate.values, run, key) for key in hits}
    seen = list(notified)
    ends: list[_End] = []
    kept: set[EventKey] = set()  # what is open otherwise than it is remembered
    matched = [e for e in events if e.key in hits]
    firsts = (evaluate.resolving_events.first(resolve_policy, same[key], key.time_us) for key in hits if same[key])
    for seq in _relevant(events, matched, firsts, times):
        matching = {e.key for e in matched if e.commit_seq <= seq}
        if not matching:
            continue
        visible = [e for e in events if e.commit_seq <= seq]
        for occurrence in occurrences_of(visible, matching):
            known = marks(seen, seq)
            event = next((e for e in occurrence.events if e.key in known.notified), None)
            if event is None:
                continue
            active = open_.get(event.key)
            if occurrence.keys & known.ended:
                if active is not None:  # an earlier part of it was notified later, and its end before
                    del open_[event.key]
                    kept.discard(event.key)
                    settle(rule, active, Why.RECOVERED, times[seq], seq, memory)
                if event.key in known.ended and _counted_first(seen, event.key):  # both are kept
                    seen.append(mark(rule, run, event.key, Phase.CLOSED, times[seq], seq, memory))
                continue
            if active is None:
                if not known.ended:
                    continue  # notified before the rule had an end to wait for, or closed since by time
                active = _reopened(rule, run, event, hits[event.key], seq, span)
            equal = tuple(sorted({same[e.key] for e in occurrence.events if same[e.key]}))
            active = active if active.same == equal else replace(active, same=equal)
            over = _first_over(occurrence, event.key, same, evaluate.resolving_events, resolve_policy, seq)
            if over is None:
                if active != open_.get(event.key):
                    open_[event.key] = active
                    kept.add(event.key)
                continue
            ended, resolving_event = over
            open_.pop(event.key, None)
            kept.discard(event.key)
            drop(active, memory)
            phase = Phase.CLOSED if ended == event.key else Phase.RESOLVED
            seen.append(mark(rule, run, ended, phase, times[seq], seq, memory))
            ends.append(
                _End(
                    rule=rule, active=active, resolving_event=resolving_event, ordinal=len(known.ended), computed=hits[event.key].computed,
                    at=times[seq], commit_seq=seq,
                )
            )  # fmt: skip
    _keep((active for key, active in open_.items() if key in kept), resolve_policy, memory)
    return ends


def _keep(active: Iterable[ActiveAlert], resolve_policy: ResolvePolicy, memory: Memory) -> None:
    for one in active:
        keep_open(one, resolve_policy, memory)


def _relevant(
    events: Sequence[RunEvent], matched: Sequence[RunEvent], firsts: Iterable[int | None], times: Mapping[int, datetime]
) -> list[int]:
    """Commits that can have changed something. ``firsts`` are those as of which events are over: others that end them
    change nothing more.
    """
    if len(times) == 1:
        return list(times)
    begins = min((e.commit_seq for e in matched), default=0)
    relevant = {e.commit_seq for e in events if e.commit_seq >= begins} | {seq for seq in firsts if seq is not None}
    return sorted(relevant & times.keys())


def _counted_first(seen: Sequence[Occurrence], event: EventKey) -> bool:
    """Whether the end of an event was counted before it was notified."""
    return next(o.phase for o in reversed(seen) if o.event == event) is not Phase.CLOSED


def _first_over(
    occurrence: EventOccurrence,
    notified: EventKey,
    same: Mapping[EventKey, tuple[str, ...]],
    resolving_events: ResolvingEvents,
    resolve_policy: ResolvePolicy,
    seq: int,
) -> tuple[EventKey, ResolvingEvent] | None:
    """The event of an occurrence that is over as of commit ``seq``, the one that was notified first of all, and what
    ended it.
    """
    keys = sorted((e.key for e in occurrence.events), key=lambda k: k != notified)
    for key in keys:
        resolving_event = resolving_events.later(resolve_policy, same[key], key.time_us, seq) if same[key] else None
        if resolving_event is not None:
            return key, resolving_event
    return None


def _reopened(
    rule: EventRule, run: str, event: RunEvent, hit: EventHit, commit_seq: int, span: Span
) -> ActiveAlert:  # fmt: skip
    """What was notified and ended as a part of another occurrence stands alone now: late events split it. It is open
    again.
    """
    at = span.times[commit_seq]
    row = whole_rows(span.reader, [(event.key, event.commit_seq)]).get(event.key, {})
    occurrence = Occurrence(
        rule=rule.name, run_id=run, event=event.key, phase=Phase.FIRED, at=at, commit_seq=event.commit_seq
    )  # fmt: skip
    active = active_alert(rule, occurrence, {**row, **{name: plain(value) for name, value in hit.computed.items()}}, at)
    emit(span.memory, rule, change_of(active, Phase.RESOLVED, Phase.FIRING, Why.HOLDS_AGAIN, at, commit_seq))
    return active


def _notify_end(end: _End, row: Row, memory: Memory) -> None:
    active = end.active
    by = end.resolving_event
    change = replace(
        change_of(active, Phase.FIRING, Phase.RESOLVED, Why.RECOVERED, end.at, end.commit_seq),
        kind=IntentKind.RESOLVED,
        ordinal=end.ordinal,
        event=fields_of(active, row, end.computed),
        details=Details(ended_by=EndedBy(run=by.run_id, status=by.status, time=moment(by.time_us))),
    )
    emit(memory, end.rule, change, beyond=active.beyond)
