"""The last pure stage: from letters to deliveries, each a whole message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from tocsin.model.alert import fingerprint
from tocsin.model.delivery import EMAIL, Delivery, DeliveryState
from tocsin.model.details import Details, Health
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import Severity
from tocsin.model.text.causes import cause_of, one_line
from tocsin.notify import context as c
from tocsin.notify.channels.base import Channel, Message, Notification
from tocsin.notify.render import absence as waiting
from tocsin.notify.render.links import web_link
from tocsin.notify.render.message import Envelope, build, message_id
from tocsin.notify.render.parents import whole_group
from tocsin.notify.render.templates import Rendered, Templates
from tocsin.notify.render.views import Presentation, bunched, links, mail, run_name, title
from tocsin.notify.text import moment
from tocsin.notify.values import CapRule, NotificationDraft, Recipient, RunFacts

RECOVERED = "recovered"
"""How the subject of an end begins, and what stands for its cause in a summary."""
NOTICE = "undeliverable"
"""Receiver of the notices that a mail could not be delivered; such a notice makes no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRenderer:
    """What making messages needs besides the drafts. Writes mails."""

    templates: Templates
    presentation: Presentation
    sender: str
    keep_trying: timedelta  # from the making of a message to its deadline
    complaints: str = ""  # the address of who takes people off lists by hand

    def message(self, notification: Notification) -> Message:
        """The notification as RFC 5322."""
        if notification.plain:
            made = Rendered(subject=notification.subject, text=notification.plain, html="")
        else:
            made = self.templates.render(notification.template, notification.seen)
        subject = one_line(notification.prefix + (notification.subject or made.subject))
        delivery, thread = notification.delivery, notification.thread
        envelope = Envelope(
            id=delivery.id, sender=self.sender, to=delivery.address, to_name=notification.to_name,
            date=delivery.created_at,
            references=(thread[0],) if thread is not None and thread[0] != delivery.message_id else (),
            unsubscribe=self._unsubscribe(delivery, notification.seen.links.mute),
            extra=(
                ("X-Tocsin-Rule", ", ".join(delivery.rules)),
                ("X-Tocsin-Run", delivery.run_id),
                ("X-Tocsin-Severity", delivery.severity),
            ),
        )  # fmt: skip
        return Message(body=build(envelope, subject, made.text, made.html), subject=subject, problem=made.problem)

    def _unsubscribe(self, delivery: Delivery, link: str) -> tuple[str, ...]:
        """Where to unsubscribe: by the link, and by a mail to who runs this."""
        subject = quote(f"unsubscribe {delivery.address} from {', '.join(delivery.rules)[:200]}", safe="")
        by_mail = f"mailto:{self.complaints}?subject={subject}" if self.complaints else ""
        return tuple(filter(None, (link, by_mail)))


def write(notification: Notification, channel: Channel | None) -> tuple[Delivery, str]:
    """(the delivery of a notification, why its template was replaced or ''). Without a channel it has no message: the
    sender finds that its receiver is gone, and notifies the fallback.
    """
    if channel is None:
        return notification.delivery, ""
    made = channel.render(notification)
    return replace(notification.delivery, subject=made.subject, message=made.body), made.problem


def notification_of(
    draft: NotificationDraft, facts: RunFacts, thread: tuple[str, str] | None, renderer: MailRenderer, now: datetime
) -> Notification:
    """What a channel makes the message of one draft of."""
    intent, notified = draft.intent, draft.recipient.notified
    seen = mail(draft, facts, renderer.presentation, now, renderer.templates.words)
    zone = draft.recipient.zone or renderer.presentation.zone
    prefix, own = _ended(intent, f"{draft.says}: " if draft.says else "", zone), ""
    if notified is not None:
        thread = (notified.message_id, notified.subject)
        # One that answers another keeps its words, if it notified of the same rule first.
        if notified.rule == intent.rule and not (whole_group(intent) or intent.limited):
            own = notified.subject
    delivery = replace(
        _plain(draft, one_line(prefix + (own or seen.alert.title)), renderer, now),
        event_time=intent.event_time, ingested_at=_ingested(draft),
    )  # fmt: skip
    return Notification(
        delivery=delivery, seen=seen, mails=renderer, alerts=draft.notified, thread=thread,
        template={IntentKind.SUMMARY: "summary", IntentKind.ADMIN: "admin"}.get(intent.kind, draft.info.template),
        subject=own, prefix=prefix, to_name=draft.recipient.name, acknowledged=draft.acknowledged, grouped=draft.recipient.grouped,
    )  # fmt: skip


