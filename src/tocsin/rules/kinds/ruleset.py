"""The set of rules in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from tocsin.errors import Problem
from tocsin.rules.kinds.base import Kind
from tocsin.rules.spec.rule import Place, Rule, Target, public_name

G = TypeVar("G")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyRule:
    """A rule that is off and cannot be compiled: it waits for its tables, or for a translation."""

    name: str
    place: Place
    tests: int
    faults: tuple[Problem, ...]  # never empty


@dataclass(frozen=True)
class RuleSet:
    """Rules by name, disabled ones included."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    faulty: Mapping[str, FaultyRule] = field(default_factory=dict)  # off, and none of `rules`
    _gathered: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)  # by kind

    @cached_property
    def enabled(self) -> Mapping[str, Rule]:
        """Those that are evaluated; of a rule for each row of a table, these in its place."""
        found: dict[str, Rule] = {}
        for rule in self.rules.values():
            if rule.enabled:
                found |= {rule.name: rule} if rule.each is None else {r.name: r for r in rule.each.rules}
        return found

    def called(self, name: str) -> Rule | None:
        """The rule of that name, as it is written or of a row of its table."""
        base = self.rules.get(public_name(name))
        if base is None or base.name == name:
            return base
        return next((rule for rule in base.each.rules if rule.name == name), None) if base.each else None

    def of(self, kind: Kind[Any, G]) -> G:
        """What ``kind`` makes of its enabled rules, made once."""
        if kind.name not in self._gathered:
            mine = tuple(rule for rule in self.enabled.values() if rule.kind == kind.name)
            self._gathered[kind.name] = kind.gather(mine)
        gathered: G = self._gathered[kind.name]
        return gathered

    @cached_property
    def notify_targets(self) -> tuple[Target, ...]:
        """Every receiver or address that a rule notifies, with the place that says so."""
        return tuple(
            Target(name=to, rule=rule.name, place=rule.place)
            for rule in self.rules.values()
            for to in rule.info.notify_to
        )

    @cached_property
    def fields(self) -> frozenset[str]:
        """Fields that some rule's alerts carry: what a route may match or group by."""
        return frozenset(name for rule in self.rules.values() for name in rule.carries)

    def only(self, names: Iterable[str]) -> RuleSet:
        """The set of just these rules. Raises KeyError for an unknown name."""
        return RuleSet({name: self.rules[name] for name in names})
