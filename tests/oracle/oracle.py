"""The oracle: what a rule about single events must notify, from the sentences of the semantics, slow and obvious.

It knows nothing of the engine. Where the semantics leave a case open it refuses to answer instead of guessing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.oracle.events import TERMINAL, Event

Matches = Callable[[Event], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOccurrence:
    """One occurrence: events of one run that match with one status and have nothing between them that breaks it."""

    run: str
    status: str
    events: tuple[Event, ...]


def status_is(*statuses: str, final: bool | None = None) -> Matches:
    """The rule `when: {status: …, final: …}`, for producers that know whether another attempt follows."""
    last = ("Failed",) if final is None else statuses if final else ()
    return lambda event: event.status in statuses and not (event.status in last and event.will_retry)


def stored(sent: Iterable[Event]) -> set[tuple[str, str, datetime]]:
    """What must be in the store: each (Source, EventId, TimeGenerated) once."""
    return {event.key for event in sent}


def in_order(sent: Iterable[Event]) -> list[Event]:
    """One run's events in event-time order: Attempt, TimeGenerated, non-terminal before terminal, Source, EventId."""
    once = {event.key: event for event in sent}.values()
    return sorted(once, key=lambda e: (e.attempt, e.time, e.status in TERMINAL, e.source, e.id))


def has_ended(ordered: Sequence[Event], position: int) -> bool:
    """Whether the Source of this event has said an end of the run before, in this Attempt, at a strictly earlier time."""
    event = ordered[position]
    return any(
        before.status in TERMINAL
        and (before.source, before.attempt) == (event.source, event.attempt)
        and before.time < event.time
        for before in ordered[:position]
    )


def reopening(ordered: Sequence[Event]) -> set[int]:
    """Which positions of a run's ordered events reopen it: the first of a greater Attempt, and a non-terminal event at a
    strictly later time than an end that its Source has said in this Attempt.
    """
    return {
        n
        for n, event in enumerate(ordered)
        if n > 0
        and (event.attempt > ordered[n - 1].attempt or (event.status not in TERMINAL and has_ended(ordered, n)))
    }


def parts(ordered: Sequence[Event], position: int, status: str) -> bool:
    """Whether an event parts occurrences of a terminal status: it reopens the run, or a Source that has ended the run
    ends it again, later and with another status.
    """
    event = ordered[position]
    ends_again = event.status in TERMINAL and event.status != status and has_ended(ordered, position)
    return position in reopening(ordered) or ends_again


def occurrences_of(sent: Iterable[Event], matches: Matches) -> list[EventOccurrence]:
    """The occurrences of one run's events, in order of their first events."""
    ordered = in_order(sent)
    found: list[list[int]] = []
    for status in sorted({event.status for event in ordered}):
        mine = [n for n, event in enumerate(ordered) if event.status == status and matches(event)]
        groups: list[list[int]] = []
        for position in mine:
            after = groups[-1][-1] + 1 if groups else position
            if status in TERMINAL:
                breakers = [n for n in range(after, position + 1) if parts(ordered, n, status)]
            else:
                breakers = list(range(after, position))
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
