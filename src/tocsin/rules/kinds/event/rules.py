"""All event rules in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.event.spec import EventRule


@dataclass(frozen=True, eq=False)
class EventRules:
    """Enabled event rules; a rule's place is its number in SQL."""

    rules: tuple[EventRule, ...]

    @cached_property
    def by_name(self) -> Mapping[str, EventRule]:
        """They by name."""
        return {rule.name: rule for rule in self.rules}

    @cached_property
    def index(self) -> RuleIndex[EventRule]:
        """Which of them a commit can touch."""
        return RuleIndex(self.rules)

    @cached_property
    def opening(self) -> tuple[EventRule, ...]:
        """Those whose alerts stay open."""
        return tuple(rule for rule in self.rules if rule.spec.resolve_policy is not None)

    @cached_property
    def collapsing(self) -> tuple[EventRule, ...]:
        """Those that collapse runs into their parents."""
        return tuple(rule for rule in self.rules if rule.spec.collapse is not None)

    @cached_property
    def recovering(self) -> tuple[EventRule, ...]:
        """Those whose alerts another event ends."""
        return tuple(rule for rule in self.opening if rule.spec.resolve_policy and rule.spec.resolve_policy.recovers)
