"""Alerts: what rules remember of what they notified, and the transitions that they write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from tocsin.model.statuses import Severity


class Phase(StrEnum):
    """Where an alert is in its life. Event alerts: none → notified | collapsed | expired → closed. Conditions: the
    others.
    """

    NONE = ""
    FIRED = "fired"
    COLLAPSED = "collapsed"  # notified by its parent's alert, or held for it
    EXPIRED = "expired"
    CLOSED = "closed"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"
    ACKNOWLEDGED = "acknowledged"  # by a person; only of rows of ``Alerts``


class Why(StrEnum):
    """Why something was notified or not; mails, history and logs show the text."""

    FIRST = "first occurrence"
    ALREADY_FIRED = "already fired"
    NOT_FINAL = "another attempt follows"
    AWAITING_ATTEMPT = "waits for another attempt"
    NEWER_ATTEMPT = "a newer attempt came"
    NO_ATTEMPT_CAME = "no other attempt came in time"
    BEFORE_START = "older than the rule"
    TOO_OLD = "older than max_event_age"
    NOTIFIED_BEFORE = "notified before the restore"
    BEFORE_CONSUMER = "produced before the consumer's first start"
    BACKFILL_OVER = "backfill is over"
    RULE_CHANGED = "rule changed"
    RULE_GONE = "rule removed"
    MAINTENANCE = "maintenance pauses its deadline"
    THRESHOLD = "condition holds"
    MUST_HOLD_LONGER = "holds, but not long enough yet"
    HELD_TOO_SHORT = "did not hold long enough"
    WORSE = "it got worse"
    STILL_FIRING = "still firing"
    HOLDS_NO_LONGER = "holds no longer"
    HOLDS_AGAIN = "holds again"
    NOT_RESOLVED_YET = "holds no longer, but `resolve.when` does not hold yet"
    NOTHING_NEW = "nothing new"
    AUTO_CLOSED = "auto-closed"
    RECOVERED = "recovered"
    NO_DATA = "no data"
    DEADLINE = "deadline passed"
    RATE_LIMITED = "rate limited"
    COLLAPSED = "counts for its parent's alert"
    ENOUGH_CHILDREN = "enough of its runs match"
    TOO_FEW_CHILDREN = "too few of its runs match"
    MORE_CHILDREN = "more of its runs match"
    PARENT_ENDED = "it ended"
    SUPERSEDED = "superseded"
    ACKNOWLEDGED = "acknowledged"
    ACK_TIMEOUT = "acknowledged, not resolved"
    BY_PERSON = "by a person"


class EventKey(NamedTuple):
    """Identity of an event in a run's history: the dedupe key and the producer's time. A tuple, since there are
    millions, as keys.
    """

    source: str
    event_id: str
    time_us: int  # TimeGenerated, µs since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One occurrence of an event rule: the occurrence that was first notified (or found expired) of ``event``."""

    rule: str
    run_id: str
    event: EventKey
    phase: Phase  # notified, COLLAPSED, expired; CLOSED: notified, and its end counted; RESOLVED: an end counted, notified of another event
    at: datetime  # T of the evaluation; UTC
    commit_seq: int

    @property
    def name(self) -> str:
        """Short, stable name of it, used in keys and Message-IDs."""
        return fingerprint(self.rule, self.run_id, self.event.source, self.event.event_id, str(self.event.time_us))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of an alert's state: a row of ``Alerts``."""

    rule: str
    instance: Mapping[str, object]
    occurrence: str  # of a condition: from when on it fires, ISO; '' before it fires
    before: Phase
    after: Phase
    reason: Why
    severity: Severity
    value: float | None = None
    labels: Mapping[str, object] = field(default_factory=dict)
    run_id: str = ""
    detail: str = ""  # more of the reason: started 38 min late
    commit_seq: int
    at: datetime  # T; UTC

    @property
    def begins(self) -> bool:
        """Whether an alert fires by it. One that gets worse, or fires again while it recovers, fires already."""
        return self.before in _BEFORE and self.after in _FIRES


_BEFORE = frozenset({Phase.NONE, Phase.PENDING})
_FIRES = frozenset({Phase.FIRED, Phase.FIRING, Phase.CLOSED})  # closed at once: of a parent that had ended

_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str, separators=(",", ":"))


def fingerprint(*parts: str) -> str:
    """160 bits of SHA-256 over length-prefixed parts, hex: no two lists of parts can be confused."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        h.update(len(raw).to_bytes(8, "big"))
        h.update(raw)
    return h.hexdigest()[:40]


def instance_key(instance: Mapping[str, object]) -> str:
    """Canonical text of an instance's ``by`` values."""
    return _CANONICAL.encode(instance)
