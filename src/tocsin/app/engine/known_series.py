"""Series whose labels are known when files are loaded exist with 0 from then on: ``increase()`` sees the first failure.

What rules export besides are gauges of their values, in step with evaluations and reloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from tocsin.alerts.conditions import LIVE
from tocsin.intake.consumer import Consumer
from tocsin.metrics.exports import SERIES, Exports, Family
from tocsin.metrics.registry import Metrics
from tocsin.model.delivery import EMAIL
from tocsin.model.remembered import ConditionState
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.memory import Measured

OF_CONSUMERS: Final = (
    "tocsin_intake_messages_total",
    "tocsin_intake_unknown_status_total",
    "tocsin_intake_dead_letters_total",
    "tocsin_intake_lateness_seconds",
)
OF_KAFKA: Final = ("tocsin_intake_kafka_gap_records_total", "tocsin_intake_kafka_topic_resets_total")
OF_CHANNELS: Final = ("tocsin_notifications_total", "tocsin_notifications_failed_total")
OF_RULES: Final = (
    "tocsin_alerts_expired_total",
    "tocsin_alerts_rate_limited_total",
    "tocsin_rule_evaluation_failures_total",
)


def present_rules(metrics: Metrics, rules: RuleSet) -> None:
    """The series of the rules in force."""
    for rule in rules.rules.values():
        if not rule.enabled:
            continue
        for name in OF_RULES:
            metrics.present(name, rule=[rule.public_name])
        severities = [severity.word for severity in kind_of(rule).severities(rule)]
        metrics.present("tocsin_alerts_fired_total", rule=[rule.public_name], severity=severities)
        metrics.present("tocsin_alerts_active", rule=[rule.public_name], severity=severities, kind=[rule.word])


def present_channels(metrics: Metrics, receivers: Mapping[str, Mapping[str, object]]) -> None:
    """The series of the channels in use: mail, and what ``receivers`` have besides."""
    channels = {EMAIL}.union(*receivers.values())
    for name in OF_CHANNELS:
        metrics.present(name, channel=sorted(channels))


def present_consumers(metrics: Metrics, consumers: Mapping[str, Consumer]) -> None:
    """The series of the consumers that run."""
    for name, consumer in consumers.items():
        for metric in (*OF_CONSUMERS, *(OF_KAFKA if consumer.connector == "kafka" else ())):
            metrics.present(metric, consumer=[name])


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
