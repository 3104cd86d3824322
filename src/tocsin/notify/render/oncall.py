"""Messages about on-call itself: a shift begins or ends, and alerts that nobody has taken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from tocsin.model.active import ActiveAlert
from tocsin.model.alert import fingerprint
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.statuses import Severity
from tocsin.model.text.causes import one_line
from tocsin.notify.channels.base import Notification
from tocsin.notify.context import Mail
from tocsin.notify.render.mail import MailRenderer, plain_mail
from tocsin.notify.render.message import message_id
from tocsin.notify.values import Recipient

SHIFTS = "shifts"
"""Receiver of these messages."""
_SHOWN = 20
_FAR = 366
"""Days from which on a shift has no end worth saying."""


class Shifted(Protocol):
    """What such a message says."""

    @property
    def schedule(self) -> str:
        """By which schedule."""

    @property
    def who(self) -> str:
        """A person or an address."""

    @property
    def begins(self) -> bool:
        """Whether the shift begins."""

    @property
    def at(self) -> datetime:
        """When; UTC."""

    @property
    def until(self) -> datetime:
        """Its end; UTC."""

    @property
    def now(self) -> tuple[str, ...]:
        """Who is on call from then."""

    @property
    def open(self) -> tuple[ActiveAlert, ...]:
        """Alerts that are open."""


def shift_notice(each: Shifted, recipient: Recipient, renderer: MailRenderer, now: datetime) -> Notification:
    """The message. The same handover gives the same delivery."""
    zone = recipient.zone or renderer.presentation.zone
    count = f"{len(each.open)} open" if each.open else "nothing is open"
    if each.begins:
        subject, text = f"You are on call: {each.schedule} ({count})", _until(each, zone)
    else:
        has = ", ".join(each.now) or "nobody"
        subject, text = f"Your shift is over: {each.schedule}, {has} has it ({count})", ""
    id = fingerprint("shift", each.schedule, each.who, str(each.begins), each.at.isoformat())
    severity = Severity(min((a.severity for a in each.open), default=Severity.INFORMATIONAL))
    seen = plain_mail(subject, severity, recipient, renderer, now, lines=_lines(each.open, zone), text=text)
    return _made(id, f"shift/{each.schedule}", seen, recipient, renderer, now)


def exhausted_notice(
    alerts: Sequence[ActiveAlert], recipient: Recipient, renderer: MailRenderer, now: datetime
) -> Notification:
    """Alerts of which all steps are done and that nobody has taken, for who looks after tocsin."""
    several = "1 alert is" if len(alerts) == 1 else f"{len(alerts)} alerts are"
    subject = f"{several} open, and nobody has answered any step"
    severity = Severity(min(a.severity for a in alerts))
    zone = recipient.zone or renderer.presentation.zone
    id = fingerprint("exhausted", recipient.address.lower(), now.isoformat())
    seen = plain_mail(
        subject, severity, recipient, renderer, now, lines=_lines(alerts, zone),
        text="All steps of their escalations are done. This list comes once a day while there are any.",
    )  # fmt: skip
    return _made(id, "exhausted", seen, recipient, renderer, now)


def _made(id: str, group: str, seen: Mail, recipient: Recipient, renderer: MailRenderer, now: datetime) -> Notification:
    subject = seen.alert.title
    delivery = Delivery(
        id=id, address=recipient.address, receiver=recipient.receiver, group=group, rules=(),
        severity=seen.alert.severity, subject=one_line(subject), message_id=message_id(id, renderer.sender), message=b"",
        state=DeliveryState.READY, created_at=now, next_at=now, deadline=now + renderer.keep_trying,
    )  # fmt: skip
    return Notification(
        delivery=delivery, seen=seen, mails=renderer, template="admin", subject=subject, to_name=recipient.name
    )


def _lines(alerts: Sequence[ActiveAlert], zone: ZoneInfo) -> tuple[str, ...]:
    lines = [_line(alert, zone) for alert in alerts[:_SHOWN]]
    return (*lines, f"and {len(alerts) - _SHOWN} more") if len(alerts) > _SHOWN else tuple(lines)


def _until(each: Shifted, zone: ZoneInfo) -> str:
    if (each.until - each.at).days >= _FAR:
        return ""
    return f"Until {each.until.astimezone(zone):%a %Y-%m-%d %H:%M} {zone.key}."


def _line(alert: ActiveAlert, zone: ZoneInfo) -> str:
    held = alert.acknowledged
    has = f"{held.by} has it" if held is not None else alert.assigned_to or "nobody has it"
    since = alert.fired_at.astimezone(zone)
    return one_line(f"{Severity(alert.severity).word}: {alert.title or alert.rule}, since {since:%a %H:%M}, {has}", 300)
