"""The one table of metric names: type, labels, bound of their cardinality, meaning. Docs and the registry are made
from it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tocsin.model.delivery import DeliveryState
from tocsin.model.event import DeadReason
from tocsin.model.statuses import STATUS_WORDS, TERMINAL, Kind, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric family. ``bound`` says what keeps the number of series finite."""

    name: str
    type: str  # counter | gauge | histogram
    labels: tuple[str, ...] = ()
    bound: str = "1"
    help: str
    buckets: tuple[float, ...] = ()
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """All values of labels that have the same ones everywhere. Where every label is here, each series exists with 0 from
    the start; the values of other labels are known when files are loaded.
    """
    of_runs: bool = False
    """Whether the labels of ``metrics.run_labels`` are added."""

    def with_labels_of_runs(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All its labels, where ``names`` are the labels of runs that the settings ask for."""
        return (*self.labels, *names) if self.of_runs else self.labels


ENDS = tuple(sorted(TERMINAL))
ALIVE = tuple(sorted(STATUS_WORDS - TERMINAL))
HANDLERS = ("intake", "query", "api", "pages", "metrics", "health")
CODES = ("2xx", "3xx", "4xx", "5xx")
KINDS = tuple(kind.value for kind in Kind)
SEND_OUTCOMES = ("accepted", "later", "never", "network", "timeout")
FINISHED = (DeliveryState.SENT.value, DeliveryState.FAILED.value, DeliveryState.DROPPED.value)
FAILURES = ("refused", "expired", "no_channel")
EVALUATIONS = ("commit", "timer")
CLOSINGS = (
    "head_size",
    "head_timeout",
    "body_timeout",
    "unread",
    "pipelined",
    "address_limit",
    "connection_limit",
)
REFUSALS = (
    "host",
    "origin",
    "token",
    "size",
    "type",
    "method",
    "no_json",
    "queue_full",
    "slow_commit",
    "store_full",
    "store_lost",
    "unknown_consumer",
    "path",
)
INTAKE_OUTCOMES = ("accepted", "duplicate", "heartbeat", "dead", "skipped", "filtered")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_QUEUE_SECONDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_RUN_SECONDS = (60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600, 86400, 172800, 604800)


def _m(
    name: str,
    type_: str,
    help_: str,
    *labels: str,
    bound: str = "1",
    buckets: tuple[float, ...] = (),
    known: Mapping[str, tuple[str, ...]] | None = None,
    of_runs: bool = False,
) -> Metric:
    return Metric(
        name=name,
        type=type_,
        labels=labels,
        bound=bound,
        help=help_,
        buckets=buckets,
        known=known or {},
        of_runs=of_runs,
    )


TABLE: tuple[Metric, ...] = (
    # runs
    _m(
        "tocsin_runs_status_changes_total",
        "counter",
        "Status changes stored.",
        "status",
        bound="14 statuses",
        known={"status": tuple(sorted(STATUS_WORDS))},
    ),
    _m(
        "tocsin_runs_active",
        "gauge",
        "Runs that have not ended, by latest status.",
        "status",
        bound="11 statuses",
        known={"status": ALIVE},
    ),
    _m(
        "tocsin_runs_ended_total",
        "counter",
        "Runs that ended. The reason is empty where none was given.",
        "status",
        "reason",
        bound="3 terminal statuses x 9 reasons",
        known={"status": ENDS, "reason": tuple(reason.value for reason in Reason)},
        of_runs=True,
    ),
    _m(
        "tocsin_runs_duration_seconds",
        "histogram",
        "Length of ended runs.",
        "status",
        bound="3 terminal statuses",
        buckets=_RUN_SECONDS,
        known={"status": ENDS},
        of_runs=True,
    ),
    _m(
        "tocsin_runs_queue_seconds",
        "histogram",
        "From the first event of a run to its start.",
        buckets=_QUEUE_SECONDS,
        of_runs=True,
    ),
    _m(
        "tocsin_runs_last_success_timestamp_seconds",
        "gauge",
        "When a run last completed; 0 before the first.",
        bound="1",
        of_runs=True,
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
    _m("tocsin_alerts_acknowledged_total", "counter", "Alerts that a person has acknowledged or snoozed."),
    _m(
        "tocsin_alert_acknowledge_duration_seconds",
        "histogram",
        "From the firing of an alert to its acknowledgement.",
        buckets=(30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400),
    ),
    _m("tocsin_alerts_unrouted_total", "counter", "Alerts that no route takes: they go to default_receiver."),
    _m(
        "tocsin_escalation_steps_total",
        "counter",
        "Steps of escalations that went out, repeats included.",
        "escalation",
        "step",
        bound="steps of the escalations in force",
    ),
    _m("tocsin_silences_active", "gauge", "Silences in force, of files and of people."),
    _m(
        "tocsin_oncall_on_call",
        "gauge",
        "1 for each person who is on call now.",
        "schedule",
        "person",
        bound="schedules x people on call at once",
    ),
    _m(
        "tocsin_oncall_next_gap_timestamp_seconds",
        "gauge",
        "When the next time begins in which nobody is on call; no series where there is none.",
        "schedule",
        bound="schedules",
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
        known={"outcome": INTAKE_OUTCOMES},
    ),
    _m(
        "tocsin_intake_unknown_columns_total",
        "counter",
        "Events with names in `data` that are no column: what stands under them is kept in Raw only.",
        "consumer",
        bound="consumers",
    ),
    _m(
        "tocsin_intake_unknown_status_total",
        "counter",
        "Events whose status no map knows.",
        "consumer",
        bound="consumers",
    ),
    _m(
        "tocsin_intake_clock_skew_total",
        "counter",
        "Events stamped more than `intake.max_clock_skew` after their receipt, which was taken instead.",
        "consumer",
        bound="consumers",
    ),
    _m(
        "tocsin_intake_dead_letters_total",
        "counter",
        "Messages that could not be read.",
        "consumer",
        "reason",
        bound="consumers x 14 reasons",
        known={"reason": tuple(reason.value for reason in DeadReason)},
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
    _m(
        "tocsin_intake_refused_total",
        "counter",
        "HTTP requests refused.",
        "reason",
        bound="12 reasons",
        known={"reason": REFUSALS},
    ),
    _m(
        "tocsin_http_requests_total",
        "counter",
        "Answers to HTTP requests, by the first digit of their status.",
        "handler",
        "code",
        bound="6 handlers x 4 codes",
        known={"handler": HANDLERS, "code": CODES},
    ),
    _m(
        "tocsin_http_request_duration_seconds",
        "histogram",
        "From the head of a request to the end of its answer.",
        "handler",
        bound="6 handlers",
        buckets=_HTTP_SECONDS,
        known={"handler": HANDLERS},
    ),
    _m(
        "tocsin_http_connections_closed_total",
        "counter",
        "Connections closed because a head or body was too slow or too large, or too many waited.",
        "reason",
        bound="7 reasons",
        known={"reason": CLOSINGS},
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
    _m("tocsin_store_disk_free_bytes", "gauge", "Free bytes of the disk that holds the log store."),
    _m("tocsin_store_reopened_total", "counter", "Times that the store was lost and opened again."),
    _m("tocsin_store_mirror_lag_rows", "gauge", "Rows of Alerts, Notifications and Actions not mirrored yet."),
    # evaluation
    _m(
        "tocsin_rule_evaluation_duration_seconds",
        "histogram",
        "Length of an evaluation.",
        "kind",
        bound="2 kinds",
        buckets=_SECONDS,
        known={"kind": EVALUATIONS},
    ),
    _m(
        "tocsin_rule_last_evaluation_timestamp_seconds",
        "gauge",
        "When rules were last evaluated; 0 before the first time.",
        "kind",
        bound="2 kinds",
        known={"kind": EVALUATIONS},
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
    _m(
        "tocsin_notify_mails_total",
        "counter",
        "Deliveries by what became of them.",
        "state",
        bound="3 states",
        known={"state": FINISHED},
    ),
    _m(
        "tocsin_notifications_total",
        "counter",
        "Notifications that a channel accepted.",
        "channel",
        bound="channels in use",
    ),
    _m(
        "tocsin_notifications_failed_total",
        "counter",
        "Notifications that were given up.",
        "channel",
        "reason",
        bound="channels in use x 3 reasons",
        known={"reason": FAILURES},
    ),
    _m(
        "tocsin_notify_attempts_total",
        "counter",
        "Attempts to send, by outcome.",
        "outcome",
        bound="5 outcomes",
        known={"outcome": SEND_OUTCOMES},
    ),
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
        "From the commit of an event to the acceptance of its message by the channel.",
        buckets=_SECONDS,
    ),
    # itself
    _m(
        "tocsin_config_reloads_total",
        "counter",
        "Reloads of files.",
        "outcome",
        bound="2 outcomes",
        known={"outcome": ("taken", "refused")},
    ),
    _m(
        "tocsin_config_last_reload_successful",
        "gauge",
        "1 where the files on disk are in force, 0 where they are refused.",
    ),
    _m("tocsin_config_last_reload_success_timestamp_seconds", "gauge", "When files last came into force."),
    _m("tocsin_config_broken_files", "gauge", "Files that are refused."),
    _m("tocsin_rules_loaded", "gauge", "Rules in force.", "kind", bound="3 kinds", known={"kind": KINDS}),
    _m("tocsin_build_info", "gauge", "Always 1; the version is a label.", "version", bound="1"),
)
"""Counters end in ``_total``; lengths are in seconds, sizes in bytes."""


OURS, RULES = "tocsin_", "tocsin_rule_"
"""Names that begin so are ours; those that begin so rules may have."""
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")


def name_fault(name: str) -> tuple[str, str]:
    """(what is wrong with the name of a rule's metric, what would be right); two '' for a good one."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        return f"'{name}' is no name of a metric", "letters, digits, _ and :, for example tocsin_rule_cost_usd"
    if name in {m.name for m in TABLE} or (name.startswith(OURS) and not name.startswith(RULES)):
        return f"'{name}' is a name of tocsin's own", f"begin it with {RULES}, or with a word of yours"
    if name.endswith(_SUFFIXES):
        suffix = next(s for s in _SUFFIXES if name.endswith(s))
        return f"'{name}' ends like another kind of metric than a gauge", f"leave {suffix} out"
    return "", ""


def label_of(field: str) -> str:
    """The label of a field: ``ExperimentName`` is ``experiment_name``."""
    return _WORDS.sub("_", field).lower()


def label_fault(name: str, others: Collection[str] = ()) -> str:
    """What is wrong with a field as a label beside those of ``others``; '' for a good one."""
    if not _LABEL.fullmatch(label_of(name)):
        return f"'{name}' cannot be a label"
    twin = next((other for other in others if other != name and label_of(other) == label_of(name)), "")
    return f"'{name}' and '{twin}' would be the same label '{label_of(name)}'" if twin else ""
