"""A receiver tried out: a real message marked TEST by each of its ways, and the end of what that opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tocsin.model.alert import Why, fingerprint
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.model.text.causes import one_line
from tocsin.notify.channels.base import Outcome, Unreachable
from tocsin.notify.channels.registry import Channels, Configured, for_each
from tocsin.notify.render.mail import MailRenderer, notification_of, write
from tocsin.notify.values import NO_FACTS, NotificationDraft, Recipient

RULE = "tocsin-test"
TEXT = "This is a test by `tocsin notify test`. Nothing is wrong."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What one way came to."""

    channel: str
    address: str
    sent: str  # what was sent: message, resolve
    outcome: Outcome
    reply: str  # the other side's words

    @property
    def ok(self) -> bool:
        """Whether the other side has it."""
        return self.outcome is Outcome.ACCEPTED


async def try_out(
    recipients: Sequence[Recipient], channels: Channels[Configured], renderer: MailRenderer, now: datetime
) -> list[Tried]:
    """Send to each, one after the other, and say what was answered."""
    found: list[Tried] = []
    for recipient in recipients:
        first = _intent(recipient, now, IntentKind.FIRED)
        found.append(await _send(first, recipient, channels, renderer, now))
        if found[-1].ok and for_each(recipient.channel):
            end = replace(first, kind=IntentKind.RESOLVED, why=Why.RECOVERED)
            found.append(await _send(end, recipient, channels, renderer, now))
    return found


def _intent(recipient: Recipient, now: datetime, kind: IntentKind) -> Intent:
    return Intent(
        rule=RULE, rule_version=RULE, instance={"receiver": recipient.receiver, "sent": now.isoformat()},
        occurrence=now.isoformat().replace("+00:00", "Z"), kind=kind, severity=Severity.WARNING, why=Why.FIRST,
        event={"Message": TEXT}, commit_seq=0, at=now,
    )  # fmt: skip


async def _send(
    intent: Intent, recipient: Recipient, channels: Channels[Configured], renderer: MailRenderer, now: datetime
) -> Tried:
    info = RuleInfo(name=RULE, version=RULE, summary=f"TEST: a message from tocsin to {one_line(recipient.receiver)}")
    draft = NotificationDraft(recipient=recipient, notified=((intent, info),))
    channel = channels(recipient.endpoint)
    outcome, reply = Outcome.NEVER, f"there is no channel {recipient.channel}"
    if channel is not None and channel.local:
        outcome, reply = Outcome.ACCEPTED, "no smtp.host is set: mails stay in the local outbox"
    elif channel is not None:
        delivery, _ = write(notification_of(draft, NO_FACTS, None, renderer, now), channel)
        delivery = replace(delivery, id=fingerprint(delivery.id, now.isoformat()))
        try:
            connection = await channel.connect()
            try:
                said = await connection.send(delivery)
                outcome, reply = said.outcome, said.text
            finally:
                await connection.close()
        except Unreachable as e:
            outcome, reply = Outcome.NETWORK, str(e)
    sent = "resolve" if intent.kind is IntentKind.RESOLVED else "message"
    return Tried(channel=recipient.channel, address=recipient.address, sent=sent, outcome=outcome, reply=reply)
