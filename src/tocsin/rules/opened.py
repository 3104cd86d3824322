"""What is kept, recorded and told of the open alert of a row rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tocsin.alerts.openings import Ending, Opened
from tocsin.model.alert import EventKey, Occurrence, Phase, Transition, Why
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules.history import Row, moment, plain
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory
from tocsin.rules.rule import Rule, told_as

_NEEDED = frozenset({"RunId", "RootRunId", "Consumer", "CommitSeq"})


def columns_for(rules: Iterable[Rule], memory: Memory) -> frozenset[str] | None:
    """Columns that are read of events that alerts of ``rules`` are told of; None: all of them."""
    if memory.shown is None:
        return None
    found = _NEEDED.union(memory.shown)
    for rule in rules:
        found |= rule.reads.union(rule.limit.per if rule.limit else (), rule.ending.same if rule.ending else ())
    return found


def ending_of(rule: Rule) -> Ending:
    """How the alerts of a rule end that stay open."""
    assert rule.ending is not None
    return rule.ending


def opened_alert(rule: Rule, occurrence: Occurrence, fields: Row, at: datetime) -> Opened:
    """The alert of ``occurrence``, told at ``at`` of the event whose row is ``fields``."""
    root, consumer, seq = fields.get("RootRunId"), fields.get("Consumer"), fields.get("CommitSeq")
    return Opened(
        rule=rule.name,
        instance={name: fields.get(name) for name in rule.by},
        occurrence=occurrence.name,
        run_id=occurrence.run_id,
        root_run_id=root if isinstance(root, str) else "",
        event=occurrence.event,
        commit_seq=seq if isinstance(seq, int) else occurrence.commit_seq,
        consumer=consumer if isinstance(consumer, str) else "",
        severity=rule.severity,
        at=at,
        told_at=at,
        repeats=0,
        labels=labels_of(rule, fields),
        keep={name: fields.get(name) for name in rule.keep},
        recovers=ending_of(rule).recovers,
    )


def keep_open(opened: Opened, ending: Ending, memory: Memory) -> None:
    """It was told, and stays open."""
    state = opened.state
    memory.put_condition(state)
    memory.put_timer(Timer(rule=opened.rule, kind=TimerKind.CLOSE, key=state.key, due=opened.wake(ending)))


def timer_of(opened: Opened, ending: Ending) -> Timer:
    """When it is looked at again."""
    return Timer(rule=opened.rule, kind=TimerKind.CLOSE, key=opened.key, due=opened.wake(ending))


def drop(opened: Opened, memory: Memory) -> None:
    """It is open no longer."""
    key = opened.key
    memory.drop_condition(opened.rule, key)
    memory.drop_timer(opened.rule, TimerKind.CLOSE, key)


def settle(opened: Opened, why: Why, at: datetime, commit_seq: int, memory: Memory) -> None:
    """It ends without a word."""
    drop(opened, memory)
    before, after = (Phase.FIRING, Phase.RESOLVED) if opened.recovers else (Phase.TOLD, Phase.CLOSED)
    memory.transitions.append(transition_of(opened, before, after, why, at, commit_seq))


def fields_of(opened: Opened, row: Row, computed: Mapping[str, object]) -> dict[str, object]:
    """The event as its alert carries it; what is still known of it where its row is gone."""
    if not row:
        return {**opened.keep, **opened.instance}
    return {**row, **{name: plain(value) for name, value in computed.items()}}


def intent_of(
    rule: Rule,
    opened: Opened,
    fields: Mapping[str, object],
    kind: IntentKind,
    why: Why,
    ordinal: int,
    data: Mapping[str, object],
    at: datetime,
    commit_seq: int,
) -> Intent:
    """What is told of it again, or of its end."""
    root = fields.get("RootRunId")
    return Intent(
        rule=rule.told_as,
        rule_version=rule.info.version,
        instance=opened.instance,
        occurrence=opened.occurrence,
        kind=kind,
        ordinal=ordinal,
        severity=opened.severity,
        why=why,
        labels=opened.labels,
        keep=opened.keep,
        run_id=opened.run_id,
        root_run_id=root if isinstance(root, str) else opened.root_run_id,
        event=fields,
        data=data,
        commit_seq=commit_seq,
        at=at,
        event_time=moment(opened.event.time_us),
    )


def transition_of(
    opened: Opened, before: Phase, after: Phase, why: Why, at: datetime, commit_seq: int
) -> Transition:  # fmt: skip
    """The row of ``Alerts``."""
    return Transition(
        rule=told_as(opened.rule),
        instance=opened.instance,
        occurrence=opened.occurrence,
        before=before,
        after=after,
        reason=why,
        severity=opened.severity,
        labels={**opened.keep, **opened.labels},
        run_id=opened.run_id,
        commit_seq=commit_seq,
        at=at,
    )


def mark(
    rule: Rule, run: str, event: EventKey, phase: Phase, at: datetime, commit_seq: int, memory: Memory
) -> Occurrence:
    """Remember that an end was counted for ``event``: CLOSED where it was told of it, RESOLVED where of another one."""
    occurrence = Occurrence(rule=rule.name, run_id=run, event=event, phase=phase, at=at, commit_seq=commit_seq)
    memory.remember(occurrence)
    return occurrence
