"""When consumers could not be reached: a run is not silent while its source has no way to reach us.

    up          ───────────┐ down ┌── grace ──┐────────────
    watermark   now        │      │  unknown  │ now
    unreachable                   [──────────────────)

A consumer is unreachable from its last watermark (at a start: from when intake was last up) until its watermark is
near again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from tocsin.clock import from_micros, micros
from tocsin.model.watermarks import Span

OUTAGE = timedelta(seconds=30)
"""A watermark that is further behind receives nothing."""
KEEP = timedelta(days=400)
MOST = 2000
"""Spans that are remembered, at most: a backtest over stored history knows by them when nobody reported."""
RECENT = timedelta(days=8)
"""Spans that ended longer ago matter to no rule any more."""


class Notes(Protocol):
    """A place for small named values; ``State`` is one."""

    def get(self, key: str) -> str | None:
        """A small named value."""

    def put(self, key: str, value: str) -> None:
        """Keep a small named value."""


class SourceOutages:
    """Of one consumer. One thread."""

    def __init__(self, name: str, notes: Notes, last_alive: datetime) -> None:
        """``last_alive`` is when intake was last known to be up for it: since then nothing reported."""
        self._key, self._notes = f"unreachable/{name}", notes
        self._since: datetime | None = last_alive
        self._spans: tuple[Span, ...] = ()
        self._spans, since = _read(name, notes)
        if since is not None:
            self._since = min(last_alive, since)
        self._recent = self._spans

    @property
    def spans(self) -> Sequence[Span]:
        """When it could not be reached of late, in order; what lasts still is left out: its watermark notifies."""
        return self._recent

    def note(self, now: datetime, mark: datetime | None) -> None:
        """Its watermark is ``mark`` at ``now``. What changes is durable when this returns."""
        if mark is None or now - mark > OUTAGE:
            if self._since is None:
                self._since = now - OUTAGE if mark is None else mark
                self._keep(now)
        elif self._since is not None:
            if now > self._since:
                self._spans = (*self._spans, (self._since, now))[-MOST:]
            self._since = None
            self._keep(now)

    def _keep(self, now: datetime) -> None:
        self._spans = tuple(span for span in self._spans if now - span[1] < KEEP)
        self._recent = tuple(span for span in self._spans if now - span[1] < RECENT)
        self._notes.put(
            self._key,
            json.dumps({
                "since": None if self._since is None else micros(self._since),
                "spans": [(micros(a), micros(b)) for a, b in self._spans],
            }),
        )  # fmt: skip


def spans_of(name: str, notes: Notes, now: datetime) -> Sequence[Span]:
    """When a consumer is known not to have been reached, as far back as is remembered; in order, up to ``now``."""
    spans, since = _read(name, notes)
    return spans if since is None or since >= now else (*spans, (since, now))


def _read(name: str, notes: Notes) -> tuple[tuple[Span, ...], datetime | None]:
    """The spans that are kept, and since when it is not reached now."""
    text = notes.get(f"unreachable/{name}")
    if not text:
        return (), None
    found = json.loads(text)
    since = None if found["since"] is None else from_micros(found["since"])
    return tuple((from_micros(a), from_micros(b)) for a, b in found["spans"]), since
