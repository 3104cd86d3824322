"""The cap's memory: what each address got lately, who is held until when, and the summaries that end it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.notify.channels.registry import for_people
from tocsin.notify.delivery.digests import Write, is_limited
from tocsin.notify.render.mail import MailRenderer, by_cap, hold, sum_up
from tocsin.notify.routing.pipeline import RecipientResolver, cap
from tocsin.notify.values import Capped, CapRule, NotificationDraft
from tocsin.state.interface import State

_MOST = 20_000
"""Held mails of one summary; more make another."""
_ALL = 200_000


class Caps:
    """Holds back what is beyond the cap. Held mails lie in the state; here is only until when."""

    def __init__(self, rule: CapRule | None, state: State, renderer: MailRenderer, write: Write) -> None:
        self._rule, self._state, self._renderer, self._write = rule, state, renderer, write
        self._holding: dict[str, datetime] = {}

    def load(self) -> None:
        """Find out who is held. Raises StoreError."""
        self._holding = {}
        for held in self._state.deliveries(state=DeliveryState.HELD, limit=_ALL):
            if is_limited(held):
                continue
            known = self._holding.get(held.address)
            self._holding[held.address] = min(known, held.next_at) if known else held.next_at

    def next_due(self) -> datetime | None:
        """When the next summary is due."""
        return min(self._holding.values(), default=None)

    def cap(self, drafts: Sequence[NotificationDraft], now: datetime) -> Capped:
        """Which of ``drafts`` may go. Raises StoreError."""
        if self._rule is None:
            return cap(drafts, None, {}, self._holding, lambda _: now)
        programs = [draft for draft in drafts if not for_people(draft.recipient.channel)]
        drafts = [draft for draft in drafts if for_people(draft.recipient.channel)]
        wanted = Counter(draft.recipient.address for draft in drafts)
        sent = self._state.sent_counts(wanted, now - self._rule.window)
        full = {a: self._window_end(a, now) for a, n in wanted.items() if sent.get(a, 0) + n > self._rule.mails}
        capped = cap(drafts, self._rule, sent, self._holding, lambda address: full[address])
        return replace(capped, through=(*capped.through, *programs))

    def cap_made(self, made: Sequence[Delivery], now: datetime) -> list[Delivery]:
        """``made``, those that are beyond the cap HELD. Raises StoreError."""
        if self._rule is None:
            return list(made)
        out = []
        for d in made:
            until = self._holding.get(d.address)
            if until is None and self._state.sent_since(d.address, now - self._rule.window) >= self._rule.mails:
                until = self._window_end(d.address, now)
            if until is not None:
                self._holding.setdefault(d.address, until)
                line = {"title": d.subject, "at": d.created_at.isoformat(), "severity": d.severity}
                d = replace(d, state=DeliveryState.HELD, next_at=until, message=json.dumps(line).encode())
            out.append(d)
        return out

    def _window_end(self, address: str, now: datetime) -> datetime:
        """When the oldest of the last mails leaves the window."""
        assert self._rule is not None
        last = self._state.deliveries(state=DeliveryState.SENT, address=address, limit=self._rule.mails)
        inside = [d.created_at for d in last if d.created_at > now - self._rule.window]
        return (inside[-1] if len(inside) >= self._rule.mails else now) + self._rule.window

    def hold(self, held: Sequence[tuple[NotificationDraft, datetime]], now: datetime) -> list[Delivery]:
        """Deliveries that wait; remembers until when."""
        for draft, until in held:
            self._holding.setdefault(draft.recipient.address, until)
        return [hold(draft, until, self._renderer, now) for draft, until in held]

    def due(self, now: datetime, resolver: RecipientResolver) -> list[tuple[Delivery, list[str]]]:
        """Summaries whose time has come, each with the ids that it lists. Raises StoreError.

        An address is forgotten here when its summary is handed out; if that is then not written, ``load`` finds it
        again.
        """
        made: list[tuple[Delivery, list[str]]] = []
        for address, until in list(self._holding.items()):
            if until > now:
                continue
            found = self._state.deliveries(state=DeliveryState.HELD, address=address, limit=_MOST)
            held = [d for d in found if not is_limited(d)]
            ripe = sorted((d for d in held if d.next_at <= now), key=lambda d: (d.created_at, d.id))
            later = [d.next_at for d in held if d.next_at > now]
            if len(found) == _MOST:
                pass  # there may be more: looked at again at once
            elif later:
                self._holding[address] = min(later)
            else:
                del self._holding[address]
            if ripe:
                recipient = resolver.written(address, ripe[0].receiver, "is capped")
                rule = self._rule or CapRule(mails=0, window=now - now)
                summary = self._write(sum_up(ripe, recipient, by_cap(rule), self._renderer, now))
                made.append((summary, [d.id for d in ripe]))
        return made
