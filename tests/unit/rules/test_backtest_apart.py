"""A backtest says where it took long because it could not read at once, and why; what it notifies is the same."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.rules.conftest import NOON, Engine
from tocsin.logstore.interface import Limits
from tocsin.rules.backtest.report import notes
from tocsin.rules.backtest.run import Backtest, backtest
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.window import ahead as windows_ahead
from tocsin.rules.kinds.window import replay as windows_replay

Make = Callable[..., Engine]
RATE = """
rules:
  - name: often
    over: 25m
    every: 1m
    lateness: 1m
    by: [ExperimentName]
    query: |
      {before} | summarize n = count() by ExperimentName{more}
      | where n >= 2
"""
WINDOW = RATE.format(before="RunStatusChanged | where Status == 'Failed'", more="")


def played(e: Engine, step_rows: int = 1000) -> Backtest:
    (rule,) = e.rules.rules.values()
    return backtest(rule, e.log, Span(since=NOON, until=NOON + timedelta(hours=4), rows=step_rows), clock=e.clock)


def failures(e: Engine) -> Engine:
    for i in range(12):
        e.at(f"{10 * i + i}m").store({"RunId": f"r{i}", "ExperimentName": "churn", "Attempt": i})
    return e


def test_nothing_is_said_of_what_is_read_at_once(engine: Make) -> None:
    found = played(failures(engine(WINDOW)))
    assert (True, {}, []) == (found.notified_count > 0, found.apart, notes(found))


def test_what_is_too_much_to_be_read_at_once_is_said(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    e = failures(engine(WINDOW))
    baseline = played(e)
    monkeypatch.setattr(windows_ahead, "LIMITS", Limits(rows=2))
    found = played(e)
    assert (baseline.notified, baseline.by_kind) == (found.notified, found.by_kind)
    ((reason, evaluations),) = found.apart.items()
    assert "there are too many rows to be read at once" == reason
    assert f"{evaluations:,} evaluations were made one after the other: {reason}" in notes(found)
    assert 0 < evaluations <= 4 * 60


def test_a_window_of_many_rows_is_said(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    e = failures(engine(WINDOW))
    baseline = played(e)
    monkeypatch.setattr(windows_replay, "WIDE", 0)
    found = played(e)
    assert baseline.notified == found.notified
    assert ["its window holds more than 50,000 rows"] == list(found.apart)


@pytest.mark.parametrize(
    ("before", "more"), [("Runs | where Status == 'Failed'", ""), ("RunStatusChanged", "\n      | extend t = now()")]
)
def test_a_rule_that_depends_on_more_than_its_rows_is_said(before: str, more: str, engine: Make) -> None:
    found = played(failures(engine(RATE.format(before=before, more=more))))
    assert ["it depends on more than the rows of its window"] == [reason.partition(" (")[0] for reason in found.apart]
    assert 4 * 60 - 1 == sum(found.apart.values())


def test_rows_that_cannot_be_evaluated_at_once_are_said(engine: Make) -> None:
    """Of an event rule too: then all commits of the step are gone through."""
    e = engine("""
        rules:
          - {name: big, query: "RunStatusChanged | where Attempt * 4611686018427387904 > 0"}
    """)
    found = played(failures(e), step_rows=3)
    assert found.notified_count
    assert 12 >= sum(found.apart.values()) > 0
    assert all("too large" in reason for reason in found.apart)
    assert found.errors
