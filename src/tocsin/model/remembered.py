"""What is remembered of an instance and said by a timer, beside what all of them have: a frozen type for each thing.

They are kept as JSON, without what is at its default (``model.text.typed``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from tocsin.model.alert import EventKey, Phase, Why, instance_key
from tocsin.model.details import Digest
from tocsin.model.statuses import Severity

RateLimit = Digest | bool
"""What a rule's limit made of an alert. False: it was notified singly; True: nobody was notified; else its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The life of a condition. None: does not apply; times are UTC."""

    fired: datetime | None = None
    last_notified_at: datetime | None = None
    notified: int = 0  # the ordinal with which it was last notified that it fired
    repeats: int = 0
    worst: int | None = None  # severity
    silent: datetime | None = None  # since when there is no data, while it fires
    closed: datetime | None = None  # it was closed by time while it held
    ticks: str = ""  # of `for: N of M`: a 1 for each on which it held, else a 0
    known: bool = False  # there was data, and `no_data: alert` waits for the day on which there is none
    changed: Why | None = None  # why it ends without a notification, unless it still holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a window rule keeps of an instance."""

    key: str = ""  # under which its rows come
    labels: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    summary: Mapping[str, object] = field(default_factory=dict)  # what the rule's summary names
    held: datetime | None = None  # T since when it waits for watermarks to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The scheduled time that an instance of a schedule fires about; µs since the epoch."""

    from_us: int  # its window
    scheduled_us: int
    due_us: int
    missed: int = 1  # scheduled times since it fires


class GroupCounts(NamedTuple):
    """The parent group of an active alert, as it was last notified."""

    begin: int  # as ``ParentGroup.begin``
    matched: int
    children: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """An active alert of an event rule."""

    run: str
    root: str
    event: EventKey  # that it was notified of
    commit_seq: int  # of that event
    consumer: str  # that brought it
    last_notified_at: datetime  # UTC
    repeats: int = 0
    labels: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    same: tuple[tuple[str, ...], ...] = ()
    group: GroupCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What an event rule counts of a parent's runs; as ``ParentGroup``."""

    begin: int
    matched: int
    children: int
    notified: int
    passed: tuple[int, int]  # numerator and denominator
    closed: int | None
    instance: Mapping[str, object]
    computed: Mapping[str, object]
    recovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is kept of an instance: the parts that apply."""

    life: Life = Life()
    limit: RateLimit = False
    row: Row | None = None  # of a window rule
    since_us: int | None = None  # of a rule with a timeout: since when it waits, µs since the epoch
    missed: Missed | None = None  # of a schedule
    active: Active | None = None
    counted: Counted | None = None


NOTHING = Remembered()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionState:
    """What a rule remembers of one instance."""

    rule: str
    instance: Mapping[str, object]
    phase: Phase
    since: datetime  # T at which the phase began
    severity: Severity
    value: float | None = None
    data: Remembered = NOTHING

    @property
    def key(self) -> str:
        """Name of the instance within its rule."""
        return instance_key(self.instance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Whether another attempt came of a failure, for `final`."""

    run: str
    event: EventKey
    due_us: int  # the timer's own due time is later where it had to be tried again; µs since the epoch
    came_us: int = 0  # when the event came, where that is later


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Whether what is scheduled came; µs since the epoch."""

    at_us: int
    from_us: int  # its window
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A parent group is forgotten."""

    parent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A rule that failed is tried again."""

    attempts: int = 0


About = Attempt | Scheduled | Parent | Retry
"""What a timer is about, by its kind: see ``instants.ABOUT``."""
