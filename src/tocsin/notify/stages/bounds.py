"""Sixth stage: what waits besides caps. Quiet hours of a reader, critical alerts by the dozen, what was suppressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin.model.active import ActiveAlert
from tocsin.model.calendars.wallclock import DAY, at_minute, local, parse_clock
from tocsin.model.delivery import Delivery
from tocsin.model.intent import IntentKind
from tocsin.model.statuses import Severity
from tocsin.notify.channels.registry import for_people
from tocsin.notify.delivery.digests import Write
from tocsin.notify.render.mail import MailRenderer, Reason, hold, sum_up
from tocsin.notify.render.oncall import SHIFTS, exhausted_notice, shift_notice
from tocsin.notify.routing.critical import CriticalState
from tocsin.notify.routing.critical import fired as critical_fired
from tocsin.notify.routing.critical import next_due as critical_due
from tocsin.notify.routing.decide import After, Verdict
from tocsin.notify.routing.decide import Why as Suppressed
from tocsin.notify.routing.pipeline import ADMIN, DEFAULT, RecipientResolver, matched_by, resolve
from tocsin.notify.stages.live import CRITICAL, Critical
from tocsin.notify.stages.messages import Listed
from tocsin.notify.stages.run import Passed, Presented, Stages
from tocsin.notify.stages.shifts import Handover
from tocsin.notify.values import NotificationDraft, Recipient
from tocsin.state.interface import State

_COLLECTED = frozenset({IntentKind.FIRED, IntentKind.REPEATED, IntentKind.RESOLVED})
"""What becomes a line of a fallback's digest; a summary is one already."""


