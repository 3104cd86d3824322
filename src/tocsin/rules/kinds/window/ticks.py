"""Ticks of windows: multiples of `every` since the epoch, one timer for all rules that share an `every`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.history import micros
from tocsin.rules.spec.rule import Rule

BACKFILL = timedelta(hours=1)
"""Ticks of the last hour are made up for one by one, older ones by one that stands for all of them."""


def first_ticks(rules: Iterable[Rule], timers: Iterable[Timer], now: datetime) -> list[Timer]:
    """Ticks of each ``every`` that has none yet: the first multiple after ``now``."""
    there = {t.key for t in timers if t.kind is TimerKind.TICK and not t.rule}
    spans = {rule.window.every for rule in rules if rule.window is not None}
    return [tick(every, after(now, every)) for every in sorted(spans) if tick_key(every) not in there]


def tick_key(every: timedelta) -> str:
    """Name of the tick that rules of this ``every`` share."""
    return str(every // timedelta(microseconds=1))


def tick(every: timedelta, due: datetime) -> Timer:
    """The shared tick at ``due``."""
    return Timer(rule="", kind=TimerKind.TICK, key=tick_key(every), due=due)


def every_of(timer: Timer) -> timedelta:
    """The ``every`` of a shared tick."""
    return timedelta(microseconds=int(timer.key))


def after(at: datetime, every: timedelta) -> datetime:
    """The first multiple of ``every`` since the epoch that is later than ``at``."""
    us = micros(at)
    step = every // timedelta(microseconds=1)
    return at + timedelta(microseconds=step - us % step)


def coalesced(timer: Timer, now: datetime) -> tuple[Timer, int]:
    """A shared tick that is long overdue, as the last one before the last hour, and how many that leaves out."""
    if timer.kind is not TimerKind.TICK or timer.rule or timer.due >= now - BACKFILL:
        return timer, 0
    every = every_of(timer)
    left_out = (now - BACKFILL - timer.due) // every
    return replace(timer, due=timer.due + left_out * every), left_out
