"""The one alert ``source-stalled``: a consumer with ``expect: {event_every: …}`` receives nothing for longer than that.

Its watermark stands still meanwhile, so no rule takes the source's silence for its runs': one mail instead of a storm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tocsin.alerts.changes import intent_of, transition_of
from tocsin.alerts.conditions import Evaluation, Terms, ended_by, evaluate
from tocsin.config.yaml.durations import format_duration
from tocsin.model.alert import Phase, Transition, Why, instance_key
from tocsin.model.intent import Intent, RuleInfo
from tocsin.model.remembered import ConditionState
from tocsin.model.statuses import Severity
from tocsin.state.interface import Outcome

RULE = "source-stalled"
INFO = RuleInfo(
    name=RULE,
    version="tocsin-source-stalled-1",
    summary="{{ Consumer }} is silent: nothing since {{ LastEvent }}",
    description="The source promised an event at least every {{ Every }}. Absence rules for its runs wait until it speaks.",
)
_TERMS = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """How a source keeps its word."""

    silent: bool
    spoke: bool  # since our start
    last_event: datetime
    every: timedelta


def evaluate_sources(
    sources: Mapping[str, SourceState], known: Mapping[str, ConditionState], at: datetime, commit_seq: int
) -> Outcome | None:
    """What the ``sources`` that promised something change at ``at``; None: nothing. ``known`` are the states by
    instance key.
    """
    seen = {instance_key({"Consumer": name}): (name, source) for name, source in sources.items()}
    put: list[ConditionState] = []
    gone: list[tuple[str, str]] = []
    transitions: list[Transition] = []
    intents: list[Intent] = []
    for key in sorted(seen.keys() | known.keys()):
        state = known.get(key)
        if key in seen:
            name, source = seen[key]
            holds = source.silent or (state is not None and state.phase is Phase.FIRING and not source.spoke)
        else:  # it is gone, or promises nothing any more: a quiet end
            assert state is not None
            name, source, holds = str(state.instance.get("Consumer", "")), None, False
            state = ended_by(state, Why.RULE_CHANGED)
        if state is None and not holds:
            continue
        quiet = (at - source.last_event).total_seconds() if source else None
        instance = {"Consumer": name}
        evaluation = Evaluation(at=at, holds=holds, severity=Severity.ERROR, value=quiet, why=Why.DEADLINE)
        step = evaluate(state, evaluation, _TERMS, rule=RULE, instance=instance)
        if step.state is None:
            gone += [(RULE, key)] if state is not None else []
        elif step.changed or step.notify is not None:
            put.append(step.state)
        change = replace(step.change(evaluation, instance, commit_seq), fields=_words(source) if source else {})
        if change.transition:
            transitions.append(transition_of(RULE, change))
        if (intent := intent_of(RULE, INFO.version, change)) is not None:
            intents.append(intent)
    if not (put or gone or transitions or intents):
        return None
    return Outcome(
        conditions=tuple(put),
        conditions_gone=tuple(gone),
        transitions=tuple(transitions),
        intents=tuple(intents),
        infos=(INFO,) if intents else (),
    )


def firing(known: Mapping[str, ConditionState]) -> int:
    """How many sources are silent."""
    return sum(state.phase is Phase.FIRING for state in known.values())


def _words(source: SourceState) -> dict[str, object]:
    return {
        "LastEvent": source.last_event.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "Every": format_duration(source.every),
    }
