"""The audit trail: logins, refusals, queries and what administrators do become rows of Actions, which KQL reads.

What may come often, and from strangers, costs a bounded amount: the same again within an hour is counted, not written, and a
minute brings at most a hundred new rows of such.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Final

from tocsin.clock import Clock
from tocsin.model.active import Audited, AuditKind, Deed
from tocsin.state.interface import State

AGAIN: Final = 3600.0
"""Seconds for which the same is only counted."""
NEW: Final = 100
"""New rows a minute, at most, of what may come often."""
REMEMBERED: Final = 5000
LONGEST: Final = 4000
"""Characters of a text."""
_OFTEN: Final = frozenset((AuditKind.QUERY, AuditKind.REFUSED, AuditKind.LOGIN_FAILED))


@dataclass(slots=True)
class _Last:
    at: float  # of Clock.monotonic, when it was written
    more: int = 0  # times since then


class Audit:
    """Takes notes; ``flush`` makes them durable. Safe from any thread."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state, self._clock, self._lock = state, clock, Lock()
        self._waiting: list[Audited] = []
        self._last: OrderedDict[tuple[AuditKind, str, str, str], _Last] = OrderedDict()
        self._minute, self._new, self._over = 0.0, 0, 0

    def note(self, kind: AuditKind, *, by: str, via: str, text: str) -> None:
        """Somebody did it now."""
        text = text[:LONGEST]
        with self._lock:
            if kind in _OFTEN:
                key, now = (kind, by, via, text), self._clock.monotonic()
                last = self._last.get(key)
                if last is not None and now - last.at < AGAIN:
                    last.more += 1
                    return
                if now - self._minute >= 60:
                    self._end_minute(now)
                if self._new >= NEW:
                    self._over += 1
                    return
                self._new += 1
                self._last[key] = _Last(now)
                self._last.move_to_end(key)
                while len(self._last) > REMEMBERED:
                    self._last.popitem(last=False)
                if last is not None and last.more:
                    text += f" ({last.more} times more since the last row)"
            self._waiting.append(self._made(kind, by, via, text))

    def flush(self) -> None:
        """Make durable what waits. Raises StoreError; then it still waits."""
        with self._lock:
            waiting = list(self._waiting)
        if waiting:
            self._state.audit(waiting)
            with self._lock:
                del self._waiting[: len(waiting)]

    def _end_minute(self, now: float) -> None:
        if self._over:
            text = (
                f"{self._over} logins, refusals and queries more than the {NEW} new ones of a minute that are written"
            )
            self._waiting.append(self._made(AuditKind.REFUSED, "", "", text))
        self._minute, self._new, self._over = now, 0, 0

    def _made(self, kind: AuditKind, by: str, via: str, text: str) -> Audited:
        return Audited(kind=kind, deed=Deed(by=by, via=via, at=self._clock.now()), text=text)
