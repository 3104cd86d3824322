"""The alert of an event rule that stays open after it was notified: until another event ends it, or time does. Pure.

    notified ──► open ── an event that ends it ──────► recovered, notified
               │  └─ each `repeat_every` ────────► notified again
               └──── after its time ─────────────► closed, without a notification

An occurrence is an occurrence of events, and occurrences split as late events come in (``occurrences``). Whether one
has recovered is a matter of its events: an event is over once an ending event of the same columns is known that
happened later, and an occurrence has recovered when one of its events is over. That only ever becomes true, so it is
notified of the same number of occurrences whatever comes when: of each occurrence in which no event has been counted as
ended before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.model.alert import EventKey, Occurrence, Phase, Why, instance_key
from tocsin.model.remembered import Active, ConditionState, GroupCounts, Life, RateLimit, Remembered
from tocsin.model.statuses import Severity

FORGOTTEN = timedelta(days=30)
"""After how long an alert that waits for an ending event is closed, where the rule does not say."""
OCCURRENCE = "Occurrence"
"""What names an open alert besides its `by`: a run may have several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvePolicy:
    """What an event rule says of how its alerts end and how often they are notified."""

    after: timedelta  # closed without a notification, counted from when it was notified
    repeat: timedelta | None = None
    statuses: frozenset[str] = frozenset()  # of events that end it; none: only time does
    same: tuple[str, ...] = ()  # columns that they have in common with it

    @property
    def recovers(self) -> bool:
        """Whether an event can end it, so that its end is notified."""
        return bool(self.statuses)

    @property
    def words(self) -> str:
        """What ends it, for the rule's meaning; '' where only time does."""
        return f"{'|'.join(sorted(self.statuses))} of the same {', '.join(self.same)}" if self.statuses else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveAlert:
    """An open alert, as it is remembered."""

    rule: str
    instance: Mapping[str, object]  # values of `by`
    occurrence: str
    run_id: str
    root_run_id: str
    event: EventKey  # that it was notified of
    commit_seq: int  # of that event
    consumer: str  # that brought it
    severity: Severity
    at: datetime  # when it was notified; UTC
    last_notified_at: datetime  # when it was last notified
    repeats: int
    labels: Mapping[str, object]
    fields: Mapping[str, object]
    same: tuple[tuple[str, ...], ...] = ()  # values of `same` that its events have
    recovers: bool = False
    beyond: RateLimit = False  # the rule's limit
    changed: bool = False  # the rule means something else now, and has not looked yet
    parent_group: GroupCounts | None = (
        None  # of a parent group: ``run_id`` is its parent, ``event`` what made it be notified
    )

    @property
    def state(self) -> ConditionState:
        """As it is kept."""
        return ConditionState(
            rule=self.rule,
            instance={**self.instance, OCCURRENCE: self.occurrence},
            phase=Phase.FIRING if self.recovers else Phase.FIRED,
            since=self.at,
            severity=self.severity,
            data=Remembered(
                life=Life(changed=Why.RULE_CHANGED if self.changed else None),
                limit=self.beyond,
                active=Active(
                    run=self.run_id,
                    root=self.root_run_id,
                    event=self.event,
                    commit_seq=self.commit_seq,
                    consumer=self.consumer,
                    last_notified_at=self.last_notified_at,
                    repeats=self.repeats,
                    labels=self.labels,
                    fields=self.fields,
                    same=self.same,
                    group=self.parent_group,
                ),
            ),
        )

    @property
    def key(self) -> str:
        """Under which it is kept: that of ``state``."""
        return instance_key({**self.instance, OCCURRENCE: self.occurrence})

    @property
    def notified(self) -> bool:
        """Whether it was notified by itself."""
        return not self.beyond

    def wake(self, resolve_policy: ResolvePolicy) -> datetime:
        """When it is to be evaluated again by ``resolve_policy``."""
        end = self.at + resolve_policy.after
        return (
            end
            if resolve_policy.repeat is None or not self.notified
            else min(end, self.last_notified_at + resolve_policy.repeat)
        )

    def woken(self, resolve_policy: ResolvePolicy, at: datetime) -> tuple[Why, ActiveAlert]:
        """What is to be done at ``at``: EXPIRED, STILL_FIRING (it is notified again) or NOTHING_NEW, and how it goes
        on.
        """
        if at - self.at >= resolve_policy.after:
            return Why.AUTO_CLOSED, self
        if resolve_policy.repeat is not None and self.notified and at - self.last_notified_at >= resolve_policy.repeat:
            return Why.STILL_FIRING, replace(self, last_notified_at=at, repeats=self.repeats + 1)
        return Why.NOTHING_NEW, self


def active_alert_of(state: ConditionState) -> ActiveAlert | None:
    """The open alert that is kept as ``state``; None where it is something else."""
    kept = state.data.active
    if kept is None:
        return None
    return ActiveAlert(
        rule=state.rule,
        instance={name: value for name, value in state.instance.items() if name != OCCURRENCE},
        occurrence=str(state.instance[OCCURRENCE]),
        run_id=kept.run,
        root_run_id=kept.root,
        event=kept.event,
        commit_seq=kept.commit_seq,
        consumer=kept.consumer,
        severity=state.severity,
        at=state.since,
        last_notified_at=kept.last_notified_at,
        repeats=kept.repeats,
        labels=kept.labels,
        fields=kept.fields,
        same=kept.same,
        recovers=state.phase is Phase.FIRING,
        beyond=state.data.limit,
        changed=state.data.life.changed is not None,
        parent_group=kept.group,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What is remembered of a run's events: of which something was notified, and of which an end was counted."""

    notified: frozenset[EventKey]
    ended: frozenset[EventKey]


def marks(occurrences: Iterable[Occurrence], commit_seq: int) -> Marks:
    """What was remembered as of ``commit_seq``."""
    seen = [o for o in occurrences if o.commit_seq <= commit_seq]
    return Marks(
        notified=frozenset(o.event for o in seen if o.phase in (Phase.FIRED, Phase.CLOSED)),
        ended=frozenset(o.event for o in seen if o.phase in (Phase.CLOSED, Phase.RESOLVED)),
    )


def phases(occurrences: Iterable[Occurrence]) -> dict[EventKey, Phase]:
    """What decides whether an occurrence is notified: notified or not of each event, whatever became of it since."""
    found: dict[EventKey, Phase] = {}
    for one in occurrences:
        if one.phase is Phase.RESOLVED:
            continue
        phase = Phase.FIRED if one.phase is Phase.CLOSED else one.phase
        if found.get(one.event) is not Phase.FIRED:
            found[one.event] = phase
    return found
