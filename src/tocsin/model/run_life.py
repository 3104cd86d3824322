"""How a run lives on: what each event, in event-time order, does to it (SEMANTICS.md, A retried run).

    Running(a)  Failed(a)  Failed(b)  Running(c)  Running(b)  Failed(a)       the letter is the Source
    first       follows    follows    ignored     reopens     ends again

A source may reopen a run if it has ended the run before in this Attempt, whether or not it was the first or the last to
do so. With either of those an event that comes late could take back that another event reopened the run, and two
occurrences of which both have fired would become one. So events that reopen are only ever added as events arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tocsin.model.statuses import TERMINAL


class Turn(StrEnum):
    """What an event does to its run."""

    FIRST = "the first event"
    NEWER_ATTEMPT = "the first event of a greater Attempt: the run is reopened"
    REOPENS = "a later non-terminal event of a Source that has ended the run"
    ENDS_AGAIN = "a later terminal event of a Source that has ended the run"
    FOLLOWS = "the run goes on, or ends"
    IGNORED = "the run has ended, and this event does not reopen it"


@dataclass(slots=True)
class Life:
    """Where a run stands. ``take`` is called with its events in event-time order."""

    attempt: int | None = None  # None: no event yet
    ended: bool = False
    ended_by: dict[str, Any] = field(default_factory=dict)  # Source → time of its first end in this Attempt, or None

    def take(self, *, attempt: int, source: str, at: Any, terminal: bool, has_time: bool) -> Turn:
        """What the next event does. ``has_time`` False: ``at`` is only the receipt, so it proves no order."""
        if self.attempt is None or attempt > self.attempt:
            turn = Turn.FIRST if self.attempt is None else Turn.NEWER_ATTEMPT
            self.attempt, self.ended = attempt, terminal
            self.ended_by = {source: at} if terminal else {}
            return turn
        own_end = source in self.ended_by
        if terminal:
            first = self.ended_by.setdefault(source, at)
            self.ended = True
            return Turn.ENDS_AGAIN if own_end and has_time and (first is None or first < at) else Turn.FOLLOWS
        if own_end and has_time:  # by the order its time is strictly later than that end's
            self.ended = False
            return Turn.REOPENS
        return Turn.IGNORED if self.ended else Turn.FOLLOWS


def order(event: Mapping[str, Any]) -> tuple[int, Any, bool, str, str]:
    """Place of a row of RunStatusChanged among the events of its run."""
    return (
        event["Attempt"], event["TimeGenerated"], event["Status"] in TERMINAL, event["Source"], event["EventId"],
    )  # fmt: skip
