"""Series whose labels are known when files are loaded exist with 0 from then on: ``increase()`` sees the first failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tocsin.intake.consumer import Consumer
from tocsin.metrics.registry import Metrics
from tocsin.model.delivery import EMAIL
from tocsin.rules.kinds.registry import kind_of
from tocsin.rules.kinds.ruleset import RuleSet

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
