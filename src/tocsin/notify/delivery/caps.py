"""The cap's memory: what each address got lately, who is held until when, and the summaries that end it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.statuses import Severity
from tocsin.notify.addresses import mailbox
from tocsin.notify.channels.registry import for_people
from tocsin.notify.delivery.digests import Write, is_limited, waits_for_digest
from tocsin.notify.render.mail import MailRenderer, by_cap, hold, sum_up
from tocsin.notify.routing.pipeline import RecipientResolver, cap
from tocsin.notify.values import Capped, CapRule, NotificationDraft
from tocsin.state.interface import State

_MOST = 20_000
"""Held mails of one summary; more make another."""
_ALL = 200_000


class Caps:
    """Holds back what is beyond a cap: that of each mailbox, and that of all together. Held mails lie in the state;
    here is only until when, by mailbox.
    """

    def __init__(
        self, rule: CapRule | None, total: CapRule | None, state: State, renderer: MailRenderer, write: Write
    ) -> None:
        """``total`` is the cap of all mails together."""
        self._rule, self._total, self._state, self._renderer, self._write = rule, total, state, renderer, write
        self._holding: dict[str, datetime] = {}
        self._addresses: dict[str, set[str]] = {}  # of a mailbox, those that something is held for

    def load(self) -> None:
        """Find out who is held. Raises StoreError."""
        self._holding = {}
        self._addresses = {}
        for address, group, until in self._state.held_until():
            if not waits_for_digest(group):
                self._hold(address, until)

    def _hold(self, address: str, until: datetime) -> None:
        box = mailbox(address)
        self._holding[box] = min(self._holding.get(box, until), until)
        self._addresses.setdefault(box, set()).add(address)

    def next_due(self) -> datetime | None:
        """When the next summary is due."""
        return min(self._holding.values(), default=None)

    def cap(
        self, drafts: Sequence[NotificationDraft], now: datetime, first: Sequence[NotificationDraft] = ()
    ) -> Capped:
        """Which of ``drafts`` may go, where ``first`` (critical ones) go in any case. Raises StoreError."""
        if self._rule is None:
            return cap(drafts, None, {}, self._holding, lambda _: now)
        programs = [draft for draft in drafts if not for_people(draft.recipient.channel)]
        people = [draft for draft in drafts if for_people(draft.recipient.channel)]
        lately = _Lately(self._state, self._rule, self._total, now)
        lately.add(draft.recipient.address for draft in first if for_people(draft.recipient.channel))
        capped = cap(people, self._rule, lately.sent, self._holding, lately.full_until)
        late = [(draft, lately.all_until) for draft in capped.through[lately.room :]]
        return Capped(through=(*capped.through[: lately.room], *programs), held=(*capped.held, *late))

    def cap_made(self, made: Sequence[Delivery], now: datetime) -> list[Delivery]:
        """``made``, those that are beyond the cap of their mailbox HELD, but for critical ones. Raises StoreError."""
        if self._rule is None:
            return list(made)
        lately = _Lately(self._state, self._rule, None, now)
        out = []
        for d in made:
            box = mailbox(d.address)
            until = self._holding.get(box)
            if until is None and lately.sent[box] >= self._rule.mails:
                until = lately.full_until(box)
            if until is not None and d.severity != Severity.CRITICAL.word:
                self._hold(d.address, until)
                line = {"title": d.subject, "at": d.created_at.isoformat(), "severity": d.severity}
                d = replace(d, state=DeliveryState.HELD, next_at=until, message=json.dumps(line).encode())
            out.append(d)
        return out

    def hold(self, held: Sequence[tuple[NotificationDraft, datetime]], now: datetime) -> list[Delivery]:
        """Deliveries that wait; remembers until when."""
        for draft, until in held:
            self._hold(draft.recipient.address, until)
        return [hold(draft, until, self._renderer, now) for draft, until in held]

    def due(self, now: datetime, resolver: RecipientResolver) -> list[tuple[list[Delivery], list[str]]]:
        """Summaries whose time has come, each with the ids that it lists. Raises StoreError.

        A mailbox is forgotten here when its summary is handed out; if that is then not written, ``load`` finds it
        again.
        """
        made: list[tuple[list[Delivery], list[str]]] = []
        ripe_boxes = [box for box, until in self._holding.items() if until <= now]
        for box in ripe_boxes:  # one after the other, so that no more is in memory than one of them was due
            all_held = [
                held
                for address in sorted(self._addresses.get(box, ()))
                for held in self._state.deliveries(state=DeliveryState.HELD, address=address, limit=_ALL)
                if not is_limited(held)
            ]
            ripe = sorted((d for d in all_held if d.next_at <= now), key=lambda d: (d.created_at, d.id))
            later = [d.next_at for d in all_held if d.next_at > now]
            if len(ripe) > _MOST:
                ripe = ripe[:_MOST]  # the others at once afterwards
            elif later:
                self._holding[box] = min(later)
            else:
                del self._holding[box]
                self._addresses.pop(box, None)
            if ripe:
                recipient = resolver.written(ripe[0].address, ripe[0].receiver, "is capped")
                rule = self._rule or CapRule(mails=0, window=now - now)
                summary = self._write(sum_up(ripe, recipient, by_cap(rule), self._renderer, now))
                made.append(([summary], [d.id for d in ripe]))
        return made


class _Lately:
    """What mailboxes got within the window of their cap, and all together within that of theirs."""

    def __init__(self, state: State, rule: CapRule, total: CapRule | None, now: datetime) -> None:
        self._rule, self._total, self._now = rule, total, now
        window = max(rule.window, total.window) if total else rule.window
        self._times: dict[str, list[datetime]] = {}  # newest first
        self._all: list[datetime] = []
        for address, at in state.sent_lately(now - window, _ALL):
            if at > now - rule.window:
                self._times.setdefault(mailbox(address), []).append(at)
            if total and at > now - total.window:
                self._all.append(at)
        self.sent = Counter({box: len(times) for box, times in self._times.items()})

    def add(self, addresses: Iterable[str]) -> None:
        """These get one now."""
        boxes = [mailbox(address) for address in addresses]
        self.sent.update(boxes)
        self._all = [self._now] * len(boxes) + self._all

    def full_until(self, box: str) -> datetime:
        """When the oldest of the last mails of ``box`` leaves the window."""
        return self._end(self._times.get(box, []), self._rule)

    @property
    def room(self) -> int:
        """How many more may leave."""
        return max(0, self._total.mails - len(self._all)) if self._total else _ALL

    @property
    def all_until(self) -> datetime:
        """When the oldest of the last mails of all leaves the window."""
        assert self._total is not None
        return self._end(self._all, self._total)

    def _end(self, times: Sequence[datetime], rule: CapRule) -> datetime:
        inside = times[: rule.mails]
        return (inside[-1] if len(inside) >= rule.mails else self._now) + rule.window
