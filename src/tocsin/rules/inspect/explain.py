"""What a rule is made of, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tocsin.alerts.conditions import Terms
from tocsin.config.yaml.durations import format_duration
from tocsin.kql.plan.prefilter import Predicate
from tocsin.kql.plan.windowplan import window_plan
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.kinds.deadline import clocks
from tocsin.rules.kinds.window.evaluate import evaluates_early
from tocsin.rules.spec.rule import Life, Rule, Window


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
    prefilter: tuple[str, ...]  # what every matching row satisfies; without one, it looks at every commit
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
    window, row = rule.window, rule.row_plan
    reads = window.query.tables if window is not None else rule.plan.tables
    shape = window.query.shape if window is not None else rule.plan.shape
    sql = window_plan([window.query]).sql if window is not None else rule.plan.sql
    return Explanation(
        name=rule.name,
        place=str(rule.place),
        kind=rule.kind.value,
        enabled=rule.enabled,
        severity=rule.severity.word,
        by=rule.by,
        carries=rule.carries,
        final=f"yes; where it is not known, after {format_duration(rule.final_after)}" if rule.final else "no",
        for_each=f"{rule.each.table}: no rows" if rule.each else "",
        collapse=rule.collapse.words if rule.collapse else "",
        ends=_ends(rule),
        repeats=_repeats(rule),
        limit=rule.limit.words if rule.limit else "",
        max_event_age=format_duration(rule.max_event_age),
        prefilter=tuple(in_words(p) for p in rule.prefilter),
        tables=tuple(sorted(reads)),
        shape=shape,
        constants=row.constants if row is not None else (),
        query=rule.query,
        window=_window(window) if window is not None else {},
        waits=_waits(rule),
        sql=sql,
    )


def _terms(rule: Rule) -> Terms | None:
    """The life of what a rule fires; None for a rule about single events."""
    conditions = rule.window or rule.absence or rule.scheduled
    return conditions.terms if conditions is not None else None


def _ends(rule: Rule) -> str:
    terms, resolve_policy = _terms(rule), rule.resolve_policy
    if resolve_policy is not None:
        by_event = f"by {resolve_policy.words}" if resolve_policy.recovers else ""
        return "; ".join(filter(None, [by_event, f"closed after {format_duration(resolve_policy.after)}"]))
    if terms is None:
        return ""
    notified = "when it holds no longer" + ("" if terms.send_resolved else ", which is not notified")
    return notified if terms.close_after is None else f"{notified}; closed after {format_duration(terms.close_after)}"


def _repeats(rule: Rule) -> str:
    terms = _terms(rule)
    repeat = (
        rule.resolve_policy.repeat if rule.resolve_policy is not None else terms.repeat if terms is not None else None
    )
    return format_duration(repeat) if repeat is not None else "never"


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
        "early": "yes" if evaluates_early(window) else "no",
        **({"looks_back": f"{format_duration(window.reach)} more, for what came just before"} if window.reach else {}),
    }


def _waits(rule: Rule) -> dict[str, str]:
    """What an absence rule waits for; what does not apply is left out."""
    said: dict[str, str] = {}
    if (absence := rule.absence) is not None:
        length = "than usual" if absence.baseline is not None else format_duration(absence.length)
        said = {"waits_for": f"{absence.form} {length}", "in": ", ".join(absence.named)}
    elif (scheduled := rule.scheduled) is not None:
        when = scheduled.when
        said = {
            "cron": when.cron,
            "timezone": when.timezone,
            "grace": when.grace or "none",
            "rows": f"{len(scheduled.items)} of table {scheduled.table}" if scheduled.table else "",
            "consumer": when.consumer,
            "except": _days(when.except_ if isinstance(when.except_, str) else "", scheduled.calendar),
        }
    pauses = [
        f"{m.begin:%Y-%m-%d %H:%M} to {m.until:%Y-%m-%d %H:%M} UTC ({m.place})"
        for m in sorted(clocks.pauses_of(rule), key=lambda m: m.begin)
    ]
    return {key: text for key, text in {**said, "clock_may_stand": "; ".join(pauses)}.items() if text}


def _days(name: str, calendar: Calendar) -> str:
    """Which days do not count: ``company: holidays of HU, 3 dates from 2026-12-24 to 2026-12-31``."""
    parts = []
    if calendar.country:
        parts.append("holidays of " + "-".join(filter(None, (calendar.country, calendar.subdivision))))
    if dates := sorted(calendar.dates):
        span = f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else f"{dates[0]}"
        parts.append(f"{len(dates)} {'date' if len(dates) == 1 else 'dates'}, {span}")
    said = " and ".join(parts) or ("no day" if name else "")
    return f"{name}: {said}" if name else said


def in_words(predicate: Predicate) -> str:
    """A predicate as KQL, e.g. ``Tags.env =~ 'prod'``."""
    column = ".".join((predicate.column, *predicate.path))
    values = [f"'{v}'" if isinstance(v, str) else str(v).lower() for v in predicate.values]
    if len(values) == 1:
        return f"{column} {'=~' if predicate.op.value == '=~' else '=='} {values[0]}"
    return f"{column} {'in~' if predicate.op.value == '=~' else 'in'} ({', '.join(values)})"
