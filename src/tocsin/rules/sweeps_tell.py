"""From a sweep that is told to its intent and its row of ``Alerts``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tocsin.alerts.sweeps import Sweep
from tocsin.model.alert import Phase, Transition, Why
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules import limits
from tocsin.rules.collapse import Collapsed
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory
from tocsin.rules.rule import Rule
from tocsin.rules.sweeps_read import DESCRIBES, Matched, Rows

CAUSES = 10
"""So many causes are named, the most frequent ones."""
EXAMPLES = 3
"""So many runs of each."""

_DID = {
    "Failed": "failed",
    "Canceled": "were canceled",
    "Completed": "completed",
    "NotResponding": "stopped responding",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A sweep at the instant at which it is told."""

    sweep: Sweep  # its children counted, not yet told
    why: Why
    matched: Sequence[Matched]  # children, in the order in which it happened
    ended: str  # the status with which the parent ended; '' while it goes on
    at: datetime  # T; UTC
    commit_seq: int
    event_time: datetime  # of what made it be told; UTC
    computed: Mapping[str, object] = field(default_factory=dict)  # by the rule's query
    said: Mapping[str, object] = field(default_factory=dict)  # more for the intent's data, JSON-able

    @property
    def kind(self) -> IntentKind:
        """What is told."""
        if self.why is Why.RECOVERED:
            return IntentKind.RESOLVED
        return IntentKind.REPEATED if self.sweep.told else IntentKind.FIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a sweep's alert was told with."""

    instance: Mapping[str, object]
    event: Mapping[str, object]  # the parent as a row
    labels: Mapping[str, object]
    keep: Mapping[str, object]
    beyond: limits.Beyond  # the rule's limit


def tell(rule: Rule, telling: Telling, rows: Rows, memory: Memory) -> Told:
    """Tell of a sweep."""
    sweep = telling.sweep
    event = _event(telling, rows)
    fields = {**telling.computed, **event}
    instance = sweep.instance or {name: fields.get(name) for name in rule.by}
    labels, keep = labels_of(rule, fields), {name: fields.get(name) for name in rule.keep}
    about = {**summed_up(rule, sweep, telling.matched, telling.ended), "alert": True}
    occurrence, root = sweep.occurrence(rule.name), event.get("RootRunId")
    beyond = limits.tell(
        rule.name,
        rule.limit,
        Intent(
            rule=rule.told_as,
            rule_version=rule.info.version,
            instance=instance,
            occurrence=occurrence,
            kind=telling.kind,
            ordinal=0 if telling.kind is IntentKind.RESOLVED else sweep.told,
            severity=rule.severity,
            why=telling.why,
            labels=labels,
            keep=keep,
            run_id=sweep.parent,
            root_run_id=root if isinstance(root, str) else "",
            event=event,
            data={**telling.said, "sweep": about},
            commit_seq=telling.commit_seq,
            at=telling.at,
            event_time=telling.event_time,
        ),
        rule.info,
        memory,
        beyond=sweep.beyond,
    )
    before, after = _phases(rule, telling)
    if telling.why is not Why.STILL_FIRING:
        first = telling.kind is IntentKind.FIRED
        memory.transitions.append(
            Transition(
                rule=rule.told_as,
                instance=instance,
                occurrence=occurrence,
                before=before,
                after=after,
                reason=Why.LIMITED if first and beyond else telling.why,
                severity=rule.severity,
                value=float(sweep.share),
                labels={**keep, **labels, "sweep": about},
                run_id=sweep.parent,
                commit_seq=telling.commit_seq,
                at=telling.at,
            )
        )
    return Told(instance=instance, event=event, labels=labels, keep=keep, beyond=beyond)


def _phases(rule: Rule, telling: Telling) -> tuple[Phase, Phase]:
    """Of the alert, before and after. One that is ended by a later event fires until then, whatever becomes of its parent."""
    open_ = Phase.FIRING if rule.ending is not None and rule.ending.recovers else Phase.TOLD
    before = open_ if telling.sweep.told or telling.why is Why.RECOVERED else Phase.NONE
    if telling.why is Why.RECOVERED:
        return before, Phase.RESOLVED
    return before, Phase.CLOSED if telling.ended and open_ is Phase.TOLD else open_


def _event(telling: Telling, rows: Rows) -> dict[str, object]:
    """The parent as it stands, as a row: described by a child where it does not describe itself."""
    parent = telling.sweep.parent
    own = rows.parent(parent, telling.commit_seq)
    child = rows.child(telling.matched[-1]) if telling.matched else {}
    event: dict[str, object] = {name: child.get(name, "") for name in DESCRIBES}
    said = {name: value for name, value in own.items() if value not in (None, "", {}) or name not in event}
    root = child.get("RootRunId") or parent
    return {**event, "RunId": parent, "RootRunId": root, **said}


def summed_up(rule: Rule, sweep: Sweep, matched: Sequence[Matched], ended: str) -> dict[str, object]:
    """How many children match, and why; JSON-able."""
    collapsed = rule.collapse
    assert isinstance(collapsed, Collapsed)
    by_cause: dict[str, list[Matched]] = defaultdict(list)
    for one in matched:
        by_cause[one.cause].append(one)
    most = sorted(by_cause.items(), key=lambda item: (-len(item[1]), item[0]))
    statuses = sorted({one.status for one in matched})
    return {
        "to": collapsed.column,
        "matched": sweep.matched,
        "children": sweep.children,
        "did": " or ".join(_DID.get(status, f"are {status}") for status in statuses),
        "ended": ended,
        "causes": [
            {
                "cause": cause,
                "count": len(runs),
                "runs": [
                    {"run": one.run, "name": one.name, "url": one.url, "us": one.key.time_us} for one in runs[:EXAMPLES]
                ],
            }
            for cause, runs in most[:CAUSES]
        ],
        "more": sum(len(runs) for _, runs in most[CAUSES:]),
    }
