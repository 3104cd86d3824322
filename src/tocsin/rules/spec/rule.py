"""A compiled rule: a head that rules of every kind have, and the spec of its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import ClassVar, Generic, TypeAlias, TypeVar, cast

from tocsin.alerts.conditions import Terms
from tocsin.kql.plan.prefilter import Predicate
from tocsin.kql.plan.rowplan import RowPlan
from tocsin.model.calendars.calendar import Maintenance
from tocsin.model.intent import RuleInfo
from tocsin.model.statuses import Severity
from tocsin.rules.language.names import public_name as public_name
from tocsin.rules.language.schema import InlineTest
from tocsin.rules.language.templates import TemplateText
from tocsin.rules.spec.limit import Limit

MAX_EVENT_AGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in a file."""

    file: str
    line: int  # 1-based

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Spec(ABC):
    """What a rule says that only rules of its kind can say."""

    __slots__ = ()
    kind: ClassVar[str]  # name of the kind in the registry
    word: ClassVar[str]  # what people call it: `kind:` of a file, metrics, pages

    @property
    @abstractmethod
    def prefilter(self) -> tuple[Predicate, ...]:
        """What every event satisfies that the rule can be about."""

    @property
    @abstractmethod
    def tables(self) -> frozenset[str]:
        """Tables that its query reads."""

    @property
    @abstractmethod
    def words(self) -> tuple[str, ...]:
        """What of it decides which alerts there are, besides the query and `by`: part of the rule's meaning."""


class PlanSpec(Spec):
    """A spec whose query says of single events whether they match."""

    __slots__ = ()
    plan: RowPlan

    @property
    def prefilter(self) -> tuple[Predicate, ...]:
        return self.plan.prefilter

    @property
    def tables(self) -> frozenset[str]:
        return self.plan.tables


class WaitSpec(PlanSpec):
    """A spec of conditions that time makes true."""

    __slots__ = ()
    terms: Terms
    pauses: tuple[Maintenance, ...]  # that may stop its clocks


S = TypeVar("S", bound=Spec, covariant=True)


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
class RuleOf(Generic[S]):
    """An alert rule, checked and compiled. Two rules are equal only if they are the same object."""

    name: str
    enabled: bool
    severity: Severity
    query: str  # KQL, also where the file says `when:`
    spec: S
    limit: Limit | None = None  # how many are notified singly
    max_event_age: timedelta = MAX_EVENT_AGE
    by: tuple[str, ...]
    fields: tuple[str, ...]
    labels: Mapping[str, TemplateText]
    info: RuleInfo
    meaning: str  # hash of what carries meaning
    renamed_from: str
    tests: tuple[InlineTest, ...]
    place: Place
    reference: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # tables of the user's that it reads
    each: ForEachRule | None = None  # it stands for one rule a row of a table, which are evaluated

    @property
    def kind(self) -> str:
        """Name of its kind in the registry."""
        return self.spec.kind

    @property
    def word(self) -> str:
        """What people call its kind."""
        return self.spec.word

    @property
    def public_name(self) -> str:
        """Its name to people: in mails, history, metrics, routes."""
        return public_name(self.name)

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Names under which it is evaluated and remembered: its own, or those of the rows of its table."""
        return (self.name,) if self.each is None else tuple(rule.name for rule in self.each.rules)

    @property
    def prefilter(self) -> tuple[Predicate, ...]:
        """What every event satisfies that it can be about."""
        return self.spec.prefilter

    @property
    def carries(self) -> tuple[str, ...]:
        """Fields that its alerts have."""
        return tuple(dict.fromkeys((*self.by, *self.fields, *self.labels)))

    @property
    def reads(self) -> frozenset[str]:
        """Fields of the row that its alerts are made of."""
        return frozenset((*self.by, *self.fields)).union(*(text.names for text in self.labels.values()))


Rule: TypeAlias = RuleOf[Spec]
"""A rule of any kind."""


T = TypeVar("T", bound=Spec)


def of_spec(rule: Rule, spec: type[T]) -> RuleOf[T]:
    """``rule``, which has such a spec."""
    assert isinstance(rule.spec, spec)
    return cast("RuleOf[T]", rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A receiver's name or an address that a rule notifies."""

    name: str
    rule: str
    place: Place
