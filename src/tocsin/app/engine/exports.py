"""What rules export: gauges of their values, in step with evaluations and reloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from tocsin.alerts.conditions import LIVE
from tocsin.metrics.exports import SERIES, Exports, Family
from tocsin.model.remembered import ConditionState
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.memory import Measured

log = structlog.get_logger(__name__)


class Exporter:
    """Keeps ``exports`` in step. One thread."""

    def __init__(self, exports: Exports) -> None:
        self._exports = exports
        self._full: set[str] = set()  # families of which it was logged that they are full

    def use(self, rules: RuleSet, conditions: Callable[[str], Mapping[str, ConditionState]]) -> None:
        """``rules`` have come into force: their gauges show what is remembered, until each is evaluated again."""
        families: dict[str, Family] = {}
        measured: list[Measured] = []
        for rule in rules.enabled.values():
            metric = kind_of(rule).exports(rule)
            if not metric:
                continue
            about = rule.info.description or f"Value of rule {rule.public_name}."
            families[metric] = Family(name=metric, help=about, labels=rule.by)
            live = (state for state in conditions(rule.name).values() if state.phase in LIVE)
            measured.append(Measured(metric=metric, values=tuple((state.instance, state.value) for state in live)))
        self._exports.declare(list(families.values()))
        for metric in families:
            self._exports.clear(metric)
        self._full &= families.keys()
        self.take(measured)

    def take(self, measured: Iterable[Measured]) -> None:
        """What an evaluation saw."""
        for one in measured:
            if one.whole:
                room = self._exports.replace(one.metric, [(i, value) for i, value in one.values if value is not None])
            else:
                room = True
                for instance, value in one.values:
                    room = self._take_one(one.metric, instance, value) and room
            if not room and one.metric not in self._full:
                self._full.add(one.metric)
                log.warning("export_is_full", metric=one.metric, series=SERIES)

    def _take_one(self, metric: str, instance: Mapping[str, object], value: float | None) -> bool:
        if value is None:
            self._exports.drop(metric, instance)
            return True
        return self._exports.put(metric, instance, value)
