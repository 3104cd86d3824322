"""From verdicts to what is remembered and notified: occurrences, transitions, intents, backfills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.alerts.changes import Change
from tocsin.alerts.occurrences import RunEvent
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Occurrence, Phase, Why
from tocsin.model.details import Details, Group
from tocsin.model.intent import IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.backfills import count_expired
from tocsin.rules.emit import emit
from tocsin.rules.history import Row, moment, plain, whole_rows
from tocsin.rules.kinds.event.resolve.active import active_alert, columns_for, keep_open
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory

NOTIFIES = frozenset({Why.FIRST, Why.NO_ATTEMPT_CAME})
EXPIRED = frozenset({Why.TOO_OLD, Why.BEFORE_CONSUMER})
COLLAPSED = frozenset({Why.COLLAPSED})
_PHASES = {**dict.fromkeys(NOTIFIES, Phase.FIRED), **dict.fromkeys(COLLAPSED, Phase.COLLAPSED)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """An occurrence to be notified, or to be remembered without a notification."""

    rule: EventRule
    run_id: str
    event: RunEvent  # names the occurrence
    consumer: str
    why: Why
    at: datetime  # T; UTC
    commit_seq: int
    computed: Mapping[str, object] = field(default_factory=dict)
    due: datetime | None = None  # of the deadline that decided it
    group: Group | None = None  # its children, of a parent

    @property
    def occurrence(self) -> Occurrence:
        """What is remembered."""
        return Occurrence(
            rule=self.rule.name,
            run_id=self.run_id,
            event=self.event.key,
            phase=_PHASES.get(self.why, Phase.EXPIRED),
            at=self.at,
            commit_seq=self.commit_seq,
        )

    @property
    def order(self) -> tuple[datetime, int, int, str, str, str, str]:
        """Decisions are written in this order, whichever came to be known first."""
        key = self.event.key
        return (self.at, self.commit_seq, key.time_us, self.rule.name, self.run_id, key.source, key.event_id)


def write(
    decisions: Sequence[Decision],
    memory: Memory,
    reader: LogReader,
    source_progress: SourceProgress,
    rows: Mapping[EventKey, Row],
) -> Mapping[EventKey, Row]:
    """Turn ``decisions`` into occurrences, transitions, intents and backfills of ``memory``. ``rows`` are known
    already.

    Returns the rows of what is notified.
    """
    notified: Mapping[EventKey, Row] = {}
    ordered = sorted(decisions, key=lambda d: d.order)
    for whys in (NOTIFIES, EXPIRED, COLLAPSED):
        wanted = [d for d in ordered if d.why in whys]
        unread = [(d.event.key, d.event.commit_seq) for d in wanted if d.event.key not in rows]
        rules = {d.rule for d in wanted}
        only = columns_for(rules, memory) if whys is NOTIFIES else frozenset().union(*(rule.reads for rule in rules))
        read = {**rows, **whole_rows(reader, unread, only)} if unread else rows
        notified = read if whys is NOTIFIES else notified
        for decision in wanted:
            row = read.get(decision.event.key, {})
            if whys is NOTIFIES:
                _notify(decision, row, memory)
                continue
            emit(memory, decision.rule, _recorded(decision, _fields(decision, row), memory))
            if whys is EXPIRED:
                _backfill(decision, memory, source_progress)
    for decision in ordered:
        if decision.why not in NOTIFIES | EXPIRED | COLLAPSED:  # before the rule's start: nobody's business but ours
            memory.remember(decision.occurrence)
    return notified


def write_limited(
    decisions: Sequence[Decision],
    memory: Memory,
    reader: LogReader,
    source_progress: SourceProgress,
    rows: Mapping[EventKey, Row],
) -> list[Decision]:
    """Write those of ``decisions``, of one instant, that a limit counts: what is notified of a parent group at a
    later one counts after them.

    Returns the others.
    """
    counted = [d for d in decisions if d.rule.limit is not None and d.why in NOTIFIES]
    if counted:
        write(counted, memory, reader, source_progress, rows)
    return [d for d in decisions if d.rule.limit is None or d.why not in NOTIFIES]


def _notify(decision: Decision, row: Mapping[str, object], memory: Memory) -> None:
    rule, occurrence = decision.rule, decision.occurrence
    fields = _fields(decision, row)
    change = replace(
        _recorded(decision, fields, memory),
        kind=IntentKind.FIRED,
        event=fields,
        details=Details(due=decision.due, group=decision.group),
        event_time=moment(decision.event.key.time_us),
    )
    beyond = emit(memory, rule, change)
    if rule.spec.resolve_policy is not None:
        active = active_alert(rule, occurrence, fields, decision.at)
        keep_open(replace(active, beyond=beyond) if beyond else active, rule.spec.resolve_policy, memory)


def _fields(decision: Decision, row: Row) -> dict[str, object]:
    """The event as its alert carries it."""
    return {**row, **{name: plain(value) for name, value in decision.computed.items()}}


def _recorded(decision: Decision, fields: Row, memory: Memory) -> Change:
    """Remember an occurrence; what it changes, while nobody is notified of it by itself."""
    rule, occurrence, policy = decision.rule, decision.occurrence, decision.rule.spec.resolve_policy
    memory.remember(occurrence)
    fires = policy is not None and policy.recovers and occurrence.phase is Phase.FIRED
    return Change(
        instance={name: fields.get(name) for name in rule.by},
        occurrence=occurrence.name,
        before=Phase.NONE,
        after=Phase.FIRING if fires else occurrence.phase,
        why=decision.why,
        severity=rule.severity,
        fields={name: fields.get(name) for name in rule.fields},
        labels=labels_of(rule, fields),
        run_id=decision.run_id,
        commit_seq=decision.commit_seq,
        at=decision.at,
    )


def _backfill(decision: Decision, memory: Memory, source_progress: SourceProgress) -> None:
    count_expired(
        decision.rule, decision.consumer, moment(decision.event.key.time_us), decision.at, memory, source_progress
    )
