"""What runs: the dashboard of data scientists."""

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
