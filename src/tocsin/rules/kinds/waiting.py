"""From an evaluation at an instance of an absence rule to what is remembered and notified of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tocsin.alerts.conditions import Evaluation, Step, evaluate
from tocsin.model.alert import instance_key
from tocsin.model.details import Details, Wait
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import IntentKind
from tocsin.model.remembered import NOTHING, ConditionState
from tocsin.rules.emit import emit
from tocsin.rules.kinds.base import Explained, ends_in_words, repeats_in_words
from tocsin.rules.labels import labels_of
from tocsin.rules.memory import Memory
from tocsin.rules.spec.rule import RuleOf, WaitSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an instance is about."""

    instance: Mapping[str, object]  # values of `by`
    fields: Mapping[str, object]  # what its alert carries: the run as it stands, JSON-able
    wait: Wait | None = None  # what its intents say
    remember: Mapping[str, Any] = field(
        default_factory=dict
    )  # parts of ``Remembered``, kept with an instance that goes on
    run_id: str = ""
    event_time: datetime | None = None

    @property
    def key(self) -> str:
        """Name of the instance within its rule."""
        return instance_key(self.instance)


def see(
    rule: RuleOf[WaitSpec],
    about: Subject,
    before: ConditionState | None,
    seen: Evaluation,
    commit_seq: int,
    memory: Memory,
) -> Step:
    """Take ``seen`` into ``memory``."""
    step = evaluate(before, seen, rule.spec.terms, rule=rule.name, instance=about.instance)
    step = _notify(rule, about, before, seen, step, commit_seq, memory)
    if step.state is not None:
        memory.put_condition(step.state)
    elif before is not None:
        memory.drop_condition(rule.name, before.key)
    if step.wake is not None:
        memory.put_timer(Timer(rule=rule.name, kind=TimerKind.CLOSE, key=about.key, due=step.wake))
    elif before is not None:
        memory.drop_timer(rule.name, TimerKind.CLOSE, about.key)
    return step


def _notify(
    rule: RuleOf[WaitSpec],
    about: Subject,
    before: ConditionState | None,
    seen: Evaluation,
    step: Step,
    commit_seq: int,
    memory: Memory,
) -> Step:
    """Notify it. Returns it with what is to be remembered."""
    state = step.state
    if state is not None and state.data != NOTHING and about.remember:
        state = replace(state, data=replace(state.data, **about.remember))
    beyond = before.data.limit if before is not None else False
    change = replace(
        step.change(seen, about.instance, commit_seq),
        labels=labels_of(rule, about.fields),
        fields={name: about.fields.get(name) for name in rule.fields},
        run_id=about.run_id,
        event=about.fields,
        details=Details(wait=about.wait),
        event_time=about.event_time,
    )
    beyond = emit(memory, rule, change, beyond=beyond)
    if change.kind is IntentKind.FIRED and rule.limit is not None and state is not None:
        state = replace(state, data=replace(state.data, limit=beyond))
    return step if state is step.state else replace(step, state=state)


def explained(rule: RuleOf[WaitSpec], said: Mapping[str, str]) -> Explained:
    """What such a rule does, in words; ``said`` is what it waits for."""
    pauses = [
        f"{m.begin:%Y-%m-%d %H:%M} to {m.until:%Y-%m-%d %H:%M} UTC ({m.place})"
        for m in sorted(rule.spec.pauses, key=lambda m: m.begin)
    ]
    waits = {key: text for key, text in {**said, "clock_may_stand": "; ".join(pauses)}.items() if text}
    plan, terms = rule.spec.plan, rule.spec.terms
    return Explained(
        ends=ends_in_words(terms),
        repeats=repeats_in_words(terms.repeat),
        shape=plan.shape,
        constants=plan.constants,
        sql=plan.sql,
        waits=waits,
    )
