"""A change of an alert: its row of ``Alerts``, and what is notified of it. Pure.

Every transition and every intent of a rule is made here, from one ``Change``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tocsin.model.alert import Phase, Transition, Why
from tocsin.model.details import NONE, Details
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import Severity
from tocsin.model.text.typed import to_json

_NO_CHANGE = frozenset({Why.STILL_FIRING, Why.NOTHING_NEW, Why.NOT_RESOLVED_YET, Why.BACKFILL_OVER})
"""Reasons that leave an alert as it was."""
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an instant changed of one alert."""

    instance: Row
    occurrence: str = ""  # '' before a condition fires
    before: Phase
    after: Phase
    why: Why
    kind: IntentKind | None = None  # of its notification; None: nobody is notified
    ordinal: int = 0
    severity: Severity
    fields: Row = field(default_factory=dict)  # that the alert carries
    labels: Row = field(default_factory=dict)
    value: float | None = None
    share: float | None = None  # of a parent's runs: its value in ``Alerts``, which no mail shows
    run_id: str = ""
    event: Row = field(default_factory=dict)  # the row that it is about
    rows: Sequence[Row] = ()  # more of them
    details: Details = NONE
    at: datetime  # T; UTC
    commit_seq: int
    event_time: datetime | None = None  # TimeGenerated of the event; UTC

    @property
    def transition(self) -> bool:
        """Whether there is a row of ``Alerts`` to write."""
        return self.before is not self.after or self.why not in _NO_CHANGE


def transition_of(rule: str, change: Change, why: Why | None = None) -> Transition:
    """The row of ``Alerts``, of a rule by its public name; ``why`` where it is not the change's own."""
    group, wait = change.details.group, change.details.wait
    return Transition(
        rule=rule,
        instance=change.instance,
        occurrence=change.occurrence,
        before=change.before,
        after=change.after,
        reason=why or change.why,
        severity=change.severity,
        value=change.value if change.share is None else change.share,
        labels={**change.fields, **change.labels, **({"sweep": to_json(group)} if group and group.alert else {})},
        run_id=change.run_id,
        detail=wait.late if wait is not None else "",
        commit_seq=change.commit_seq,
        at=change.at,
    )


def intent_of(rule: str, version: str, change: Change) -> Intent | None:
    """What is notified, of a rule by its public name; None where nobody is."""
    if change.kind is None:
        return None
    root = change.event.get("RootRunId")
    return Intent(
        rule=rule,
        rule_version=version,
        instance=change.instance,
        occurrence=change.occurrence,
        kind=change.kind,
        ordinal=change.ordinal,
        severity=change.severity,
        why=change.why,
        labels=change.labels,
        fields=change.fields,
        value=change.value,
        run_id=change.run_id,
        root_run_id=root if isinstance(root, str) else "",
        event=change.event,
        rows=tuple(change.rows),
        details=change.details,
        commit_seq=change.commit_seq,
        at=change.at,
        event_time=change.event_time,
    )
