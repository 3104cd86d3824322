"""What is kept, recorded and notified of the open alert of an event rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tocsin.alerts.active import ActiveAlert, ResolvePolicy
from tocsin.alerts.changes import Change
from tocsin.model.alert import EventKey, Occurrence, Phase, Why
from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.emit import emit
from tocsin.rules.history import Row, moment, plain
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory

_NEEDED = frozenset({"RunId", "RootRunId", "Consumer", "CommitSeq"})


def columns_for(rules: Iterable[EventRule], memory: Memory) -> frozenset[str] | None:
    """Columns that are read of events that alerts of ``rules`` are notified of; None: all of them."""
    if memory.shown is None:
        return None
    found = _NEEDED.union(memory.shown)
    for rule in rules:
        found |= rule.reads.union(
            rule.limit.per if rule.limit else (), rule.spec.resolve_policy.same if rule.spec.resolve_policy else ()
        )
    return found


def resolve_policy_of(rule: EventRule) -> ResolvePolicy:
    """How the alerts of a rule end that stay open."""
    assert rule.spec.resolve_policy is not None
    return rule.spec.resolve_policy


def active_alert(rule: EventRule, occurrence: Occurrence, fields: Row, at: datetime) -> ActiveAlert:
    """The alert of ``occurrence``, notified at ``at`` of the event whose row is ``fields``."""
    root, consumer, seq = fields.get("RootRunId"), fields.get("Consumer"), fields.get("CommitSeq")
    return ActiveAlert(
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
        last_notified_at=at,
        repeats=0,
        labels=labels_of(rule, fields),
        fields={name: fields.get(name) for name in rule.fields},
        recovers=resolve_policy_of(rule).recovers,
    )


def keep_open(active: ActiveAlert, resolve_policy: ResolvePolicy, memory: Memory) -> None:
    """It was notified, and stays open."""
    state = active.state
    memory.put_condition(state)
    memory.put_timer(Timer(rule=active.rule, kind=TimerKind.CLOSE, key=state.key, due=active.wake(resolve_policy)))


def timer_of(active: ActiveAlert, resolve_policy: ResolvePolicy) -> Timer:
    """When it is evaluated again."""
    return Timer(rule=active.rule, kind=TimerKind.CLOSE, key=active.key, due=active.wake(resolve_policy))


def drop(active: ActiveAlert, memory: Memory) -> None:
    """It is open no longer."""
    key = active.key
    memory.drop_condition(active.rule, key)
    memory.drop_timer(active.rule, TimerKind.CLOSE, key)


def settle(rule: EventRule, active: ActiveAlert, why: Why, at: datetime, commit_seq: int, memory: Memory) -> None:
    """It ends without a notification."""
    drop(active, memory)
    before, after = (Phase.FIRING, Phase.RESOLVED) if active.recovers else (Phase.FIRED, Phase.CLOSED)
    emit(memory, rule, change_of(active, before, after, why, at, commit_seq))


def fields_of(active: ActiveAlert, row: Row, computed: Mapping[str, object]) -> dict[str, object]:
    """The event as its alert carries it; what is still known of it where its row is gone."""
    if not row:
        return {"RootRunId": active.root_run_id, **active.fields, **active.instance}
    return {**row, **{name: plain(value) for name, value in computed.items()}}


def change_of(
    active: ActiveAlert, before: Phase, after: Phase, why: Why, at: datetime, commit_seq: int
) -> Change:  # fmt: skip
    """What changes of it, while nobody is notified."""
    return Change(
        instance=active.instance,
        occurrence=active.occurrence,
        before=before,
        after=after,
        why=why,
        severity=active.severity,
        fields=active.fields,
        labels=active.labels,
        run_id=active.run_id,
        at=at,
        commit_seq=commit_seq,
        event_time=moment(active.event.time_us),
    )


def mark(
    rule: EventRule, run: str, event: EventKey, phase: Phase, at: datetime, commit_seq: int, memory: Memory
) -> Occurrence:
    """Remember that an end was counted for ``event``: CLOSED where it was notified of it, RESOLVED where of another
    one.
    """
    occurrence = Occurrence(rule=rule.name, run_id=run, event=event, phase=phase, at=at, commit_seq=commit_seq)
    memory.remember(occurrence)
    return occurrence
