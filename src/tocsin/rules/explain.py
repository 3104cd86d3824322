"""What a rule is made of, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.config.durations import format_duration
from tocsin.kql.prefilter import Predicate
from tocsin.kql.windowplan import window_plan
from tocsin.rules.rule import Life, Rule, Window
from tocsin.rules.windows import looks_early


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
    tell_within: str
    prefilter: tuple[str, ...]  # what every matching row satisfies; without one, it looks at every commit
    tables: tuple[str, ...]  # reference tables that it reads
    shape: str
    constants: tuple[object, ...]
    query: str  # KQL
    sql: str
    window: Mapping[str, str] = field(default_factory=dict)  # of a window rule: its span, its ticks, its life


def explain(rule: Rule) -> Explanation:
    """Explain ``rule``."""
    window, row = rule.window, rule.row_plan
    reads = window.query.tables if window is not None else rule.plan.tables
    shape = window.query.shape if window is not None else rule.plan.shape
    sql = window_plan([window.query]).built.sql if window is not None else rule.plan.sql
    return Explanation(
        name=rule.name,
        place=str(rule.place),
        kind=rule.kind.value,
        enabled=rule.enabled,
        severity=rule.severity.word,
        by=rule.by,
        carries=rule.carries,
        final=f"yes; where it is not known, after {format_duration(rule.final_after)}" if rule.final else "no",
        for_each=f"{rule.each.table}: {len(rule.each.rules)} rows" if rule.each else "",
        collapse=rule.collapse.words if rule.collapse else "",
        tell_within=format_duration(rule.tell_within),
        prefilter=tuple(in_words(p) for p in rule.prefilter),
        tables=tuple(sorted(reads)),
        shape=shape,
        constants=row.constants if row is not None else (),
        query=rule.query,
        window=_window(window) if window is not None else {},
        sql=sql,
    )


def _window(window: Window) -> dict[str, str]:
    """What a window rule says of time, with what it leaves out."""
    terms = window.terms
    hold = f"{terms.n_of_m[0]} of {terms.n_of_m[1]}" if terms.n_of_m else format_duration(terms.hold)
    return {
        "over": window.over.value if isinstance(window.over, Life) else format_duration(window.over),
        "every": format_duration(window.every),
        "lateness": format_duration(window.lateness),
        "for": hold,
        "keep_firing_for": format_duration(terms.keep_firing),
        "no_data": terms.no_data.value,
        "repeat_every": format_duration(terms.repeat) if terms.repeat is not None else "never",
        "early": "yes" if looks_early(window) else "no",
    }


def in_words(predicate: Predicate) -> str:
    """A predicate as KQL, e.g. ``Tags.env =~ 'prod'``."""
    column = ".".join((predicate.column, *predicate.path))
    values = [f"'{v}'" if isinstance(v, str) else str(v).lower() for v in predicate.values]
    if len(values) == 1:
        return f"{column} {'=~' if predicate.op.value == '=~' else '=='} {values[0]}"
    return f"{column} {'in~' if predicate.op.value == '=~' else 'in'} ({', '.join(values)})"
