"""A compiled rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from tocsin.alerts.active import ResolvePolicy
from tocsin.alerts.conditions import Terms
from tocsin.kql.plan.prefilter import Predicate
from tocsin.kql.plan.rowplan import RowPlan
from tocsin.kql.plan.windowplan import WindowQuery
from tocsin.model.intent import RuleInfo
from tocsin.model.statuses import Kind, Severity
from tocsin.rules.language.names import public_name as public_name
from tocsin.rules.language.schema import InlineTest
from tocsin.rules.language.templates import TemplateText
from tocsin.rules.limits import Limit
from tocsin.rules.spec.baseline import Below
from tocsin.rules.spec.collapse import Collapsed
from tocsin.rules.spec.deadline import Absence
from tocsin.rules.spec.schedule import Scheduled

MAX_EVENT_AGE = timedelta(hours=24)
FINAL_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in a file."""

    file: str
    line: int  # 1-based

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Life(StrEnum):
    """A window that is no span of time."""

    RUN = "run"
    ROOT = "root"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """What makes a rule a window rule."""

    query: WindowQuery
    over: timedelta | Life
    reach: timedelta = timedelta(0)  # so much older events are seen too, marked as outside
    every: timedelta
    lateness: timedelta
    terms: Terms
    severities: tuple[tuple[Severity, str], ...]  # worst first, each with the column that says whether it is reached
    condition: str = ""  # KQL over the query's columns: when a row fires; '' where each does
    clear: str  # the column that says whether a firing instance may end; '' where any may
    value: str  # '' for none
    export: str  # name of the gauge of its value; '' for none
    max_instances: int
    beside: frozenset[str] = frozenset()  # columns read for the mail's sake, which its rows need not show


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForEachRule:
    """What makes a rule one for each row of a table."""

    table: str
    rules: tuple[Rule, ...]  # of the rows
    make: Callable[[Sequence[Mapping[str, object]]], tuple[tuple[Rule, ...], list[str]]] = field(repr=False)

    def over(self, rows: Sequence[Mapping[str, object]]) -> ForEachRule:
        """The same over other rows. Raises ValueError that says what is wrong with them."""
        rules, wrong = self.make(rows)
        if wrong:
            raise ValueError("; ".join(wrong))
        return replace(self, rules=rules)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """An alert rule, checked and compiled. Two rules are equal only if they are the same object."""

    name: str
    kind: Kind
    enabled: bool
    severity: Severity
    query: str  # KQL, also where the file says `when:`
    row_plan: RowPlan | None  # of an event rule; of an absence rule: which runs it waits for
    window: Window | None = None  # of a window rule
    absence: Absence | None = None  # of an absence rule about single runs
    below: Below | None = None  # of an event rule: matches only events of runs that ended shorter than its baseline
    scheduled: Scheduled | None = None  # of an absence rule with a schedule
    collapse: Collapsed | None = None  # of an event rule: one alert for a parent
    resolve_policy: ResolvePolicy | None = None  # of an event rule whose alerts stay open
    limit: Limit | None = None  # how many are notified singly
    final: bool  # events of which another attempt follows are passed over; unknown ones wait for `final_after`
    final_after: timedelta
    max_event_age: timedelta
    by: tuple[str, ...]  # RunId first
    fields: tuple[str, ...]
    labels: Mapping[str, TemplateText]
    info: RuleInfo
    meaning: str  # hash of what carries meaning
    renamed_from: str
    tests: tuple[InlineTest, ...]
    place: Place
    reference: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # tables of the user's that it reads
    each: ForEachRule | None = None  # it stands for one rule a row of a table, which are evaluated
    of_row: Mapping[str, object] = field(default_factory=dict)  # of a rule of a row that waits for runs: the row

    @property
    def whole_query(self) -> str:
        """The query with the condition after it: the rows that fire."""
        if self.window is None or not self.window.condition:
            return self.query
        return f"{self.query.rstrip().removesuffix(';')}\n| where (\n{self.window.condition}\n)"

    @property
    def public_name(self) -> str:
        """Its name to people: in mails, history, metrics, routes."""
        return public_name(self.name)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Names under which it is evaluated and remembered: its own, or those of the rows of its table."""
        return (self.name,) if self.each is None else tuple(rule.name for rule in self.each.rules)

    @property
    def plan(self) -> RowPlan:
        """How an event rule matches, or which runs an absence rule waits for. Raises TypeError for another one."""
        if self.row_plan is None:
            raise TypeError(f"{self.name} is a {self.kind} rule: it has no row plan")
        return self.row_plan

    @property
    def prefilter(self) -> tuple[Predicate, ...]:
        """What every event satisfies that it can be about."""
        return self.window.query.prefilter if self.window is not None else self.plan.prefilter

    @property
    def carries(self) -> tuple[str, ...]:
        """Fields that its alerts have."""
        return tuple(dict.fromkeys((*self.by, *self.fields, *self.labels)))

    @property
    def reads(self) -> frozenset[str]:
        """Fields of the row that its alerts are made of."""
        return frozenset((*self.by, *self.fields)).union(*(text.names for text in self.labels.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A receiver's name or an address that a rule notifies."""

    name: str
    rule: str
    place: Place
