"""Event rules over commits: SEMANTICS.md, "Occurrences of event rules", on the real stores in memory."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.unit.rules.conftest import NOON, Engine
from tocsin.model.alert import Phase, Why
from tocsin.model.statuses import Severity

Make = Callable[..., Engine]


def test_a_failed_run_is_notified_once(engine: Make) -> None:
    """A duplicate is no row, a repetition with another id or time belongs to the occurrence, a late Running reopens
    nothing.
    """
    e = engine()
    assert 0 == e.come({"Status": "Running"})
    assert 1 == e.at("5m").come({"EventId": "x", "TimeGenerated": "5m"})
    assert 1 == e.at("6m").come({"EventId": "x", "TimeGenerated": "5m"})
    assert 1 == e.at("7m").come({"EventId": "y", "TimeGenerated": "5m"}, {"EventId": "x", "TimeGenerated": "6m"})
    assert 1 == e.at("8m").come({"Status": "Running", "TimeGenerated": "4m"})


def test_a_commit_in_memory_is_evaluated_without_a_query(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning is most of what a query of a few rows costs: what Python knows by itself asks nothing."""
    e = engine("""
        rules:
          - {name: alone, when: {status: Failed, where: "Target startswith 'aks' and Attempt < 3"}}
          - {name: tagged, when: {status: Failed, where: "Tags.env =~ 'prod' or Message has 'memory'"}, fields: [Tags]}
        """)
    asked, select = list[str](), e.log.select

    def asking(sql: str, *more: Any) -> pa.Table:
        asked.append(sql)
        return select(sql, *more)

    monkeypatch.setattr(e.log, "select", asking)
    assert 2 == e.come({"Target": "AKS-eu", "Tags": {"env": "Prod"}, "Attempt": 2}, {"Status": "Running"})
    assert [] == asked
    assert ["alone", "tagged"] == sorted(i.rule for i in e.notified())
    assert [{"Tags": {"env": "Prod"}}] == [i.fields for i in e.notified() if i.rule == "tagged"]
    assert 3 == e.come({"RunId": "r2", "Target": "äks", "Message": "out of Memory"})
    assert 1 == len(asked), "only DuckDB knows what letters beyond ASCII are in lower case"


def test_what_an_alert_carries(engine: Make) -> None:
    e = engine("""
        rules:
          - name: failed
            query: |
              RunStatusChanged
              | where Status == 'Failed' and Tags.env =~ 'prod'
              | extend minutes = DurationMs / 60000
            by: [ExperimentName]
            labels: {team: "{{ Tags.team | lower }}", where: here, none: "{{ Tags.a.b.c }}"}
            fields: [Target, minutes, Tags]
            severity: critical
            summary: "{{ ExperimentName }} failed"
            notify: {to: [owner, ml-leads@example.org], only: true}
        """)
    tags = {"env": "PROD", "team": "Ranking"}
    e.come({"Tags": tags, "ExperimentName": "churn", "Target": "gpu", "DurationMs": 180_000, "RootRunId": "root"})
    (intent,) = e.notified()
    assert {"RunId": "r1", "ExperimentName": "churn"} == intent.instance
    assert {"team": "ranking", "where": "here", "none": ""} == intent.labels
    assert {"Target": "gpu", "minutes": 3, "Tags": tags} == intent.fields
    assert (Severity.CRITICAL, Why.FIRST, "r1", "root") == (
        intent.severity, intent.why, intent.run_id, intent.root_run_id,
    )  # fmt: skip
    assert NOON == intent.event_time == intent.at
    assert "2026-01-05T12:00:00Z" == intent.event["TimeGenerated"]
    assert tags == intent.event["Tags"] and "Raw" not in intent.event and 3 == intent.event["minutes"]
    info = e.state.info(intent.rule_version)
    assert info is not None
    assert (("owner", "ml-leads@example.org"), True, "{{ ExperimentName }} failed") == (
        info.notify_to, info.notify_only, info.summary,
    )  # fmt: skip
    (transition,) = [t for v in e.evaluations for t in v.outcome.transitions]
    assert (Phase.NONE, Phase.FIRED, Why.FIRST) == (transition.before, transition.after, transition.reason)
    assert {
        "team": "ranking",
        "where": "here",
        "none": "",
        "Target": "gpu",
        "minutes": 3,
        "Tags": tags,
    } == transition.labels
    assert {("failed", "critical"): 1} == dict(e.evaluations[0].fired)


def test_a_late_event_that_splits_an_occurrence_notifies_its_other_half(engine: Make) -> None:
    """The rule wakes for a row that it does not match, because it has notified something of the run."""
    e = engine()
    assert 1 == e.at("9m").come({"TimeGenerated": "1m"}, {"TimeGenerated": "9m"})
    assert 2 == e.at("10m").come({"Status": "Running", "TimeGenerated": "5m"})
    assert ["1m", "9m"] == sorted(
        f"{(i.event_time - NOON).seconds // 60}m" for i in e.notified() if i.event_time is not None
    )


