"""From a look at an instance of an absence rule to what is remembered and told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.alerts.conditions import Look, Step, look
from tocsin.model.alert import ConditionState, Transition, Why, instance_key
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import LIMIT, Intent, IntentKind
from tocsin.rules import limits
from tocsin.rules.history import moment, plain
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory
from tocsin.rules.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an instance is about."""

    instance: Mapping[str, object]  # values of `by`
    fields: Mapping[str, object]  # what its alert carries: the run as it stands, JSON-able
    data: Mapping[str, object] = field(default_factory=dict)  # of the intent: due, since, …
    run_id: str = ""
    event_time: datetime | None = None

    @property
    def key(self) -> str:
        """Name of the instance within its rule."""
        return instance_key(self.instance)


def wait_said(rule: Rule, since_us: object, **more: object) -> dict[str, object]:
    """What an intent says of a wait: its form, what was waited in, and since when; ``more`` besides."""
    absence = rule.absence
    assert absence is not None
    since = {"since": plain(moment(since_us))} if isinstance(since_us, int) else {}
    return {"waits": absence.form.value, "statuses": list(absence.named), **since, **more}


def see(
    rule: Rule,
    about: Subject,
    before: ConditionState | None,
    seen: Look,
    commit_seq: int,
    memory: Memory,
    remember: Mapping[str, object] | None = None,
) -> Step:
    """Take ``seen`` into ``memory``. ``remember`` is kept with an instance that goes on."""
    waits = rule.absence or rule.awaited
    assert waits is not None
    fields = {**about.fields, **rule.of_row} if rule.of_row else about.fields
    step = look(before, seen, waits.terms, rule=rule.name, instance=about.instance)
    if step.state is not None:
        kept = {**step.state.data, **(remember or {})} if step.state.data else step.state.data
        memory.put_condition(replace(step.state, data=kept))
    elif before is not None:
        memory.drop_condition(rule.name, before.key)
    if step.wake is not None:
        memory.put_timer(Timer(rule=rule.name, kind=TimerKind.CLOSE, key=about.key, due=step.wake))
    elif before is not None:
        memory.drop_timer(rule.name, TimerKind.CLOSE, about.key)
    labels, keep = labels_of(rule, fields), {name: fields.get(name) for name in rule.keep}
    severity = step.state.severity if step.state is not None else (before.severity if before else rule.severity)
    if step.changed:
        memory.transitions.append(
            Transition(
                rule=rule.told_as,
                instance=about.instance,
                occurrence="",
                before=step.before,
                after=step.after,
                reason=step.why,
                severity=severity,
                value=seen.value,
                labels={**keep, **labels},
                run_id=about.run_id,
                detail=str(about.data.get("late", "")),
                commit_seq=commit_seq,
                at=seen.at,
            )
        )
    beyond = limits.kept(before.data.get(LIMIT)) if before is not None else False
    if step.tell is not None:
        root = fields.get("RootRunId")
        beyond = limits.tell(
            rule.name,
            rule.limit,
            Intent(
                rule=rule.told_as,
                rule_version=rule.info.version,
                instance=about.instance,
                occurrence=step.tell.occurrence,
                kind=step.tell.kind,
                ordinal=step.tell.ordinal,
                severity=step.tell.severity,
                why=step.tell.why,
                labels=labels,
                keep=keep,
                value=seen.value,
                run_id=about.run_id,
                root_run_id=root if isinstance(root, str) else "",
                event=fields,
                data=about.data,
                commit_seq=commit_seq,
                at=seen.at,
                event_time=about.event_time,
            ),
            rule.info,
            memory,
            beyond=beyond,
        )
        fired = step.tell.kind is IntentKind.FIRED
        if fired and rule.limit is not None and step.state is not None:
            kept = {k: v for k, v in {**step.state.data, **(remember or {})}.items() if k != LIMIT}
            memory.put_condition(replace(step.state, data={**kept, LIMIT: beyond} if beyond else kept))
        if fired and beyond and step.changed:
            memory.transitions[-1] = replace(memory.transitions[-1], reason=Why.LIMITED)
    return step
