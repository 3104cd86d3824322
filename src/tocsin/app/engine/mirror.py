"""Copies transitions, deliveries and people's actions from the state into the log store: KQL can ask about them.

State is the truth; Alerts, Notifications and Actions (with the audit trail) are its mirror, appended in order, idempotent, within a second.
"""

from __future__ import annotations

from datetime import timedelta

from tocsin.app.engine.audit import Audit
from tocsin.app.engine.rounds import Rounds
from tocsin.clock import Clock
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.state.interface import State

CHUNK = 5000
"""Rows of one mirror commit."""


def mirror_once(state: State, store: LogStore) -> int:
    """Copy what is not mirrored yet, at most one chunk; returns the number of rows copied."""
    rows = state.mirror_after(store.mirror_seq, CHUNK)
    if rows:
        alerts = [r.row for r in rows if r.table == "Alerts"]
        notes = [r.row for r in rows if r.table == "Notifications"]
        actions = [r.row for r in rows if r.table == "Actions"]
        store.append_mirror(rows[-1].seq, alerts, notes, actions)
    return len(rows)


class Mirror(Rounds):
    """Mirrors, and forgets what is old in the state once an hour. What is left is mirrored when it stops."""

    name, every, last_round = "mirror", 0.5, True

    def __init__(
        self, state: State, store: LogStore, metrics: Metrics, clock: Clock, keep: timedelta, audit: Audit
    ) -> None:
        super().__init__()
        self._state, self._store, self._metrics, self._clock, self._keep = state, store, metrics, clock, keep
        self._audit = audit
        self._pruned = clock.monotonic()

    def round(self) -> None:
        """Copy what is new, chunk by chunk."""
        self._audit.flush()
        # What comes meanwhile waits for the next round: each mirror commit holds up one with events.
        while mirror_once(self._state, self._store) == CHUNK:
            pass
        self._metrics.set("tocsin_store_mirror_lag_rows", self._state.mirror_seq() - self._store.mirror_seq)
        if self._clock.monotonic() - self._pruned > 3600:
            self._pruned = self._clock.monotonic()
            self._state.prune(mirrored=self._store.mirror_seq, now=self._clock.now(), keep=self._keep)
