"""The heartbeats that were stored last, so that a small commit need not ask the table which of its own are the first of
their ten seconds: 2 ms of CPU, a fifth of a commit of heartbeats.

    stored       before the start   c7 (2 runs)   c8 (bulk)   c9 (1 run)
    remembered                      yes           no          yes
    known(since) →  None where since is before the end of what is not remembered: the table must be asked
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

SLOT = 10
"""Seconds of which the first heartbeat of a run is stored, besides changes of Progress."""
MOST = 8_000
"""Slots of runs that are remembered."""
_EPOCH, _LONG = datetime(1970, 1, 1), timedelta(seconds=SLOT)

Slot = tuple[str, int]
"""A run, and the number of a slot."""


def slot_of(beat: Mapping[str, Any]) -> Slot:
    """The slot that a heartbeat lies in, a row of Heartbeats with ``received``."""
    return beat["RunId"], (beat["received"] - _EPOCH) // _LONG


class NewestBeats:
    """Written and read by the writer's thread. Times are naive UTC."""

    def __init__(self, start: datetime) -> None:
        """What was received up to ``start`` is not known."""
        self._after = start
        self._said: dict[Slot, float | None] = {}  # slots with a stored heartbeat → the last Progress that is stored

    def known(self, since: datetime) -> Mapping[Slot, float | None] | None:
        """Slots that begin after ``since`` and have a stored heartbeat, with the last Progress stored; None where
        not all are known.
        """
        return self._said if since >= self._after else None

    def note(self, beats: Iterable[Mapping[str, Any]]) -> None:
        """These have been stored, in this order."""
        for beat in beats:
            slot, progress = slot_of(beat), beat["Progress"]
            self._said[slot] = progress if progress is not None else self._said.get(slot)
        if len(self._said) > MOST:
            numbers = sorted(number for _, number in self._said)
            first = numbers[len(numbers) // 2] + 1  # what is left of one slot may be more than there is room for
            self._said = {slot: progress for slot, progress in self._said.items() if slot[1] >= first}
            self._after = max(self._after, _EPOCH + first * _LONG)

    def lose(self, until: datetime) -> None:
        """Some have been stored that were received before ``until``, and are not known."""
        self._after = max(self._after, until)
