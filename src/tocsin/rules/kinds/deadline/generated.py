"""Absence rules for runs, by what is written: a rule alone, or those of the rows of its table.

Rules that are generated together have one deadline for a run, the first of those of its rules: what is kept for a run
does not grow with the rows, and neither does what is asked. Only rules that a run can be about are evaluated, found by
the values of its columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from tocsin.logstore.interface import LogReader
from tocsin.model.alert import Phase, instance_key
from tocsin.model.remembered import ConditionState
from tocsin.rules.deadline_table import Deadline
from tocsin.rules.index import RuleIndex
from tocsin.rules.kinds.deadline.runs import RunsAt
from tocsin.rules.kinds.deadline.spec import DeadlineRule, Form
from tocsin.rules.memory import Memory, Pair
from tocsin.rules.spec.rule import public_name

FEW = 50
"""So many rules are asked of all runs; of more, those are found first that a run can be about."""
_FIRES = (Phase.FIRING, Phase.RECOVERING)
_MOVED = frozenset(("Progress", "IngestedAt", "CommitSeq"))
"""Columns of a run, taken as an event, that a heartbeat changes."""


@dataclass(frozen=True, eq=False)
class GeneratedRules:
    """Rules that share their deadlines. ``name`` is that of the rule as it is written."""

    name: str
    rules: tuple[DeadlineRule, ...]

    @property
    def alone(self) -> bool:
        """Whether it is no rule of a table."""
        return len(self.rules) == 1

    @cached_property
    def index(self) -> RuleIndex[DeadlineRule]:
        """Which of its rules a run can be about."""
        return RuleIndex(self.rules)

    @cached_property
    def heeds(self) -> bool:
        """Whether a heartbeat may change which runs it is about: perhaps said too often, never too rarely."""
        return any(
            rule.spec.plan.reads & _MOVED or rule.spec.plan.tables - rule.reference.keys() for rule in self.rules
        )

    @cached_property
    def silence(self) -> timedelta | None:
        """The shortest silence that its rules wait for; None where that is not what they wait for."""
        waits = [rule.spec.length for rule in self.rules if rule.spec.form is Form.SILENT]
        return min(waits, default=None)

    def about(self, runs: RunsAt, reader: LogReader) -> Sequence[DeadlineRule]:
        """Its rules that some of ``runs`` may be about: perhaps too many, never too few."""
        if len(self.rules) <= FEW:
            return self.rules
        keys = reader.select(self.index.keys_sql(runs.as_events), runs.params)
        return [self.rules[number] for number in self.index.touched(keys)]

    def firing(self, memory: Memory, runs: Collection[str] | None = None) -> dict[Pair, ConditionState]:
        """Instances that fire, or were closed by time while they held, by rule and run; of ``runs``, where given."""
        found: dict[Pair, ConditionState] = {}
        for rule in self.rules:
            if not memory.knows_some(rule.name):
                continue
            for state in _instances(rule, memory, runs):
                run = str(state.instance.get("RunId", ""))
                if (state.phase in _FIRES or state.data.life.closed is not None) and (runs is None or run in runs):
                    found[(rule.name, run)] = state
        return found


def _instances(rule: DeadlineRule, memory: Memory, runs: Collection[str] | None) -> Iterable[ConditionState]:
    """What is remembered of a rule; where a run names an instance, no more than that of ``runs``: thousands may fire."""
    if runs is None or rule.by != ("RunId",) or len(runs) > FEW:
        return memory.conditions(rule.name).values()
    each = (memory.condition(rule.name, instance_key({"RunId": run})) for run in runs)
    return [state for state in each if state is not None]


def generated_rules_of(rules: Iterable[DeadlineRule]) -> tuple[GeneratedRules, ...]:
    """``rules`` by what is written."""
    found: dict[str, list[DeadlineRule]] = {}
    for rule in rules:
        found.setdefault(public_name(rule.name), []).append(rule)
    return tuple(GeneratedRules(name, tuple(of)) for name, of in found.items())


def first_of(generated: str, run: str, waits: Collection[Deadline], *, failed: bool = False) -> Deadline | None:
    """The deadline of generated rules of ``run``, of those of its rules; where one of them ``failed`` the one that is
    set stays, if it is earlier. None: it stays as it is.
    """
    if not failed and len(waits) == 1:
        (only,) = waits
        return only if only.rule == generated else only._replace(rule=generated)
    some = [each for each in waits if each.due_us is not None]
    if not some:
        return None if failed else Deadline(generated, run, None)
    first = min(some, key=lambda each: (each.due_us, each.or_us is None))
    if not failed and all(each.or_us is None for each in some):
        return first._replace(rule=generated)
    bound = min(each.due_us if each.or_us is None else each.or_us for each in some if each.due_us is not None)
    return Deadline(generated, run, first.due_us, or_us=bound, by=first.by)
