"""Occurrences: which events of a run are one occurrence of an event rule.

Order of a run's events: Attempt, TimeGenerated, non-terminal before terminal, Source, EventId. In that order

    Running(a)  Failed(a)  Failed(b)  Running(b)  Failed(a)      the letter is the Source
                \\__________________/  ^           \\_______/
                one occurrence           reopens      another one

A *restart* is what reopens an ended run: the first event of a greater Attempt, or a non-terminal event of a Source
that has
ended the run before (earlier in the order, in the same Attempt; by the order that is a strictly later time). "The
Source that
ended it" is read as *any* source that has said a terminal status before, not only as the one that said it first or
last: with
either of those, an event that comes late can take back that another one was a restart, two occurrences of which both
were notified
become one, and the number notified depends on the order of arrival. Read this way restarts are only ever added as
events come in:
occurrences may split, they never merge, and notifying each occurrence of which nothing has been notified notifies
exactly their number.

A terminal event cannot leave a run open, but one that its resolving event says later does end it again, and parts
occurrences as a restart does:

    Failed  Completed  Failed                                    one Source, no word between: two occurrences of Failed
    Failed  Failed                                               a repetition: one
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tocsin.model.alert import EventKey
from tocsin.model.statuses import TERMINAL


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


def restarts(events: Iterable[RunEvent]) -> frozenset[EventKey]:
    """Which events of one run reopen it."""
    found: set[EventKey] = set()
    resolving_events: set[str] = set()  # sources that said a terminal status in this Attempt
    attempt: int | None = None
    for event in in_order(events):
        if attempt is not None and event.attempt > attempt:
            found.add(event.key)
            resolving_events.clear()
        attempt = event.attempt
        if event.terminal:
            resolving_events.add(event.key.source)
        elif event.has_time and event.key.source in resolving_events:
            found.add(event.key)
    return frozenset(found)


def ends_anew(events: Iterable[RunEvent]) -> frozenset[EventKey]:
    """Terminal events at a strictly later time than an end that their Source had said in the same Attempt."""
    found: set[EventKey] = set()
    first: dict[tuple[int, str], int] = {}  # (attempt, source) → time of its first end
    for event in in_order(events):
        if event.terminal:
            before = first.setdefault((event.attempt, event.key.source), event.key.time_us)
            if event.has_time and before < event.key.time_us:
                found.add(event.key)
    return frozenset(found)


def occurrences_of(events: Iterable[RunEvent], matching: Collection[EventKey]) -> list[EventOccurrence]:
    """The occurrences of one run's ``events`` for a rule that ``matching`` of them satisfy, in order of their first
    events.

    An occurrence of a non-terminal status ends with the next event of another status or that does not match; an
    occurrence of a
    terminal status only with a restart, or with an event of the Source that ended the run which ends it again.
    """
    ordered = list(events)
    alone = [e for e in ordered if e.key in matching]
    if len(alone) <= 1:
        return [EventOccurrence(status=e.status, events=(e,)) for e in alone]
    ordered = in_order(ordered)
    reopening, anew = restarts(ordered), ends_anew(ordered)
    found: list[tuple[str, list[RunEvent]]] = []
    ended: dict[str, list[RunEvent]] = {}  # terminal status → its occurrence, until the run reopens
    passing: list[RunEvent] = []  # the occurrence of a non-terminal status that the last event belongs to
    for event in ordered:
        if event.key in reopening:
            ended.clear()
        matches = event.key in matching
        if event.key in anew:  # a match goes on with the occurrence of its own status, if nothing else has parted it
            ended = {s: e for s, e in ended.items() if matches and s == event.status}
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
