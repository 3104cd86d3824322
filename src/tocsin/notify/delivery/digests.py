"""What is beyond a rule's `limit` waits here to be one mail at the end of its window: one for each address and limit.

As with the cap, what waits are HELD deliveries of the state: a restart finds them again, and a rule that is gone
meanwhile leaves them to be notified all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.model.active import alert_id
from tocsin.model.alert import fingerprint, instance_key
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.details import Digest
from tocsin.model.text.causes import one_line
from tocsin.model.text.typed import of_json, to_json
from tocsin.notify.channels.base import Notification
from tocsin.notify.channels.registry import for_each, is_mirror
from tocsin.notify.render.mail import RECOVERED, MailRenderer, Reason, hold, sum_up
from tocsin.notify.routing.decide import After, Verdict
from tocsin.notify.routing.decide import Why as Suppressed
from tocsin.notify.routing.pipeline import RecipientResolver
from tocsin.notify.values import NotificationDraft
from tocsin.state.interface import State

PREFIX = "limit/"
"""With which the group of a delivery begins that waits for the digest of a rule's limit."""
MUTED = "muted/"
"""The same of one that waits because it was suppressed."""
_ENDS = f"{PREFIX}end/"
"""With which the group begins of what ends a digest's incident."""
_INHIBITED = f"{MUTED}{Suppressed.INHIBITED.name.lower()}/"
_UNKNOWN_END = timedelta(hours=24)
"""How long what an inhibition suppressed waits at most, and how long the incident of what was suppressed lasts."""
Write = Callable[[Notification], Delivery]
"""Makes the message, by the channel of the delivery."""
_MOST = 20_000
"""Held mails of one digest; more make another."""


def is_limited(delivery: Delivery) -> bool:
    """Whether a held delivery waits for a digest, not for the cap."""
    return waits_for_digest(delivery.group)


def waits_for_digest(group: str) -> bool:
    """The same of the group of a held delivery."""
    return group.startswith((PREFIX, MUTED))


