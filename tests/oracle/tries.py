"""The oracle of final failures where nobody says whether another attempt follows: notified when none came by
`final_after`.

It knows nothing of the engine. At each deadline everything is worked out again from all that has arrived by then.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from tests.oracle.events import Event
from tests.oracle.oracle import EventOccurrence, in_order, occurrences_of, parts, status_is

FINAL = status_is("Failed", final=True)


class Tries:
    """One rule `when: {status: Failed, final: true}`. An event's experiment is its JobKey."""

    def __init__(self, final_after: timedelta) -> None:
        self._length = final_after
        self._arrived: dict[tuple[str, str, datetime], Event] = {}
        self._unsure: set[tuple[str, str, datetime]] = set()  # events that do not say whether another attempt follows
        self._evaluated: set[tuple[str, str, datetime]] = set()
        self._named: set[tuple[str, str, datetime]] = set()  # events of which something was notified
        self.notified: list[tuple[datetime, str]] = []

    def commit(self, at: datetime, events: Sequence[Event], unsure: Collection[str]) -> None:
        """A commit; ids in `unsure` do not say. What is sure is notified at once."""
        new = [event for event in events if event.key not in self._arrived]
        self._arrived |= {event.key: event for event in new}
        self._unsure |= {event.key for event in new if event.id in unsure}
        for run in sorted({event.run for event in new}):
            for occurrence in self._unnotified(run):
                sure = [event for event in occurrence.events if event.key not in self._unsure]
                if sure:
                    self._notify(at, sure[0])

    def evaluate(self, at: datetime, source_progress: datetime) -> None:
        """Deadlines up to `at` that have reported: a newer attempt that was under way by then ends the matter."""
        waiting = [self._arrived[key] for key in self._unsure - self._evaluated if FINAL(self._arrived[key])]
        for event in sorted(waiting, key=lambda e: (e.time, e.run, e.id)):
            due = event.time + self._length
            if due > min(at, source_progress):
                continue
            self._evaluated.add(event.key)
            if any(event in occurrence.events for occurrence in self._unnotified(event.run)) and not self._newer(
                event, due
            ):
                self._notify(at, event)

    def _notify(self, at: datetime, event: Event) -> None:
        self._named.add(event.key)
        self.notified.append((at, event.run))

    def _unnotified(self, run: str) -> list[EventOccurrence]:
        found = occurrences_of((e for e in self._arrived.values() if e.run == run), FINAL)
        return [s for s in found if not any(e.key in self._named for e in s.events)]

    def _newer(self, failed: Event, due: datetime) -> bool:
        """Whether the run went on, or another run of its job is a newer attempt: by number, else because it began
        later.
        """
        by_then = [event for event in self._arrived.values() if event.time <= due]
        own = in_order(event for event in by_then if event.run == failed.run)
        if any(parts(own, position, failed.status) for position in range(own.index(failed) + 1, len(own))):
            return True
        for other in by_then:
            if other.run == failed.run or other.experiment != failed.experiment:
                continue
            if other.attempt and failed.attempt:
                if other.attempt > failed.attempt:
                    return True
            elif self._began(other.run) > self._began(failed.run):
                return True
        return False

    def _began(self, run: str) -> datetime:
        return min(event.time for event in self._arrived.values() if event.run == run)
