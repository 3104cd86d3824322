"""Third stage: which groups send something now, and about which alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.model.active import ActiveAlert
from tocsin.model.intent import IntentKind
from tocsin.notify.routing import groups
from tocsin.notify.routing.groups import Member, Why
from tocsin.notify.stages.live import GROUP, Group, Live


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One alert of a message, and what is said of it: the kind of its own intent where None."""

    alert: ActiveAlert
    kind: IntentKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one receiver is notified of at once."""

    receiver: str
    why: str
    group: str  # key; names the messages of one thread
    ordinal: int  # of the flush: with the group and an address it names a delivery
    about: tuple[About, ...]
    together: bool = False  # one list, however few they are
    values: Mapping[str, str] = field(default_factory=dict)  # what it is grouped by


def flush(live: Live, keys: Iterable[str], at: datetime) -> list[Message]:
    """Flush the groups ``keys`` where they are due; what a suppression has let go comes as one list a receiver."""
    found: list[Message] = []
    released: dict[str, list[Message]] = {}
    for key in dict.fromkeys(keys):
        group = live.groups.get(key)
        if group is None:
            continue
        message, why = _flush(live, group, at)
        if message is None:
            continue
        if group.alone and why is Why.SUPPRESSION_ENDED:
            released.setdefault(group.receiver, []).append(message)
        else:
            found.append(message)
    return [*found, *(_together(messages) for messages in released.values())]


def _together(messages: list[Message]) -> Message:
    first = messages[0]
    if len(messages) == 1:
        return first
    return replace(first, about=tuple(a for m in messages for a in m.about), together=True)


def _flush(live: Live, group: Group, at: datetime) -> tuple[Message | None, Why]:
    members = [_member(live, group, live.alerts[id_], at) for id_ in group.members if id_ in live.alerts]
    done = groups.flush(group.state, group.timing, members, at)
    sends = bool(done.firing or done.resolved)
    after = replace(
        group, state=done.state, flushes=group.flushes + sends,
        members=tuple(m.id for m in members if not _over(live, m, done.state)),
    )  # fmt: skip
    if after != group:
        live.put_group(after)
    if after.members:
        names = set(after.members)
        left = [m for m in members if m.id in names]
        live.wake(GROUP, group.key, groups.next_flush(after.state, after.timing, left))
    if not sends:
        return None, done.why
    return _message(live, group, done, after.flushes), done.why


def _over(live: Live, member: Member, state: groups.GroupState) -> bool:
    """Whether the group has nothing left to say of an alert that has ended: whoever knew it was notified of the end, or
    an event alert that nobody knew yet is notified of by now.
    """
    known = member.id in state.notified
    return live.alerts[member.id].ended_at is not None and known is not member.resolved


def _message(live: Live, group: Group, done: groups.Flush, ordinal: int) -> Message:
    if done.why is Why.REPEAT:
        about = [About(alert=live.alerts[id_], kind=IntentKind.REPEATED) for id_ in done.firing]
    else:
        # One that was notified of before is said once more: as the same message it would be taken for sent already.
        known = group.state.notified
        about = [About(alert=live.alerts[id_], kind=IntentKind.REPEATED if id_ in known else None) for id_ in done.new]
    about += [About(alert=live.alerts[id_], kind=IntentKind.RESOLVED) for id_ in done.resolved]
    return Message(
        receiver=group.receiver, why=done.why.value, group=group.key, ordinal=ordinal, about=tuple(about),
        together=not group.alone and len(about) > 1, values=group.values,
    )  # fmt: skip


def _to_be_said(alert: ActiveAlert, group: Group) -> bool:
    """Whether an alert that has ended has yet to be notified of: an event alert is in any case, a condition where it
    was over before anybody could be.
    """
    return (not alert.condition or alert.brief) and alert.id not in group.state.notified


def _member(live: Live, group: Group, alert: ActiveAlert, at: datetime) -> Member:
    taken = alert.acknowledged is not None
    hold = live.inhibitor.hold(alert.fields)
    return Member(
        id=alert.id,
        severity=alert.severity,
        ready_at=alert.fired_at + hold if hold else min(alert.fired_at, at),
        condition=alert.condition,
        resolved=alert.ended_at is not None and not _to_be_said(alert, group),
        acknowledged=taken,
        suppressed=(alert.id, group.key) in live.verdicts,
    )
