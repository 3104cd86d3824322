"""What rules remember: the state as it was, with what this evaluation has decided so far laid over it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tocsin.model.alert import Occurrence, Transition
from tocsin.model.instants import Timer, TimerKind
from tocsin.model.intent import Intent, RuleInfo
from tocsin.model.remembered import ConditionState
from tocsin.rules.deadline_table import Deadline, Settled
from tocsin.state.interface import Backfill, Outcome, RuleRecord

Pair = tuple[str, str]
"""(rule, run)."""


class StateView(Protocol):
    """What an evaluation reads of ``State``."""

    def rules(self) -> Mapping[str, RuleRecord]:
        """As ``State.rules``."""

    def notified(self, pairs: Iterable[Pair]) -> Mapping[Pair, Sequence[Occurrence]]:
        """As ``State.notified``."""

    def rules_notified_of(self, run_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """As ``State.rules_notified_of``."""

    def backfills(self) -> Sequence[Backfill]:
        """As ``State.backfills``."""

    def conditions(self, rule: str) -> Mapping[str, ConditionState]:
        """As ``State.conditions``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFailure:
    """An evaluation of a rule that failed. Its state is kept; it is tried again.

    Or, where there are ``events``: it could not evaluate these, and went on without them.
    """

    rule: str
    error: str
    at: datetime  # T; UTC
    commit_seq: int
    events: tuple[str, ...] = ()  # EventIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The values of a rule that exports them, of each instance that an evaluation saw. None: over, or without a value."""

    metric: str
    values: tuple[tuple[Mapping[str, object], float | None], ...]
    whole: bool = False  # no other instance has a value: a tick sees all of them


