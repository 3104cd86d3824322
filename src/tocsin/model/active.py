"""Active alerts: one value from firing to its end, and what people do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tocsin.model.alert import fingerprint, instance_key
from tocsin.model.intent import Intent


def alert_id(rule: str, instance: str, occurrence: str) -> str:
    """Names an alert's episode in KQL, JSON, commands and links. ``instance`` is an instance key."""
    return fingerprint("alert", rule, instance, occurrence)[:16]


class Ended(StrEnum):
    """Why an alert is not active any more, besides what its rule says; history and messages show the text."""

    SUPERSEDED = "superseded"  # its run reopened, or a newer attempt of its JobKey runs or completed
    AUTO_CLOSED = "auto-closed"
    CLOSED = "closed"  # by a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Who has taken an alert."""

    by: str
    at: datetime  # UTC
    until: datetime | None = None  # of a snooze, or by `ack_timeout`; UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedTo:
    """One receiver or escalation that an alert goes to, fixed when it fired."""

    receiver: str = ""
    escalation: str = ""
    because: str = ""  # for a person: its route matches team: ranking (rules/oncall/main.yaml:31)
    group: str = ""  # key of its group; '' of an escalation


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveAlert:
    """An alert from its firing to its end."""

    id: str
    rule: str
    instance: str  # instance key
    occurrence: str
    run_id: str
    severity: int  # 0 is the worst
    fired_at: datetime  # UTC
    intent: str  # id of the latest intent about it: what messages say
    registered: bool = False  # whether notify has routed it; the rest is empty before
    condition: bool = False
    title: str = ""
    closes_at: datetime | None = None  # of an event alert; UTC
    job_key: str = ""
    attempt: int = 0
    event_us: int = 0  # TimeGenerated of its event, µs since the epoch; 0 where there is none
    fields: Mapping[str, str] = field(default_factory=dict)  # what matchers see
    columns: Mapping[str, str] = field(default_factory=dict)  # of its run, which maintenance may match
    routes: tuple[RoutedTo, ...] = ()
    acknowledged: Acknowledgement | None = None
    assigned_to: str = ""
    brief: bool = False  # a condition that fired and resolved before anybody could be notified: one message says both
    exhausted: str = ""  # the escalation of which all steps are done, and nobody has taken it
    suppressed: str = ""  # why its people are not notified now; '' where they are
    ended_at: datetime | None = None  # UTC
    ended_why: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What intents call it."""
        return self.rule, self.instance, self.occurrence


def fired_alert(intent: Intent) -> ActiveAlert:
    """The alert of a FIRED intent, before notify has routed it."""
    instance = instance_key(intent.instance)
    return ActiveAlert(
        id=alert_id(intent.rule, instance, intent.occurrence), rule=intent.rule, instance=instance,
        occurrence=intent.occurrence, run_id=intent.run_id, severity=int(intent.severity), fired_at=intent.at,
        intent=intent.id,
    )  # fmt: skip


class ActionKind(StrEnum):
    """What a person does with an alert."""

    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    SNOOZE = "snooze"
    ASSIGN = "assign"
    COMMENT = "comment"
    CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One of these, as it is audited."""

    alert: str  # its id
    kind: ActionKind
    by: str
    at: datetime  # UTC
    until: datetime | None = None  # of a snooze; UTC
    text: str = ""  # whom it is assigned to; a comment
    via: str = ""  # api, cli, link


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """What became of it."""

    alert: ActiveAlert
    done: bool  # False: somebody was first, or the alert has ended
    acknowledged: Acknowledgement | None = None  # who has it now


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Who set or ended a silence, a subscription or a mute, when, and by what means."""

    by: str  # '' where that is not known
    via: str  # api, cli, link, page, pagerduty
    at: datetime  # UTC


class AuditKind(StrEnum):
    """What is audited besides what people do with alerts, silences and subscriptions."""

    LOGIN = "login"
    LOGIN_FAILED = "login-failed"
    LOGOUT = "logout"
    REFUSED = "refused"  # a request without a token that opens what it asked for
    QUERY = "query"
    REPLAY = "replay"
    BACKUP = "backup"
    EXPORT = "export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One of these."""

    kind: AuditKind
    deed: Deed
    text: str = ""  # the query; what was replayed; where a request came from


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSilence:
    """A silence that a person set by command, API, page or link; matchers in Alertmanager's syntax."""

    id: str
    matchers: str
    start: datetime  # UTC
    end: datetime  # UTC, not included; moved forward where it is expired by hand
    by: str
    comment: str
    created_at: datetime  # UTC


class PreferenceKind(StrEnum):
    """What a person wants for herself."""

    SUBSCRIBE = "subscribe"  # to be notified of what matches
    MUTE = "mute"  # not to be notified of it as owner, subscriber or list member


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """What one address wants, or does not want, to be notified of. It is kept after its end: who set it is audited."""

    id: str
    kind: PreferenceKind
    address: str  # in lower case
    matchers: str  # in Alertmanager's syntax, over fields of alerts and columns of their runs
    at: datetime  # UTC
    until: datetime | None = None  # UTC; None: for good
    by: str = ""
    via: str = ""  # api, cli, link, page
    ended_at: datetime | None = None  # UTC; when it was taken back

    def holds(self, at: datetime) -> bool:
        """Whether it counts at ``at``."""
        return self.ended_at is None and (self.until is None or at < self.until)


# -- what reports are made of ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLife:
    """One alert; times in UTC."""

    id: str
    rule: str
    fired_at: datetime
    ended_at: datetime | None
    ended_why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTaken:
    """What a person did with an alert."""

    alert: str
    kind: str  # ActionKind
    by: str
    at: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent:
    """A message that its channel accepted, and that says more than an end."""

    channel: str
    address: str
    receiver: str  # of an escalation's mail the escalation
    group: str
    rule: str  # the one that it is about
    created_at: datetime  # UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallHistory:
    """All of it since a time."""

    alerts: Sequence[AlertLife] = ()  # that fired since then
    actions: Sequence[ActionTaken] = ()
    messages: Sequence[MessageSent] = ()
