"""All window rules in force: which are evaluated together, and which when rows come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.window.evaluate import Group, grouped
from tocsin.rules.kinds.window.spec import WindowRule


@dataclass(frozen=True, eq=False)
class WindowRules:
    """Enabled window rules."""

    rules: tuple[WindowRule, ...]

    @cached_property
    def by_name(self) -> Mapping[str, WindowRule]:
        """They by name."""
        return {rule.name: rule for rule in self.rules}

    @cached_property
    def groups(self) -> Mapping[timedelta, list[Group]]:
        """Groups of rules that are evaluated by one query, by ``every``."""
        found: dict[timedelta, list[Group]] = {}
        for group in grouped(self.rules):
            found.setdefault(group.rules[0].spec.every, []).append(group)
        return found

    @cached_property
    def group_of(self) -> Mapping[str, Group]:
        """The group of each rule, by name."""
        return {r.name: group for groups in self.groups.values() for group in groups for r in group.rules}

    @cached_property
    def early(self) -> RuleIndex[WindowRule]:
        """Which of them are evaluated when rows come."""
        return RuleIndex([rule for rule in self.rules if rule.spec.evaluates_early])

    @cached_property
    def shortest_for(self) -> timedelta | None:
        """The shortest ``for`` that a commit can begin; None where there is none."""
        holds = (rule.spec.terms.hold for rule in self.rules if rule.spec.evaluates_early)
        return min((hold for hold in holds if hold), default=None)
