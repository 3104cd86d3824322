"""Rules come, change, are renamed and go: a reload is an instant, and this is what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tocsin.model.instants import Timer, TimerKind
from tocsin.rules.ruleset import RuleSet
from tocsin.state.interface import Outcome, RuleRecord


def reconcile(rules: RuleSet, records: Mapping[str, RuleRecord], head_seq: int) -> Outcome:
    """What ``rules`` coming into force changes in what is remembered.

    A new rule starts at ``head_seq``: it tells only what comes later. One whose meaning changed goes on where it was, and
    what it told stays told. ``was:`` moves all that the former name remembers. What is gone or disabled is forgotten.
    Deadlines of a changed rule stay: they are judged by what the rule means when they come.
    """
    put: list[RuleRecord] = []
    renamed: list[tuple[str, str]] = []
    kept: set[str] = set()
    again: list[Timer] = []
    for name, rule in rules.enabled.items():
        record = records.get(name)
        if record is None and rule.was in records and rule.was not in rules.rules:
            renamed.append((rule.was, name))
            kept.add(rule.was)
            record = replace(records[rule.was], name=name)
            put.append(replace(record, meaning=rule.meaning))
        elif record is None:
            put.append(RuleRecord(name=name, meaning=rule.meaning, start_seq=head_seq))
        else:
            kept.add(name)
            if record.meaning != rule.meaning:
                put.append(replace(record, meaning=rule.meaning))
                if record.cursor is not None:  # it failed as it was: perhaps it does not now
                    again.append(Timer(rule=name, kind=TimerKind.RETRY, key="", due=record.cursor.at))
    return Outcome(
        rules=tuple(put),
        rules_renamed=tuple(renamed),
        rules_gone=tuple(sorted(records.keys() - kept)),
        timers=tuple(again),
    )