def _ended(intent: Intent, subject: str, zone: ZoneInfo) -> str:
    """``subject``, which says so where it is about an end."""
    if intent.kind is not IntentKind.RESOLVED:
        return subject
    if (since := intent.details.firing_since) is not None:
        return f"was firing {since.astimezone(zone):%H:%M}-{intent.at.astimezone(zone):%H:%M}, resolved: {subject}"
    late = waiting.lateness(intent)
    return f"{RECOVERED}, {late}: {subject}" if late else f"{RECOVERED}: {subject}"


def emergency(draft: NotificationDraft, problem: str, renderer: MailRenderer, now: datetime) -> Notification:
    """A message of the little that cannot fail, where making the real one did."""
    intent = draft.intent
    subject = one_line(f"{intent.rule}: {intent.run_id}" if intent.run_id else intent.rule)
    said = one_line(str(intent.event.get("Message") or ""))
    text = "\n".join([subject, "", said, "", f"(The mail itself failed: {problem}.)"])
    about = _About(
        subject=subject, severity=intent.severity, rule=intent.rule, text=said,
        note=f"The message itself failed: {problem}.",
    )  # fmt: skip
    seen = _mail_of(about, replace(draft.recipient, because=""), renderer, now)
    return Notification(
        delivery=_plain(draft, subject, renderer, now), seen=seen, mails=renderer, alerts=draft.notified,
        subject=subject, plain=text + "\n", to_name=draft.recipient.name,
    )  # fmt: skip


def _ingested(draft: NotificationDraft) -> datetime | None:
    """When what it notifies came in; None of what is notified of it later."""
    if draft.intent.kind is not IntentKind.FIRED:
        return None
    return moment(draft.intent.event.get("IngestedAt")) or draft.intent.at


def _plain(draft: NotificationDraft, subject: str, renderer: MailRenderer, now: datetime) -> Delivery:
    return Delivery(
        id=draft.id, channel=draft.recipient.channel, address=draft.recipient.address, receiver=draft.recipient.receiver, group=draft.group,
        rules=tuple(dict.fromkeys(i.rule for i, _ in draft.notified)), severity=draft.intent.severity.word,
        subject=subject, message_id=message_id(draft.id, renderer.sender), message=b"", state=DeliveryState.READY,
        created_at=now, next_at=now, deadline=now + renderer.keep_trying, run_id=draft.intent.run_id,
        covers=len(draft.notified), intents=tuple(i.origin or i.id for i, _ in draft.notified),
    )  # fmt: skip


# -- beyond the cap ----------------------------------------------------------------------------------------------------


