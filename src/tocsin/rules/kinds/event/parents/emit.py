"""From a parent group that is notified to its intent and its row of ``Alerts``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.alerts.changes import Change
from tocsin.alerts.parents import ParentGroup
from tocsin.model.alert import Phase, Why
from tocsin.model.details import Cause, Child, Details, EndedBy, Group
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import RateLimit
from tocsin.rules.emit import emit
from tocsin.rules.kinds.event.collapsed import Collapsed
from tocsin.rules.kinds.event.parents.read import DESCRIBES, Matched, Rows
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory

CAUSES = 10
"""So many causes are named, the most frequent ones."""
EXAMPLES = 3
"""So many runs of each."""

_DID = {
    "Failed": "failed",
    "Canceled": "were canceled",
    "Completed": "completed",
    "NotResponding": "stopped responding",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A parent group at the instant at which it is notified."""

    parent_group: ParentGroup  # its children counted, not yet notified
    why: Why
    matched: Sequence[Matched]  # children, in the order in which it happened
    ended: str  # the status with which the parent ended; '' while it goes on
    at: datetime  # T; UTC
    commit_seq: int
    event_time: datetime  # of what made it be notified; UTC
    computed: Mapping[str, object] = field(default_factory=dict)  # by the rule's query
    since: datetime | None = None  # of a repeat
    ended_by: EndedBy | None = None

    @property
    def kind(self) -> IntentKind:
        """What is notified."""
        if self.why is Why.RECOVERED:
            return IntentKind.RESOLVED
        return IntentKind.REPEATED if self.parent_group.notified else IntentKind.FIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """What a parent group's alert was notified with."""

    instance: Mapping[str, object]
    event: Mapping[str, object]  # the parent as a row
    labels: Mapping[str, object]
    fields: Mapping[str, object]
    beyond: RateLimit  # the rule's limit


def notify(rule: EventRule, notification: Notification, rows: Rows, memory: Memory) -> Notified:
    """Notify of a parent group."""
    parent_group = notification.parent_group
    event = _event(notification, rows)
    fields = {**notification.computed, **event}
    instance = parent_group.instance or {name: fields.get(name) for name in rule.by}
    labels, keep = labels_of(rule, fields), {name: fields.get(name) for name in rule.fields}
    about = replace(summed_up(rule, parent_group, notification.matched, notification.ended), alert=True)
    before, after = _phases(rule, notification)
    change = Change(
        instance=instance,
        occurrence=parent_group.occurrence(rule.name),
        before=before,
        after=before if notification.why is Why.STILL_FIRING else after,
        why=notification.why,
        kind=notification.kind,
        ordinal=0 if notification.kind is IntentKind.RESOLVED else parent_group.notified,
        severity=rule.severity,
        labels=labels,
        fields=keep,
        share=float(parent_group.share),
        run_id=parent_group.parent,
        event=event,
        details=Details(since=notification.since, ended_by=notification.ended_by, group=about),
        commit_seq=notification.commit_seq,
        at=notification.at,
        event_time=notification.event_time,
    )
    beyond = emit(memory, rule, change, beyond=parent_group.beyond)
    return Notified(instance=instance, event=event, labels=labels, fields=keep, beyond=beyond)


def _phases(rule: EventRule, notification: Notification) -> tuple[Phase, Phase]:
    """Of the alert, before and after. One that is ended by a later event fires until then, whatever becomes of its
    parent.
    """
    open_ = Phase.FIRING if rule.spec.resolve_policy is not None and rule.spec.resolve_policy.recovers else Phase.FIRED
    before = open_ if notification.parent_group.notified or notification.why is Why.RECOVERED else Phase.NONE
    if notification.why is Why.RECOVERED:
        return before, Phase.RESOLVED
    return before, Phase.CLOSED if notification.ended and open_ is Phase.FIRED else open_


def _event(notification: Notification, rows: Rows) -> dict[str, object]:
    """The parent as it stands, as a row: described by a child where it does not describe itself."""
    parent = notification.parent_group.parent
    own = rows.parent(parent, notification.commit_seq)
    child = rows.child(notification.matched[-1]) if notification.matched else {}
    event: dict[str, object] = {name: child.get(name, "") for name in DESCRIBES}
    said = {name: value for name, value in own.items() if value not in (None, "", {}) or name not in event}
    root = child.get("RootRunId") or parent
    return {**event, "RunId": parent, "RootRunId": root, **said}


def summed_up(rule: EventRule, parent_group: ParentGroup, matched: Sequence[Matched], ended: str) -> Group:
    """How many children match, and why."""
    collapsed = rule.spec.collapse
    assert isinstance(collapsed, Collapsed)
    by_cause: dict[str, list[Matched]] = defaultdict(list)
    for one in matched:
        by_cause[one.cause].append(one)
    most = sorted(by_cause.items(), key=lambda item: (-len(item[1]), item[0]))
    statuses = sorted({one.status for one in matched})
    return Group(
        to=collapsed.column,
        matched=parent_group.matched,
        children=parent_group.children,
        did=" or ".join(_DID.get(status, f"are {status}") for status in statuses),
        ended=ended,
        causes=tuple(
            Cause(
                cause=cause,
                count=len(runs),
                runs=tuple(
                    Child(run=one.run, name=one.name, url=one.url, us=one.key.time_us) for one in runs[:EXAMPLES]
                ),
            )
            for cause, runs in most[:CAUSES]
        ),
        more=sum(len(runs) for _, runs in most[CAUSES:]),
    )
