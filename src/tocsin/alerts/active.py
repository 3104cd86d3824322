"""The alert of an event rule that stays open after it was notified: until another event ends it, or time does. Pure.

    notified ──► open ── an event that ends it ──────► recovered, notified
               │  └─ each `repeat_every` ────────► notified again
               └──── after its time ─────────────► closed, without a notification

An occurrence is an occurrence of events, and occurrences split as late events come in (``occurrences``). Whether one
has recovered is
a matter of its events: an event is over once an ending event of the same columns is known that happened later, and
an occurrence
has recovered when one of its events is over. That only ever becomes true, so it is notified of the same number of
occurrences
whatever comes when: of each occurrence in which no event has been counted as ended before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from tocsin.alerts.rate_limit import RateLimit, kept, limit_of
from tocsin.clock import EPOCH
from tocsin.model.alert import ConditionState, EventKey, Occurrence, Phase, Why, instance_key
from tocsin.model.statuses import Severity

FORGOTTEN = timedelta(days=30)
"""After how long an alert that waits for an ending event is closed, where the rule does not say."""
OCCURRENCE = "Occurrence"
"""What names an open alert besides its `by`: a run may have several."""
_US = timedelta(microseconds=1)
_KEY, _CARRIED = "key", "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvePolicy:
    """What an event rule says of how its alerts end and how often they are notified."""

    after: timedelta  # closed quietly, counted from when it was notified
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


class GroupCounts(NamedTuple):
    """The parent group of an open alert, as it was last notified."""

    begin: int  # as ``ParentGroup.begin``
    matched: int
    children: int


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
            data={
                "run": self.run_id,
                "root": self.root_run_id,
                _KEY: [self.event.source, self.event.event_id, self.event.time_us],
                "seq": self.commit_seq,
                "consumer": self.consumer,
                "notified_us": (self.last_notified_at - EPOCH) // _US,
                "repeats": self.repeats,
                _CARRIED: {"labels": dict(self.labels), "fields": dict(self.fields)},
                "same": [list(values) for values in self.same],
                **({"beyond": kept(self.beyond)} if self.beyond else {}),
                **({"changed": True} if self.changed else {}),
                **({"sweep": list(self.parent_group)} if self.parent_group is not None else {}),
            },
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
        """When it is to be looked at again by ``resolve_policy``."""
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
    data = state.data
    if _KEY not in data or OCCURRENCE not in state.instance:
        return None
    source, event_id, time_us = _list(data[_KEY])
    carried = data.get(_CARRIED)
    labels, keep = (carried.get("labels"), carried.get("fields")) if isinstance(carried, Mapping) else ({}, {})
    return ActiveAlert(
        rule=state.rule,
        instance={name: value for name, value in state.instance.items() if name != OCCURRENCE},
        occurrence=str(state.instance[OCCURRENCE]),
        run_id=str(data["run"]),
        root_run_id=str(data["root"]),
        event=EventKey(source=str(source), event_id=str(event_id), time_us=int(str(time_us))),
        commit_seq=int(str(data["seq"])),
        consumer=str(data["consumer"]),
        severity=state.severity,
        at=state.since,
        last_notified_at=EPOCH + int(str(data["notified_us"])) * _US,
        repeats=int(str(data["repeats"])),
        labels=labels if isinstance(labels, Mapping) else {},
        fields=keep if isinstance(keep, Mapping) else {},
        same=tuple(tuple(map(str, _list(values))) for values in _list(data["same"])),
        recovers=state.phase is Phase.FIRING,
        beyond=limit_of(data.get("beyond")),
        changed=bool(data.get("changed")),
        parent_group=GroupCounts(*map(_whole, _list(data["sweep"]))) if "sweep" in data else None,
    )


def _whole(value: object) -> int:
    return int(str(value))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else list(value) if isinstance(value, tuple) else []


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
