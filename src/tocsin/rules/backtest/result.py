"""What a backtest says it found: everything is counted, the first alerts are kept whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tocsin.model.alert import Phase, Why
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import Severity
from tocsin.rules.driver.evaluate import Evaluation
from tocsin.rules.spec.rule import Rule

KEPT = 10_000
"""So many of what was notified are kept whole; the counts are of all."""
SHOWN = ("ExperimentName", "Message")
"""What is shown of an event besides what its alert carries."""
APART = 5
"""So many reasons are said why something took long."""
ROOM = 1_000
"""So many more are there before those that are not among the first are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified:
    """Something that would have been notified."""

    at: datetime  # T; UTC
    event_time: datetime  # UTC
    kind: str  # fired, resolved, …
    severity: Severity
    run_id: str
    instance: Mapping[str, object]
    carried: Mapping[str, object]  # what the alert carries besides `by`
    message: str
    why: str
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """The most frequent value of a field among what was notified."""

    field: str
    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What came of it."""

    rule: str
    severity: Severity
    since: datetime  # UTC, included
    until: datetime  # UTC, excluded
    as_if_live: bool
    events: int  # rows that lay in between
    fired: int  # alerts, those beyond the rule's limit too
    notified_count: int  # of these, how many were notified one by one
    resolved: int
    notified: tuple[Notified, ...]  # the first messages of all kinds, in order of T
    hours: Mapping[datetime, int]  # as `notified_count`, by the hour of T; hours without any are left out
    by_kind: Mapping[str, int]  # messages of all kinds
    most: Most | None
    expired: int  # older than `max_event_age` when they came: recorded, not notified
    limited: int  # beyond the rule's limit: in digests, or dropped
    errors: tuple[str, ...]
    apart: Mapping[str, int]  # why so many commits or instants were not evaluated together, as most are
    seconds: float


@dataclass(slots=True)
class Result:
    """Counts what evaluations decided. Alerts are counted as `rules status` counts them: one that got worse is no second."""

    notified: list[Notified] = field(default_factory=list)
    last: datetime | None = None  # later ones are not among the first
    fired: int = 0
    count: int = 0  # of these, how many were notified one by one
    resolved: int = 0
    hours: Counter[datetime] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    expired: int = 0
    limited: int = 0
    errors: list[str] = field(default_factory=list)
    apart: Counter[str] = field(default_factory=Counter)
    broken: bool = False  # the rule as a whole failed

    def take(self, evaluation: Evaluation) -> bool:
        """Count it. Returns whether the rule works on."""
        self.expired += sum(t.after is Phase.EXPIRED for t in evaluation.outcome.transitions)
        self.limited += sum(t.reason is Why.RATE_LIMITED for t in evaluation.outcome.transitions)
        self.fired += sum(t.begins for t in evaluation.outcome.transitions)
        self.resolved += sum(t.after is Phase.RESOLVED for t in evaluation.outcome.transitions)
        for failure in evaluation.failures:
            self.errors.append(f"{failure.error} (at {failure.at:%Y-%m-%d %H:%M:%S})")
            self.broken |= not failure.events
        for intent in sorted(evaluation.outcome.intents, key=lambda i: i.at):
            if intent.kind is IntentKind.SUMMARY or intent.limited:
                continue
            self.kinds[str(intent.kind)] += 1
            if intent.kind is IntentKind.FIRED and not intent.ordinal:  # else it fires already, and got worse
                self._count(intent)
            if self.last is None or intent.at <= self.last:
                self.notified.append(_notified(intent))
        if len(self.notified) > KEPT + ROOM:
            self.notified = self._first()
            self.last = self.notified[-1].at
        return not self.broken

    def _count(self, intent: Intent) -> None:
        self.count += 1
        self.hours[intent.at.replace(minute=0, second=0, microsecond=0)] += 1
        shared = {**intent.instance, **intent.fields, **intent.labels}
        shared.setdefault("ExperimentName", intent.event.get("ExperimentName"))
        for name, value in shared.items():
            if name not in _OWN and value not in (None, "", {}, []):
                self.values.setdefault(name, Counter())[str(value)] += 1

    def note(self, reason: str, number: int) -> None:
        """So many commits or instants were not evaluated together, for ``reason``."""
        self.apart[reason] += number

    def _first(self) -> list[Notified]:
        """The first ones in order of T, whichever run they are of."""
        return sorted(self.notified, key=lambda t: (t.at, t.event_time, t.run_id))[:KEPT]

    def most(self) -> Most | None:
        """The field and value that most of what was notified shares."""
        best: Most | None = None
        for name, counted in self.values.items():
            ((value, n),) = counted.most_common(1)
            better = best is None or n > best.count or (n == best.count and name == "ExperimentName")
            if n > 1 and better:
                best = Most(field=name, value=value, count=n)
        return best

    def result(
        self, rule: Rule, since: datetime, until: datetime, as_if_live: bool, events: int, seconds: float
    ) -> Backtest:
        """All of it."""
        return Backtest(
            rule=rule.name,
            severity=rule.severity,
            since=since,
            until=until,
            as_if_live=as_if_live,
            events=events,
            fired=self.fired,
            notified_count=self.count,
            resolved=self.resolved,
            notified=tuple(self._first()),
            hours=dict(sorted(self.hours.items())),
            by_kind=dict(self.kinds),
            most=self.most(),
            expired=self.expired,
            limited=self.limited,
            errors=tuple(dict.fromkeys(self.errors)),
            apart=dict(self.apart.most_common(APART)),
            seconds=seconds,
        )


_OWN = frozenset({"RunId", "RootRunId", "ParentRunId", "EventId", "Message", "LogTail", "Url", "DisplayName"})
"""Fields that say which run it is: what they have in common says nothing."""


def _notified(intent: Intent) -> Notified:
    return Notified(
        at=intent.at,
        event_time=intent.event_time or intent.at,
        kind=str(intent.kind),
        severity=intent.severity,
        run_id=intent.run_id,
        instance=dict(intent.instance),
        carried={
            "ExperimentName": intent.event.get("ExperimentName", ""),
            **{k: v for k, v in {**intent.fields, **intent.labels}.items() if v not in (None, "")},
        },
        message=str(intent.event.get("Message") or "")[:500],
        why=str(intent.why),
        value=intent.value,
    )
