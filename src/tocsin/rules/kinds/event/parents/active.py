"""Alerts of parent groups that stay open (`resolve`, `repeat_every`): notified again while they do, ended by a later
run, or by time.

    commits     c12 of 40 fails      25th fails        Completed churn, a run of its own
                   |                    |                 |
    notified        the parent group           again: 50%        recovered; nothing more of this sweep
                   └── each `repeat_every`: again ────────┘

What ends a parent group's alert is an event of a run that stands for itself: by the rule's `to` it has no parent.
Neither the parent group's own children end it, most of which complete, nor its parent as long as it is the same try:
`update: [end]` notifies of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tocsin.alerts.active import ActiveAlert, active_alert_of
from tocsin.alerts.parents import ParentGroup, key_of, parent_group_of
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey
from tocsin.model.remembered import GroupCounts
from tocsin.rules.history import Row, listed
from tocsin.rules.kinds.event.collapsed import Collapsed
from tocsin.rules.kinds.event.parents.emit import Notification, Notified
from tocsin.rules.kinds.event.resolve.active import resolve_policy_of
from tocsin.rules.kinds.event.resolve.resolving import Values, columns_sql
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.memory import Memory


class End(NamedTuple):
    """An event that may end the alert of a parent group."""

    time_us: int  # TimeGenerated, µs since the epoch
    run_id: str
    seq: int  # the commit that brought it
    status: str
    values: Values  # in the columns of `same`


def recovers(rule: EventRule) -> bool:
    """Whether the alerts of the rule's parent groups are ended by a later event."""
    return rule.spec.collapse is not None and rule.spec.resolve_policy is not None and rule.spec.resolve_policy.recovers


def open_parent_groups(rule: EventRule, memory: Memory) -> list[ActiveAlert]:
    """Alerts of parent groups that are open, in the order of their parents."""
    found = (active_alert_of(state) for state in memory.conditions(rule.name).values())
    return sorted(
        (o for o in found if o is not None and o.parent_group is not None), key=lambda o: (o.run_id, o.occurrence)
    )


def ends_of(rule: EventRule, active: Sequence[ActiveAlert], reader: LogReader, after: int, hi: int) -> list[End]:
    """What commits in (``after``, ``hi``] brought that may end alerts of ``active``."""
    collapsed, resolve_policy = rule.spec.collapse, resolve_policy_of(rule)
    first = {values[0] for one in active for values in one.same}
    if not isinstance(collapsed, Collapsed) or not first:
        return []
    names = [f"s{i}" for i in range(len(resolve_policy.same))]
    table = reader.select(
        f"SELECT epoch_us(TimeGenerated), RunId, CommitSeq, Status, {', '.join(names)} FROM"
        f" (SELECT CommitSeq, {collapsed.column} AS parent, {columns_sql(resolve_policy.same)}"
        "  WHERE CommitSeq > $after AND CommitSeq <= $hi AND TimeGenerated > make_timestamp($first::BIGINT)"
        "  AND Status IN (SELECT unnest(($statuses::JSON)::VARCHAR[])))"
        " WHERE parent IN ('', RunId) AND s0 IN (SELECT unnest(($values::JSON)::VARCHAR[]))",
        {
            "after": after,
            "hi": hi,
            "first": min(one.event.time_us for one in active),
            "statuses": listed(sorted(resolve_policy.statuses)),
            "values": listed(sorted(first)),
        },
    )
    columns = [table.column(i).to_pylist() for i in range(4 + len(names))]
    return [End(t, run, seq, status, tuple(values)) for t, run, seq, status, *values in zip(*columns, strict=True)]


def end_of(active: ActiveAlert, ends: Sequence[End], seq: int, memory: Memory) -> End | None:
    """What ends the alert, as far as is known as of commit ``seq``; None where nothing does."""
    parent_group = current(active, memory)
    another_try = (
        None
        if parent_group is None or active.parent_group is None or parent_group.begin == active.parent_group.begin
        else parent_group.begin
    )

    def may(end: End) -> bool:
        own = end.run_id == active.run_id
        return (
            end.seq <= seq
            and end.time_us > active.event.time_us
            and end.values in active.same
            and (not own or (another_try is not None and end.seq > another_try))
        )

    return max((end for end in ends if may(end)), default=None)


def current(active: ActiveAlert, memory: Memory) -> ParentGroup | None:
    """What is remembered of the parent: perhaps of a later attempt of it."""
    state = memory.condition(active.rule, key_of(active.run_id))
    return None if state is None else parent_group_of(state)


def active_parent_group(
    rule: EventRule, parent_group: ParentGroup, notification: Notification, notified: Notified, caused_by: EventKey, consumer: str
) -> ActiveAlert:  # fmt: skip
    """The alert of a parent group that was ``notified``."""
    event, at = notified.event, notification.at
    resolve_policy, root = resolve_policy_of(rule), event.get("RootRunId")
    same = tuple(_text(name, event) for name in resolve_policy.same)
    return ActiveAlert(
        rule=rule.name,
        instance=parent_group.instance,
        occurrence=parent_group.occurrence(rule.name),
        run_id=parent_group.parent,
        root_run_id=root if isinstance(root, str) else "",
        event=caused_by,
        commit_seq=notification.commit_seq,
        consumer=consumer,
        severity=rule.severity,
        at=at,
        last_notified_at=at,
        repeats=0,
        labels=notified.labels,
        fields=notified.fields,
        same=(same,) if same and all(same) else (),
        recovers=resolve_policy.recovers,
        beyond=notified.beyond,
        parent_group=GroupCounts(parent_group.begin, parent_group.matched, parent_group.children),
    )


def _text(name: str, event: Row) -> str:
    value = event.get(name)
    said = value if isinstance(value, str) else ""
    return said or str(event.get("RunId", "")) if name == "JobKey" else said
