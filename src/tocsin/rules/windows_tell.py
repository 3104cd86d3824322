"""What a step of an instance records and tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tocsin.alerts.conditions import Look, Step
from tocsin.model.alert import Transition
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules.rule import Rule
from tocsin.rules.windows_seen import Seen


def transition(
    rule: Rule,
    instance: Mapping[str, object],
    step: Step,
    looked: Look,
    ours: Mapping[str, object],
    at: datetime,
    commit_seq: int,
) -> Transition:
    """The row of ``Alerts`` for a step."""
    run = instance.get("RunId")
    return Transition(
        rule=rule.told_as,
        instance=instance,
        occurrence="",
        before=step.before,
        after=step.after,
        reason=step.why,
        severity=looked.severity if step.state is None else step.state.severity,
        value=looked.value,
        labels={**mapping(ours, "keep"), **mapping(ours, "labels")},
        run_id=run if isinstance(run, str) else "",
        commit_seq=commit_seq,
        at=at,
    )


def intent(
    rule: Rule,
    instance: Mapping[str, object],
    step: Step,
    looked: Look,
    ours: Mapping[str, object],
    seen: Seen | None,
    at: datetime,
    commit_seq: int,
) -> Intent:
    """What a step tells."""
    assert step.tell is not None
    fields = seen.first if seen is not None else {**mapping(ours, "said"), **mapping(ours, "keep"), **instance}
    run, root = fields.get("RunId"), fields.get("RootRunId")
    return Intent(
        rule=rule.told_as,
        rule_version=rule.info.version,
        instance=instance,
        occurrence=step.tell.occurrence,
        kind=step.tell.kind,
        ordinal=step.tell.ordinal,
        severity=step.tell.severity,
        why=step.tell.why,
        labels=mapping(ours, "labels"),
        keep=mapping(ours, "keep"),
        value=looked.value,
        run_id=run if isinstance(run, str) else "",
        root_run_id=root if isinstance(root, str) else "",
        event=fields,
        data={"rows": seen.count} if seen is not None and seen.count > 1 else {},
        rows=tuple(seen.rows) if seen is not None and step.tell.kind is not IntentKind.RESOLVED else (),
        commit_seq=commit_seq,
        at=at,
    )


def mapping(ours: Mapping[str, object], key: str) -> Mapping[str, object]:
    """A mapping under ``key`` of what is kept of an instance."""
    value = ours.get(key)
    return value if isinstance(value, Mapping) else {}
