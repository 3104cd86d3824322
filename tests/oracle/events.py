"""Events as a producer makes them, with their form on the wire, and histories of runs with everything that goes
wrong.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One status change, with the producer's time. Two equal ones are one event sent twice."""

    run: str
    status: str
    id: str
    time: datetime  # UTC, the producer's clock
    source: str = "/trainer"
    attempt: int = 0
    will_retry: bool = False
    experiment: str = "churn"
    owner: str = ""
    message: str = ""

    @property
    def key(self) -> tuple[str, str, datetime]:
        """What makes it one row of the store however often it comes."""
        return (self.source, self.id, self.time)

    def wire(self) -> dict[str, Any]:
        """The canonical CloudEvent."""
        data: dict[str, Any] = {"RunId": self.run, "Status": self.status, "ExperimentName": self.experiment}
        if self.attempt:
            data["Attempt"] = self.attempt
        if self.will_retry:
            data["WillRetry"] = True
        if self.owner:
            data["OwnerEmail"] = self.owner
        if self.message:
            data["Message"] = self.message
        return {
            "specversion": "1.0",
            "type": "tocsin.run.status",
            "id": self.id,
            "source": self.source,
            "time": self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "data": data,
        }

    def bytes(self) -> bytes:
        """The canonical CloudEvent as JSON."""
        return json.dumps(self.wire(), separators=(",", ":"), ensure_ascii=False).encode()


class Histories:
    """Makes whole lives of runs, the same for the same seed.

    The trainer notifies of each attempt: queued, running, perhaps not responding for a while, then its end. Some
    ends are notified
    twice under two ids, some runs are restarted by hand after their end under the same number, and a watcher that never
    ends a run mixes in what it believes.
    """

    def __init__(self, seed: int, start: datetime, prefix: str = "r", *, failing: float = 0.3) -> None:
        """`failing` is the share of runs whose last attempt fails."""
        self._random = random.Random(seed)
        self._start = start
        self._prefix = prefix
        self._failing = failing
        self._runs = 0

    def run(self) -> list[Event]:
        """The next run's events, in the order in which they happened."""
        dice = self._random
        name = f"{self._prefix}{self._runs}"
        self._runs += 1
        now = self._start + timedelta(milliseconds=dice.randrange(60_000))
        events: list[Event] = []

        def notify(status: str, source: str = "/trainer", **more: Any) -> None:
            nonlocal now
            now += timedelta(milliseconds=dice.randrange(1, 5000))
            events.append(Event(run=name, status=status, id=f"{name}-{len(events)}", time=now, source=source, **more))

        ends_badly = dice.random() < self._failing
        tries = dice.choice([1, 1, 1, 2, 3])
        for number in range(1, tries + 1):
            attempt = number if tries > 1 else 0
            last = number == tries
            for life in range(2 if last and dice.random() < 0.2 else 1):
                if life == 0:
                    notify("Queued", attempt=attempt)
                notify("Running", attempt=attempt)
                for _ in range(dice.choice([0, 0, 0, 1, 2])):
                    notify("NotResponding", attempt=attempt)
                    notify("Running", attempt=attempt)
                if not last:
                    notify("Failed", attempt=attempt, will_retry=True, message="node lost")
                elif ends_badly:
                    notify("Failed", attempt=attempt, message="CUDA out of memory")
                    if dice.random() < 0.3:
                        notify("Failed", attempt=attempt, message="CUDA out of memory, again")
                else:
                    notify(dice.choice(["Completed", "Completed", "Canceled"]), attempt=attempt)
                if dice.random() < 0.3:
                    notify(dice.choice(["Running", "NotResponding"]), source="/watcher", attempt=attempt)
        return events

    def runs(self, count: int) -> list[Event]:
        """Events of `count` runs, in the order in which they happened."""
        return sorted((event for _ in range(count) for event in self.run()), key=lambda event: (event.time, event.id))


def sent_twice(events: Sequence[Event], seed: int, share: float = 0.2) -> list[Event]:
    """`events` with some of them again somewhere later, as at-least-once producers do."""
    dice = random.Random(seed)
    out = list(events)
    for event in events:
        if dice.random() < share:
            out.insert(dice.randrange(out.index(event) + 1, len(out) + 1), event)
    return out


def shuffled(events: Sequence[Event], seed: int) -> list[Event]:
    """`events` in any order."""
    out = list(events)
    random.Random(seed).shuffle(out)
    return out


def moved(event: Event, by: timedelta) -> Event:
    """The same event at another time: another row."""
    return replace(event, time=event.time + by)


def parts(events: Sequence[Event], seed: int, most: int) -> list[list[Event]]:
    """`events` cut at random places into pieces of at most `most`."""
    dice = random.Random(seed)
    out: list[list[Event]] = []
    at = 0
    while at < len(events):
        size = dice.randint(1, most)
        out.append(list(events[at : at + size]))
        at += size
    return out
