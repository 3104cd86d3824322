"""What makes a rule a window rule: its query is asked over a window of time, again and again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar, TypeAlias

from tocsin.alerts.conditions import Terms
from tocsin.kql.plan.prefilter import Predicate
from tocsin.kql.plan.windowplan import AML, EVENTS, WindowQuery
from tocsin.model.statuses import Severity
from tocsin.rules.spec.rule import RuleOf, Spec


class Life(StrEnum):
    """A window that is no span of time."""

    RUN = "run"
    ROOT = "root"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowSpec(Spec):
    """What a window rule says."""

    kind: ClassVar[str] = "window"
    word: ClassVar[str] = "window"

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
    made: tuple[tuple[str, str], ...] = ()  # conditions over the query's columns: name, KQL

    @property
    def prefilter(self) -> tuple[Predicate, ...]:
        return self.query.prefilter

    @property
    def tables(self) -> frozenset[str]:
        return self.query.tables

    @property
    def words(self) -> tuple[str, ...]:
        """As ``Spec.words``. How often an instance is notified, and by which words, does not count."""
        terms = self.terms
        lives = (terms.hold, terms.n_of_m, terms.keep_firing, terms.no_data)
        return (repr((self.over, self.every, self.lateness, lives, self.made, self.reach)),)

    @property
    def evaluates_early(self) -> bool:
        """Whether new rows can begin something before the next tick."""
        terms, query = self.terms, self.query
        return not self.lateness and terms.n_of_m is None and query.events and bool(query.tables & {EVENTS, AML})


WindowRule: TypeAlias = RuleOf[WindowSpec]
