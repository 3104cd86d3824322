"""Deadlines of runs in memory: one for each run that an absence rule waits for, in a heap, so that nothing is polled
for.

They follow from the log, so they are not stored: after a start they are computed again
(``deadlines_compute.schedule_deadlines``), and only what
a deadline changed is in the state. A deadline that moves later, as each heartbeat moves it, is not pushed again:
when the
old one comes up it is found to be expired and goes back with its new time.

    put(r1, 10:00)   put(r1, 10:07)              past(10:00)             past(10:07)
    heap: 10:00      heap: 10:00 (due: 10:07)    heap: 10:07             ripe: r1

A hundred thousand runs have several deadlines each, so a run has a number (its slot), and a rule an array of due
times by slot.
An entry of the heap is one number: due time, rule, slot. Only what comes next is in the heap; the rest lies in
buckets of a
minute, eight bytes each, until its minute comes:

    heap: 10:00:12  10:00:40        10:01: [ … ]   10:07: [ … ]   16:00: [ … ]
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.history import micros, moment

BUCKET_US = 1 << 26
"""Length of a bucket, µs: 67 s."""
_SLACK = 1000
"""Expired entries that are always borne."""
IDLE = 100_000
"""Runs that are known to be settled though nothing is waited for, at most. One that never ends would be known for
ever, as it is in the
log; of one that is forgotten the next heartbeat is computed again.
"""
_SILENT, _ANY = 1, 2
_SOON = 15
"""Entries of the heap that are shown as coming soon: the first four are always among so many."""
_NONE = -1
_RULES, _SLOTS = 16, 32
"""Bits of a heap entry for the rule's and the run's number."""


class Deadline(NamedTuple):
    """A run's deadline under a rule. ``due_us`` None: it has none. ``consumers``: known to be waited for.

    With ``or_us``, neither is more than a bound: where a deadline is set, it moves to ``due_us`` if that is earlier;
    else it is set
    to ``or_us``. With ``not_before`` one that is set moves to ``due_us`` if that is later; none is set. What has
    come is computed
    again before it is evaluated.
    """

    rule: str
    run: str
    due_us: int | None
    consumers: frozenset[str] = frozenset()
    or_us: int | None = None
    by: str = ""  # a consumer that is waited for in any case; '': none is known
    not_before: bool = False


class Settled(NamedTuple):
    """What heartbeats alone can do to the deadlines of a run: nothing but to move those that are set later, where it
    is settled.

    So a heartbeat of a settled run need not be computed. A run is not, where a deadline that its rules wait for is
    not set:
    because it was notified, or is too old to be, or because it never said how far it is.
    """

    run: str
    silent: bool  # heartbeats that do not say how far it is
    any: bool  # heartbeats that do


class _Rule:
    """The deadlines of one rule, by slot."""

    __slots__ = ("due", "name", "size")

    def __init__(self, name: str) -> None:
        self.name, self.due, self.size = name, array("q"), 0

    def get(self, slot: int) -> int:
        return self.due[slot] if slot < len(self.due) else _NONE

    def put(self, slot: int, due: int) -> None:
        if slot >= len(self.due):
            self.due.extend([_NONE] * (slot + 1 - len(self.due)))
        self.size += (due != _NONE) - (self.due[slot] != _NONE)
        self.due[slot] = due


class DeadlineTable:
    """Deadlines by rule and run. One thread."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._runs: list[str | None] = []  # by slot
        self._by = array("H")  # by slot: the number of the consumer that is waited for in any case
        self._settled = bytearray()  # by slot
        self._free: list[int] = []
        self._consumers: list[frozenset[str]] = [frozenset()]
        self._numbers: dict[str, int] = {"": 0}  # of consumers
        self._rules: list[_Rule] = []  # by number; a rule that is gone keeps its own
        self._named: dict[str, int] = {}
        self._heap: list[int] = []  # of buckets up to ``_near``
        self._near = _NONE
        self._far: dict[int, array[int]] = {}  # by bucket: rule and slot
        self._buckets: list[int] = []  # a heap of those
        self._entries = 0
        self._ripe: dict[tuple[str, str], Timer] = {}

    def __len__(self) -> int:
        return sum(rule.size for rule in self._rules)

    def __iter__(self) -> Iterator[tuple[str, str, datetime]]:
        """(rule, run, due) of each."""
        for rule in self._rules:
            for slot, due in enumerate(rule.due):
                run = self._runs[slot]
                if due != _NONE and run is not None:
                    yield rule.name, run, moment(due)

    def next_of_rules(self) -> dict[str, datetime]:
        """When each rule's next one comes, held ones included. May be called from any thread; looks through all."""
        found: dict[str, datetime] = {}
        for rule in list(self._rules):
            first = min((due for due in rule.due if due != _NONE), default=None)
            if first is not None:
                found[rule.name] = moment(first)
        return found

    @property
    def held(self) -> int:
        """How many are past due and wait for a watermark."""
        return len(self._ripe)

    def last_waiting(self) -> datetime | None:
        """The latest due time among those."""
        return max((timer.due for timer in self._ripe.values()), default=None)

    def is_settled(self, run: str, progress: bool) -> bool:
        """Whether a heartbeat of ``run``, with or without ``progress``, need not be computed, see ``Settled``."""
        slot = self._slots.get(run)
        return slot is not None and self._settled[slot] >= (_ANY if progress else _SILENT)

    def unsettle(self) -> None:
        """Forget which runs are settled: under other rules they are not."""
        for slot, settled in enumerate(self._settled):
            if settled:
                self._settle(slot, 0)

    def take(self, changes: Iterable[Deadline], settles: Iterable[Settled] = ()) -> None:
        """Bring ``changes`` into force, in their order, and then ``settles``."""
        for change in changes:
            self._change(change)
        for each in settles:
            level = _ANY if each.any else _SILENT if each.silent else 0
            if level or each.run in self._slots:
                self._settle(self._slot(each.run), level)
        if len(self._slots) > len(self) + IDLE:
            self.unsettle()
        if self._entries > 2 * len(self) + _SLACK:
            self._rebuild()

    def _change(self, change: Deadline) -> None:
        slot, number = self._slots.get(change.run), self._named.get(change.rule)
        known = _NONE if slot is None or number is None else self._rules[number].get(slot)
        if change.due_us is None:
            if slot is not None and number is not None and known != _NONE:
                self._drop(number, slot, change)
        elif change.not_before:
            if known != _NONE and change.due_us > known:
                self._put(change, change.due_us)
        elif change.or_us is None:
            self._put(change, change.due_us)
        elif known == _NONE:
            self._put(change, change.or_us)
        elif change.due_us < known:
            self._put(change, change.due_us)

    def _rebuild(self) -> None:
        """Without the entries that were replaced."""
        self._heap, self._far, self._buckets, self._entries = [], {}, [], 0
        for number, rule in enumerate(self._rules):
            for slot, due in enumerate(rule.due):
                if due != _NONE and (rule.name, self._runs[slot]) not in self._ripe:
                    self._push(due, number, slot)

    def forget(self, rule: str) -> None:
        """The rule is gone, or means something else."""
        number = self._named.pop(rule, None)
        for key in [key for key in self._ripe if key[0] == rule]:
            del self._ripe[key]
        if number is None:
            return
        old, self._rules[number] = self._rules[number], _Rule(rule)
        for slot, due in enumerate(old.due):
            if due != _NONE:
                self._release(slot)

    def past(self, now: datetime) -> list[Timer]:
        """Deadlines that have come, held ones included, as timers. They stay until they are decided (``take``)."""
        now_us = micros(now)
        while self._buckets and self._buckets[0] <= now_us // BUCKET_US:
            self._draw_near()
        while self._heap and self._heap[0] >> (_RULES + _SLOTS) <= now_us:
            due, number, slot = _parts(self._pop())
            rule, run = self._rules[number], self._runs[slot]
            current = rule.get(slot)
            if run is None or current == _NONE or (rule.name, run) in self._ripe or current < due:
                continue
            if current > now_us:
                self._push(current, number, slot)
            else:
                self._ripe[(rule.name, run)] = _timer(rule.name, run, current, self._consumers[self._by[slot]])
        return list(self._ripe.values())

    def next_due(self) -> datetime | None:
        """Not before this time does another one come; it may turn out to be expired, or to come a minute later."""
        while self._heap:
            due, number, slot = _parts(self._heap[0])
            rule = self._rules[number]
            current = rule.get(slot)
            if current == due and (rule.name, self._runs[slot]) not in self._ripe:
                return moment(due)
            self._pop()
            if current > due and (rule.name, self._runs[slot]) not in self._ripe:
                self._push(current, number, slot)
        return moment(self._buckets[0] * BUCKET_US) if self._buckets else None

    def soon(self) -> list[datetime]:
        """Due times of some of those that come next, the first few among them, in no order; expired ones may be too."""
        return [moment(entry >> (_RULES + _SLOTS)) for entry in self._heap[:_SOON]]

    def _draw_near(self) -> None:
        """The next bucket's entries go to the heap."""
        self._near = heapq.heappop(self._buckets)
        drawn = self._far.pop(self._near)
        self._entries -= len(drawn)
        for entry in drawn:
            number, slot = entry >> _SLOTS, entry & ((1 << _SLOTS) - 1)
            due = self._rules[number].get(slot)
            if due != _NONE:
                self._push(due, number, slot)

    def _push(self, due: int, number: int, slot: int) -> None:
        self._entries += 1
        bucket = due // BUCKET_US
        if bucket <= self._near:
            heapq.heappush(self._heap, _entry(due, number, slot))
            return
        if bucket not in self._far:
            self._far[bucket] = array("Q")
            heapq.heappush(self._buckets, bucket)
        self._far[bucket].append(number << _SLOTS | slot)

    def _pop(self) -> int:
        self._entries -= 1
        return heapq.heappop(self._heap)

    def _put(self, change: Deadline, due: int) -> None:
        number = self._number(change.rule)
        rule, slot = self._rules[number], self._slot(change.run)
        before = rule.get(slot)
        ripe = self._ripe.pop((change.rule, change.run), None)
        rule.put(slot, due)
        if change.by:
            self._by[slot] = self._consumer(change.by)
        if change.consumers:
            self._ripe[(change.rule, change.run)] = _timer(change.rule, change.run, due, change.consumers)
        elif before == _NONE or due < before or ripe is not None:
            self._push(due, number, slot)

    def _drop(self, number: int, slot: int, change: Deadline) -> None:
        self._rules[number].put(slot, _NONE)
        self._ripe.pop((change.rule, change.run), None)
        self._settle(slot, 0)

    def _settle(self, slot: int, level: int) -> None:
        self._settled[slot] = level
        if not level:
            self._release(slot)

    def _release(self, slot: int) -> None:
        """A run of which nothing is waited for any more, and nothing known, gives its number back."""
        run = self._runs[slot]
        if run is not None and not self._settled[slot] and all(rule.get(slot) == _NONE for rule in self._rules):
            del self._slots[run]
            self._runs[slot] = None
            self._by[slot] = 0
            self._free.append(slot)

    def _slot(self, run: str) -> int:
        slot = self._slots.get(run)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self._runs[slot] = run
            else:
                slot = len(self._runs)
                self._runs.append(run)
                self._by.append(0)
                self._settled.append(0)
            self._slots[run] = slot
        return slot

    def _number(self, rule: str) -> int:
        number = self._named.get(rule)
        if number is None:
            gone = (n for n, r in enumerate(self._rules) if not r.size and self._named.get(r.name) != n)
            number = next(gone, len(self._rules))
            self._rules[number : number + 1] = [_Rule(rule)]
            self._named[rule] = number
        return number

    def _consumer(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._consumers)
            self._consumers.append(frozenset({name}))
        return number


def _entry(due: int, number: int, slot: int) -> int:
    return (due << (_RULES + _SLOTS)) | (number << _SLOTS) | slot


def _parts(entry: int) -> tuple[int, int, int]:
    return entry >> (_RULES + _SLOTS), (entry >> _SLOTS) & ((1 << _RULES) - 1), entry & ((1 << _SLOTS) - 1)


def _timer(rule: str, run: str, due_us: int, consumers: frozenset[str]) -> Timer:
    return Timer(rule=rule, kind=TimerKind.DEADLINE, key=run, due=moment(due_us), consumers=consumers)
