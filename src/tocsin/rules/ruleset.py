"""The set of rules in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tocsin.model.statuses import Kind
from tocsin.rules.index import RuleIndex
from tocsin.rules.rule import Rule, Target


@dataclass(frozen=True)
class RuleSet:
    """Rules by name, disabled ones included."""

    rules: Mapping[str, Rule] = field(default_factory=dict)

    @cached_property
    def enabled(self) -> Mapping[str, Rule]:
        """Those that are evaluated."""
        return {name: rule for name, rule in self.rules.items() if rule.enabled}

    @cached_property
    def rows(self) -> tuple[Rule, ...]:
        """Enabled row rules; a rule's place in it is its number in SQL."""
        return tuple(rule for rule in self.enabled.values() if rule.kind is Kind.ROW)

    @cached_property
    def index(self) -> RuleIndex:
        """Which of ``rows`` a commit can touch."""
        return RuleIndex(self.rows)

    @cached_property
    def notify_targets(self) -> tuple[Target, ...]:
        """Every receiver or address that a rule tells, with the place that says so."""
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
