"""What a rule is made of, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan.prefilter import Predicate
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.spec.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a rule compiles to; in words where a person reads it."""

    name: str
    place: str  # file:line
    kind: str
    enabled: bool
    severity: str
    by: tuple[str, ...]
    carries: tuple[str, ...]  # fields that its alerts have
    final: str
    for_each: str  # the table of which each row is a rule, and how many they are; '' for one rule
    collapse: str  # which runs stand for others, and from when on; '' where each stands for itself
    ends: str  # what ends an alert, and after how long it is closed; '' where it is notified and done with
    repeats: str  # how often it is notified again meanwhile
    limit: str  # how many are notified one by one; '' for all
    max_event_age: str
    prefilter: tuple[str, ...]  # what every matching row satisfies; without one, each commit is evaluated
    tables: tuple[str, ...]  # reference tables that it reads
    shape: str
    constants: tuple[object, ...]
    query: str  # KQL
    sql: str
    window: Mapping[str, str] = field(default_factory=dict)  # of a window rule: its span, its ticks, its life
    waits: Mapping[str, str] = field(default_factory=dict)  # of an absence rule: for what, when its clock stands


def explain(rule: Rule) -> Explanation:
    """Explain ``rule``; how one for each row of a table is evaluated, by its first row."""
    if rule.each is not None and rule.each.rules:
        first = explain(rule.each.rules[0])
        rows = f"{rule.each.table}: {len(rule.each.rules)} rows, each a rule of its own; below is {first.name}"
        return replace(first, name=rule.name, for_each=rows)
    found = kind_of(rule).explain(rule)
    return Explanation(
        name=rule.name,
        place=str(rule.place),
        kind=rule.word,
        enabled=rule.enabled,
        severity=rule.severity.word,
        by=rule.by,
        carries=rule.carries,
        final=found.final,
        for_each=f"{rule.each.table}: no rows" if rule.each else "",
        collapse=found.collapse,
        ends=found.ends,
        repeats=found.repeats,
        limit=rule.limit.words if rule.limit else "",
        max_event_age=format_duration(rule.max_event_age),
        prefilter=tuple(in_words(p) for p in rule.prefilter),
        tables=tuple(sorted(rule.spec.tables)),
        shape=found.shape,
        constants=found.constants,
        query=rule.query,
        window=found.window,
        waits=found.waits,
        sql=found.sql,
    )


def in_words(predicate: Predicate) -> str:
    """A predicate as KQL, e.g. ``Tags.env =~ 'prod'``."""
    column = ".".join((predicate.column, *predicate.path))
    values = [f"'{v}'" if isinstance(v, str) else str(v).lower() for v in predicate.values]
    if len(values) == 1:
        return f"{column} {'=~' if predicate.op.value == '=~' else '=='} {values[0]}"
    return f"{column} {'in~' if predicate.op.value == '=~' else 'in'} ({', '.join(values)})"
