"""What a mail template sees. Every name here is documented in docs/notify.md; a test holds the two together.

All texts have secrets and control characters removed and are cut to a sane length; times are UTC (the filters ``when``
and ``time`` show the reader's zone); '' and None stand for what is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin.model.details import Details


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is notified."""

    rule: str
    kind: str  # fired, repeated, resolved, escalated, summary, admin
    severity: str  # critical, error, warning, informational, verbose
    title: str  # the rule's summary, or what was made instead: one line
    cause: str  # what went wrong, one line; '' where nobody said
    why: str  # why it is notified now
    value: float | None
    at: datetime  # when it was decided
    happened: datetime | None  # when it happened
    late: timedelta | None  # how late it is notified, where that is more than 5 min
    labels: Mapping[str, object]
    fields: Mapping[str, object]  # those that the rule keeps
    instance: Mapping[str, object]  # what names it: the values of `by`
    details: Details


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A status change in a run's history."""

    status: str
    at: datetime
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAttempt:
    """One try of the same piece of work."""

    run: str
    attempt: int
    status: str
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearby:
    """Other runs that failed in the 30 minutes before."""

    target: int  # on the same target
    everywhere: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The run that it is about."""

    id: str
    name: str  # for people: DisplayName, else the id
    experiment: str
    workspace: str
    type: str
    target: str
    owner: str  # who started it
    owner_email: str
    status: str
    said: str  # the producer's original status for the status
    reason: str  # in words: out of memory, preempted
    message: str
    code: str
    log: tuple[str, ...]  # its last lines
    url: str
    attempt: int  # 0 where unknown
    attempts_known: int  # how many attempts there were; 0 where unknown
    retry: bool  # another attempt follows
    started: datetime | None
    ended: datetime | None
    ran: timedelta | None
    tags: Mapping[str, object]
    properties: Mapping[str, object]
    history: tuple[Change, ...]  # of this run, oldest first, at most 12
    more_history: int  # how many changes are left out before these
    attempts: tuple[RunAttempt, ...]  # of the same work, oldest first; () where there was only one
    last_success: datetime | None  # of its experiment
    nearby: Nearby | None  # None where it could not be found out in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule that notifies."""

    name: str
    description: str
    runbook: str
    owner: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where to go; '' where there is no such page."""

    run: str = ""  # the run where it ran, else its page here
    history: str = ""  # the run's page here
    elsewhere: str = ""  # the run's own address, as text, where its host is not of links.allowed_hosts
    acknowledge: str = ""
    silence: str = ""
    mute: str = ""
    rule: str = ""
    notifications: str = ""
    tocsin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who gets it, and why."""

    address: str
    name: str
    receiver: str
    zone: ZoneInfo
    because: str  # "You get this because …", a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another rule that notifies of the same run at the same time."""

    rule: str
    severity: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One mail that a summary stands for."""

    title: str
    name: str  # of the run
    cause: str
    severity: str
    rule: str
    url: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Bunch:
    """Lines of a summary with the same cause."""

    cause: str
    count: int
    examples: tuple[Line, ...]  # at most three, of a backfill ten


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Many notified as one: beyond a cap, or expired each."""

    kind: str  # cap, limit, backfill
    count: int
    experiments: int  # 0 where unknown
    since: datetime | None
    until: datetime | None
    window: timedelta | None  # of the cap or limit
    mails: int  # that it lets through one by one
    bunches: tuple[Bunch, ...]  # most frequent first, at most ten
    more: int  # how many are in no bunch shown
    per: str = ""  # of a limit: of what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentGroup:
    """Runs of a parent that match, notified as one."""

    matched: int
    children: int  # known by then
    did: str  # what those that match did: failed
    ended: str  # what the parent did: completed; '' while it goes on
    bunches: tuple[Bunch, ...]  # most frequent cause first, at most ten
    more: int  # how many are in no bunch


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """The same in words, for the reader: each a phrase, '' where there is nothing to say."""

    preheader: str  # what a phone shows after the subject
    happened: str  # failed at 08:15 (Budapest) after 6 h 12
    attempt: str  # try 3 of 3
    where: str  # Ágnes · aks-eu
    nearby: str  # 14 others failed on aks-eu in the last 30 min
    last_success: str  # last success yesterday 02:14
    late: str  # notified 2 h 05 late
    waited: str = ""  # of an absence rule: nothing received for 25 min, since 21:10 (Budapest)
    last_event: str = ""  # of an absence rule: last event 19:02 (Running) · last received 21:10 · progress 42 %
    since: str = ""  # of a late one: The run has completed since, at 08:25 (Budapest).
    ended: str = ""  # of its end: received again after 1 h 08; started 38 min late; by run r2, Completed at …


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """All that a template sees, by these names."""

    alert: Alert
    run: Run | None
    rule: Rule
    event: Mapping[str, object]  # the row that fired, by column
    columns: tuple[str, ...]  # of rows
    rows: tuple[tuple[str, ...], ...]  # of a window rule, at most ten, as text
    more_rows: int
    others: tuple[Other, ...]
    summary: Summary | None
    parent_group: ParentGroup | None = None  # of a rule that collapses, where something is known of the run's children
    whole_group: bool = False  # it is notified of the parent group; else of the run itself
    links: Links
    reader: Reader
    says: Says
    notes: tuple[str, ...]  # what the reader should know of this mail itself
    now: datetime
    lines: tuple[str, ...] = field(default=())  # of an admin mail

    def names(self) -> dict[str, object]:
        """As the variables of a template."""
        return {name: getattr(self, name) for name in NAMES}


NAMES: tuple[str, ...] = tuple(Mail.__dataclass_fields__)
"""Variables of every template."""

VALUES: frozenset[type] = frozenset(
    {Alert, Run, Rule, Change, RunAttempt, Nearby, Links, Reader, Other, Line, Bunch, Summary, ParentGroup, Says}
)
"""Types of what a template sees: frozen, without methods."""
