"""tocsin itself, from a commit to a message."""

from __future__ import annotations

from deploy.grafana.panels import Board, Section, grown, panel, quantiles, rate, selector

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