class Digests:
    """Until when what is beyond which limit waits, by address and group."""

    def __init__(self, state: State, renderer: MailRenderer, write: Write) -> None:
        self._state, self._renderer, self._write = state, renderer, write
        self._waiting: dict[tuple[str, str], datetime] = {}

    def load(self) -> None:
        """Find out what waits. Raises StoreError."""
        self._waiting = {}
        for address, group, until in self._state.held_until():
            if waits_for_digest(group):
                self._note(address, group, until)

    def _note(self, address: str, group: str, until: datetime) -> None:
        self._waiting[address, group] = min(self._waiting.get((address, group), until), until)

    def next_due(self) -> datetime | None:
        """When the next digest is due."""
        return min(self._waiting.values(), default=None)

    def hold(self, drafts: Sequence[NotificationDraft], now: datetime) -> list[Delivery]:
        """Deliveries that wait, of letters that are beyond their limit."""
        made = []
        for draft in drafts:
            digest = draft.intent.details.digest
            assert digest is not None
            until = digest.until.isoformat().replace("+00:00", "Z")
            group = PREFIX + fingerprint(draft.intent.rule, instance_key(digest.per), until)
            held = hold(draft, digest.until, self._renderer, now)
            line = {**json.loads(held.message), "digest": to_json(digest)}
            held = replace(held, group=group, message=json.dumps(line, ensure_ascii=False).encode())
            self._note(held.address, held.group, held.next_at)
            made.append(held)
        return made

    def hold_suppressed(self, drafts: Sequence[tuple[NotificationDraft, Verdict]], now: datetime) -> list[Delivery]:
        """Deliveries that wait until what suppresses them ends; one that its author drops is only recorded."""
        made = []
        for draft, verdict in drafts:
            until = verdict.until or now + _UNKNOWN_END
            held = hold(draft, until, self._renderer, now)
            if verdict.after is After.DROP:
                made.append(replace(held, state=DeliveryState.DROPPED, reply=f"{verdict.why}, and its author drops it"))
                continue
            if is_mirror(held.channel):
                made.append(
                    replace(held, state=DeliveryState.DROPPED, reply=f"{verdict.why}, and a mirror has no digest")
                )
                continue
            said = f"{verdict.why} ({verdict.by})" if verdict.by else verdict.why.value
            line = {**json.loads(held.message), "suppressed": said, "report": verdict.after is After.REPORT}
            line["alert"] = alert_id(draft.intent.rule, instance_key(draft.intent.instance), draft.intent.occurrence)
            group = f"{MUTED}{verdict.why.name.lower()}/{verdict.by}"
            held = replace(held, group=group, message=json.dumps(line, ensure_ascii=False).encode())
            self._note(held.address, held.group, held.next_at)
            made.append(held)
        return made

    def release(self, source: str, now: datetime) -> None:
        """An inhibition's source has ended: what it held back goes out now."""
        group = f"{_INHIBITED}{source}"
        for key in self._waiting:
            if key[1] == group:
                self._waiting[key] = now

    def sources(self) -> list[str]:
        """Alerts that hold something back as sources of an inhibition."""
        return sorted({group.removeprefix(_INHIBITED) for _, group in self._waiting if group.startswith(_INHIBITED)})

    def due(self, now: datetime, resolver: RecipientResolver) -> list[tuple[list[Delivery], list[str]]]:
        """Digests whose time has come, each with the ids that it lists; none where nothing is wrong any more. Raises
        StoreError.

        A digest opens an incident where each alert is one, and no alert's end closes it: what does waits HELD beside it.

        One is forgotten here when it is handed out; if it is then not written, ``load`` finds it again.
        """
        made: list[tuple[list[Delivery], list[str]]] = []
        for (address, group), until in list(self._waiting.items()):
            if until > now:
                continue
            held = self._state.deliveries(state=DeliveryState.HELD, address=address, limit=_MOST)
            ripe = sorted((d for d in held if d.group == group), key=lambda d: (d.created_at, d.id))
            if len(held) < _MOST:  # else there may be more of it: read again at once
                del self._waiting[(address, group)]
            if not ripe:
                continue
            if group.startswith(_ENDS):
                made += [([self._ended(end, now)], [end.id]) for end in ripe]
                continue
            still = [d for d in ripe if self._still(d)] if group.startswith(_INHIBITED) else ripe
            messages: list[Delivery] = []
            incident = for_each(ripe[0].channel)
            if still and not (incident and all(_is_end(d) for d in still)):
                recipient = resolver.written(address, ripe[0].receiver, "is notified of it")
                reason = replace(_reason(ripe[0]), of=len(ripe))
                summary = sum_up(still, recipient, reason, self._renderer, now)
                messages = [self._write(summary)]
                if incident:
                    messages.append(self._end(summary, now + (reason.window or _UNKNOWN_END)))
            made.append((messages, [d.id for d in ripe]))
        return made

    def _end(self, summary: Notification, until: datetime) -> Delivery:
        """What ends the incident of a digest at ``until``."""
        opened = summary.delivery
        subject = f"recovered: {opened.subject}"
        end = replace(opened, id=fingerprint("end", opened.id), subject=subject, covers=0, intents=())
        held = self._write(replace(summary, delivery=end, over=True))
        held = replace(held, state=DeliveryState.HELD, next_at=until, group=f"{_ENDS}{opened.group}")
        self._note(held.address, held.group, until)
        return held

    def _ended(self, held: Delivery, now: datetime) -> Delivery:
        """What was held, to be sent: in the group of the digest, behind it."""
        return replace(
            held, id=fingerprint("sent", held.id), state=DeliveryState.READY, group=held.group.removeprefix(_ENDS),
            created_at=now, next_at=now, deadline=now + self._renderer.keep_trying,
        )  # fmt: skip

    def _still(self, held: Delivery) -> bool:
        """Whether what it is about is still wrong: its run was not started again, and nobody closed it."""
        alert = self._state.alert(str(json.loads(held.message).get("alert", "")))
        return alert is None or alert.ended_at is None


def _is_end(held: Delivery) -> bool:
    return bool(json.loads(held.message).get("cause") == RECOVERED)


def _reason(held: Delivery) -> Reason:
    line = json.loads(held.message)
    if held.group.startswith(MUTED):
        what = "a silence of yours hid them" if line.get("report") else f"they were held back: {line['suppressed']}"
        return Reason(
            kind="muted", window=timedelta(0), mails=0, per=line["suppressed"], because=f"You get this because {what}."
        )
    digest = of_json(Digest, line["digest"])
    rule = held.rules[0] if held.rules else ""
    per = ", ".join(f"{one_line(str(k), 60)} {one_line(str(v), 80)}" for k, v in digest.per.items())
    return Reason(
        kind="limit", window=timedelta(seconds=digest.seconds), mails=digest.notified, rule=rule, per=per,
        because=f"You get this because rule {rule} notifies no more than {digest.notified} of {per} one by one.",
    )  # fmt: skip
