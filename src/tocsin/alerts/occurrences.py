"""Occurrences: which events of a run are one occurrence of an event rule.

Order of a run's events: Attempt, TimeGenerated, non-terminal before terminal, Source, EventId. In that order

    Running(a)  Failed(a)  Failed(b)  Running(b)  Failed(a)      the letter is the Source
                \\__________________/  ^           \\_______/
                one occurrence           reopens      another one

What reopens an ended run, ``model.run_life`` says. A terminal event cannot leave a run open, but a later one of a Source
that has ended the run ends it again, and parts occurrences of other statuses as a restart does:

    Failed  Completed  Failed        one Source, no other event between: two occurrences of Failed
    Failed  Failed                   a repetition: one

Events that reopen or part are only ever added as events arrive. So occurrences may split, they never merge, and firing
each occurrence of which nothing has fired fires exactly their number, whatever the order of arrival.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tocsin.model.alert import EventKey
from tocsin.model.run_life import Life, Turn
from tocsin.model.statuses import TERMINAL

REOPENING = (Turn.NEWER_ATTEMPT, Turn.REOPENS)
"""Turns that begin other occurrences of all statuses that end a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """What decides about occurrences in one event of a run."""

    key: EventKey
    attempt: int  # 0 where unknown
    status: str
    commit_seq: int
    has_time: bool = True  # False where TimeGenerated is only the receipt: such an event reopens nothing

    @property
    def terminal(self) -> bool:
        """Whether its status ends a run."""
        return self.status in TERMINAL

    @property
    def order(self) -> tuple[int, int, bool, str, str]:
        """Its place among the events of its run."""
        return (self.attempt, self.key.time_us, self.status in TERMINAL, self.key.source, self.key.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOccurrence:
    """One occurrence: events that match and have the same status, in the order of the run."""

    status: str
    events: tuple[RunEvent, ...]

    @property
    def keys(self) -> frozenset[EventKey]:
        """Identities of its events."""
        return frozenset(e.key for e in self.events)


def in_order(events: Iterable[RunEvent]) -> list[RunEvent]:
    """Events of one run in event-time order."""
    return sorted(events, key=lambda e: e.order)


def turns(ordered: Iterable[RunEvent]) -> list[Turn]:
    """What each event of one run does to it; they come in event-time order."""
    life = Life()
    return [
        life.take(
            attempt=event.attempt,
            source=event.key.source,
            at=event.key.time_us,
            terminal=event.terminal,
            has_time=event.has_time,
        )
        for event in ordered
    ]


def restarts(events: Iterable[RunEvent]) -> frozenset[EventKey]:
    """Which events of one run reopen it."""
    ordered = in_order(events)
    return frozenset(event.key for event, turn in zip(ordered, turns(ordered), strict=True) if turn in REOPENING)


def ends_again(events: Iterable[RunEvent]) -> frozenset[EventKey]:
    """Terminal events at a strictly later time than an end that their Source had said in the same Attempt."""
    ordered = in_order(events)
    return frozenset(event.key for event, turn in zip(ordered, turns(ordered), strict=True) if turn is Turn.ENDS_AGAIN)


def occurrences_of(events: Iterable[RunEvent], matching: Collection[EventKey]) -> list[EventOccurrence]:
    """The occurrences of one run's ``events`` for a rule that ``matching`` of them satisfy, in order of their first
    events.

    An occurrence of a non-terminal status ends with the next event of another status or that does not match; an
    occurrence of a terminal status only with a restart, or with an event of the Source that ended the run which ends it
    again.
    """
    ordered = list(events)
    alone = [e for e in ordered if e.key in matching]
    if len(alone) <= 1:
        return [EventOccurrence(status=e.status, events=(e,)) for e in alone]
    ordered = in_order(ordered)
    found: list[tuple[str, list[RunEvent]]] = []
    ended: dict[str, list[RunEvent]] = {}  # terminal status → its occurrence, until the run reopens
    passing: list[RunEvent] = []  # the occurrence of a non-terminal status that the last event belongs to
    for event, turn in zip(ordered, turns(ordered), strict=True):
        if turn in REOPENING:
            ended.clear()
        elif turn is Turn.ENDS_AGAIN:  # with another status it parts, with the same it is a repetition
            ended = {s: e for s, e in ended.items() if s == event.status}
        matches = event.key in matching
        if event.terminal:
            passing = []
            if not matches:
                continue
            if event.status in ended:
                ended[event.status].append(event)
            else:
                ended[event.status] = [event]
                found.append((event.status, ended[event.status]))
        elif not matches:
            passing = []
        elif passing and passing[-1].status == event.status:
            passing.append(event)
        else:
            passing = [event]
            found.append((event.status, passing))
    return [EventOccurrence(status=status, events=tuple(members)) for status, members in found]
