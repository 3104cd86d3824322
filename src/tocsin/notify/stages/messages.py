"""Fifth stage: from messages to drafts, one for each address, each with why its reader gets it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tocsin.model.active import ActiveAlert
from tocsin.model.delivery import EMAIL, Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.notify.channels.registry import for_each
from tocsin.notify.oncall.escalation import ENDS, Why
from tocsin.notify.routing.pipeline import DEFAULT, RecipientResolver, resolve
from tocsin.notify.stages.escalate import StepMessage
from tocsin.notify.stages.flush import About, Message
from tocsin.notify.stages.people import NO_PREFERENCES, Preferences
from tocsin.notify.values import NotificationDraft, Recipient, Routed

Said = Mapping[str, tuple[Intent, RuleInfo]]
"""Alert → its latest intent and the presentation of its rule."""


_ENDS = frozenset({Why.ACKNOWLEDGED, *ENDS})
"""Why a step's people are notified that it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Several alerts for one address in one list."""

    recipient: Recipient
    drafts: tuple[NotificationDraft, ...]
    group: str
    ordinal: int
    why: str


@dataclass(slots=True)
class Addressed:
    """What goes to whom."""

    routed: list[Routed] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    steps: list[NotificationDraft] = field(default_factory=list)
    stateful: list[NotificationDraft] = field(default_factory=list)
    reached: set[tuple[str, str]] = field(default_factory=set)  # (address, alert) that an escalation reaches