class Memory:
    """Reads through to the state; keeps what is decided until ``outcome``. One evaluation, one thread.

    ``shown`` are the columns of its event that an intent shows besides what its alert is made of; None: all of them.
    ``settled`` says of which runs a heartbeat, with progress or without, need not be computed
    (``DeadlineTable.is_settled``).
    """

    def __init__(
        self, state: StateView, shown: Collection[str] | None = None, settled: Callable[[str, bool], bool] | None = None
    ) -> None:
        self._state = state
        self._settled = settled or (lambda run, progress: False)
        self.shown = shown
        self._known = state.rules()
        self._records: dict[str, RuleRecord] = {}  # those that changed
        self._backfills = {(c.rule, c.consumer): c for c in state.backfills()}
        self._notified: dict[Pair, list[Occurrence]] = {}
        self._timers: dict[tuple[str, str, str], Timer | None] = {}
        self._changed_backfills: set[tuple[str, str]] = set()
        self._conditions: dict[str, dict[str, ConditionState | None]] = {}  # by rule; those that changed; None: gone
        self.transitions: list[Transition] = []
        self.intents: list[Intent] = []
        self.failures: list[RuleFailure] = []
        self.deadlines: list[Deadline] = []
        self.settles: dict[str, Settled] = {}  # by run; they come into force after the deadlines
        self._moved: set[str] = set()  # runs whose deadlines changed
        self.measured: list[Measured] = []
        self._infos: dict[str, RuleInfo] = {}

    # -- reading -----------------------------------------------------------------------------------------------------

    def record(self, rule: str) -> RuleRecord:
        """What is remembered of a rule. Raises KeyError for one that ``reconcile`` has not met."""
        return self._records.get(rule) or self._known[rule]

    def follows(self, rule: str) -> bool:
        """Whether the rule is known and goes with the shared cursor; one that lags has its own."""
        record = self._records.get(rule) or self._known.get(rule)
        return record is not None and record.cursor is None

    def notified(self, pairs: Iterable[Pair]) -> dict[Pair, list[Occurrence]]:
        """Occurrences remembered for these pairs; pairs without any are left out."""
        wanted = set(pairs)
        found = {pair: list(seen) for pair, seen in self._state.notified(wanted).items()}
        for pair in wanted & self._notified.keys():
            found.setdefault(pair, []).extend(self._notified[pair])
        return found

    def rules_notified_of(self, run_ids: Iterable[str]) -> dict[str, set[str]]:
        """run → rules that remember an occurrence of it."""
        runs = set(run_ids)
        found = {run: set(rules) for run, rules in self._state.rules_notified_of(runs).items()}
        for rule, run in self._notified:
            if run in runs:
                found.setdefault(run, set()).add(rule)
        return found

    def backfill(self, rule: str, consumer: str) -> Backfill | None:
        """The rule's backfill of a consumer."""
        return self._backfills.get((rule, consumer))

    def conditions(self, rule: str) -> dict[str, ConditionState]:
        """Instances remembered of a rule, by instance key."""
        found = dict(self._state.conditions(rule))
        for key, state in self._conditions.get(rule, {}).items():
            if state is None:
                found.pop(key, None)
            else:
                found[key] = state
        return found

    def changed(self, rule: str) -> Mapping[str, ConditionState | None]:
        """Instances that this evaluation changed, by instance key; None: gone."""
        return self._conditions.get(rule, {})

    def knows_some(self, rule: str) -> bool:
        """Whether instances of a rule may be remembered."""
        return rule in self._conditions or bool(self._state.conditions(rule))

    def settled(self, run: str, progress: bool) -> bool:
        """Whether a heartbeat of ``run`` need not be computed; what this evaluation changed is."""
        return run not in self._moved and self._settled(run, progress)

    def condition(self, rule: str, key: str) -> ConditionState | None:
        """One instance remembered of a rule, by its key."""
        changed = self._conditions.get(rule, {})
        return changed[key] if key in changed else self._state.conditions(rule).get(key)

    # -- deciding ----------------------------------------------------------------------------------------------------

    def remember(self, occurrence: Occurrence) -> None:
        """An occurrence was notified or found expired."""
        self._notified.setdefault((occurrence.rule, occurrence.run_id), []).append(occurrence)

    def notify(self, intent: Intent, info: RuleInfo) -> None:
        """Something is to be notified."""
        self.intents.append(intent)
        self._infos[info.version] = info

    def put_record(self, record: RuleRecord) -> None:
        """Remember a rule again."""
        self._records[record.name] = record

    def put_timer(self, timer: Timer) -> None:
        """Set a timer, or set it again."""
        self._timers[(timer.rule, timer.kind, timer.key)] = timer

    def drop_timer(self, rule: str, kind: TimerKind, key: str) -> None:
        """Forget a timer."""
        self._timers[(rule, kind, key)] = None

    def put_condition(self, state: ConditionState) -> None:
        """Remember an instance again."""
        self._conditions.setdefault(state.rule, {})[state.key] = state

    def drop_condition(self, rule: str, key: str) -> None:
        """Forget an instance."""
        self._conditions.setdefault(rule, {})[key] = None

    def put_deadline(self, deadline: Deadline) -> None:
        """Set a run's deadline, or drop it; kept in memory only, since it follows from the log."""
        self.deadlines.append(deadline)
        self._moved.add(deadline.run)
        if deadline.due_us is None:
            self.settles.pop(deadline.run, None)

    def settle(self, settled: Settled) -> None:
        """What heartbeats of a run can do from now on."""
        self.settles[settled.run] = settled
        self._moved.add(settled.run)

    def put_backfill(self, backfill: Backfill) -> None:
        """Begin a backfill, or count on."""
        self._backfills[(backfill.rule, backfill.consumer)] = backfill
        self._changed_backfills.add((backfill.rule, backfill.consumer))

    def drop_backfill(self, rule: str, consumer: str) -> None:
        """End a backfill."""
        self._backfills.pop((rule, consumer), None)
        self._changed_backfills.add((rule, consumer))

    def outcome(self, *, row_cursor: int | None = None, timer_t: datetime | None = None) -> Outcome:
        """All that was decided."""
        return Outcome(
            row_cursor=row_cursor,
            rules=tuple(self._records[name] for name in sorted(self._records)),
            occurrences=tuple(o for seen in self._notified.values() for o in {one.event: one for one in seen}.values()),
            conditions=tuple(c for each in self._conditions.values() for c in each.values() if c is not None),
            conditions_gone=tuple(
                (rule, key) for rule, each in self._conditions.items() for key, c in each.items() if c is None
            ),
            timers=tuple(t for t in self._timers.values() if t is not None),
            timers_gone=tuple(key for key, t in self._timers.items() if t is None),
            backfills=tuple(self._backfills[k] for k in sorted(self._changed_backfills) if k in self._backfills),
            backfills_gone=tuple(k for k in sorted(self._changed_backfills) if k not in self._backfills),
            transitions=tuple(self.transitions),
            intents=tuple(self.intents),
            infos=tuple(self._infos.values()),
            timer_t=timer_t,
        )
