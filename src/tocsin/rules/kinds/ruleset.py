"""The set of rules in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from tocsin.model.statuses import Kind
from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.deadline.families import GeneratedRules, generated_rules_of
from tocsin.rules.kinds.window.evaluate import Group, evaluates_early, grouped
from tocsin.rules.kinds.window.seen import of
from tocsin.rules.spec.rule import Rule, Target, public_name


@dataclass(frozen=True)
class RuleSet:
    """Rules by name, disabled ones included."""

    rules: Mapping[str, Rule] = field(default_factory=dict)

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

    @cached_property
    def rows(self) -> tuple[Rule, ...]:
        """Enabled event rules; a rule's place in it is its number in SQL."""
        return tuple(rule for rule in self.enabled.values() if rule.kind is Kind.EVENT)

    @cached_property
    def absences(self) -> tuple[Rule, ...]:
        """Enabled absence rules for single runs."""
        return tuple(rule for rule in self.enabled.values() if rule.absence is not None)

    @cached_property
    def generated_rules(self) -> Mapping[str, GeneratedRules]:
        """``absences`` by the rule as it is written."""
        return {generated.name: generated for generated in generated_rules_of(self.absences)}

    @cached_property
    def opening(self) -> tuple[Rule, ...]:
        """Enabled event rules whose alerts stay open."""
        return tuple(rule for rule in self.rows if rule.resolve_policy is not None)

    @cached_property
    def awaiting(self) -> tuple[Rule, ...]:
        """Enabled absence rules by a schedule."""
        return tuple(rule for rule in self.enabled.values() if rule.scheduled is not None)

    @cached_property
    def index(self) -> RuleIndex:
        """Which of ``rows`` a commit can touch."""
        return RuleIndex(self.rows)

    @cached_property
    def windows(self) -> tuple[Rule, ...]:
        """Enabled window rules."""
        return tuple(rule for rule in self.enabled.values() if rule.window is not None)

    @cached_property
    def window_groups(self) -> Mapping[timedelta, list[Group]]:
        """Groups of ``windows`` that look together, by ``every``."""
        found: dict[timedelta, list[Group]] = {}
        for group in grouped(self.windows):
            found.setdefault(of(group.rules[0]).every, []).append(group)
        return found

    @cached_property
    def group_of(self) -> Mapping[str, Group]:
        """The group of each window rule, by name."""
        return {r.name: group for groups in self.window_groups.values() for group in groups for r in group.rules}

    @cached_property
    def early(self) -> RuleIndex:
        """Which of ``windows`` look when rows come."""
        return RuleIndex([rule for rule in self.windows if evaluates_early(of(rule))])

    @cached_property
    def shortest_for(self) -> timedelta | None:
        """The shortest ``for`` that a commit can begin; None where there is none."""
        holds = (of(rule).terms.hold for rule in self.windows if evaluates_early(of(rule)))
        return min((hold for hold in holds if hold), default=None)

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
