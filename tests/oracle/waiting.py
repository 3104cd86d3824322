"""The oracle of absence rules: what must be notified of histories of runs, from the sentences of the semantics, slow
and obvious.

It knows nothing of the engine: no heap, no deadline that is set and moved. At each moment everything is worked out
again from all
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
    experiment: str = ""  # '' for any
    max_event_age: timedelta = timedelta(hours=24)
    repeat: timedelta = REPEAT
    closes: timedelta | None = None  # `auto_close: …`
    send_resolved: bool = True  # False: `send_resolved: false`


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Something that comes by a schedule."""

    times: Sequence[datetime]  # all scheduled times, from before the beginning to after the end
    grace: timedelta
    statuses: frozenset[str]
    experiment: str
    consumer: str = ""  # '' for any
    max_event_age: timedelta = timedelta(hours=24)
    repeat: timedelta = REPEAT
    closes: timedelta | None = None
    send_resolved: bool = True
    early: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A maintenance with `deadlines: pause`."""

    begin: datetime
    until: datetime  # with its `settle`
    rule: str = ""  # '' for all
    run: str = ""  # '' for all, and for what is no run

    def stops(self, rule: str, run: str) -> bool:
        return self.rule in ("", rule) and self.run in ("", run)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProgress:
    """What is known of the consumers at a moment."""

    upto: Mapping[str, datetime | None]
    outages: Mapping[str, Sequence[Span]] = field(default_factory=dict)

    def has(self, at: datetime, names: Iterable[str]) -> bool:
        """Whether all that these had to say up to `at` has been reached."""
        return all(name not in self.upto or ((mark := self.upto[name]) is not None and mark >= at) for name in names)


Notified = tuple[str, str, str, datetime]
"""What (fired, resolved, repeated, closed), rule, run or '', T."""


@dataclass
class Firing:
    """What fires."""

    last_notified_at: datetime
    began: datetime
    changed: bool = False
    closed: bool = False  # by time: silent until the run moves on
    since: datetime | None = None  # of a schedule: what comes from here on is what was expected
    scheduled: datetime | None = None


class Waiting:
    """Absence rules, taken through moments in their order."""

    def __init__(self, rules: Mapping[str, Waits], expected: Mapping[str, Expected], start: datetime) -> None:
        self._rules = dict(rules)
        self._expected = dict(expected)
        self._next = {name: _first(e, start) for name, e in expected.items()}
        self._arrived: list[tuple[datetime, Sign]] = []
        self._firing: dict[tuple[str, str], Firing] = {}
        self._pauses: list[Pause] = []
        self.notified: list[Notified] = []

    # -- moments -------------------------------------------------------------------------------------------------------

    def commit(self, at: datetime, received: datetime, signs: Iterable[Sign], source_progress: SourceProgress) -> None:
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
            self._settle(run, at, source_progress)
        for name, e in self._expected.items():
            firing = self._firing.get((name, ""))
            if (
                firing is not None
                and not firing.closed
                and any(
                    firing.since is not None and sign.event.time >= firing.since
                    for sign in new
                    if _scheduled_cases(e, sign)
                )
            ):
                self._ends(name, "", at)

    def evaluate(self, at: datetime, source_progress: SourceProgress) -> None:
        """Everything that was stored is evaluated; now what is due by then is evaluated."""
        for name, run in sorted(self._firing):
            if name in self._rules:
                self._wakes(name, run, at, source_progress, at)
        for name, rule in self._rules.items():
            for run in self._runs():
                ends = self._due(name, rule, run, source_progress)
                if (
                    ends is None
                    or ends > at
                    or (name, run) in self._firing
                    or not source_progress.has(ends, self._brought(run))
                ):
                    continue
                free = self._due(name, rule, run, source_progress, ())
                assert free is not None
                if at - self._last_sign(run) <= rule.max_event_age + rule.length + (ends - free):
                    self._fires(name, run, at)
        for name, e in self._expected.items():
            while (due := self._over(name, e, self._next[name])) <= at and source_progress.has(
                due, self._bring(name, source_progress)
            ):
                self._wakes(name, "", at, source_progress, due)  # in the order in which they are due
                self._scheduled(name, e, at)
            self._wakes(name, "", at, source_progress, at)

    def _wakes(self, name: str, run: str, at: datetime, source_progress: SourceProgress, until: datetime) -> None:
        """What fires is notified again, or closed by time, if that is due `until` then."""
        firing = self._firing.get((name, run))
        if firing is None or firing.closed:
            return
        rule: Waits | Expected = self._rules.get(name) or self._expected[name]
        end = datetime.max.replace(tzinfo=at.tzinfo) if rule.closes is None else firing.began + rule.closes
        wake = min(end, firing.last_notified_at + rule.repeat)
        if wake > until or not source_progress.has(
            wake, self._brought(run) if name in self._rules else self._bring(name, source_progress)
        ):
            return
        if end <= at:
            firing.closed = True
            self.notified.append(("closed", name, run, at))
        else:
            firing.last_notified_at = at
            self.notified.append(("repeated", name, run, at))

    def reload(
        self,
        at: datetime,
        rules: Mapping[str, Waits],
        expected: Mapping[str, Expected],
        source_progress: SourceProgress,
        later: Collection[str],
    ) -> None:
        """Rules change. What fires goes on if it still fires, else it ends without a notification; what is pending is dropped.

        Runs `later` are left to commits that are stored, but not evaluated yet.
        """
        for (name, run), firing in list(self._firing.items()):
            changed = (
                differ(rules[name], self._rules[name])
                if name in rules
                else differ(expected[name], self._expected[name])
            )
            if changed and firing.closed:
                del self._firing[(name, run)]
            elif changed:
                firing.changed = True
        self._rules = dict(rules)
        for run in sorted({run for name, run in self._firing if name in rules} - set(later)):
            for name in self._rules:
                if (name, run) in self._firing and self._firing[(name, run)].changed:
                    self._settle(run, at, source_progress, only=name)
        for name, e in expected.items():
            before, self._expected[name] = self._expected[name], e
            if not differ(e, before):
                continue
            self._next[name] = _first(e, at)
            if (name, "") in self._firing:
                self._still_missing(name, e, self._firing[(name, "")], at)

    def maintenance(self, at: datetime, pauses: Iterable[Pause], source_progress: SourceProgress) -> None:
        """Other maintenances are announced. What fires, and would not have fired yet, ends without a notification, and waits again."""
        self._pauses = list(pauses)
        for (name, run), firing in sorted(self._firing.items()):
            if firing.closed:
                continue
            if name in self._rules:
                due = self._due(name, self._rules[name], run, source_progress)
                assert due is not None
            else:
                assert firing.scheduled is not None
                due = self._over(name, self._expected[name], firing.scheduled)
            if due > at:
                firing.changed = True
                self._ends(name, run, at)
                if firing.scheduled is not None:
                    self._next[name] = firing.scheduled

    # -- what happens --------------------------------------------------------------------------------------------------

    def _settle(self, run: str, at: datetime, source_progress: SourceProgress, only: str = "") -> None:
        """What fires of a run goes on if it holds at `at`."""
        for name, rule in self._rules.items():
            if (name, run) not in self._firing or (only and name != only):
                continue
            due = self._due(name, rule, run, source_progress)
            if due is not None and due <= at:
                self._firing[(name, run)].changed = False
            else:
                self._ends(name, run, at)

    def _still_missing(self, name: str, e: Expected, firing: Firing, at: datetime) -> None:
        """By what the rule means now: a scheduled time whose grace is over, and nothing came."""
        this = firing.scheduled
        missing = this is not None and this in e.times and self._over(name, e, this) <= at
        if this is not None and missing and not self._came(e, this - e.early, at):
            firing.changed, firing.since = False, this - e.early
            return
        self._ends(name, "", at)

    def _over(self, name: str, e: Expected, scheduled: datetime) -> datetime:
        """When the grace of a scheduled time is over."""
        return when_passed(scheduled, e.grace, [(p.begin, p.until) for p in self._pauses if p.stops(name, "")])

    def _scheduled(self, name: str, e: Expected, at: datetime) -> None:
        """A scheduled time is met in its window alone; what came later ends what fires, also in the same moment."""
        this = self._next[name]
        begin, over = this - e.early, self._over(name, e, this)
        self._next[name] = min(t for t in e.times if t > this)
        if not self._came(e, begin, over) and self._waits_for(name) and at - over <= e.max_event_age:
            self._fires(name, "", at)
            self._firing[(name, "")].since, self._firing[(name, "")].scheduled = begin, this
        if (name, "") in self._firing and self._came(e, begin, at):
            self._ends(name, "", at)

    def _came(self, e: Expected, begin: datetime, end: datetime) -> bool:
        return any(begin <= sign.event.time <= end for _, sign in self._arrived if _scheduled_cases(e, sign))

    def _waits_for(self, name: str) -> bool:
        return (name, "") not in self._firing or self._firing[(name, "")].closed

    def _fires(self, name: str, run: str, at: datetime) -> None:
        self._firing[(name, run)] = Firing(last_notified_at=at, began=at)
        self.notified.append(("fired", name, run, at))

    def _ends(self, name: str, run: str, at: datetime) -> None:
        firing = self._firing.pop((name, run))
        rule: Waits | Expected = self._rules.get(name) or self._expected[name]
        silent = firing.changed or (rule.closes is not None and at - firing.began >= rule.closes)
        if not firing.closed and (silent or rule.send_resolved):
            self.notified.append(("closed" if silent else "resolved", name, run, at))

    # -- what is known of a run ----------------------------------------------------------------------------------------

    def _runs(self) -> list[str]:
        return sorted({sign.event.run for _, sign in self._arrived})

    def _events(self, run: str) -> list[Event]:
        return [sign.event for _, sign in self._arrived if sign.event.run == run and not sign.beats]

    def _brought(self, run: str) -> set[str]:
        return {sign.consumer for _, sign in self._arrived if sign.event.run == run and not sign.beats}

    def _bring(self, name: str, source_progress: SourceProgress) -> set[str]:
        e = self._expected[name]
        return {e.consumer} if e.consumer else set(source_progress.upto)

    def _last_sign(self, run: str) -> datetime:
        return max(received if s.beats else s.event.time for received, s in self._arrived if s.event.run == run)

    def _due(
        self, name: str, rule: Waits, run: str, source_progress: SourceProgress, pauses: Sequence[Pause] | None = None
    ) -> datetime | None:
        """When its time is up, as things stand; None where the run is not waited for."""
        still = [(p.begin, p.until) for p in (self._pauses if pauses is None else pauses) if p.stops(name, run)]
        line = counting(self._events(run))
        if not line or line[-1].status not in rule.statuses or rule.experiment not in ("", line[-1].experiment):
            return None
        since = begin(line, rule.statuses)
        if rule.form == "in_status_for":
            return when_passed(since, rule.length, still)
        if rule.form == "silent_for":
            seen = max(received for received, sign in self._arrived if sign.event.run == run)
            outages = [span for name in self._brought(run) for span in source_progress.outages.get(name, ())]
            return when_passed(seen, rule.length, [*outages, *still])
        said = sorted(
            (received if s.beats else s.event.time, s.progress)
            for received, s in self._arrived
            if s.event.run == run and s.progress is not None
        )
        changes = [t for n, (t, p) in enumerate(said) if n == 0 or said[n - 1][1] != p]
        return when_passed(max(since, changes[-1]), rule.length, still) if changes else None


def differ(one: Waits | Expected, other: Waits | Expected) -> bool:
    """Whether an edit changes what fires: how often it is notified and how it ends is no part of that."""
    return plain(one) != plain(other)


def plain(rule: Waits | Expected) -> Waits | Expected:
    return replace(rule, repeat=REPEAT, closes=None, send_resolved=True)


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
    """Since when the run is in `statuses`, in which it is; a new try counts again."""
    since = line[-1].time
    for event in reversed(line):
        if event.status not in statuses or event.attempt != line[-1].attempt:
            break
        since = event.time
    return since


def when_passed(since: datetime, length: timedelta, still: Iterable[Span]) -> datetime:
    """When so much time has passed since then that lies in none of the spans `still`."""
    at, left = since, length
    for begin, end in sorted(still):
        if end <= at:
            continue
        if begin > at:
            if begin - at >= left:
                break
            left -= begin - at
        at = end
    return at + left


def _first(e: Expected, at: datetime) -> datetime:
    """The first scheduled time whose window begins then or later."""
    return min(t for t in e.times if t - e.early >= at)


def _scheduled_cases(e: Expected, sign: Sign) -> bool:
    return not sign.beats and sign.event.status in e.statuses and sign.event.experiment == e.experiment


def received_at(sign: Sign, at: datetime) -> Sign:
    """A heartbeat has no time of its own."""
    return replace(sign, event=replace(sign.event, time=at)) if sign.beats else sign
