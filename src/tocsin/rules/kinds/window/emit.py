"""What a step of an instance records and notifies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tocsin.alerts.conditions import Evaluation, Step
from tocsin.model.alert import Transition
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules.kinds.window.seen import Seen
from tocsin.rules.kinds.window.spec import WindowRule


def transition(
    rule: WindowRule,
    instance: Mapping[str, object],
    step: Step,
    evaluated: Evaluation,
    ours: Mapping[str, object],
    at: datetime,
    commit_seq: int,
) -> Transition:
    """The row of ``Alerts`` for a step."""
    run = instance.get("RunId")
    return Transition(
        rule=rule.public_name,
        instance=instance,
        occurrence="",
        before=step.before,
        after=step.after,
        reason=step.why,
        severity=evaluated.severity if step.state is None else step.state.severity,
        value=evaluated.value,
        labels={**mapping(ours, "fields"), **mapping(ours, "labels")},
        run_id=run if isinstance(run, str) else "",
        commit_seq=commit_seq,
        at=at,
    )


def intent(
    rule: WindowRule,
    instance: Mapping[str, object],
    step: Step,
    evaluated: Evaluation,
    ours: Mapping[str, object],
    seen: Seen | None,
    at: datetime,
    commit_seq: int,
) -> Intent:
    """What a step notifies."""
    assert step.notify is not None
    fields = seen.first if seen is not None else {**mapping(ours, "said"), **mapping(ours, "fields"), **instance}
    run, root = fields.get("RunId"), fields.get("RootRunId")
    return Intent(
        rule=rule.public_name,
        rule_version=rule.info.version,
        instance=instance,
        occurrence=step.notify.occurrence,
        kind=step.notify.kind,
        ordinal=step.notify.ordinal,
        severity=step.notify.severity,
        why=step.notify.why,
        labels=mapping(ours, "labels"),
        fields=mapping(ours, "fields"),
        value=evaluated.value,
        run_id=run if isinstance(run, str) else "",
        root_run_id=root if isinstance(root, str) else "",
        event=fields,
        data={"rows": seen.count} if seen is not None and seen.count > 1 else {},
        rows=tuple(seen.rows) if seen is not None and step.notify.kind is not IntentKind.RESOLVED else (),
        commit_seq=commit_seq,
        at=at,
    )


def mapping(ours: Mapping[str, object], key: str) -> Mapping[str, object]:
    """A mapping under ``key`` of what is kept of an instance."""
    value = ours.get(key)
    return value if isinstance(value, Mapping) else {}
