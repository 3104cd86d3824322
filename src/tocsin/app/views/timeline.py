"""The timeline of an alert: event, evaluation, messages, people, end. Each with its time, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tocsin.model.active import Action, ActionKind, ActiveAlert
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.notify.text import moment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DID = {
    ActionKind.ACKNOWLEDGE: "acknowledged",
    ActionKind.UNACKNOWLEDGE: "let go",
    ActionKind.SNOOZE: "snoozed",
    ActionKind.ASSIGN: "assigned",
    ActionKind.COMMENT: "commented",
    ActionKind.CLOSE: "closed",
}
_STATES = {
    DeliveryState.READY: "waits to be sent",
    DeliveryState.SENT: "accepted",
    DeliveryState.FAILED: "failed for good",
    DeliveryState.DROPPED: "not sent by itself",
    DeliveryState.HELD: "waits to be a line of a list",
}


def timeline(
    alert: ActiveAlert, actions: Iterable[Action], messages: Iterable[Delivery], event: Mapping[str, object]
) -> list[dict[str, Any]]:
    """What happened: ``At``, ``What``, and more ``Detail`` of it. ``event`` is the row for which it fired, if one."""
    found: list[dict[str, Any]] = []
    if (stored := moment(event.get("IngestedAt"))) is not None:
        found.append(_step(stored, "stored", f"as a row of commit {event.get('CommitSeq', '')}".rstrip()))
    found.append(_step(alert.fired_at, "evaluated, fired", alert.title))
    if alert.event_us:
        found.append(_step(_EPOCH + timedelta(microseconds=alert.event_us), "event", "by the clock of who sent it"))
    for d in messages:
        to = f"{d.subject} → {d.address}"
        found.append(_step(d.created_at, "message", to))
        if d.changed_at is not None and (d.state is not DeliveryState.READY or d.attempt):
            detail = f"{d.address}: {d.reply}" if d.reply else d.address
            found.append(_step(d.changed_at, _STATES[d.state], detail))
    found += [_step(a.at, f"{_DID[a.kind]} by {a.by}", _more(a)) for a in actions]
    if alert.ended_at is not None:
        found.append(_step(alert.ended_at, "ended", alert.ended_why))
    return sorted(found, key=lambda step: step["At"])


def _more(action: Action) -> str:
    parts = [f"to {action.text}" if action.kind is ActionKind.ASSIGN else action.text]
    if action.until is not None:
        parts.append(f"until {action.until:%Y-%m-%d %H:%M} UTC")
    if action.via:
        parts.append(f"by {action.via}")
    return ", ".join(filter(None, parts))


def _step(at: datetime, what: str, detail: str) -> dict[str, Any]:
    return {"At": at, "What": what, "Detail": detail}
