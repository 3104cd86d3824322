"""How many workers send to one endpoint: a few, more while waiting is all they do, fewer once the other side refuses."""

from __future__ import annotations

from collections.abc import Callable

FEW = 4
"""Workers that stay."""
WAITING = 0.01
"""Seconds of a message after which its worker has waited rather than worked."""


class Workers:
    """Grows as TCP does: by one for each message that took long, and, once a connection was refused, by one for as many
    messages as there are workers.
    """

    def __init__(self, most: int, spawn: Callable[[], object]) -> None:
        """``spawn`` starts a worker, which says `ended` when it ends."""
        self._most, self._few, self._spawn = most, min(FEW, most), spawn
        self._allowed = self._few
        self._running = 0
        self._credit = 0.0
        self._refused = False

    def fill(self) -> None:
        """Start the workers that may run."""
        while self._running < self._allowed:
            self._running += 1
            self._spawn()

    @property
    def too_many(self) -> bool:
        """Whether a worker has to end."""
        return self._running > self._allowed

    def finished(self, seconds: float, waiting: int) -> None:
        """A message took so long, and so many wait for a worker."""
        if seconds < WAITING or waiting <= self._running or self._allowed >= self._most:
            return
        self._credit += 1 / self._allowed if self._refused else 1
        grown = int(self._credit)
        self._credit -= grown
        self._allowed = min(self._most, self._allowed + grown)
        self.fill()

    def refuse(self) -> None:
        """The other side, which others are connected to, takes no further connection."""
        self._refused = True
        self._allowed = max(1, self._running // 2)

    def idle(self) -> None:
        """A worker had nothing to do for a while."""
        self._allowed = max(self._few, min(self._allowed, self._running - 1))

    def ended(self) -> None:
        """A worker has ended."""
        self._running -= 1
