"""What the stages hand to each other: intents with their readers, letters, and what is known of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tocsin.model.alert import fingerprint, instance_key
from tocsin.model.delivery import EMAIL, Endpoint, Notified
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.notify.channels.registry import for_each, is_mirror
from tocsin.notify.context import Change, Line, Nearby, RunAttempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """A fallback that collects: what comes to it goes out once a day."""

    of: str  # the receiver that came to nobody
    at: str  # 09:00, in the reader's zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One address and how it was found."""

    channel: str = EMAIL
    address: str  # of channels without addresses "channel:receiver"
    receiver: str
    because: str  # why this address, e.g. "notifies the run's owner"
    name: str = ""
    zone: ZoneInfo | None = None
    note: str = ""  # why somebody else does not get it
    grouped: Mapping[str, str] = field(default_factory=dict)  # the values of the group that its messages are of
    later: Later | None = None  # by whose fallback it is reached, where that collects
    personal: bool = False  # reached as an owner or one of a list: she may unsubscribe
    notified: Notified | None = (
        None  # of one who is notified that it still fires, or is over: the message that notified of it first
    )

    @property
    def endpoint(self) -> Endpoint:
        """The other side that takes messages to it."""
        return Endpoint(self.channel, "" if self.channel == EMAIL else self.receiver)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """An intent with everybody who is to be notified."""

    intent: Intent
    info: RuleInfo
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationDraft:
    """One mail to be: one recipient, one or more intents of one run and evaluation, the severest first."""

    recipient: Recipient
    notified: tuple[tuple[Intent, RuleInfo], ...]
    flush: str = ""  # which of several messages about the same: of a group its flush, of an escalation its message
    says: str = ""  # before its subject: acknowledged by anna
    thread: str = ""  # what threads it, where that is not the run or alert
    acknowledged: str = ""  # by whom: of channels that take an acknowledgement

    @property
    def intent(self) -> Intent:
        """The one that it is about."""
        return self.notified[0][0]

    @property
    def info(self) -> RuleInfo:
        """The rule of that."""
        return self.notified[0][1]

    @property
    def limited(self) -> bool:
        """Whether all that it notifies is beyond the limits of its rules: then it waits for a digest. Never of a mirror's,
        which shows each alert.
        """
        return not is_mirror(self.recipient.channel) and all(intent.limited for intent, _ in self.notified)

    @property
    def group(self) -> str:
        """What threads it: the run, else the alert; for channels with a state for each alert its episode."""
        if for_each(self.recipient.channel):
            return episode_group(self.intent)
        return self.thread or group_of(self.intent)

    @property
    def id(self) -> str:
        """Name of the delivery. Intents are consumed with all their letters at once, so they name a letter for good."""
        more = (self.flush,) if self.flush else ()
        return fingerprint("letter", self.recipient.address.lower(), *sorted(i.id for i, _ in self.notified), *more)


ALONE = frozenset({IntentKind.RESOLVED, IntentKind.SUMMARY, IntentKind.ADMIN})
"""Kinds that are never grouped with others."""


def episode_group(intent: Intent) -> str:
    """Group of what channels with a state for each alert are sent of it, from its firing to its end."""
    return f"alert/{intent.rule}/{instance_key(intent.instance)}/{intent.occurrence}"


def group_of(intent: Intent) -> str:
    """What threads mails about ``intent``."""
    if intent.kind is IntentKind.ADMIN:
        return f"tocsin/{intent.rule}"
    wait = intent.details.wait
    if intent.run_id and (
        wait is None or wait.form != "absent"
    ):  # what was expected brings a run, and answers the alert
        return f"run/{intent.run_id}"
    return f"alert/{intent.rule}/{instance_key(intent.instance)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapRule:
    """At most ``mails`` in ``window`` for one address."""

    mails: int
    window: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Capped:
    """What a cap let through and what it holds until when."""

    through: tuple[NotificationDraft, ...]
    held: tuple[tuple[NotificationDraft, datetime], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the log store knows around an alert, besides the event itself."""

    history: tuple[Change, ...] = ()
    more_history: int = 0
    attempts: tuple[RunAttempt, ...] = ()
    attempts_known: int = 0
    last_success: datetime | None = None
    nearby: Nearby | None = None
    expired: tuple[
        Line, ...
    ] = ()  # of a backfill's summary: the runs that it stands for, the newest, at most MOST_LINES


NO_FACTS = RunFacts()
Facts = Mapping[str, RunFacts]
"""By intent id."""
