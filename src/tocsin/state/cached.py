"""What evaluations read of the state again and again, kept in memory and in step with what they write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tocsin.model.alert import Occurrence
from tocsin.model.remembered import ConditionState
from tocsin.state.interface import Backfill, Outcome, RuleRecord, State


class CachedView:
    """A ``StateView``: rules and backfills from memory, occurrences from the state. Only the evaluator writes them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._rules = dict(state.rules())
        self._backfills = {(c.rule, c.consumer): c for c in state.backfills()}
        self._conditions: dict[str, dict[str, ConditionState]] = {}  # by rule, read when first asked for
        self._holding = set(state.phases())  # rules that may have some: of ten thousand rows of a table few do

    def rules(self) -> Mapping[str, RuleRecord]:
        """As ``State.rules``."""
        return self._rules

    def backfills(self) -> Sequence[Backfill]:
        """As ``State.backfills``."""
        return list(self._backfills.values())

    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        """As ``State.conditions``."""
        if rule not in self._conditions:
            self._conditions[rule] = dict(self._state.conditions(rule)) if rule in self._holding else {}
        return self._conditions[rule]

    def notified(self, pairs: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[Occurrence]]:
        """As ``State.notified``."""
        return self._state.notified(pairs)

    def rules_notified_of(self, run_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """As ``State.rules_notified_of``."""
        return self._state.rules_notified_of(run_ids)

    def written(self, outcome: Outcome) -> None:
        """``outcome`` is durable now."""
        if outcome.rules_renamed or outcome.rules_gone:
            self.__init__(self._state)  # type: ignore[misc]
            return
        self._rules.update({r.name: r for r in outcome.rules})
        self._backfills.update({(c.rule, c.consumer): c for c in outcome.backfills})
        for gone in outcome.backfills_gone:
            self._backfills.pop(gone, None)
        for state in outcome.conditions:
            self._holding.add(state.rule)
            if state.rule in self._conditions:
                self._conditions[state.rule][state.key] = state
        for rule, key in outcome.conditions_gone:
            self._conditions.get(rule, {}).pop(key, None)
