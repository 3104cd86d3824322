"""The oracle of `collapse`: what a sweep must notify, commit after commit, from the sentences of docs/rules-event.md, slow
and obvious.

It knows nothing of the engine. It looks at everything again after each commit.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from tests.oracle.events import TERMINAL, Event
from tests.oracle.oracle import in_order


@dataclass(frozen=True, slots=True, order=True)
class Notified:
    """One notifying. A run that is notified by itself has no children."""

    commit: int
    run: str
    matched: int = 0
    children: int = 0
    ended: str = ""


@dataclass(slots=True)
class Memory:
    """What has been notified of a sweep: of one parent and try."""

    times: int = 0
    greatest: Fraction = Fraction(0)  # share that was notified
    ends: set[int] = field(default_factory=set)  # lives of the parent whose end was notified


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`collapse: {when: {failed: share, at_least: …}, update: […]}` of a rule about Failed."""

    share: Fraction
    at_least: int
    updates: tuple[Fraction, ...] = ()
    at_end: bool = False


def notified(commits: Sequence[Sequence[Event]], parents: Mapping[str, str], terms: Terms) -> list[Notified]:
    """All tellings, in order. ``parents`` names the parent of each run that has one."""
    answer: list[Notified] = []
    memories: dict[tuple[str, int], Memory] = defaultdict(Memory)
    matched_at: dict[str, list[int]] = defaultdict(list)  # run → commits at which the rule would have notified it
    for number in range(len(commits)):
        arrived = first_arrivals(commits[: number + 1])
        lines = {run: line(arrived, run) for run in {e.run for e in arrived} | set(parents.values())}
        news = {run for run in lines if lines[run].failures > len(matched_at[run])}
        for run in news:
            matched_at[run] += [number] * (lines[run].failures - len(matched_at[run]))
        for parent in sorted(set(parents.values())):
            first = beginning(arrived, parent)
            end, life = lines[parent].end, lines[parent].life
            children = {
                e.run for e, at in arrived.items() if parents.get(e.run) == parent and at >= first
            }  # fmt: skip
            matched = {run for run in children if any(at >= first for at in matched_at[run])}
            memory = memories[(parent, first)]
            touched = any(e.run == parent or parents.get(e.run) == parent for e in new(commits, number))
            if touched and is_notified(memory, terms, len(matched), len(children), end, life):
                answer.append(Notified(number, parent, len(matched), len(children), end))
                memory.times += 1
                memory.greatest = max(memory.greatest, Fraction(len(matched), len(children)))
                if end:
                    memory.ends.add(life)
        for run in sorted(news):
            if run in parents:
                continue
            end, life = lines[run].end, lines[run].life
            if not (end and life in memories[(run, beginning(arrived, run))].ends):
                answer += [Notified(number, run)] * matched_at[run].count(number)
    return answer


def is_notified(memory: Memory, terms: Terms, matched: int, children: int, end: str, life: int) -> bool:
    """Whether the one alert is notified now, for the first time or again."""
    if not matched:
        return False
    share = Fraction(matched, children)
    if not memory.times:
        enough = min(terms.at_least, children) if end else terms.at_least
        return matched >= enough and share >= terms.share
    if end and terms.at_end and life not in memory.ends:
        return True
    return any(memory.greatest < update <= share for update in terms.updates)


def first_arrivals(commits: Sequence[Sequence[Event]]) -> dict[Event, int]:
    """Each stored event with the commit that brought it: what comes again is no row."""
    found: dict[tuple[object, ...], tuple[Event, int]] = {}
    for number, commit in enumerate(commits):
        for event in commit:
            found.setdefault(event.key, (event, number))
    return dict(found.values())


def new(commits: Sequence[Sequence[Event]], number: int) -> set[Event]:
    """What a commit brought that was not there."""
    return {e for e, at in first_arrivals(commits[: number + 1]).items() if at == number}


def beginning(arrived: Mapping[Event, int], run: str) -> int:
    """The first commit of the run's newest attempt: that which brought a greater attempt than was known; else the
    first of all.
    """
    first, known = 0, -1
    for number in sorted({at for e, at in arrived.items() if e.run == run}):
        attempt = max(e.attempt for e, at in arrived.items() if e.run == run and at == number)
        if known >= 0 and attempt > max(known, 1):
            first = number
        known = max(known, attempt)
    return first


@dataclass(frozen=True, slots=True)
class Line:
    """How the events of a run stand, all of one source."""

    failures: int  # how often a rule about Failed would notify of it
    end: str  # with which status it has ended; '' while it goes on
    life: int  # how often it has gone on after an end


def line(arrived: Mapping[Event, int], run: str) -> Line:
    """A run that has ended goes on with a greater Attempt, or with a later word that is no end; it fails once in
    each life, and once
    more after another end that is said later than the first.
    """
    end, life, failures, attempt, failed = "", 0, 0, -1, False
    first: datetime | None = None  # when it first ended in this Attempt
    for event in in_order(e for e in arrived if e.run == run):
        if event.attempt > attempt >= 0 or (end and event.status not in TERMINAL):
            life += end != ""
            end, failed = "", False
        first = first if event.attempt == attempt else None
        attempt = event.attempt
        if event.status in TERMINAL:
            end, first = event.status, first or event.time
            failed = failed and (event.status == "Failed" or event.time == first)
        if event.status == "Failed" and not failed:
            failures, failed = failures + 1, True
    return Line(failures, end, life)
