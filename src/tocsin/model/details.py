"""What an intent says beside its fields: a frozen type for each thing that can be notified.

They are kept as JSON, without what is at its default (``state.typed``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What an absence rule waited for."""

    form: str  # the rule's key: in_status_for, silent_for, unchanged, duration, absent
    statuses: tuple[str, ...] = ()
    since: datetime | None = None  # since when it is waited; UTC
    due: datetime | None = None  # when it ought to have happened at the latest; UTC
    ended: datetime | None = None  # UTC
    scheduled: datetime | None = None  # of a schedule; UTC
    zone: str = ""  # of a schedule
    stood: float = 0.0  # seconds of maintenance that do not count
    late: str = ""  # "came 38 min late"
    missed: int = 1  # scheduled times since it fires


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A run of a parent, as an example."""

    run: str
    name: str = ""
    url: str = ""
    us: int = 0  # TimeGenerated, µs since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why some runs of a parent match."""

    cause: str
    count: int
    runs: tuple[Child, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a parent's runs did."""

    to: str = ""  # the column that names the parent
    matched: int = 0
    children: int = 0
    did: str = ""
    ended: str = ""  # the status with which the parent ended; '' while it goes on
    causes: tuple[Cause, ...] = ()
    more: int = 0  # runs with other causes
    alert: bool = False  # it is notified of the group, not of the parent's own event


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedBy:
    """The event that ended an alert."""

    run: str
    status: str
    time: datetime  # TimeGenerated; UTC

    @property
    def text(self) -> str:
        """For people."""
        return f"by run {self.run}, {self.status} at {self.time:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Events that were too old to be notified one by one."""

    count: int
    oldest: datetime  # UTC
    newest: datetime  # UTC
    consumer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """An alert is beyond its rule's limit, and waits to be a line of a digest."""

    until: datetime  # when the digest is sent; UTC
    per: Mapping[str, object]
    notified: int  # alerts that were notified one by one
    seconds: float  # the length of the limit's window


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """tocsin's own health."""

    title: str
    text: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All of it. What is None does not apply."""

    due: datetime | None = None  # until when another attempt was waited for; UTC
    since: datetime | None = None  # of a repeat: when it was first notified; UTC
    firing_since: datetime | None = None  # of an end: when it fired, of which nobody was notified; UTC
    rows: int = 0  # of a window rule, all of them
    wait: Wait | None = None
    group: Group | None = None
    ended_by: EndedBy | None = None
    expired: Expired | None = None
    health: Health | None = None
    digest: Digest | None = None


NONE = Details()
