"""Rules come, change, are renamed and go: a reload is an instant, and this is what it decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from tocsin.alerts.changes import transition_of
from tocsin.alerts.conditions import gone as ended_by
from tocsin.model.alert import Transition, Why
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.remembered import ConditionState
from tocsin.rules.kinds.registry import kind_of, kinds
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.limits import kept_as
from tocsin.rules.spec.rule import public_name
from tocsin.state.interface import Outcome, RuleRecord


def reconcile(
    rules: RuleSet,
    records: Mapping[str, RuleRecord],
    head_seq: int,
    *,
    now: datetime | None = None,
    timers: Iterable[Timer] = (),
    conditions: Callable[[str], Mapping[str, ConditionState]] | None = None,
) -> Outcome:
    """What ``rules`` coming into force changes in what is remembered.

    A new rule starts at ``head_seq``: it notifies only what comes later. One whose meaning changed goes on where it
    was, and what it notified stays notified. ``was:`` moves all that the former name remembers. What is gone or
    disabled is forgotten. Deadlines of a changed rule stay: they are evaluated by what the rule means when they come.

    With ``now`` (later than every instant evaluated), the ``timers`` and ``conditions`` there are: each `every` of a
    window rule has its tick; instances of a changed rule are marked, so that the next tick closes without a
    notification what does not fire any more, and pending ones are dropped; those of a rule that is gone end without a
    notification.
    """
    put: list[RuleRecord] = []
    renamed: list[tuple[str, str]] = []
    kept: set[str] = set()
    again: list[Timer] = []
    for name, rule in rules.enabled.items():
        record = records.get(name)
        if record is None and rule.renamed_from in records and public_name(rule.renamed_from) not in rules.rules:
            generated_rules = (public_name(rule.renamed_from), public_name(name))
            renamed += [
                (rule.renamed_from, name),
                generated_rules,
                (kept_as(generated_rules[0]), kept_as(generated_rules[1])),
            ]
            kept.add(rule.renamed_from)
            record = replace(records[rule.renamed_from], name=name)
            put.append(replace(record, meaning=rule.meaning))
        elif record is None:
            put.append(RuleRecord(name=name, meaning=rule.meaning, start_seq=head_seq))
        else:
            kept.add(name)
            if record.meaning != rule.meaning:
                put.append(replace(record, meaning=rule.meaning))
                if record.cursor is not None:  # it failed as it was: perhaps it does not now
                    again.append(Timer(rule=name, kind=TimerKind.RETRY, key="", due=record.cursor.at))
    gone = tuple(sorted(records.keys() - kept))
    if now is not None:
        timers = list(timers)
        for kind in kinds():
            again += kind.first_timers(rules.of(kind), timers, now)
    marked, dropped, ended = _instances(rules, records, put, gone, now, head_seq, conditions)
    return Outcome(
        rules=tuple(put),
        rules_renamed=tuple(dict.fromkeys(renamed)),
        rules_gone=gone,
        timers=tuple(again),
        conditions=tuple(marked),
        conditions_gone=tuple((state.rule, state.key) for state in dropped),
        transitions=tuple(ended),
    )


def _instances(
    rules: RuleSet,
    records: Mapping[str, RuleRecord],
    put: Iterable[RuleRecord],
    gone: Iterable[str],
    now: datetime | None,
    head_seq: int,
    conditions: Callable[[str], Mapping[str, ConditionState]] | None,
) -> tuple[list[ConditionState], list[ConditionState], list[Transition]]:
    """Instances of changed rules to be marked, those to be dropped, and the quiet ends of what is gone."""
    marked: list[ConditionState] = []
    dropped: list[ConditionState] = []
    ended: list[Transition] = []
    if now is None or conditions is None:
        return marked, dropped, ended
    for record in put:
        if record.name not in records:
            continue
        rule = rules.enabled[record.name]
        for state in conditions(record.name).values():
            after = kind_of(rule).changed(rule, state)
            if after is not None:
                marked.append(after)
                continue
            dropped.append(state)
            if (end := ended_by(state, Why.RULE_CHANGED, at=now, commit_seq=head_seq)) is not None:
                ended.append(transition_of(public_name(state.rule), end))
    generated_rules = {public_name(name) for name in rules.enabled}
    for name in {public_name(name) for name in gone} - generated_rules:
        dropped += conditions(kept_as(name)).values()
    for name in gone:
        for state in conditions(name).values():
            if (end := ended_by(state, Why.RULE_GONE, at=now, commit_seq=head_seq)) is not None:
                ended.append(transition_of(public_name(state.rule), end))
    return marked, dropped, ended
