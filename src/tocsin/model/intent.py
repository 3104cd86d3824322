"""What shall be notified: intents, written with the evaluation that decided them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from tocsin.model.alert import Why, fingerprint
from tocsin.model.details import NONE, Details
from tocsin.model.statuses import Severity


class IntentKind(StrEnum):
    """What an intent says of its alert."""

    FIRED = "fired"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    ESCALATED = "escalated"
    SUMMARY = "summary"  # of a backfill: how many were expired
    ADMIN = "admin"  # tocsin's own health, to admin_email


SUMMARY_WORDS = (
    *("Cause", "Duration", "Rule", "Severity", "Value"),
    *("Causes", "Children", "Count", "Share"),
    *("Due", "Scheduled", "Waited"),
)
"""What a rule's `summary` and `annotations` may name besides its fields; of a parent group, of an absence rule."""


AUTO_CLOSE = 86_400.0
"""Seconds after which an event alert is closed where its rule does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleInfo:
    """What notify needs to know of a rule, frozen at the version that fired. Kept in state by ``version``."""

    name: str
    version: str  # hash of the whole presentation below
    summary: str  # Jinja2 source of the subject, '' for the built-in one
    description: str = ""
    runbook: str = ""
    template: str = ""  # base name of a mail template, '' for the default
    owner: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)  # Jinja2 sources
    notify_to: tuple[str, ...] = ()  # receivers or addresses
    notify_only: bool = False
    final: bool = False
    condition: bool = False  # its alerts resolve; else they are active until superseded or closed
    repeats: bool = False  # it says `repeat_every`: else repeats are the route's
    auto_close: float = AUTO_CLOSE  # seconds after which notify closes an event alert; 0: the rule ends it itself


class IntentHead(NamedTuple):
    """What says in which order intents are notified, and which of them together. A tuple, since a burst has thousands."""

    id: str
    alert: tuple[str, str, str]  # rule, instance key, occurrence
    kind: IntentKind
    severity: Severity
    run_id: str
    evaluation: tuple[datetime, int]  # T, CommitSeq


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One thing to notify. ``id`` follows from what it says, so that an evaluation replayed writes the same one."""

    rule: str
    rule_version: str
    instance: Mapping[str, object]
    occurrence: str
    kind: IntentKind
    ordinal: int = 0
    severity: Severity
    why: Why
    labels: Mapping[str, object] = field(default_factory=dict)
    fields: Mapping[str, object] = field(default_factory=dict)
    value: float | None = None
    run_id: str = ""
    root_run_id: str = ""
    event: Mapping[str, object] = field(default_factory=dict)  # the row that fired, JSON-able, Raw left out
    rows: tuple[Mapping[str, object], ...] = ()  # the first rows of a window rule, JSON-able
    details: Details = NONE
    commit_seq: int
    at: datetime  # T of the evaluation; UTC
    event_time: datetime | None = None  # TimeGenerated of the event; UTC
    origin: str = ""  # of one that notify made, of another: the id of that; such a one is not stored
    _id: str = field(default="", init=False, repr=False, compare=False)  # once it was asked for

    @property
    def limited(self) -> bool:
        """Whether it is only notified by a digest."""
        return self.details.digest is not None

    @property
    def id(self) -> str:
        """Stable identity."""
        if not self._id:
            from tocsin.model.alert import instance_key

            made = fingerprint(self.rule, instance_key(self.instance), self.occurrence, self.kind, str(self.ordinal))
            object.__setattr__(self, "_id", made)
        return self._id

    @property
    def head(self) -> IntentHead:
        """What orders it."""
        from tocsin.model.alert import instance_key

        alert = (self.rule, instance_key(self.instance), self.occurrence)
        return IntentHead(self.id, alert, self.kind, self.severity, self.run_id, (self.at, self.commit_seq))
