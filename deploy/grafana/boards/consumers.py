"""What sources bring."""

from __future__ import annotations

from deploy.grafana.panels import Board, Section, grown, panel, rate, selector

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
