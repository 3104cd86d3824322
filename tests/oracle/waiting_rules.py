"""Absence rules, in their own words and as the oracle knows them, before and after a reload of each kind."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.oracle.waiting import Expected, Waits

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

RULES = """
rules:
  - {name: stuck, when: {status: [Queued, Preparing], in_status_for: 45m}}
  - {name: alone, when: {status: Queued, in_status_for: 20m}}
  - {name: silent, when: {status: Running, silent_for: 10m}}
  - {name: still, when: {status: [Running, Queued], unchanged: Progress, for: 1h}, max_event_age: 2h}
  - {name: in-churn, when: {status: [Queued, Preparing, Running], in_status_for: 25m, where: "ExperimentName == 'churn'"}}
  - {name: churn-silent, when: {status: [Running, Queued], silent_for: 25m, where: "ExperimentName == 'churn'"}}
  - name: hourly
    when: {absent: {status: Completed, where: "ExperimentName == 'nightly'"}, cron: "0 */2 * * *", grace: 20m, early: 15m}
  - name: from-b
    when: {absent: {status: [Running, Completed], where: "ExperimentName == 'nightly'"}, consumer: b, cron: "30 * * * *", grace: 5m}
    max_event_age: 1h
  - {name: long, when: {status: Running, in_status_for: 30m}, send_resolved: false, repeat_every: 50m}
  - {name: shut, when: {status: [Running, Queued], silent_for: 15m}, auto_close: 2h, repeat_every: 45m}
  - name: shut-too
    when: {absent: {status: Failed, where: "ExperimentName == 'churn'"}, cron: "15 */3 * * *", grace: 10m}
    auto_close: 100m
    repeat_every: 30m
"""
OTHER: dict[str, Callable[[str], str]] = {
    "cosmetic": lambda text: text.replace("name: stuck,", "name: stuck, severity: critical, summary: again,"),
    "longer": lambda text: text.replace("in_status_for: 45m", "in_status_for: 90m").replace("20m}}", "15m}}"),
    "fewer": lambda text: text.replace("[Queued, Preparing]", "Preparing").replace("silent_for: 10m", "silent_for: 30m"),
    "other word": lambda text: text.replace("absent: {status: Completed", "absent: {status: Failed").replace(
        "in_status_for: 25m, where: \"ExperimentName == 'churn'", "in_status_for: 25m, where: \"ExperimentName == 'nightly'"
    ),
    "more grace": lambda text: text.replace("grace: 20m", "grace: 50m").replace("auto_close: 2h", "auto_close: 3h"),
    "other times": lambda text: text.replace('"0 */2 * * *"', '"0 */4 * * *"').replace("silent_for: 15m", "silent_for: 25m"),
    "as it was": lambda text: text,
}  # fmt: skip


def oracles(kind: str) -> dict[str, Waits]:
    """The rules about runs after a reload."""
    rules = {
        "stuck": Waits(form="in_status_for", statuses=frozenset({"Queued", "Preparing"}), length=45 * MINUTE),
        "alone": Waits(form="in_status_for", statuses=frozenset({"Queued"}), length=20 * MINUTE),
        "silent": Waits(form="silent_for", statuses=frozenset({"Running"}), length=10 * MINUTE),
        "still": Waits(
            form="unchanged", statuses=frozenset({"Running", "Queued"}), length=HOUR, max_event_age=2 * HOUR
        ),
        "in-churn": Waits(
            form="in_status_for", statuses=frozenset({"Queued", "Preparing", "Running"}), length=25 * MINUTE,
            experiment="churn",
        ),
        "churn-silent": Waits(
            form="silent_for", statuses=frozenset({"Running", "Queued"}), length=25 * MINUTE, experiment="churn"
        ),
        "long": Waits(
            form="in_status_for", statuses=frozenset({"Running"}), length=30 * MINUTE, repeat=50 * MINUTE, send_resolved=False
        ),
        "shut": Waits(
            form="silent_for", statuses=frozenset({"Running", "Queued"}), length=15 * MINUTE, repeat=45 * MINUTE,
            closes=2 * HOUR,
        ),
    }  # fmt: skip
    if kind == "more grace":
        rules["shut"] = replace(rules["shut"], closes=3 * HOUR)
    if kind == "other times":
        rules["shut"] = replace(rules["shut"], length=25 * MINUTE)
    if kind == "other word":
        rules["in-churn"] = replace(rules["in-churn"], experiment="nightly")
    if kind == "longer":
        rules["stuck"] = replace(rules["stuck"], length=90 * MINUTE)
        rules["alone"] = replace(rules["alone"], length=15 * MINUTE)
    if kind == "fewer":
        rules["stuck"] = replace(rules["stuck"], statuses=frozenset({"Preparing"}))
        rules["silent"] = replace(rules["silent"], length=30 * MINUTE)
    return rules


EXPECTED = {
    "hourly": Expected(
        times=[NOON + n * 2 * HOUR for n in range(-2, 60)],
        grace=20 * MINUTE,
        early=15 * MINUTE,
        statuses=frozenset({"Completed"}),
        experiment="nightly",
    ),
    "from-b": Expected(
        times=[NOON + n * HOUR - 30 * MINUTE for n in range(-2, 120)],
        grace=5 * MINUTE,
        statuses=frozenset({"Running", "Completed"}),
        experiment="nightly",
        consumer="b",
        max_event_age=HOUR,
    ),
    "shut-too": Expected(
        times=[NOON + n * 3 * HOUR + 15 * MINUTE for n in range(-2, 60)],
        grace=10 * MINUTE,
        statuses=frozenset({"Failed"}),
        experiment="churn",
        repeat=30 * MINUTE,
        closes=100 * MINUTE,
    ),
}


def schedules(kind: str) -> dict[str, Expected]:
    """The absence rules by a schedule after a reload."""
    rules = dict(EXPECTED)
    if kind == "other word":
        rules["hourly"] = replace(rules["hourly"], statuses=frozenset({"Failed"}))
    if kind == "more grace":
        rules["hourly"] = replace(rules["hourly"], grace=50 * MINUTE)
    if kind == "other times":
        rules["hourly"] = replace(rules["hourly"], times=[NOON + n * 4 * HOUR for n in range(-2, 40)])
    return rules