class Addressing:
    """Turns messages into drafts. ``notified`` names who got an alert's firing message, ``preferences`` who has muted what."""

    def __init__(
        self,
        resolver: RecipientResolver,
        said: Said,
        notified: Mapping[str, Sequence[Notified]],
        preferences: Preferences = NO_PREFERENCES,
    ) -> None:
        self._resolver, self._said, self._notified, self._preferences = resolver, said, notified, preferences
        self._out = Addressed()
        self._ended: set[tuple[str, str]] = set()  # (address, alert) that is notified of an end

    def of(self, steps: Iterable[StepMessage], messages: Iterable[Message]) -> Addressed:
        """Escalations first: of two messages to one address theirs wins."""
        for step in steps:
            self._step(step)
        for message in messages:
            self._message(message)
        return self._out

    # -- groups --------------------------------------------------------------------------------------------------------

    def _message(self, message: Message) -> None:
        by_address: dict[str, list[tuple[Recipient, About]]] = {}
        for about in message.about:
            if about.alert.id not in self._said:
                continue
            for found in self._recipients(message, about):
                key = found.address.lower()
                recipient = replace(found, personal=self._resolver.is_personal(found), grouped=message.values)
                if recipient.personal and self._preferences.muted(key, about.alert):
                    continue
                if recipient.later is not None and about.kind is IntentKind.REPEATED:
                    continue  # a digest says it once
                if (key, about.alert.id) not in self._out.reached or about.kind is IntentKind.RESOLVED:
                    by_address.setdefault(key, []).append((recipient, about))
        for entries in by_address.values():
            limited = [entry for entry in entries if self._said[entry[1].alert.id][0].limited]
            alone = limited or for_each(entries[0][0].channel) or entries[0][0].later is not None
            if message.together and len(entries) > 1 and not alone:
                drafts = tuple(self._draft(recipient, about, message) for recipient, about in entries)
                self._out.listed.append(
                    Listed(
                        recipient=entries[0][0], drafts=drafts, group=message.group, ordinal=message.ordinal,
                        why=message.why,
                    )
                )  # fmt: skip
            else:
                for recipient, about in entries:
                    intent, info = self._intent(about, message)
                    self._out.routed.append(Routed(intent=intent, info=info, recipients=(recipient,)))

    def _draft(self, recipient: Recipient, about: About, message: Message) -> NotificationDraft:
        return NotificationDraft(
            recipient=recipient, notified=(self._intent(about, message),), flush=f"{message.group}/{message.ordinal}"
        )

    def _intent(self, about: About, message: Message) -> tuple[Intent, RuleInfo]:
        """What the alert's message says. A repeat is the same once more, under a number of its own."""
        intent, info = self._said[about.alert.id]
        if about.kind is None and about.alert.brief:
            details = replace(intent.details, firing_since=about.alert.fired_at)
            return replace(intent, details=details, origin=intent.id), info
        if about.kind is None or about.kind is intent.kind is not IntentKind.REPEATED:
            return intent, info
        return replace(intent, kind=about.kind, ordinal=1_000_000 + message.ordinal, origin=intent.id), info

    def _recipients(self, message: Message, about: About) -> Sequence[Recipient]:
        intent, info = self._said[about.alert.id]
        if about.kind is IntentKind.RESOLVED:
            return self._who_knew(message, about.alert)
        notes: list[str] = []
        if message.receiver == DEFAULT:  # then it is said why nobody else is notified
            for route in about.alert.routes:
                if route.receiver and route.receiver != DEFAULT:
                    resolve(route.receiver, intent, info, self._resolver, notes)
        found = resolve(message.receiver, intent, info, self._resolver, notes)
        if about.alert.brief:  # a pager never knew it
            found = [r for r in found if not for_each(r.channel)]
        because = next((r.because for r in about.alert.routes if r.receiver == message.receiver), "")
        if because:
            found = [replace(r, because=f"{r.because}: {because}") for r in found]
        if intent.kind is IntentKind.REPEATED or about.kind is IntentKind.REPEATED:
            before = {t.address.lower(): t for t in self._notified.get(about.alert.id, ())}
            found = [replace(r, notified=before.get(r.address.lower())) for r in found]
        return found

    def _who_knew(self, message: Message, alert: ActiveAlert) -> Sequence[Recipient]:
        """Who got the firing message by this receiver, or by one that took its place."""
        others = {r.receiver for r in alert.routes if r.receiver != message.receiver}
        others |= {r.escalation for r in alert.routes if r.escalation}  # it says its end itself
        found: list[Recipient] = []
        for t in self._notified.get(alert.id, ()):
            key = (t.address.lower(), alert.id)
            if t.receiver in others or key in self._ended or for_each(t.channel):
                continue
            self._ended.add(key)
            written = self._resolver.written(t.address, t.receiver, "notified you before that it fires")
            later = self._resolver.later(message.receiver, t.receiver) if t.channel == EMAIL else None
            found.append(replace(written, channel=t.channel, notified=t, later=later))
        if not found and not self._notified.get(alert.id):
            intent, info = self._said[alert.id]
            every = resolve(message.receiver, intent, info, self._resolver, [])
            return [r for r in every if not for_each(r.channel)]
        return found

    # -- escalations ---------------------------------------------------------------------------------------------------

    def _step(self, step: StepMessage) -> None:
        if step.alert.id not in self._said:
            return
        intent, info = self._said[step.alert.id]
        number = ", ".join(str(n + 1) for n in step.steps)
        how = f"escalation {step.escalation}" + (f", step {number}" if number else "")
        because = f"notifies you by {how}: {step.why}" + (f" ({step.because})" if step.because else "")
        about = replace(intent, kind=IntentKind.ESCALATED, ordinal=2_000_000 + step.ordinal, origin=intent.id)
        seen: set[str] = set()
        for name in step.to:
            for recipient in resolve(name, about, info, self._resolver, []):
                key = recipient.address.lower()
                said = about
                if for_each(recipient.channel) and step.why in _ENDS:
                    if step.why is not Why.SILENCED:
                        continue  # `stateful` says it
                    said = replace(about, kind=IntentKind.RESOLVED)  # when the silence ends it is a new incident
                if key in seen:
                    continue
                seen.add(key)
                self._out.reached.add((key, step.alert.id))
                if step.why in _ENDS:
                    self._ended.add((key, step.alert.id))
                # A mail is the escalation's; another channel is its receiver's.
                receiver = step.escalation if recipient.channel == EMAIL else recipient.receiver
                note = step.note or (f"{step.why}".capitalize() if step.why not in (Why.STEP_DUE, Why.STARTED) else "")
                self._out.steps.append(
                    NotificationDraft(
                        recipient=replace(recipient, receiver=receiver, because=because, note=note),
                        notified=((said, info),), flush=step.group, thread=step.group,
                        says=step.note or step.why.value if not step.steps and step.why is not Why.RESUMED else "",
                    )
                )  # fmt: skip
