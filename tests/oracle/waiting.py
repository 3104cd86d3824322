"""The oracle of rules that wait: what must be told of histories of runs, from the sentences of the semantics, slow and obvious.

It knows nothing of the engine: no heap, no deadline that is set and moved. At each moment everything is worked out anew from all
that has arrived by then.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tests.oracle.events import TERMINAL, Event
from tests.oracle.oracle import in_order, reopening

HEARTBEAT = "heartbeat"
REPEAT = timedelta(hours=4)
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """An event or a heartbeat of a run, as it arrives."""

    event: Event  # a heartbeat's status is HEARTBEAT; its time is that of its receipt
    progress: float | None = None
    consumer: str = "a"

    @property
    def beats(self) -> bool:
        return self.event.status == HEARTBEAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """A rule about single runs."""

    form: str  # in_status_for, silent_for, unchanged
    statuses: frozenset[str]
    length: timedelta
    tell_within: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Something that comes by a schedule."""

    times: Sequence[datetime]  # all scheduled times, from before the beginning to after the end
    grace: timedelta
    statuses: frozenset[str]
    experiment: str
    consumer: str = ""  # '' for any
    tell_within: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What is known of the consumers at a moment."""

    upto: Mapping[str, datetime | None]
    deaf: Mapping[str, Sequence[Span]] = field(default_factory=dict)

    def has(self, at: datetime, names: Iterable[str]) -> bool:
        """Whether all that these had to say up to `at` has been heard."""
        return all(name not in self.upto or ((mark := self.upto[name]) is not None and mark >= at) for name in names)


Told = tuple[str, str, str, datetime]
"""What (fired, resolved, repeated, closed), rule, run or '', T."""


@dataclass
class Firing:
    """What fires."""

    told_at: datetime
    changed: bool = False
    since: datetime | None = None  # of a schedule: what comes after this is what was awaited


class Waiting:
    """Rules that wait, taken through moments in their order."""

    def __init__(self, rules: Mapping[str, Waits], expected: Mapping[str, Expected], start: datetime) -> None:
        self._rules = dict(rules)
        self._expected = dict(expected)
        self._next = {name: min(t for t in e.times if t > start) for name, e in expected.items()}
        self._arrived: list[tuple[datetime, Sign]] = []
        self._firing: dict[tuple[str, str], Firing] = {}
        self.told: list[Told] = []

    # -- moments -------------------------------------------------------------------------------------------------------

    def commit(self, at: datetime, received: datetime, signs: Iterable[Sign], heard: Heard) -> None:
        """A commit stamped `at`."""
        known = {sign.event.key for _, sign in self._arrived if not sign.beats}
        new = []
        for sign in signs:
            if not sign.beats and sign.event.key in known:
                continue
            known.add(sign.event.key)
            new.append(sign)
        self._arrived += [(received, sign) for sign in new]
        for run in sorted({sign.event.run for sign in new}):
            self._settle(run, at, heard)
        for name, e in self._expected.items():
            firing = self._firing.get((name, ""))
            if firing is not None and any(
                firing.since is not None and sign.event.time > firing.since for sign in new if _awaited(e, sign)
            ):
                self._ends(name, "", at)

    def look(self, at: datetime, heard: Heard) -> None:
        """Everything that was stored is evaluated; now what is due by then is judged."""
        for (name, run), firing in sorted(self._firing.items()):
            due = firing.told_at + REPEAT
            if due <= at and heard.has(due, self._brought(run) if name in self._rules else self._bring(name, heard)):
                firing.told_at = at
                self.told.append(("repeated", name, run, at))
        for name, rule in self._rules.items():
            for run in self._runs():
                ends = self._due(rule, run, heard)
                if ends is None or ends > at or (name, run) in self._firing or not heard.has(ends, self._brought(run)):
                    continue
                if at - self._last_sign(run) <= rule.tell_within + rule.length:
                    self._fires(name, run, at)
        for name, e in self._expected.items():
            while self._next[name] + e.grace <= at and heard.has(self._next[name] + e.grace, self._bring(name, heard)):
                self._scheduled(name, e, at)

    def reload(self, at: datetime, rules: Mapping[str, Waits], heard: Heard, later: Collection[str]) -> None:
        """Rules change. Runs `later` are left to commits that are stored, but not evaluated yet."""
        for (name, _), firing in self._firing.items():
            if name in rules and rules[name] != self._rules[name]:
                firing.changed = True
        self._rules = dict(rules)
        for run in sorted({run for name, run in self._firing if name in rules} - set(later)):
            for name in self._rules:
                if (name, run) in self._firing and self._firing[(name, run)].changed:
                    self._settle(run, at, heard, only=name)

    # -- what happens --------------------------------------------------------------------------------------------------

    def _settle(self, run: str, at: datetime, heard: Heard, only: str = "") -> None:
        """What fires of a run goes on if it holds at `at`."""
        for name, rule in self._rules.items():
            if (name, run) not in self._firing or (only and name != only):
                continue
            due = self._due(rule, run, heard)
            if due is not None and due <= at:
                self._firing[(name, run)].changed = False
            else:
                self._ends(name, run, at)

    def _scheduled(self, name: str, e: Expected, at: datetime) -> None:
        this = self._next[name]
        before = max(t for t in e.times if t < this)
        self._next[name] = min(t for t in e.times if t > this)
        if any(before < sign.event.time <= at for _, sign in self._arrived if _awaited(e, sign)):
            if (name, "") in self._firing:
                self._ends(name, "", at)
        elif (name, "") not in self._firing and at - (this + e.grace) <= e.tell_within:
            self._fires(name, "", at)
            self._firing[(name, "")].since = before

    def _fires(self, name: str, run: str, at: datetime) -> None:
        self._firing[(name, run)] = Firing(told_at=at)
        self.told.append(("fired", name, run, at))

    def _ends(self, name: str, run: str, at: datetime) -> None:
        quietly = self._firing.pop((name, run)).changed
        self.told.append(("closed" if quietly else "resolved", name, run, at))

    # -- what is known of a run ----------------------------------------------------------------------------------------

    def _runs(self) -> list[str]:
        return sorted({sign.event.run for _, sign in self._arrived})

    def _events(self, run: str) -> list[Event]:
        return [sign.event for _, sign in self._arrived if sign.event.run == run and not sign.beats]

    def _brought(self, run: str) -> set[str]:
        return {sign.consumer for _, sign in self._arrived if sign.event.run == run and not sign.beats}

    def _bring(self, name: str, heard: Heard) -> set[str]:
        e = self._expected[name]
        return {e.consumer} if e.consumer else set(heard.upto)

    def _last_sign(self, run: str) -> datetime:
        return max(received if s.beats else s.event.time for received, s in self._arrived if s.event.run == run)

    def _due(self, rule: Waits, run: str, heard: Heard) -> datetime | None:
        """When its time is up, as things stand; None where the run is not waited for."""
        line = counting(self._events(run))
        if not line or line[-1].status not in rule.statuses:
            return None
        since = begin(line, rule.statuses)
        if rule.form == "in_status_for":
            return since + rule.length
        if rule.form == "silent_for":
            seen = max(received for received, sign in self._arrived if sign.event.run == run)
            deaf = [span for name in self._brought(run) for span in heard.deaf.get(name, ())]
            return when_heard(seen, rule.length, deaf)
        said = sorted(
            (received if s.beats else s.event.time, s.progress)
            for received, s in self._arrived
            if s.event.run == run and s.progress is not None
        )
        changes = [t for n, (t, p) in enumerate(said) if n == 0 or said[n - 1][1] != p]
        return max(since, changes[-1]) + rule.length if changes else None


def counting(events: Iterable[Event]) -> list[Event]:
    """A run's events in order, without those of after its end that do not reopen it."""
    ordered = in_order(events)
    reopeners = reopening(ordered)
    line: list[Event] = []
    for position, event in enumerate(ordered):
        ended = bool(line) and line[-1].status in TERMINAL
        if not ended or event.status in TERMINAL or position in reopeners:
            line.append(event)
    return line


def begin(line: Sequence[Event], statuses: Collection[str]) -> datetime:
    """Since when the run is in `statuses`, in which it is; a new try counts anew."""
    since = line[-1].time
    for event in reversed(line):
        if event.status not in statuses or event.attempt != line[-1].attempt:
            break
        since = event.time
    return since


def when_heard(since: datetime, length: timedelta, deaf: Iterable[Span]) -> datetime:
    """When somebody has listened for `length` since then. Minute by minute: all times are whole minutes."""
    minute = timedelta(minutes=1)
    at, listened, spans = since, timedelta(0), list(deaf)
    while listened < length:
        if not any(begins <= at < ends for begins, ends in spans):
            listened += minute
        at += minute
    return at


def _awaited(e: Expected, sign: Sign) -> bool:
    return not sign.beats and sign.event.status in e.statuses and sign.event.experiment == e.experiment


def received_at(sign: Sign, at: datetime) -> Sign:
    """A heartbeat has no time of its own."""
    return replace(sign, event=replace(sign.event, time=at)) if sign.beats else sign
