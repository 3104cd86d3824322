"""From verdicts to what is remembered and told: occurrences, transitions, intents, catch-ups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tocsin.alerts.occurrences import RunEvent
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Phase, Transition, Why
from tocsin.model.heard import Heard
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules import limits
from tocsin.rules.history import Row, moment, plain, whole_rows
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory
from tocsin.rules.opened import columns_for, keep_open, opened_alert
from tocsin.rules.rule import Rule
from tocsin.state.interface import CatchUp

QUIET = timedelta(minutes=1)
"""A catch-up of a consumer that has no end to reach is over after so long without a stale event."""

TELLS = frozenset({Why.FIRST, Why.NO_TRY_CAME})
STALE = frozenset({Why.TOO_OLD, Why.BEFORE_CONSUMER})
COLLAPSED = frozenset({Why.COLLAPSED})
_PHASES = {**dict.fromkeys(TELLS, Phase.TOLD), **dict.fromkeys(COLLAPSED, Phase.COLLAPSED)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An occurrence to be told, or to be remembered without a word."""

    rule: Rule
    run_id: str
    event: RunEvent  # names the occurrence
    consumer: str
    why: Why
    at: datetime  # T; UTC
    commit_seq: int
    computed: Mapping[str, object] = field(default_factory=dict)
    due: datetime | None = None  # of the deadline that decided it
    about: Mapping[str, object] = field(default_factory=dict)  # more for the intent's data, JSON-able

    @property
    def occurrence(self) -> Occurrence:
        """What is remembered."""
        return Occurrence(
            rule=self.rule.name,
            run_id=self.run_id,
            event=self.event.key,
            phase=_PHASES.get(self.why, Phase.STALE),
            at=self.at,
            commit_seq=self.commit_seq,
        )

    @property
    def order(self) -> tuple[datetime, int, int, str, str, str, str]:
        """Decisions are written in this order, whichever came to be known first."""
        key = self.event.key
        return (self.at, self.commit_seq, key.time_us, self.rule.name, self.run_id, key.source, key.event_id)


def write(
    decisions: Sequence[Decision], memory: Memory, reader: LogReader, heard: Heard, rows: Mapping[EventKey, Row]
) -> Mapping[EventKey, Row]:
    """Turn ``decisions`` into occurrences, transitions, intents and catch-ups of ``memory``. ``rows`` are known already.

    Returns the rows of what is told.
    """
    told: Mapping[EventKey, Row] = {}
    ordered = sorted(decisions, key=lambda d: d.order)
    for whys in (TELLS, STALE, COLLAPSED):
        wanted = [d for d in ordered if d.why in whys]
        unread = [(d.event.key, d.event.commit_seq) for d in wanted if d.event.key not in rows]
        rules = {d.rule for d in wanted}
        only = columns_for(rules, memory) if whys is TELLS else frozenset().union(*(rule.reads for rule in rules))
        read = {**rows, **whole_rows(reader, unread, only)} if unread else rows
        told = read if whys is TELLS else told
        for decision in wanted:
            row = read.get(decision.event.key, {})
            if whys is TELLS:
                _tell(decision, row, memory)
                continue
            _record(decision, row, memory)
            if whys is STALE:
                _catch_up(decision, memory, heard)
    for decision in ordered:
        if decision.why not in TELLS | STALE | COLLAPSED:  # before the rule's start: nobody's business but ours
            memory.remember(decision.occurrence)
    return told


def write_limited(
    decisions: Sequence[Decision], memory: Memory, reader: LogReader, heard: Heard, rows: Mapping[EventKey, Row]
) -> list[Decision]:
    """Write those of ``decisions``, of one instant, that a limit counts: what is told of a sweep at a later one counts after them.

    Returns the others.
    """
    counted = [d for d in decisions if d.rule.limit is not None and d.why in TELLS]
    if counted:
        write(counted, memory, reader, heard, rows)
    return [d for d in decisions if d.rule.limit is None or d.why not in TELLS]


