"""What a rule is made of, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.config.durations import format_duration
from tocsin.kql.prefilter import Predicate
from tocsin.rules.rule import Rule


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
    tell_within: str
    prefilter: tuple[str, ...]  # what every matching row satisfies; without one, it looks at every commit
    tables: tuple[str, ...]  # reference tables that it reads
    shape: str
    constants: tuple[object, ...]
    query: str  # KQL
    sql: str


def explain(rule: Rule) -> Explanation:
    """Explain ``rule``."""
    plan = rule.plan
    return Explanation(
        name=rule.name,
        place=str(rule.place),
        kind=rule.kind.value,
        enabled=rule.enabled,
        severity=rule.severity.word,
        by=rule.by,
        carries=rule.carries,
        final=f"yes; where it is not known, after {format_duration(rule.final_after)}" if rule.final else "no",
        tell_within=format_duration(rule.tell_within),
        prefilter=tuple(in_words(p) for p in plan.prefilter),
        tables=tuple(sorted(plan.tables)),
        shape=plan.shape,
        constants=plan.constants,
        query=rule.query,
        sql=plan.sql,
    )


def in_words(predicate: Predicate) -> str:
    """A predicate as KQL, e.g. ``Tags.env =~ 'prod'``."""
    column = ".".join((predicate.column, *predicate.path))
    values = [f"'{v}'" if isinstance(v, str) else str(v).lower() for v in predicate.values]
    if len(values) == 1:
        return f"{column} {'=~' if predicate.op.value == '=~' else '=='} {values[0]}"
    return f"{column} {'in~' if predicate.op.value == '=~' else 'in'} ({', '.join(values)})"
