"""Open alerts of event rules over time: notified again, closed, and brought in line with rules that were changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from tocsin.alerts.active import ActiveAlert, active_alert_of
from tocsin.logstore.interface import LogReader
from tocsin.model.alert import EventKey, Phase, Why
from tocsin.model.details import Details
from tocsin.model.intent import IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules import history
from tocsin.rules.emit import emit
from tocsin.rules.history import whole_rows
from tocsin.rules.kinds.event.matching import matches
from tocsin.rules.kinds.event.parents import collapse as collapsing
from tocsin.rules.kinds.event.resolve.active import (
    change_of,
    columns_for,
    fields_of,
    keep_open,
    mark,
    resolve_policy_of,
    settle,
    timer_of,
)
from tocsin.rules.kinds.event.resolve.commits import at_instant
from tocsin.rules.kinds.event.spec import EventRule
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.queries import Failures
from tocsin.rules.timers import Released


def on_wakes(
    released: Sequence[Released],
    rules: Mapping[str, EventRule],
    reader: LogReader,
    memory: Memory,
    source_progress: SourceProgress,
) -> None:
    """Open alerts are notified once more, or closed by time; not before their consumer has been reached up to then."""
    again: list[tuple[EventRule, ActiveAlert, Released]] = []
    for each in released:
        timer, rule = each.timer, rules[each.timer.rule]
        memory.drop_timer(timer.rule, timer.kind, timer.key)
        state = memory.condition(rule.name, timer.key)
        active = active_alert_of(state) if state is not None else None
        if active is None:
            continue
        if rule.spec.resolve_policy is None:
            settle(rule, active, Why.RULE_CHANGED, each.at, each.commit_seq, memory)
            continue
        consumers = (
            frozenset({active.consumer}) if active.consumer and rule.spec.resolve_policy.recovers else frozenset[str]()
        )
        if not source_progress.has_reached(timer.due, consumers):
            memory.put_timer(replace(timer, consumers=consumers))
            continue
        why, after = active.woken(rule.spec.resolve_policy, each.at)
        if why is Why.AUTO_CLOSED:
            settle(rule, active, why, each.at, each.commit_seq, memory)
            if rule.spec.resolve_policy.recovers and active.parent_group is None:
                mark(rule, active.run_id, active.event, Phase.CLOSED, each.at, each.commit_seq, memory)
            continue
        keep_open(after, rule.spec.resolve_policy, memory)
        if why is Why.STILL_FIRING:
            again.append((rule, after, each))
    if not again:
        return
    only = columns_for({rule for rule, _, _ in again}, memory)
    rows = whole_rows(reader, [(active.event, active.commit_seq) for _, active, _ in again], only)
    computed = _computed([(rule, active) for rule, active, _ in again], max(r.commit_seq for _, _, r in again), reader)
    for rule, active, each in again:
        if active.parent_group is not None:
            collapsing.again(rule, active, each.at, each.commit_seq, reader, memory)
            continue
        key = (rule.name, active.event)
        phase = active.state.phase
        change = replace(
            change_of(active, phase, phase, Why.STILL_FIRING, each.at, each.commit_seq),
            kind=IntentKind.REPEATED,
            ordinal=active.repeats,
            event=fields_of(active, rows.get(active.event, {}), computed.get(key, {})),
            details=Details(since=active.at),
        )
        emit(memory, rule, change)


def _computed(
    wanted: Sequence[tuple[EventRule, ActiveAlert]], hi: int, reader: LogReader
) -> dict[tuple[str, EventKey], Mapping[str, object]]:
    """What the rules' queries make of the events that were notified."""
    making = [(rule, active) for rule, active in wanted if rule.spec.plan.computed]
    if not making:
        return {}
    rows_sql, params = history.run_rows(reader, (active.run_id for _, active in making), hi)
    rules = {rule.name: rule for rule, _ in making}
    return {(h.rule.name, h.key): h.computed for h in matches(reader, rules.values(), rows_sql, params, Failures())}


def schedule_deadlines(
    rules: Iterable[EventRule], at: datetime, commit_seq: int, reader: LogReader, memory: Memory
) -> Failures:
    """At a start and after a reload: timers by what the rules say now; of one that means something else, alerts whose
    event does not match any more are closed without a notification.
    """
    failures = Failures()
    changed: list[tuple[EventRule, ActiveAlert]] = []
    for rule in rules:
        for state in memory.conditions(rule.name).values():
            active = active_alert_of(state)
            if active is None:
                continue
            if active.changed:
                changed.append((rule, active))
            memory.put_timer(timer_of(active, resolve_policy_of(rule)))
    if not changed:
        return failures
    rows_sql, params = history.run_rows(reader, (active.run_id for _, active in changed), commit_seq)
    still = {
        (hit.rule.name, hit.key)
        for hit in matches(reader, {r.name: r for r, _ in changed}.values(), rows_sql, params, failures)
    }
    kept: set[Pair] = set()
    for rule, active in changed:
        if rule.name in failures.rules:
            continue
        if (
            active.parent_group is not None
            and rule.spec.collapse is not None
            and active.recovers == resolve_policy_of(rule).recovers
        ):
            memory.put_condition(replace(active, changed=False).state)
            continue
        if (rule.name, active.event) not in still or active.recovers != resolve_policy_of(rule).recovers:
            settle(rule, active, Why.RULE_CHANGED, at, commit_seq, memory)
            if active.recovers and active.parent_group is None:
                mark(rule, active.run_id, active.event, Phase.CLOSED, at, commit_seq, memory)
            continue
        memory.put_condition(replace(active, changed=False).state)
        kept.add((rule.name, active.run_id))
    found = at_instant([rule for rule, _ in changed], kept, at, commit_seq, reader, memory)
    failures.take(found)
    return failures
