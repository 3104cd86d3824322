"""Ticks of windows: multiples of `every` since the epoch, one timer for all rules that share an `every`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.history import micros
from tocsin.rules.kinds.window.spec import WindowRule


def first_ticks(rules: Iterable[WindowRule], timers: Iterable[Timer], now: datetime) -> list[Timer]:
    """Ticks of each ``every`` that has none yet: the first multiple after ``now``."""
    there = {t.key for t in timers if t.kind is TimerKind.TICK and not t.rule}
    spans = {rule.spec.every for rule in rules}
    return [tick(every, after(now, every)) for every in sorted(spans) if tick_key(every) not in there]


def tick_key(every: timedelta) -> str:
    """Name of the tick that rules of this ``every`` share."""
    return str(every // timedelta(microseconds=1))


def tick(every: timedelta, due: datetime) -> Timer:
    """The shared tick at ``due``."""
    return Timer(rule="", kind=TimerKind.TICK, key=tick_key(every), due=due)


def after(at: datetime, every: timedelta) -> datetime:
    """The first multiple of ``every`` since the epoch that is later than ``at``."""
    us = micros(at)
    step = every // timedelta(microseconds=1)
    return at + timedelta(microseconds=step - us % step)