def test_two_occurrences_in_one_commit_around_a_restart_of_an_earlier_one(engine: Make) -> None:
    """A first match is notified without reading; two of one run are not taken for one."""
    e = engine()
    assert 0 == e.at("9m").come({"Status": "Running", "TimeGenerated": "5m"})
    assert 2 == e.come({"TimeGenerated": "1m"}, {"TimeGenerated": "9m"})


def test_each_rule_and_run_is_on_its_own(engine: Make) -> None:
    e = engine("""
        rules:
          - {name: failed, when: {status: Failed}}
          - {name: ended, when: {status: [Failed, Canceled]}}
          - {name: prod, when: {status: Failed, where: "Tags.env == 'prod'"}}
          - {name: "off", enabled: false, when: {status: Failed}}
        """)
    e.come({"RunId": "a"}, {"RunId": "b", "Tags": {"env": "prod"}}, {"RunId": "c", "Status": "Canceled"})
    assert [("ended", "a"), ("ended", "b"), ("ended", "c"), ("failed", "a"), ("failed", "b"), ("prod", "b")] == sorted(
        (i.rule, i.run_id) for i in e.notified()
    )


def test_two_statuses_of_one_rule_are_two_occurrences(engine: Make) -> None:
    e = engine("rules: [{name: bad, when: {status: [NotResponding, Failed]}}]")
    assert 1 == e.come({"Status": "NotResponding"})
    assert 2 == e.at("1m").come({"Status": "Failed"})
    assert 2 == e.at("2m").come({"Status": "NotResponding", "TimeGenerated": "0m", "EventId": "z"})


def test_many_commits_at_once_say_what_one_by_one_notifies(engine: Make) -> None:
    """Also with the same names, reasons and times of evaluation."""
    history: list[dict[str, object]] = [
        {"TimeGenerated": "1m"}, {"TimeGenerated": "9m"}, {"Status": "Running", "TimeGenerated": "5m"},
        {"RunId": "r2", "TimeGenerated": "-25h"}, {"RunId": "r2", "TimeGenerated": "8m"}, {"TimeGenerated": "3m"},
    ]  # fmt: skip
    notified = []
    for at_once in (1, 2, 6):
        e = engine()
        for minute, event in enumerate(history):
            e.at(f"{10 + minute}m").store({"EventId": f"x{minute}", **event})
        e.evaluate(at_once)
        notified.append([(i.id, i.why, i.at, i.commit_seq) for i in e.notified()])
    assert 3 == len(notified[0])
    assert notified[0] == notified[1] == notified[2]


def test_an_evaluation_repeated_after_a_crash_decides_the_same(engine: Make) -> None:
    """What was not written is decided again, with the same ids."""
    e = engine()
    e.store({"TimeGenerated": "1m"}, {"RunId": "r2"})
    e.evaluate()
    again = engine()
    again.log = e.log
    again.evaluate()
    assert 2 == len(e.notified())
    assert e.notified() == again.notified()


def test_a_commit_that_nobody_waits_for_moves_the_cursor(engine: Make) -> None:
    e = engine()
    assert 0 == e.come({"Status": "Running"}, {"RunId": "r2", "Status": "Completed"})
    assert e.log.head().seq == e.state.row_cursor()


def test_the_order_of_what_is_notified_is_that_of_events(engine: Make) -> None:
    e = engine()
    e.at("9m").come(
        {"RunId": "c", "TimeGenerated": "3m"},
        {"RunId": "a", "TimeGenerated": "2m"},
        {"RunId": "b", "TimeGenerated": "1m"},
    )
    assert ["b", "a", "c"] == [i.run_id for i in e.notified()]


def test_a_event_rules_now_is_the_rows_own_ingestion(engine: Make) -> None:
    e = engine("""
        rules:
          - name: late
            query: RunStatusChanged | where Status == 'Failed' and TimeGenerated < ago(10m)
        """)
    e.at("30m").store({"TimeGenerated": "19m"})
    e.at("31m").store({"RunId": "r2", "TimeGenerated": "25m"})
    e.at("5h").evaluate()
    assert ["r1"] == [i.run_id for i in e.notified()]


def test_a_lookup_of_a_reference_table(engine: Make) -> None:
    e = engine("""
        rules:
          - name: theirs
            query: RunStatusChanged | where Status == 'Failed' | lookup owners on ExperimentName | where team == 'ranking'
            fields: [team]
        """)
    e.log.set_table("owners", pa.table({"ExperimentName": ["churn", "spam"], "team": ["ranking", "mail"]}))
    e.come({"RunId": "a", "ExperimentName": "churn"}, {"RunId": "b", "ExperimentName": "spam"}, {"RunId": "c"})
    assert [("a", {"team": "ranking"})] == [(i.run_id, i.fields) for i in e.notified()]


def test_late_but_within_notify_within_is_notified(engine: Make) -> None:
    """After our own outage."""
    e = engine()
    assert 1 == e.at("23h").come({"TimeGenerated": "0m"})
    (intent,) = e.notified()
    assert intent.event_time is not None and timedelta(hours=23) == intent.at - intent.event_time