class Bounds:
    """What of a pass waits, or goes together."""

    def __init__(
        self, stages: Stages, state: State, renderer: MailRenderer, presented: Presented, write: Write
    ) -> None:
        self._stages, self._state, self._presented = stages, state, presented
        self._renderer, self._write = renderer, write

    def listed(self, listed: Listed, now: datetime) -> Delivery:
        """Several alerts in one message."""
        lines = [hold(draft, now, self._renderer, now) for draft in listed.drafts]
        rules = ", ".join(dict.fromkeys(draft.intent.rule for draft in listed.drafts))
        because = f"You get this because rule {rules} {listed.recipient.because}."
        why = Reason(kind="group", window=timedelta(0), mails=0, per=listed.why, because=because)
        made = sum_up(lines, listed.recipient, why, self._renderer, now, f"{listed.group}/{listed.ordinal}")
        delivery = replace(made.delivery, receiver=listed.recipient.receiver, group=f"group/{listed.group}")
        alerts = tuple(each for draft in listed.drafts for each in draft.notified)
        return self._write(replace(made, delivery=delivery, alerts=alerts, grouped=listed.recipient.grouped))

    def handover(self, each: Handover, resolver: RecipientResolver, now: datetime) -> list[Delivery]:
        """Who goes on call, or off it, is notified by mail."""
        person = resolver.oncall.people.get(each.who)
        address = person.email if person is not None else each.who
        if "@" not in address:
            return []
        because = (
            f"You get this because schedule {each.schedule} has you on call."
            if each.begins
            else (f"You get this because schedule {each.schedule} had you on call.")
        )
        return [self._write(shift_notice(each, resolver.written(address, SHIFTS, because), self._renderer, now))]

    def unanswered(self, alerts: Sequence[ActiveAlert], resolver: RecipientResolver, now: datetime) -> list[Delivery]:
        """The daily list of alerts that no step brought anybody to take."""
        because = "You get this because you look after tocsin (admin_email)."
        readers = [resolver.written(address, ADMIN, because) for address in resolver.admins] if alerts else []
        return [self._write(exhausted_notice(alerts, reader, self._renderer, now)) for reader in readers]

    def left(self, passed: Passed, resolver: RecipientResolver) -> list[tuple[NotificationDraft, Verdict]]:
        """Event alerts that are listed later, for whom: those who would have been notified, or a silence's author."""
        found: list[tuple[NotificationDraft, Verdict]] = []
        for each in passed.left:
            if each.alert.id not in passed.said:
                continue
            intent, info = passed.said[each.alert.id]
            names = [each.receiver]
            if each.verdict.after is After.REPORT:
                by = next((s.by for s in self._stages.silences if s.id == each.verdict.by), "")
                names = [by] if resolver.oncall.receiver_called(by) is not None else []
            for name in names:
                for recipient in resolve(name, intent, info, resolver, []):
                    draft = NotificationDraft(recipient=recipient, notified=((intent, info),), flush=each.verdict.by)
                    found.append((draft, each.verdict))
        return found

    def later(
        self, drafts: Sequence[NotificationDraft], now: datetime
    ) -> tuple[list[tuple[NotificationDraft, Verdict]], list[NotificationDraft]]:
        """(what waits for its reader's next digest, the rest). A step of an escalation never waits."""
        waits: list[tuple[NotificationDraft, Verdict]] = []
        rest: list[NotificationDraft] = []
        for draft in drafts:
            never = draft.intent.kind is IntentKind.ESCALATED or draft.limited
            verdict = None if never else self._quiet(draft, now) or self._collected(draft, now)
            if verdict is None:
                rest.append(draft)
            else:
                waits.append((draft, verdict))
        return waits, rest

    def _quiet(self, draft: NotificationDraft, now: datetime) -> Verdict | None:
        """Its reader's quiet hours."""
        oncall = self._stages.live.rules
        person = oncall.person_at(draft.recipient.address) if oncall.quiet else None
        hours = oncall.quiet.get(person.name) if person is not None else None
        if hours is None or not hours.holds(matched_by(draft.intent), now):
            return None
        until = hours.interval.until(now)
        return Verdict(why=Suppressed.QUIET_HOURS, by=hours.interval.name, until=until, after=After.DIGEST)

    def _collected(self, draft: NotificationDraft, now: datetime) -> Verdict | None:
        """The fallback that brings it to its reader collects; never what is critical."""
        later, kind = draft.recipient.later, draft.intent.kind
        if later is None or kind not in _COLLECTED or draft.intent.severity is Severity.CRITICAL:
            return None
        until = _next(later.at, draft.recipient.zone or self._renderer.presentation.zone, now)
        return Verdict(why=Suppressed.FALLBACK, by=later.of, until=until, after=After.DIGEST)

    def critical(
        self, drafts: Sequence[NotificationDraft], passed: Passed, resolver: RecipientResolver, now: datetime
    ) -> tuple[list[NotificationDraft], list[Listed]]:
        """(what goes alone, critical alerts that go together): more than ten in ten minutes are one message."""
        by_address: dict[str, list[NotificationDraft]] = {address: [] for address in passed.critical}
        alone: list[NotificationDraft] = []
        for draft in drafts:
            if is_critical(draft):
                by_address.setdefault(draft.recipient.address.lower(), []).append(draft)
            else:
                alone.append(draft)
        listed: list[Listed] = []
        live = self._stages.live
        for address, found in by_address.items():
            known = live.critical.get(address)
            receiver = found[0].recipient.receiver if found else known.receiver if known else DEFAULT
            before = known.state if known is not None else CriticalState()
            by_id = {draft.intent.id: draft for draft in found}
            sent = critical_fired(before, list(by_id), now)
            live.put_critical(Critical(address=address, receiver=receiver, state=sent.state))
            live.wake(CRITICAL, address, critical_due(sent.state))
            alone += [by_id[id_] for id_ in sent.alone]
            if sent.together:
                listed += self._together(resolver.written(address, receiver, "is critical"), sent.together, by_id, now)
        return alone, listed

    def _together(
        self, recipient: Recipient, ids: Sequence[str], known: Mapping[str, NotificationDraft], now: datetime
    ) -> list[Listed]:
        drafts = [known[id_] for id_ in ids if id_ in known]
        for intent in self._state.intents_called([id_ for id_ in ids if id_ not in known]).values():
            drafts.append(NotificationDraft(recipient=recipient, notified=((intent, self._presented(intent)),)))
        if not drafts:
            return []
        group = f"critical/{recipient.address.lower()}"
        why = "more than 10 critical alerts in 10 minutes"
        return [Listed(recipient=recipient, drafts=tuple(drafts), group=group, ordinal=int(now.timestamp()), why=why)]


def _next(clock: str, zone: ZoneInfo, now: datetime) -> datetime:
    """The first instant after ``now`` at which a wall clock in ``zone`` shows ``clock``; UTC."""
    day, minute = local(now, zone).date(), parse_clock(clock)
    today = at_minute(day, minute, zone)
    return today if today > now else at_minute(day + DAY, minute, zone)


def uncapped(draft: NotificationDraft) -> bool:
    """Whether no cap holds it: a step of an escalation, and what is critical, which has a bound of its own."""
    return draft.intent.kind is IntentKind.ESCALATED or is_critical(draft)


def is_critical(draft: NotificationDraft) -> bool:
    """Whether `critical.py` bounds it."""
    fires = draft.intent.severity is Severity.CRITICAL and draft.intent.kind is IntentKind.FIRED
    return fires and not draft.limited and for_people(draft.recipient.channel)
