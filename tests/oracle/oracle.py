"""The oracle: what a rule about single events must notify, from the sentences of the semantics, slow and obvious.

It knows nothing of the engine. Where the semantics leave a case open it refuses to answer instead of guessing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.oracle.events import TERMINAL, Event

Matches = Callable[[Event], bool]


class Open(Exception):
    """The semantics do not say what must be notified of such a history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOccurrence:
    """One occurrence: events of one run that match with one status and have nothing between them that breaks it."""

    run: str
    status: str
    events: tuple[Event, ...]


def status_is(*statuses: str, final: bool = False) -> Matches:
    """The rule `when: {status: …, final: …}`, for producers that know whether another attempt follows."""
    return lambda event: event.status in statuses and not (final and event.will_retry)


def stored(sent: Iterable[Event]) -> set[tuple[str, str, datetime]]:
    """What must be in the store: each (Source, EventId, TimeGenerated) once."""
    return {event.key for event in sent}


def in_order(sent: Iterable[Event]) -> list[Event]:
    """One run's events in event-time order: Attempt, TimeGenerated, non-terminal before terminal, Source, EventId."""
    once = {event.key: event for event in sent}.values()
    return sorted(once, key=lambda e: (e.attempt, e.time, e.status in TERMINAL, e.source, e.id))


def reopening(ordered: Sequence[Event]) -> set[int]:
    """Which positions of a run's ordered events reopen it.

    A run that has ended reopens on a greater Attempt, or on a strictly later time from the Source that ended it, be
    it with
    another end. (What is later than any end is later than the first.)
    Raises Open where two sources ended the same run: then it is open which of them counts.
    """
    found: set[int] = set()
    ended: Event | None = None
    for position, event in enumerate(ordered):
        if ended is not None:
            reopens = event.attempt > ended.attempt or (event.source == ended.source and event.time > ended.time)
            if event.status in TERMINAL and event.source != ended.source:
                raise Open(f"run {event.run} was ended by {ended.source} and by {event.source}")
            if reopens:
                found.add(position)
            if event.attempt > ended.attempt:
                ended = None
        if event.status in TERMINAL and ended is None:
            ended = event
    return found


def occurrences_of(sent: Iterable[Event], matches: Matches) -> list[EventOccurrence]:
    """The occurrences of one run's events, in order of their first events."""
    ordered = in_order(sent)
    reopeners = reopening(ordered)
    found: list[list[int]] = []
    for status in sorted({event.status for event in ordered}):
        mine = [n for n, event in enumerate(ordered) if event.status == status and matches(event)]
        groups: list[list[int]] = []
        for position in mine:
            between = range(groups[-1][-1] + 1, position) if groups else range(0)
            breakers = [n for n in between if status not in TERMINAL or n in reopeners]
            if groups and not breakers:
                groups[-1].append(position)
            else:
                groups.append([position])
        found += groups
    return [
        EventOccurrence(
            run=ordered[group[0]].run,
            status=ordered[group[0]].status,
            events=tuple(ordered[n] for n in group),
        )
        for group in sorted(found)
    ]


def occurrences(sent: Iterable[Event], matches: Matches) -> dict[str, list[EventOccurrence]]:
    """Run → its occurrences, for runs that have any."""
    runs: dict[str, list[Event]] = defaultdict(list)
    for event in sent:
        runs[event.run].append(event)
    answer = {run: occurrences_of(events, matches) for run, events in runs.items()}
    return {run: found for run, found in answer.items() if found}


def recovered(
    occurrence: EventOccurrence, sent: Iterable[Event], statuses: Sequence[str], same: Callable[[Event], str]
) -> bool:
    """The rule's `resolve: {when: {status: …, same: …}}`: whether any event, of any run, that has one of `statuses`
    and the
    same value happened later than one of the occurrence's. A value that is absent is the same as none.
    """
    return any(
        same(event) and same(event) == same(other) and other.status in statuses and other.time > event.time
        for event in occurrence.events
        for other in sent
    )


def is_expired(occurrence: EventOccurrence, at: datetime, max_event_age: timedelta = timedelta(hours=24)) -> bool:
    """Whether all of an occurrence was expired at `at`."""
    return all(at - event.time > max_event_age for event in occurrence.events)


def differences(expected: Mapping[str, Sequence[EventOccurrence]], notified: Iterable[str]) -> list[str]:
    """What is wrong with what was notified: a line for each run notified too often or too seldom. `notified` names a
    run each time.

    Compares numbers of occurrences, not names: which event of an occurrence names it depends on the order of arrival.
    """
    counted = Counter(notified)
    wrong = []
    for run in sorted(expected.keys() | counted.keys()):
        due, seen = expected.get(run, []), counted[run]
        if len(due) != seen:
            lives = "; ".join(f"{s.status} {', '.join(e.id for e in s.events)}" for s in due)
            wrong.append(f"{run}: notified {seen} times instead of {len(due)} ({lives or 'nothing to notify'})")
    return wrong
