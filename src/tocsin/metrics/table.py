"""The one table of metric names: type, labels, bound of their cardinality, meaning. Docs and the registry are made
from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric family. ``bound`` says what keeps the number of series finite."""

    name: str
    type: str  # counter | gauge | histogram
    labels: tuple[str, ...] = ()
    bound: str = "1"
    help: str
    buckets: tuple[float, ...] = ()


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_RUN_SECONDS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800, 604800)


def _m(name: str, type_: str, help_: str, *labels: str, bound: str = "1", buckets: tuple[float, ...] = ()) -> Metric:
    return Metric(name=name, type=type_, labels=labels, bound=bound, help=help_, buckets=buckets)


TABLE: tuple[Metric, ...] = (
    # runs
    _m("tocsin_runs_status_changes_total", "counter", "Status changes stored.", "status", bound="14 statuses"),
    _m("tocsin_runs_active", "gauge", "Runs that have not ended, by latest status.", "status", bound="14 statuses"),
    _m(
        "tocsin_runs_duration_seconds",
        "histogram",
        "Length of ended runs.",
        "status",
        bound="3 terminal statuses",
        buckets=_RUN_SECONDS,
    ),
    _m("tocsin_runs_heartbeats_total", "counter", "Heartbeats received."),
    # alerts
    _m(
        "tocsin_alerts_fired_total",
        "counter",
        "Alerts that fired.",
        "rule",
        "severity",
        bound="rules x 5 severities",
    ),
    _m(
        "tocsin_alerts_active",
        "gauge",
        "Active alerts: conditions that fire or recover, and open event alerts.",
        "rule",
        "severity",
        "kind",
        bound="rules x 5 severities",
    ),
    _m(
        "tocsin_alerts_expired_total",
        "counter",
        "Occurrences older than `max_event_age`: recorded, not notified.",
        "rule",
        bound="rules",
    ),
    _m(
        "tocsin_alerts_rate_limited_total",
        "counter",
        "Rate limited alerts: listed in a digest, or dropped.",
        "rule",
        bound="rules",
    ),
    _m("tocsin_rule_evaluation_failures_total", "counter", "Evaluations of a rule that failed.", "rule", bound="rules"),
    # intake
    _m(
        "tocsin_intake_messages_total",
        "counter",
        "Messages received.",
        "consumer",
        "outcome",
        bound="consumers x 6 outcomes",
    ),
    _m(
        "tocsin_intake_unknown_status_total",
        "counter",
        "Events whose status no map knows.",
        "consumer",
        bound="consumers",
    ),
    _m(
        "tocsin_intake_dead_letters_total",
        "counter",
        "Messages that could not be read.",
        "consumer",
        "reason",
        bound="consumers x 13 reasons",
    ),
    _m(
        "tocsin_intake_lateness_seconds",
        "histogram",
        "IngestedAt - TimeGenerated.",
        "consumer",
        bound="consumers",
        buckets=(0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 14400, 86400),
    ),
    _m(
        "tocsin_intake_watermark_lag_seconds",
        "gauge",
        "Age of the consumer's watermark.",
        "consumer",
        bound="consumers",
    ),
    _m(
        "tocsin_intake_kafka_lag_records",
        "gauge",
        "End offset less stored position.",
        "consumer",
        "topic",
        "partition",
        bound="assigned partitions",
    ),
    _m(
        "tocsin_intake_kafka_gap_records_total",
        "counter",
        "Records lost to retention before they were read.",
        "consumer",
        bound="consumers",
    ),
    _m(
        "tocsin_intake_kafka_topic_resets_total",
        "counter",
        "Topics recreated and read from their start.",
        "consumer",
        bound="consumers",
    ),
    _m("tocsin_intake_refused_total", "counter", "HTTP requests refused.", "reason", bound="10 reasons"),
    _m(
        "tocsin_http_connections_closed_total",
        "counter",
        "Connections closed because a head or body was too slow or too large, or too many waited.",
        "reason",
        bound="7 reasons",
    ),
    _m("tocsin_intake_queue_batches", "gauge", "Batches that wait to be committed."),
    # log store
    _m("tocsin_store_commit_seconds", "histogram", "Length of a log store commit.", buckets=_SECONDS),
    _m(
        "tocsin_store_commit_rows",
        "histogram",
        "Rows of a log store commit.",
        buckets=(1, 10, 100, 1000, 5000, 20000, 50000),
    ),
    _m("tocsin_store_commit_seq", "gauge", "CommitSeq of the newest commit."),
    _m("tocsin_store_size_bytes", "gauge", "Bytes on disk."),
    _m("tocsin_store_reopened_total", "counter", "Times that the store was lost and opened again."),
    _m("tocsin_store_mirror_lag_rows", "gauge", "Rows of Alerts and Notifications not mirrored yet."),
    # evaluation
    _m(
        "tocsin_rule_evaluation_duration_seconds",
        "histogram",
        "Length of an evaluation.",
        "kind",
        bound="3 kinds",
        buckets=_SECONDS,
    ),
    _m("tocsin_evaluate_cursor_lag_commits", "gauge", "Commits not evaluated yet."),
    _m("tocsin_timers_waiting", "gauge", "Timers past due that wait for a watermark."),
    _m(
        "tocsin_evaluate_coalesced_ticks_total",
        "counter",
        "Overdue window ticks that were coalesced into one.",
    ),
    _m("tocsin_evaluate_late_timers_total", "counter", "Timers evaluated more than 5 s after their due time."),
    _m("tocsin_evaluate_timers", "gauge", "Timers set."),
    # notify
    _m("tocsin_notify_mails_total", "counter", "Deliveries by state.", "state", bound="5 states"),
    _m("tocsin_notify_attempts_total", "counter", "Attempts to send, by outcome.", "outcome", bound="5 outcomes"),
    _m(
        "tocsin_channel_up",
        "gauge",
        "1 while a receiver's other side can be reached; `email` is the SMTP server.",
        "receiver",
        bound="one a receiver and channel in use",
    ),
    _m("tocsin_notify_outbox_mails", "gauge", "Deliveries that wait to be sent."),
    _m("tocsin_notify_outbox_age_seconds", "gauge", "Age of the oldest delivery that waits."),
    _m("tocsin_notify_capped_total", "counter", "Mails listed in a cap's summary instead of sent."),
    _m("tocsin_notify_template_errors_total", "counter", "Templates that failed and fell back to the built-in one."),
    _m("tocsin_notify_send_seconds", "histogram", "Length of one SMTP attempt.", buckets=_SECONDS),
    _m(
        "tocsin_notification_latency_seconds",
        "histogram",
        "From the commit of an event to the server's 250.",
        buckets=_SECONDS,
    ),
    # itself
    _m("tocsin_config_reloads_total", "counter", "Reloads of files.", "outcome", bound="2 outcomes"),
    _m(
        "tocsin_config_last_reload_successful",
        "gauge",
        "1 where the files on disk are in force, 0 where they are refused.",
    ),
    _m("tocsin_config_last_reload_success_timestamp_seconds", "gauge", "When files last came into force."),
    _m("tocsin_config_broken_files", "gauge", "Files that are refused."),
    _m("tocsin_rules_loaded", "gauge", "Rules in force.", "kind", bound="3 kinds"),
    _m("tocsin_build_info", "gauge", "Always 1; the version is a label.", "version", bound="1"),
)
"""Counters end in ``_total``; lengths are in seconds, sizes in bytes."""
