"""Clocks of absence rules: when they stand still, and when a length has passed on them.

    wall         since ───────── [ maintenance ── settle ] ── [ unreachable ] ────── D
    clock        10 min counted  |   stands still         |5|  stands  | 30 more: 45m is over

A maintenance with `deadlines: pause` stops the clocks of what it matches from its begin until `settle` after its end.
Time that several stop is counted once. A deadline moves by exactly the time that its clock stood still between its
begin and itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

from tocsin.model.alert import fingerprint
from tocsin.model.calendars.calendar import Maintenance, Wanted
from tocsin.model.columns import RUNS
from tocsin.model.watermarks import Span
from tocsin.rules.history import micros
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.language.templates import TemplateFault
from tocsin.rules.spec.rule import Rule, RuleOf, WaitSpec

_COLUMNS = frozenset(column.name for column in RUNS)

Fields = Mapping[str, object]
"""A run by column, or a row of the table that a rule goes over."""


def under(rules: RuleSet, maintenance: Sequence[Maintenance]) -> RuleSet:
    """``rules``, each that waits under those of ``maintenance`` that may be about it."""
    if not maintenance:
        return rules
    waiting = {name: kind_of(rule).under(rule, maintenance) for name, rule in rules.rules.items()}
    return RuleSet(waiting, rules.faulty)


def pauses_among(rule: RuleOf[WaitSpec], maintenance: Sequence[Maintenance]) -> tuple[Maintenance, ...]:
    """Those of ``maintenance`` that may be about alerts of ``rule``."""
    return tuple(m for m in maintenance if _may(rule, m))


def _may(rule: Rule, maintenance: Maintenance) -> bool:
    """Whether it can be about some alert of ``rule``, by what is the same for all of them."""
    fixed = _fixed(rule)
    return all(fixed[name] in texts for name, texts in maintenance.match.items() if name in fixed)


def _fixed(rule: Rule) -> dict[str, str]:
    return {"rule": rule.public_name, "severity": rule.severity.word}


def fingerprint_of(rule: RuleOf[WaitSpec]) -> str:
    """What notifies that the maintenances of ``rule`` are others; '' where there are none."""
    said = [
        repr((m.begin, m.until, *[sorted((n, *sorted(t)) for n, t in each.items()) for each in (m.match, m.but)]))
        for m in rule.spec.pauses
    ]
    return fingerprint(*said) if said else ""


def columns_of(rule: RuleOf[WaitSpec]) -> frozenset[str]:
    """Columns of a run that say which maintenances of ``rule`` are about it."""
    names = {name for m in rule.spec.pauses for each in (m.match, m.but) for name in each}
    labels = (rule.labels[name].names for name in names if name in rule.labels)
    return frozenset(names).union(*labels) & _COLUMNS


def spans_of(rule: RuleOf[WaitSpec], fields: Fields | None) -> list[Span]:
    """When the clock of the alert about ``fields`` stands still; not known (None): when it may."""
    mine = rule.spec.pauses
    if fields is not None and mine:
        value = _valued(rule, fields)
        mine = tuple(m for m in mine if _has(m.match, value) and not (m.but and _has(m.but, value)))
    return together([[(m.begin, m.until)] for m in mine])


def _valued(rule: RuleOf[WaitSpec], fields: Fields) -> Callable[[str], str | None]:
    """What an alert has by a name: text, None where it has no such field."""
    fixed = _fixed(rule)

    def value(name: str) -> str | None:
        if name in fixed:
            return fixed[name]
        if name in rule.labels:
            try:
                return rule.labels[name].render(fields)
            except TemplateFault:
                return None  # it is notified as '' in the alert; a clock is stopped by what is known only
        found = fields.get(name)
        return None if found is None else str(found)

    return value


def _has(wanted: Wanted, value: Callable[[str], str | None]) -> bool:
    return all(value(name) in texts for name, texts in wanted.items())


def together(several: Iterable[Sequence[Span]]) -> list[Span]:
    """Spans in which one or another holds; in order, apart from each other."""
    out: list[Span] = []
    for begin, end in sorted(span for spans in several for span in spans):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((begin, end))
    return out


def runs_out(since: int, length: int, still: Sequence[Span]) -> int:
    """When ``length`` has passed since ``since`` on a clock that stands still in ``still``, which are in order and
    apart.

    Times are µs since the epoch. Where it begins in such a span, it has not passed before the span's end, however
    short it is.
    """
    at = since + length
    for begin, end in still[bisect_right(still, since, key=lambda span: micros(span[1])) :]:
        first = micros(begin)
        if first > since and first >= at:
            break
        at += micros(end) - max(first, since)
    return at


def stood(stood_us: int) -> float:
    """The seconds for which maintenance stopped a clock."""
    return stood_us / 1_000_000
