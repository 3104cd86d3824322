"""From an evaluation at an instance of an absence rule to what is remembered and notified of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tocsin.alerts.conditions import Evaluation, Step, evaluate
from tocsin.alerts.rate_limit import LIMIT, kept, limit_of
from tocsin.model.alert import ConditionState, instance_key
from tocsin.model.details import Details, Wait
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import IntentKind
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
    remember: Mapping[str, object] = field(default_factory=dict)  # kept with an instance that goes on
    run_id: str = ""
    event_time: datetime | None = None

    @property
    def key(self) -> str:
        """Name of the instance within its rule."""
        return instance_key(self.instance)


@dataclass(frozen=True, slots=True)
class Again:
    """An instance that holds is evaluated again whenever it wakes: nothing but time can change anything of it
    meanwhile.
    """

    before: datetime  # not at this T or later
    most: int  # looks
    value: Callable[[datetime], float | None]  # of an evaluation at T


def see(
    rule: RuleOf[WaitSpec],
    about: Subject,
    before: ConditionState | None,
    seen: Evaluation,
    commit_seq: int,
    memory: Memory,
    again: Again | None = None,
) -> Step:
    """Take ``seen`` into ``memory``, and what is seen ``again``."""
    notifier = _Notifier(rule, about, commit_seq, memory)
    last, state = seen, before
    step = notifier.notify(state, seen, evaluate(state, seen, rule.spec.terms, rule=rule.name, instance=about.instance))
    for _ in range(again.most - 1 if again is not None else 0):
        if again is None or step.state is None or step.wake is None or not last.at < step.wake < again.before:
            break
        at, kind, severity, why = step.wake, last.kind, last.severity, last.why
        state, last = (
            step.state,
            Evaluation(at=at, kind=kind, holds=True, severity=severity, value=again.value(at), why=why),
        )
        step = notifier.notify(
            state, last, evaluate(state, last, rule.spec.terms, rule=rule.name, instance=about.instance)
        )
    if step.state is not None:
        memory.put_condition(step.state)
    elif before is not None:
        memory.drop_condition(rule.name, before.key)
    if step.wake is not None:
        memory.put_timer(Timer(rule=rule.name, kind=TimerKind.CLOSE, key=about.key, due=step.wake))
    elif before is not None:
        memory.drop_timer(rule.name, TimerKind.CLOSE, about.key)
    return step


class _Notifier:
    """Says what looks at one instance come to."""

    def __init__(self, rule: RuleOf[WaitSpec], about: Subject, commit_seq: int, memory: Memory) -> None:
        self._rule, self._about, self._seq, self._memory = rule, about, commit_seq, memory
        self._labels = labels_of(rule, about.fields)
        self._keep = {name: about.fields.get(name) for name in rule.fields}

    def notify(self, before: ConditionState | None, seen: Evaluation, step: Step) -> Step:
        """Notify it. Returns it with what is to be remembered."""
        rule, about, memory = self._rule, self._about, self._memory
        state = step.state
        if state is not None and state.data and about.remember:
            state = replace(state, data={**state.data, **about.remember})
        beyond = limit_of(before.data.get(LIMIT)) if before is not None else False
        change = replace(
            step.change(seen, about.instance, self._seq),
            labels=self._labels,
            fields=self._keep,
            run_id=about.run_id,
            event=about.fields,
            details=Details(wait=about.wait),
            event_time=about.event_time,
        )
        beyond = emit(memory, rule, change, beyond=beyond)
        if change.kind is IntentKind.FIRED and rule.limit is not None and state is not None:
            others = {name: value for name, value in state.data.items() if name != LIMIT}
            state = replace(state, data={**others, LIMIT: kept(beyond)} if beyond else others)
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
