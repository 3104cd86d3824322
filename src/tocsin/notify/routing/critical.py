"""Critical alerts: never delayed, and never a thousand messages.

The first 10 in 10 minutes to an address go alone. Beyond, one message at once, and again each minute while it grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

WINDOW = timedelta(minutes=10)
ALONE = 10
AGAIN = timedelta(minutes=1)


class Why(StrEnum):
    """Why a critical alert goes alone or with others."""

    ALONE = "critical"
    TOGETHER = "more than 10 critical alerts in 10 minutes, listed in one message"
    WAITS = "listed in the next message, within a minute"
    NOTHING = "no further critical alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalState:
    """What an address got lately. All that a restart needs to know."""

    alone_at: tuple[datetime, ...] = ()  # when single ones went, within WINDOW; UTC
    together_at: datetime | None = None  # when the last common message went; UTC
    waiting: tuple[str, ...] = ()  # ids for the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What goes out: each of ``alone`` by itself, ``together`` in one message."""

    state: CriticalState
    alone: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    why: Why = Why.NOTHING


def fired(state: CriticalState, ids: Sequence[str], at: datetime) -> Sent:
    """Critical alerts ``ids`` are to be sent to the address at ``at``; also called without any when ``next_due`` is
    reached.
    """
    recent = tuple(each for each in state.alone_at if each > at - WINDOW)
    free = max(ALONE - len(recent), 0)
    alone, rest = tuple(ids[:free]), (*state.waiting, *ids[free:])
    after = replace(state, alone_at=(*recent, *(at for _ in alone)), waiting=rest)
    if not rest:
        return Sent(state=after, alone=alone, why=Why.ALONE if alone else Why.NOTHING)
    if state.together_at is not None and at < state.together_at + AGAIN:
        return Sent(state=after, alone=alone, why=Why.WAITS)
    after = replace(after, together_at=at, waiting=())
    return Sent(state=after, alone=alone, together=rest, why=Why.TOGETHER)


def next_due(state: CriticalState) -> datetime | None:
    """When the next common message goes; None where nothing waits."""
    return state.together_at + AGAIN if state.waiting and state.together_at is not None else None