def _tell(decision: Decision, row: Mapping[str, object], memory: Memory) -> None:
    rule, occurrence = decision.rule, decision.occurrence
    fields = {**row, **{name: plain(value) for name, value in decision.computed.items()}}
    instance = {name: fields.get(name) for name in rule.by}
    labels = labels_of(rule, fields)
    keep = {name: fields.get(name) for name in rule.keep}
    memory.remember(occurrence)
    root, name = fields.get("RootRunId"), occurrence.name
    beyond = limits.tell(
        rule.name,
        rule.limit,
        Intent(
            rule=rule.told_as,
            rule_version=rule.info.version,
            instance=instance,
            occurrence=name,
            kind=IntentKind.FIRED,
            severity=rule.severity,
            why=decision.why,
            labels=labels,
            keep=keep,
            run_id=decision.run_id,
            root_run_id=root if isinstance(root, str) else "",
            event=fields,
            data={**({} if decision.due is None else {"due": plain(decision.due)}), **decision.about},
            commit_seq=decision.commit_seq,
            at=decision.at,
            event_time=moment(decision.event.key.time_us),
        ),
        rule.info,
        memory,
    )
    why = Why.LIMITED if beyond else decision.why
    memory.transitions.append(_transition(decision, occurrence.phase, name, instance, {**keep, **labels}, why))
    if rule.ending is not None:
        opened = opened_alert(rule, occurrence, fields, decision.at)
        keep_open(replace(opened, beyond=beyond) if beyond else opened, rule.ending, memory)


def _record(decision: Decision, row: Mapping[str, object], memory: Memory) -> None:
    """An occurrence that nobody is told of by itself."""
    rule, occurrence = decision.rule, decision.occurrence
    fields = {**row, **{name: plain(value) for name, value in decision.computed.items()}}
    instance = {name: fields.get(name) for name in rule.by}
    carried = {**{name: fields.get(name) for name in rule.keep}, **labels_of(rule, fields)}
    memory.remember(occurrence)
    memory.transitions.append(_transition(decision, occurrence.phase, occurrence.name, instance, carried))


def _catch_up(decision: Decision, memory: Memory, heard: Heard) -> None:
    count_stale(decision.rule, decision.consumer, moment(decision.event.key.time_us), decision.at, memory, heard)


def count_stale(rule: Rule, consumer: str, time: datetime, at: datetime, memory: Memory, heard: Heard) -> None:
    """Something of ``time`` was too old to tell: the catch-up of its consumer goes on, or begins."""
    known = memory.catch_up(rule.told_as, consumer)
    if known is None:
        catch_up = CatchUp(rule=rule.told_as, consumer=consumer, count=1, oldest=time, newest=time, began=at)
    else:
        catch_up = replace(known, count=known.count + 1, oldest=min(known.oldest, time), newest=max(known.newest, time))
    memory.put_catch_up(catch_up)
    memory.put_timer(_end_of(catch_up, at, heard))


def _end_of(catch_up: CatchUp, at: datetime, heard: Heard) -> Timer:
    """When a catch-up is over: its consumer has reached what was there at its first stale event, or is quiet."""
    reaches = heard.kinds.get(catch_up.consumer) == "kafka"
    return Timer(
        rule=catch_up.rule,
        kind=TimerKind.CATCH_UP,
        key=catch_up.consumer,
        due=catch_up.began if reaches else at + QUIET,
        consumers=frozenset({catch_up.consumer}) if reaches else frozenset(),
    )


def summary(rule: Rule, catch_up: CatchUp, at: datetime, commit_seq: int) -> Intent:
    """The one word about everything that was too old to tell."""
    return Intent(
        rule=rule.told_as,
        rule_version=rule.info.version,
        instance={"Consumer": catch_up.consumer},
        occurrence=str(plain(catch_up.began)),
        kind=IntentKind.SUMMARY,
        severity=rule.severity,
        why=Why.CATCH_UP_OVER,
        data={
            "stale": catch_up.count,
            "oldest": plain(catch_up.oldest),
            "newest": plain(catch_up.newest),
            "consumer": catch_up.consumer,
        },
        commit_seq=commit_seq,
        at=at,
    )


def _transition(
    decision: Decision,
    phase: Phase,
    occurrence: str,
    instance: Mapping[str, object],
    carried: Mapping[str, object],
    why: Why | None = None,
) -> Transition:
    recovers = decision.rule.ending is not None and decision.rule.ending.recovers
    return Transition(
        rule=decision.rule.told_as,
        instance=instance,
        occurrence=occurrence,
        before=Phase.NONE,
        after=Phase.FIRING if recovers and phase is Phase.TOLD else phase,
        reason=why or decision.why,
        severity=decision.rule.severity,
        labels=carried,
        run_id=decision.run_id,
        commit_seq=decision.commit_seq,
        at=decision.at,
    )
