"""What makes a rule an event rule: it fires for events that match, each alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, TypeAlias

from tocsin.alerts.active import ResolvePolicy
from tocsin.kql.plan.rowplan import RowPlan
from tocsin.rules.kinds.event.collapsed import Collapsed
from tocsin.rules.queries import Hit
from tocsin.rules.spec.baseline import Below
from tocsin.rules.spec.rule import PlanSpec, RuleOf

FINAL_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventSpec(PlanSpec):
    """What an event rule says."""

    kind: ClassVar[str] = "event"
    word: ClassVar[str] = "event"

    plan: RowPlan
    finals: frozenset[str] | None = None  # statuses of which only the last attempt counts; empty: all; None: each does
    final_after: timedelta = FINAL_AFTER
    below: Below | None = None  # matches only events of runs that ended shorter than its baseline
    collapse: Collapsed | None = None  # one alert for a parent
    resolve_policy: ResolvePolicy | None = None  # of one whose alerts stay open

    @property
    def words(self) -> tuple[str, ...]:
        collapse = self.collapse.words if self.collapse else ""
        ends = self.resolve_policy.words if self.resolve_policy else ""
        return (f"{self.final_after}" if self.final else "", *filter(None, [" ".join(filter(None, [collapse, ends]))]))

    @property
    def final(self) -> bool:
        """Whether events of which another attempt follows are passed over; unknown ones wait for `final_after`."""
        return self.finals is not None

    def waits(self, status: str, will_retry: bool | None) -> bool:
        """Whether it has to be waited until it is known that no other attempt follows."""
        return will_retry is None and self.finals is not None and (not self.finals or status in self.finals)


EventRule: TypeAlias = RuleOf[EventSpec]
EventHit: TypeAlias = Hit[EventRule]
