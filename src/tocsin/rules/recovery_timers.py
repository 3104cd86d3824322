"""Open alerts of row rules over time: told again, closed, and brought in line with rules that were changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.alerts.openings import Opened, opened_of
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Phase, Why
from tocsin.model.heard import Heard
from tocsin.model.intent import IntentKind
from tocsin.rules import collapsing, history
from tocsin.rules.history import plain, whole_rows
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.opened import columns_for, ending_of, fields_of, intent_of, keep_open, mark, settle, timer_of
from tocsin.rules.recovery import at_instant
from tocsin.rules.rule import Rule
from tocsin.rules.shapes import Trouble, matches
from tocsin.rules.timers import Released


def on_wakes(
    released: Sequence[Released], rules: Mapping[str, Rule], reader: LogReader, memory: Memory, heard: Heard
) -> None:
    """Open alerts are told once more, or closed by time; not before their consumer has been heard up to then."""
    again: list[tuple[Rule, Opened, Released]] = []
    for each in released:
        timer, rule = each.timer, rules[each.timer.rule]
        memory.drop_timer(timer.rule, timer.kind, timer.key)
        state = memory.condition(rule.name, timer.key)
        opened = opened_of(state) if state is not None else None
        if opened is None:
            continue
        if rule.ending is None:
            settle(opened, Why.RULE_CHANGED, each.at, each.commit_seq, memory)
            continue
        consumers = frozenset({opened.consumer}) if opened.consumer and rule.ending.recovers else frozenset[str]()
        if not heard.has_reached(timer.due, consumers):
            memory.put_timer(replace(timer, consumers=consumers))
            continue
        why, after = opened.woken(rule.ending, each.at)
        if why is Why.EXPIRED:
            settle(opened, why, each.at, each.commit_seq, memory)
            if rule.ending.recovers and opened.sweep is None:
                mark(rule, opened.run_id, opened.event, Phase.CLOSED, each.at, each.commit_seq, memory)
            continue
        keep_open(after, rule.ending, memory)
        if why is Why.STILL_FIRING:
            again.append((rule, after, each))
    if not again:
        return
    only = columns_for({rule for rule, _, _ in again}, memory)
    rows = whole_rows(reader, [(opened.event, opened.commit_seq) for _, opened, _ in again], only)
    computed = _computed([(rule, opened) for rule, opened, _ in again], max(r.commit_seq for _, _, r in again), reader)
    for rule, opened, each in again:
        if opened.sweep is not None:
            collapsing.again(rule, opened, each.at, each.commit_seq, reader, memory)
            continue
        key = (rule.name, opened.event)
        fields = fields_of(opened, rows.get(opened.event, {}), computed.get(key, {}))
        since = {"since": plain(opened.at)}
        intent = intent_of(
            rule, opened, fields, IntentKind.REPEATED, Why.STILL_FIRING, opened.repeats, since, each.at, each.commit_seq
        )
        memory.tell(intent, rule.info)


def _computed(
    wanted: Sequence[tuple[Rule, Opened]], hi: int, reader: LogReader
) -> dict[tuple[str, EventKey], Mapping[str, object]]:
    """What the rules' queries make of the events that were told."""
    making = [(rule, opened) for rule, opened in wanted if rule.plan.computed]
    if not making:
        return {}
    rows_sql, params = history.run_rows(reader, (opened.run_id for _, opened in making), hi)
    rules = {rule.name: rule for rule, _ in making}
    return {(h.rule.name, h.key): h.computed for h in matches(reader, rules.values(), rows_sql, params, Trouble())}


def arm(rules: Iterable[Rule], at: datetime, commit_seq: int, reader: LogReader, memory: Memory) -> Trouble:
    """At a start and after a reload: timers by what the rules say now; of one that means something else, alerts whose event
    does not match any more are closed quietly.
    """
    trouble = Trouble()
    changed: list[tuple[Rule, Opened]] = []
    for rule in rules:
        for state in memory.conditions(rule.name).values():
            opened = opened_of(state)
            if opened is None:
                continue
            if opened.changed:
                changed.append((rule, opened))
            memory.put_timer(timer_of(opened, ending_of(rule)))
    if not changed:
        return trouble
    rows_sql, params = history.run_rows(reader, (opened.run_id for _, opened in changed), commit_seq)
    still = {
        (hit.rule.name, hit.key)
        for hit in matches(reader, {r.name: r for r, _ in changed}.values(), rows_sql, params, trouble)
    }
    kept: set[Pair] = set()
    for rule, opened in changed:
        if rule.name in trouble.rules:
            continue
        if opened.sweep is not None and rule.collapse is not None and opened.recovers == ending_of(rule).recovers:
            memory.put_condition(replace(opened, changed=False).state)
            continue
        if (rule.name, opened.event) not in still or opened.recovers != ending_of(rule).recovers:
            settle(opened, Why.RULE_CHANGED, at, commit_seq, memory)
            if opened.recovers and opened.sweep is None:
                mark(rule, opened.run_id, opened.event, Phase.CLOSED, at, commit_seq, memory)
            continue
        memory.put_condition(replace(opened, changed=False).state)
        kept.add((rule.name, opened.run_id))
    found = at_instant([rule for rule, _ in changed], kept, at, commit_seq, reader, memory)
    trouble.take(found)
    return trouble