def hold(draft: NotificationDraft, until: datetime, renderer: MailRenderer, now: datetime) -> Delivery:
    """The delivery that waits until ``until`` to be a line of a summary."""
    intent = draft.intent
    why = cause_of(intent.event)
    subject, _ = title(intent, draft.info, renderer.templates.words, why)
    line = {
        "title": _ended(intent, subject, renderer.presentation.zone),
        "name": run_name(intent.event),
        "cause": RECOVERED if intent.kind is IntentKind.RESOLVED else why or waiting.cause(intent),
        "severity": intent.severity.word,
        "rule": intent.rule,
        "experiment": one_line(str(intent.event.get("ExperimentName") or ""), 200),
        "url": links(intent, renderer.presentation).run,
        "at": (intent.event_time or intent.at).isoformat(),
    }
    held = _plain(draft, subject, renderer, now)
    return replace(held, state=DeliveryState.HELD, next_at=until, message=json.dumps(line, ensure_ascii=False).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why mails come together."""

    kind: str  # cap, limit
    window: timedelta
    mails: int  # that come one by one
    because: str  # why the reader gets it, a sentence
    rule: str = "tocsin"  # whose limit it is
    per: str = ""  # of a limit: what it counts apart, in words
    of: int = 0  # how many were held back, where it lists those that are still wrong


def by_cap(cap: CapRule) -> Reason:
    """That there were too many for an address."""
    because = f"You get this because more than {cap.mails} mails were due to you within the window of smtp.cap."
    return Reason(kind="cap", window=cap.window, mails=cap.mails, because=because)


def sum_up(
    held: Sequence[Delivery], recipient: Recipient, why: Reason, renderer: MailRenderer, now: datetime, flush: str = ""
) -> Notification:
    """One message in place of ``held``, all of one address; ``flush`` names it among several about the same."""
    found = [_line(d) for d in held]
    lines = [line for line, _ in found]
    experiments = {experiment for _, experiment in found if experiment}
    worst = min((Severity.of(line.severity) for line in lines), default=Severity.WARNING)
    runs = len({d.run_id for d in held if d.run_id})
    bunches, more = bunched(lines)
    ended = sum(line.cause == RECOVERED for line in lines)
    count = sum(1 if d.run_id else d.covers for d in held)  # a list among them is as many alerts as it covers
    id = fingerprint("summary", held[0].address.lower(), *sorted(d.id for d in held), *filter(None, [flush]))
    summary = c.Summary(
        kind=why.kind, count=count, experiments=len(experiments), since=min(line.at for line in lines),
        until=max(line.at for line in lines), window=why.window, mails=why.mails, bunches=bunches, more=more,
        per=why.per,
    )  # fmt: skip
    causes = [bunch for bunch in bunches if bunch.cause != RECOVERED]
    subject = _numbers(count - ended, runs, len(experiments), causes, ended)
    if why.of > len(held):
        subject = one_line(f"{len(held)} of {why.of} still failed" + (f": {causes[0].cause}" if causes else ""))
    if why.kind == "limit":
        subject = one_line(f"{why.rule}: {subject}")
    about = _About(subject=subject, severity=worst, rule=why.rule, summary=summary)
    seen = _mail_of(about, replace(recipient, because=why.because), renderer, now)
    delivery = Delivery(
        id=id, channel=held[0].channel, address=held[0].address, receiver=held[0].receiver, group=f"summary/{id}",
        rules=tuple(dict.fromkeys(rule for d in held for rule in d.rules))[:50], severity=worst.word,
        subject=subject, message_id=message_id(id, renderer.sender), message=b"", state=DeliveryState.READY,
        created_at=now, next_at=now, deadline=now + renderer.keep_trying, covers=sum(d.covers for d in held),
        intents=tuple(i for d in held for i in d.intents),
    )  # fmt: skip
    return Notification(delivery=delivery, seen=seen, mails=renderer, template="summary", to_name=recipient.name)


def _numbers(count: int, runs: int, experiments: int, bunches: Sequence[c.Bunch], ended: int) -> str:
    """Numbers first: ``41 alerts of 41 runs in 12 experiments, 38 with the same cause; 3 recovered``."""
    text = f"{count} alerts" if count != 1 else "1 alert"
    if ended and not count:
        text, bunches = f"{ended} recovered", ()
    if runs > 1:
        text += f" of {runs} runs"
    if experiments > 1:
        text += f" in {experiments} experiments"
    if bunches and bunches[0].cause and bunches[0].count > 1:
        top = bunches[0]
        text += f": {top.cause}" if top.count == count else f", {top.count} with {top.cause}"
    return one_line(f"{text}; {ended} {RECOVERED}" if ended and count else text)


def _line(held: Delivery) -> tuple[c.Line, str]:
    known: Mapping[str, str] = json.loads(held.message) if held.message else {}
    line = c.Line(
        title=one_line(known.get("title") or held.subject), name=one_line(known.get("name", "")),
        cause=one_line(known.get("cause", ""), 120), severity=held.severity, rule=held.rules[0] if held.rules else "",
        url=web_link(known.get("url")), at=moment(known.get("at")) or held.created_at,
    )  # fmt: skip
    return line, known.get("experiment", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What a mail says that is about no single alert."""

    subject: str
    severity: Severity
    rule: str = "tocsin"
    text: str = ""
    lines: tuple[str, ...] = ()
    note: str = ""
    summary: c.Summary | None = None


def _mail_of(about: _About, recipient: Recipient, renderer: MailRenderer, now: datetime) -> c.Mail:
    """A mail of it. ``because`` of ``recipient`` is a whole sentence."""
    base = renderer.presentation.base_url
    return c.Mail(
        alert=c.Alert(
            rule=about.rule, kind="summary" if about.summary else "admin", severity=about.severity.word, title=about.subject, cause="", why="",
            value=None, at=now, happened=None, late=None, labels={}, fields={}, instance={},
            details=Details(health=Health(title=about.subject, text=about.text)),
        ),
        run=None, rule=c.Rule(name=about.rule, description="", runbook="", owner="", annotations={}), event={},
        columns=(), rows=(), more_rows=0, others=(), summary=about.summary,
        links=c.Links(notifications=f"{base}/notifications", tocsin=f"{base}/") if base else c.Links(),
        reader=c.Reader(
            address=recipient.address, name=recipient.name, receiver=recipient.receiver,
            zone=recipient.zone or renderer.presentation.zone, because=recipient.because,
        ),
        says=c.Says(preheader=about.text, happened="", attempt="", where="", nearby="", last_success="", late=""),
        notes=(about.note,) if about.note else (), now=now, lines=about.lines,
    )  # fmt: skip


def plain_mail(
    subject: str, severity: Severity, recipient: Recipient, renderer: MailRenderer, now: datetime, *,
    lines: tuple[str, ...] = (), text: str = "",
) -> c.Mail:  # fmt: skip
    """A mail of a subject and lines, about no single alert. Its reader's ``because`` is a whole sentence."""
    return _mail_of(_About(subject=subject, severity=severity, lines=lines, text=text), recipient, renderer, now)


# -- could not be delivered --------------------------------------------------------------------------------------------


def notice(failed: Delivery, reply: str, recipient: Recipient, renderer: MailRenderer, now: datetime) -> Notification:
    """Notifies ``recipient`` that somebody else's mail could not be delivered, and what it said."""
    id = fingerprint(NOTICE, failed.id, recipient.address.lower())
    address = one_line(failed.address, 80)
    subject = one_line(f"not delivered to {address}: {failed.subject}")
    severity = Severity.of(failed.severity)
    text = f"The mail below could not be delivered to {address}: {one_line(reply, 300)}"
    because = "You get this because the one who should have been notified could not be."
    seen = plain_mail(
        subject,
        severity,
        replace(recipient, because=because),
        renderer,
        now,
        lines=tuple(body_lines(failed)),
        text=text,
    )
    delivery = replace(
        failed, id=id, channel=recipient.channel, handle="", address=recipient.address, receiver=NOTICE, group=f"{NOTICE}/{failed.group}", subject=subject,
        message_id=message_id(id, renderer.sender), message=b"", state=DeliveryState.READY, attempt=0, created_at=now,
        next_at=now, deadline=now + renderer.keep_trying, reply="",
    )  # fmt: skip
    return Notification(
        delivery=delivery, seen=seen, mails=renderer, template="admin", subject=subject, to_name=recipient.name
    )


def body_lines(delivery: Delivery) -> list[str]:
    """The text of a message of ours, in lines."""
    from email import message_from_bytes, policy

    if delivery.channel != EMAIL:
        return delivery.message.decode("utf-8", "replace").splitlines()[:50]
    part = message_from_bytes(delivery.message, policy=policy.default).get_body(preferencelist=("plain",))
    return str(part.get_content()).splitlines()[:50] if part is not None else []
