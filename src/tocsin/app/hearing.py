"""When consumers could not be heard: a run is not silent while its source has no way to reach us.

    up          ───────────┐ down ┌── grace ──┐────────────
    watermark   now        │      │  unknown  │ now
    deaf                   [──────────────────)

A consumer is deaf from its last watermark (at a start: from when intake was last up) until its watermark is near again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from tocsin.clock import from_micros, micros
from tocsin.model.heard import Span

DEAF = timedelta(seconds=30)
"""A watermark that is further behind hears nothing."""
KEEP = timedelta(days=8)
MOST = 200
"""Spans that are remembered, at most; the shortest silence that they could matter to is long over."""


class Notes(Protocol):
    """A place for small named values; ``State`` is one."""

    def get(self, key: str) -> str | None:
        """A small named value."""

    def put(self, key: str, value: str) -> None:
        """Keep a small named value."""


class Hearing:
    """Of one consumer. One thread."""

    def __init__(self, name: str, notes: Notes, last_alive: datetime) -> None:
        """``last_alive`` is when intake was last known to be up for it: since then nothing was heard."""
        self._key, self._notes = f"deaf/{name}", notes
        self._since: datetime | None = last_alive
        self._spans: tuple[Span, ...] = ()
        text = notes.get(self._key)
        if text:
            found = json.loads(text)
            self._spans = tuple((from_micros(a), from_micros(b)) for a, b in found["spans"])
            if found["since"] is not None:
                self._since = min(last_alive, from_micros(found["since"]))

    @property
    def spans(self) -> Sequence[Span]:
        """When it could not be heard, in order; what lasts still is left out: its watermark tells."""
        return self._spans

    def note(self, now: datetime, mark: datetime | None) -> None:
        """Its watermark is ``mark`` at ``now``. What changes is durable when this returns."""
        if mark is None or now - mark > DEAF:
            if self._since is None:
                self._since = now - DEAF if mark is None else mark
                self._keep(now)
        elif self._since is not None:
            if now > self._since:
                self._spans = (*self._spans, (self._since, now))[-MOST:]
            self._since = None
            self._keep(now)

    def _keep(self, now: datetime) -> None:
        self._spans = tuple(span for span in self._spans if now - span[1] < KEEP)
        self._notes.put(
            self._key,
            json.dumps({
                "since": None if self._since is None else micros(self._since),
                "spans": [(micros(a), micros(b)) for a, b in self._spans],
            }),
        )  # fmt: skip
