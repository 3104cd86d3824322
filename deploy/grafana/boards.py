"""The four dashboards."""

from __future__ import annotations

from deploy.grafana.panels import Board, Section, grown, panel, quantiles, rate, selector

FAILED = 'status="Failed"'

RUNS = Board(
    uid="tocsin-runs",
    title="tocsin: runs",
    description="Training runs, jobs and pipelines: what runs, what failed and why, how long things wait and take.",
    sections=(
        Section(
            title="Now",
            panels=(
                panel(
                    "Active runs",
                    "Runs that have not ended.",
                    "short",
                    (f"sum({selector('tocsin_runs_active')})", "active"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Failed in this range",
                    "Runs that ended as Failed in the chosen time range.",
                    "short",
                    (f"sum({grown('tocsin_runs_ended_total', FAILED)})", "failed"),
                    kind="stat",
                    width=6,
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Share of failed runs",
                    "Failed runs among all that ended in the chosen time range. Without an ended run there is no share.",
                    "percentunit",
                    (
                        f"sum({grown('tocsin_runs_ended_total', FAILED)}) / (sum({grown('tocsin_runs_ended_total')}) > 0)",
                        "failed",
                    ),
                    kind="stat",
                    width=6,
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Heartbeats",
                    "Heartbeats received a second.",
                    "cps",
                    (f"sum({rate('tocsin_runs_heartbeats_total')})", "heartbeats"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Active runs by status",
                    "Runs that have not ended, by their latest status.",
                    "short",
                    (f"sum by (status) ({selector('tocsin_runs_active')})", "{{status}}"),
                ),
                panel(
                    "Status changes",
                    "Status changes stored a second.",
                    "cps",
                    (f"sum by (status) ({rate('tocsin_runs_status_changes_total')})", "{{status}}"),
                ),
            ),
        ),
        Section(
            title="Failures",
            panels=(
                panel(
                    "Failures by experiment and reason",
                    "Failed runs in the chosen time range. Experiments show with `metrics: {run_labels: [experiment]}` in tocsin.yaml.",
                    "short",
                    (
                        f"sort_desc(sum by (experiment, reason) ({grown('tocsin_runs_ended_total', FAILED)}) > 0)",
                        "{{experiment}} {{reason}}",
                    ),
                    kind="ranking",
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Failures by hour",
                    "Failed runs in each hour, by reason.",
                    "short",
                    (
                        f"sum by (reason) ({grown('tocsin_runs_ended_total', FAILED, over='1h')})",
                        "{{reason}}",
                    ),
                    kind="bars",
                    interval="1h",
                ),
                panel(
                    "Ended runs",
                    "Runs that ended in each hour, by status.",
                    "short",
                    (f"sum by (status) ({grown('tocsin_runs_ended_total', over='1h')})", "{{status}}"),
                    kind="bars",
                    interval="1h",
                ),
                panel(
                    "Time since the last success",
                    "By experiment, where `metrics.run_labels` names it. A nightly that stopped succeeding stands out here.",
                    "s",
                    (
                        f"time() - ({selector('tocsin_runs_last_success_timestamp_seconds')} > 0)",
                        "{{experiment}}",
                    ),
                    zero=True,
                ),
            ),
        ),
        Section(
            title="Waiting and length",
            panels=(
                quantiles(
                    "Queue time",
                    "From the first event of a run to its start.",
                    "tocsin_runs_queue_seconds",
                ),
                quantiles(
                    "Length of ended runs",
                    "Median and 95th percentile of the runs that ended, by status.",
                    "tocsin_runs_duration_seconds",
                    "status",
                ),
            ),
        ),
    ),
)

ALERTS = Board(
    uid="tocsin-alerts",
    title="tocsin: alerts",
    description="What fires, what went out, and which rules make the noise.",
    sections=(
        Section(
            title="Alerts",
            panels=(
                panel(
                    "Active alerts",
                    "Conditions that fire or recover, and event alerts that are open.",
                    "short",
                    (f"sum({selector('tocsin_alerts_active')})", "active"),
                    kind="stat",
                    width=6,
                    zero=True,
                ),
                panel(
                    "Fired in this range",
                    "Alerts that fired in the chosen time range.",
                    "short",
                    (f"sum({grown('tocsin_alerts_fired_total')})", "fired"),
                    kind="stat",
                    width=6,
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Notifications given up",
                    "Notifications that failed for good in the chosen time range. Anything above 0 needs somebody.",
                    "short",
                    (f"sum({grown('tocsin_notifications_failed_total')})", "failed"),
                    kind="stat",
                    width=6,
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Rules in force",
                    "Rules that are evaluated.",
                    "short",
                    (f"sum({selector('tocsin_rules_loaded')})", "rules"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Active alerts by severity",
                    "Alerts that are active, by severity.",
                    "short",
                    (f"sum by (severity) ({selector('tocsin_alerts_active')})", "{{severity}}"),
                    zero=True,
                ),
                panel(
                    "Active alerts by rule",
                    "The ten rules with the most active alerts.",
                    "short",
                    (f"topk(10, sum by (rule) ({selector('tocsin_alerts_active')}) > 0)", "{{rule}}"),
                    kind="ranking",
                    instant=True,
                    zero=True,
                ),
            ),
        ),
        Section(
            title="Noise",
            panels=(
                panel(
                    "Noise by rule",
                    "The ten rules that fired most in the chosen time range.",
                    "short",
                    (f"topk(10, sum by (rule) ({grown('tocsin_alerts_fired_total')}) > 0)", "{{rule}}"),
                    kind="ranking",
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Fired by hour",
                    "Alerts that fired in each hour, by severity.",
                    "short",
                    (f"sum by (severity) ({grown('tocsin_alerts_fired_total', over='1h')})", "{{severity}}"),
                    kind="bars",
                    interval="1h",
                    zero=True,
                ),
                panel(
                    "Rate limited and expired",
                    "Alerts that notified nobody singly: rate limited ones, and occurrences older than `max_event_age`.",
                    "short",
                    (f"sum({grown('tocsin_alerts_rate_limited_total', over='1h')})", "rate limited"),
                    (f"sum({grown('tocsin_alerts_expired_total', over='1h')})", "expired"),
                    kind="bars",
                    interval="1h",
                    zero=True,
                ),
                panel(
                    "Rules that cannot be evaluated",
                    "Failed evaluations a second, by rule.",
                    "cps",
                    (f"sum by (rule) ({rate('tocsin_rule_evaluation_failures_total')}) > 0", "{{rule}}"),
                    zero=True,
                ),
            ),
        ),
        Section(
            title="On call",
            panels=(
                panel(
                    "On call now",
                    "Who is on call, by schedule.",
                    "short",
                    (f"max by (schedule, person) ({selector('tocsin_oncall_on_call')})", "{{schedule}}: {{person}}"),
                    kind="stat",
                    width=6,
                    instant=True,
                ),
                panel(
                    "Schedules with a gap within a week",
                    "Schedules in which nobody is on call at some time of the next seven days.",
                    "short",
                    (f"count({selector('tocsin_oncall_next_gap_timestamp_seconds')} < time() + 604800)", "schedules"),
                    kind="stat",
                    width=6,
                    instant=True,
                    zero=True,
                ),
                panel(
                    "Silences in force",
                    "Silences that mute alerts now, of files and of people.",
                    "short",
                    (f"sum({selector('tocsin_silences_active')})", "silences"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Unrouted in this range",
                    "Alerts that no route takes, in the chosen time range. They go to default_receiver.",
                    "short",
                    (f"sum({grown('tocsin_alerts_unrouted_total')})", "unrouted"),
                    kind="stat",
                    width=6,
                    instant=True,
                    zero=True,
                ),
                quantiles(
                    "Time to acknowledge",
                    "From the firing of an alert to its acknowledgement.",
                    "tocsin_alert_acknowledge_duration_seconds",
                ),
                panel(
                    "Fired and acknowledged",
                    "Alerts that fired, and those that a person acknowledged or snoozed, in each hour.",
                    "short",
                    (f"sum({grown('tocsin_alerts_fired_total', over='1h')})", "fired"),
                    (f"sum({grown('tocsin_alerts_acknowledged_total', over='1h')})", "acknowledged"),
                    kind="bars",
                    interval="1h",
                    zero=True,
                ),
                panel(
                    "Escalation steps",
                    "Steps of escalations that went out in each hour. A second step means that nobody acknowledged the first.",
                    "short",
                    (
                        f"sum by (escalation, step) ({grown('tocsin_escalation_steps_total', over='1h')})",
                        "{{escalation}} step {{step}}",
                    ),
                    kind="bars",
                    interval="1h",
                    zero=True,
                ),
                panel(
                    "Channels that are up",
                    "1 while a receiver's other side can be reached, 0 while it cannot; email is the mail server.",
                    "short",
                    (f"min by (receiver) ({selector('tocsin_channel_up')})", "{{receiver}}"),
                ),
            ),
        ),
        Section(
            title="Notifications",
            panels=(
                panel(
                    "Notifications by channel",
                    "Notifications that a channel accepted, a second.",
                    "cps",
                    (f"sum by (channel) ({rate('tocsin_notifications_total')})", "{{channel}}"),
                ),
                panel(
                    "Given up by channel and reason",
                    "Notifications that failed for good, in each hour.",
                    "short",
                    (
                        f"sum by (channel, reason) ({grown('tocsin_notifications_failed_total', over='1h')})",
                        "{{channel}} {{reason}}",
                    ),
                    kind="bars",
                    interval="1h",
                ),
                quantiles(
                    "Event to accepted",
                    "From the commit of an event to the moment that a server accepted its message.",
                    "tocsin_notification_latency_seconds",
                ),
                panel(
                    "Attempts",
                    "Attempts to send a second, by outcome.",
                    "cps",
                    (f"sum by (outcome) ({rate('tocsin_notify_attempts_total')})", "{{outcome}}"),
                ),
            ),
        ),
    ),
)

PIPELINE = Board(
    uid="tocsin-pipeline",
    title="tocsin: pipeline",
    description="tocsin itself: does it keep up, does it have room, is its configuration in force.",
    sections=(
        Section(
            title="Health",
            panels=(
                panel(
                    "Up",
                    "1 where Prometheus reaches tocsin.",
                    "short",
                    (f"count({selector('tocsin_build_info')})", "up"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Files in force",
                    "1 where the files on disk are in force, 0 where they are refused.",
                    "short",
                    (f"min({selector('tocsin_config_last_reload_successful')})", "in force"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Last reload",
                    "When files last came into force.",
                    "dateTimeFromNow",
                    (f"max({selector('tocsin_config_last_reload_success_timestamp_seconds')}) * 1000", "reload"),
                    kind="stat",
                    width=6,
                ),
                panel(
                    "Free disk",
                    "Free bytes of the disk that holds the log store. Below a reserve intake answers 503.",
                    "bytes",
                    (f"min({selector('tocsin_store_disk_free_bytes')})", "free"),
                    kind="stat",
                    width=6,
                ),
            ),
        ),
        Section(
            title="Does it keep up",
            panels=(
                panel(
                    "Watermark lag",
                    "Age of each consumer's watermark. Deadlines wait for it.",
                    "s",
                    (f"max by (consumer) ({selector('tocsin_intake_watermark_lag_seconds')})", "{{consumer}}"),
                ),
                quantiles(
                    "Lateness of events",
                    "From an event's own time to its commit, 95th percentile and median by consumer.",
                    "tocsin_intake_lateness_seconds",
                    "consumer",
                ),
                panel(
                    "Commits and rows",
                    "Commits and rows a second.",
                    "cps",
                    (f"sum({rate('tocsin_store_commit_seconds_count')})", "commits"),
                    (f"sum({rate('tocsin_store_commit_rows_sum')})", "rows"),
                ),
                quantiles("Length of a commit", "Of the log store.", "tocsin_store_commit_seconds"),
                quantiles(
                    "Length of an evaluation",
                    "Of a step of evaluation: of commits, or of timers.",
                    "tocsin_rule_evaluation_duration_seconds",
                    "kind",
                ),
                panel(
                    "Not evaluated yet",
                    "Commits that rules have not seen, batches that wait to be committed, history rows not mirrored.",
                    "short",
                    (f"sum({selector('tocsin_evaluate_cursor_lag_commits')})", "commits"),
                    (f"sum({selector('tocsin_intake_queue_batches')})", "batches"),
                    (f"sum({selector('tocsin_store_mirror_lag_rows')})", "mirror rows"),
                ),
                panel(
                    "Timers",
                    "Timers that are set, and those past due that wait for a watermark.",
                    "short",
                    (f"sum({selector('tocsin_evaluate_timers')})", "set"),
                    (f"sum({selector('tocsin_timers_waiting')})", "waiting"),
                ),
                panel(
                    "Late timers and coalesced ticks",
                    "Timers evaluated more than 5 s late, and ticks made up for by another, in 5 minutes.",
                    "short",
                    (f"sum({grown('tocsin_evaluate_late_timers_total', over='5m')})", "late"),
                    (f"sum({grown('tocsin_evaluate_coalesced_ticks_total', over='5m')})", "coalesced"),
                ),
                panel(
                    "Time since the last evaluation",
                    "By kind. Without events and timers nothing is evaluated.",
                    "s",
                    (f"time() - ({selector('tocsin_rule_last_evaluation_timestamp_seconds')} > 0)", "{{kind}}"),
                ),
            ),
        ),
        Section(
            title="Outbox",
            panels=(
                panel(
                    "Waiting messages",
                    "Deliveries that wait to be sent.",
                    "short",
                    (f"sum({selector('tocsin_notify_outbox_mails')})", "waiting"),
                ),
                panel(
                    "Age of the oldest",
                    "Age of the oldest delivery that waits. Growing: the mail server refuses or is away.",
                    "s",
                    (f"max({selector('tocsin_notify_outbox_age_seconds')})", "age"),
                ),
                quantiles("Length of an attempt", "Of one SMTP attempt.", "tocsin_notify_send_seconds"),
                panel(
                    "Digests and templates",
                    "Mails listed in a cap's digest instead of sent, and templates that fell back to the built-in one, an hour.",
                    "short",
                    (f"sum({grown('tocsin_notify_capped_total', over='1h')})", "in a digest"),
                    (f"sum({grown('tocsin_notify_template_errors_total', over='1h')})", "template errors"),
                ),
            ),
        ),
        Section(
            title="HTTP and process",
            panels=(
                panel(
                    "Requests",
                    "Requests a second, by part and status.",
                    "reqps",
                    (f"sum by (handler, code) ({rate('tocsin_http_requests_total')})", "{{handler}} {{code}}"),
                ),
                quantiles(
                    "Length of a request",
                    "From its head to the end of its answer.",
                    "tocsin_http_request_duration_seconds",
                    "handler",
                ),
                panel(
                    "Memory",
                    "Resident memory of the process.",
                    "bytes",
                    (selector("process_resident_memory_bytes", 'job="tocsin"'), "{{instance}}"),
                ),
                panel(
                    "Processor",
                    "Cores in use.",
                    "short",
                    (rate("process_cpu_seconds_total", 'job="tocsin"'), "{{instance}}"),
                ),
                panel(
                    "Log store",
                    "Bytes on disk.",
                    "bytes",
                    (selector("tocsin_store_size_bytes"), "{{instance}}"),
                ),
                panel(
                    "Open files",
                    "Open files and sockets of the process, and how many it may open.",
                    "short",
                    (selector("process_open_fds", 'job="tocsin"'), "open"),
                    (selector("process_max_fds", 'job="tocsin"'), "limit"),
                ),
            ),
        ),
    ),
)

CONSUMERS = Board(
    uid="tocsin-consumers",
    title="tocsin: consumers",
    description="What comes in by each consumer, what of it could not be read, and what was refused.",
    sections=(
        Section(
            title="Messages",
            panels=(
                panel(
                    "Messages by consumer",
                    "Messages taken a second.",
                    "cps",
                    (f"sum by (consumer) ({rate('tocsin_intake_messages_total')})", "{{consumer}}"),
                ),
                panel(
                    "Messages by outcome",
                    "Messages taken a second: accepted, duplicate, heartbeat, dead, skipped or filtered.",
                    "cps",
                    (f"sum by (outcome) ({rate('tocsin_intake_messages_total')})", "{{outcome}}"),
                ),
                panel(
                    "Dead letters",
                    "Messages that could not be read, in each hour, by consumer and reason.",
                    "short",
                    (
                        f"sum by (consumer, reason) ({grown('tocsin_intake_dead_letters_total', over='1h')}) > 0",
                        "{{consumer}} {{reason}}",
                    ),
                    kind="bars",
                    interval="1h",
                    zero=True,
                ),
                panel(
                    "Unknown statuses",
                    "Events whose status no map knows, in each hour, by consumer.",
                    "short",
                    (
                        f"sum by (consumer) ({grown('tocsin_intake_unknown_status_total', over='1h')})",
                        "{{consumer}}",
                    ),
                    kind="bars",
                    interval="1h",
                ),
            ),
        ),
        Section(
            title="Kafka",
            panels=(
                panel(
                    "Records behind",
                    "End offset less stored position, by topic.",
                    "short",
                    (f"sum by (consumer, topic) ({selector('tocsin_intake_kafka_lag_records')})", "{{topic}}"),
                    zero=True,
                ),
                panel(
                    "Lost records and recreated topics",
                    "Records that retention took before they were read, and topics that were read from their start again.",
                    "short",
                    (f"sum({grown('tocsin_intake_kafka_gap_records_total', over='1h')})", "lost records"),
                    (f"sum({grown('tocsin_intake_kafka_topic_resets_total', over='1h')})", "recreated topics"),
                    zero=True,
                ),
            ),
        ),
        Section(
            title="HTTP",
            panels=(
                panel(
                    "Refused requests",
                    "Requests to /intake/ that were refused, a second, by reason.",
                    "reqps",
                    (f"sum by (reason) ({rate('tocsin_intake_refused_total')}) > 0", "{{reason}}"),
                    zero=True,
                ),
                panel(
                    "Closed connections",
                    "Connections closed by a bound, a second, by reason.",
                    "cps",
                    (f"sum by (reason) ({rate('tocsin_http_connections_closed_total')}) > 0", "{{reason}}"),
                    zero=True,
                ),
            ),
        ),
    ),
)

BOARDS = (RUNS, ALERTS, PIPELINE, CONSUMERS)
