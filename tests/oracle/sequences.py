"""The oracle of sequences: which instances hold at an instant, from the sentences of docs/rules-window.md, slow and
obvious.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

ENDS = ("Completed", "Failed", "Canceled")
LATENESS = timedelta(seconds=1)
REACH = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of a run."""

    id: str
    run: str
    attempt: int
    status: str
    time: datetime
    came: datetime  # when it arrived
    group: str
    passes: bool  # `where`


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`when: {status: …, after: …, times: …, within: …}`"""

    status: Collection[str]
    after: Collection[str]  # empty: whatever came before
    times: int
    within: timedelta


def holding(rule: Rule, events: Sequence[Event], at: datetime) -> set[str]:
    """The groups that have happened often enough."""
    end = at - LATENESS
    seen = [e for e in events if e.came <= at and end - rule.within - REACH < e.time <= end]
    seen.sort(key=lambda e: (e.run, e.attempt, e.time, e.status in ENDS, e.id))
    counted: Counter[str] = Counter()
    for before, event in zip([None, *seen], seen, strict=False):
        follows = before is not None and before.run == event.run and before.status in rule.after
        if (
            event.status in rule.status
            and event.passes
            and event.time > end - rule.within
            and (follows or not rule.after)
        ):
            counted[event.group] += 1
    return {group for group, n in counted.items() if n >= rule.times}


def notified(rule: Rule, events: Sequence[Event], ticks: Sequence[datetime]) -> list[tuple[datetime, str]]:
    """What is notified at which tick: a group once it holds, and again only after it did not."""
    out: list[tuple[datetime, str]] = []
    held: set[str] = set()
    for at in ticks:
        now = holding(rule, events, at)
        out += [(at, group) for group in sorted(now - held)]
        held = now
    return out
