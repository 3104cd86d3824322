"""`limit`: the first are notified singly, the others wait for one digest, and all are recorded."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.rules.conftest import NOON, Engine, Load, Loaded
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import ConfigurationError
from tocsin.model.alert import Phase, Why
from tocsin.model.details import Digest
from tocsin.model.intent import IntentKind
from tocsin.rules.backtest.run import backtest
from tocsin.rules.history import plain
from tocsin.rules.kinds.base import Span
from tocsin.rules.testing.run import run_tests

Make = Callable[..., Engine]
LIMIT = "limit: {per: ExperimentName, max: 2, window: 1h}"
ROW = f"""
rules:
  - name: failed
    when: {{status: Failed}}
    {LIMIT}
"""


def fail(number: int, experiment: str = "churn") -> dict[str, object]:
    return {"RunId": f"{experiment}-{number}", "ExperimentName": experiment}


def singly(engine: Engine) -> int:
    return sum(not i.limited for i in engine.notified())


def reasons(engine: Engine) -> list[Why]:
    return [t.reason for e in engine.evaluations for t in e.outcome.transitions if t.before is Phase.NONE]


def test_the_first_are_notified_singly_the_others_wait_for_the_windows_end(engine: Make) -> None:
    one = engine(ROW)
    for n in range(5):
        one.at(f"{n * 10}m").come(fail(n))
    one.come(fail(9, "ranking"))
    assert (6, 3) == (len(one.notified()), singly(one))
    waits = Digest(until=NOON + timedelta(hours=1), per={"ExperimentName": "churn"}, notified=2, seconds=3600.0)
    assert [waits] * 3 == [i.details.digest for i in one.notified() if i.limited]
    assert {Why.FIRST: 3, Why.RATE_LIMITED: 3} == {why: reasons(one).count(why) for why in set(reasons(one))}


def test_a_window_opens_with_the_first_notified_and_the_next_one_after_its_end(engine: Make) -> None:
    one = engine(ROW)
    for n, at in enumerate(("0m", "59m", "59m", "60m", "61m", "62m")):
        one.at(at).come(fail(n))
    assert [False, False, True, False, False, True] == [i.limited for i in one.notified()]


def test_many_commits_at_once_come_to_the_same(engine: Make) -> None:
    notified = []
    for at_once in (1, 1000):
        one = engine(ROW)
        for n in range(8):
            one.at(f"{n * 15}m").store(fail(n))
        one.evaluate(at_once)
        notified.append([(i.run_id, i.limited) for i in one.notified()])
    assert notified[0] == notified[1]
    assert 4 == sum(limited for _, limited in notified[0])


def test_a_restart_and_a_reload_count_on(engine: Make, load: Load) -> None:
    one = engine(ROW)
    one.come(fail(1))
    one.use(load(ROW.replace("failed\n", "failed\n    description: other words\n", 1)))
    one.come(fail(2), fail(3))
    assert (3, 2) == (len(one.notified()), singly(one))


def test_what_is_dropped_is_recorded_all_the_same(engine: Make) -> None:
    one = engine(ROW.replace("window: 1h}", "window: 1h, then: drop}"))
    one.come(*(fail(n) for n in range(5)))
    assert (2, 2) == (len(one.notified()), singly(one))
    assert 3 == reasons(one).count(Why.RATE_LIMITED)


RESOLVES = ROW.rstrip() + "\n    resolve: {when: {status: Completed, same: ExperimentName}}\n    repeat_every: 10m\n"


def until(engine: Engine) -> list[object]:
    """Until when ends wait, in the order of their notifying; None for one that is notified singly."""
    digests = [i.details.digest for i in engine.resolved()]
    return [plain(digest.until) if digest is not None else None for digest in digests]


def well(experiment: str = "churn") -> dict[str, object]:
    return {"RunId": "x", "Status": "Completed", "ExperimentName": experiment}


def test_of_what_is_in_a_digest_no_repeat_is_notified_and_the_end_by_the_same_digest(engine: Make) -> None:
    """While it waits; so whoever gets it reads of both."""
    one = engine(RESOLVES)
    one.come(*(fail(n) for n in range(4)))
    one.at("10m").tick()
    assert 2 == len(one.intents(IntentKind.REPEATED))
    one.at("11m").come(well())
    assert [None, None, "2026-01-05T13:00:00Z", "2026-01-05T13:00:00Z"] == until(one)
    fired = [i for i in one.notified() if i.limited]
    ended = [i for i in one.resolved() if i.limited]
    assert [(i.instance, i.occurrence, i.details.digest) for i in fired] == [
        (i.instance, i.occurrence, i.details.digest) for i in ended
    ]
    assert {} == one.state.conditions("failed")


@pytest.mark.parametrize(
    ("at", "notified"), [("59m", "13"), ("60m", "14"), ("119m", "14"), ("120m", "15"), ("5h", "18")]
)
def test_once_the_digest_is_out_ends_come_together_at_the_end_of_their_span(
    engine: Make, at: str, notified: str
) -> None:
    one = engine(RESOLVES.replace("max: 2", "max: 1"))
    one.come(fail(1))
    one.come(fail(2))
    one.at(at).come(well())
    assert [None, f"2026-01-05T{notified}:00:00Z"] == until(one)


def test_of_what_was_dropped_nobody_receives_the_end(engine: Make) -> None:
    one = engine(RESOLVES.replace("window: 1h}", "window: 1h, then: drop}"))
    one.come(*(fail(n) for n in range(4)))
    one.at("11m").come(well())
    assert [None, None] == until(one)


def test_a_restart_and_a_limit_that_is_taken_away_change_no_end(engine: Make, load: Load) -> None:
    """It was a digest that notified of it."""
    one = engine(RESOLVES)
    one.come(*(fail(n) for n in range(3)))
    one.use(load(RESOLVES.replace(LIMIT, "")))
    one.at("30m").come(well())
    assert [None, None, "2026-01-05T13:00:00Z"] == until(one)


def test_the_rows_of_a_table_count_together(using: Make, table: Loaded) -> None:
    """It is one rule to people: its limit is one, however many rows there are, come or go."""
    text = """
rules:
  - name: slow
    for_each: {table: limits}
    when: {status: Failed, where: "ExperimentName == experiment"}
    limit: {per: team, max: 2, window: 1h}
"""
    rows = [{"experiment": f"e{n}", "longest": 1, "team": "a" if n < 3 else "b"} for n in range(4)]
    one = using(text, rows)
    one.come(*(fail(1, f"e{n}") for n in range(4)))
    assert [("e0", False), ("e1", False), ("e2", True), ("e3", False)] == [
        (i.instance["experiment"], i.limited) for i in one.notified()
    ]
    one.use(table(text, rows[1:]))
    one.come(fail(2, "e1"))
    assert (5, True) == (len(one.notified()), one.notified()[-1].limited)
    assert 2 == len(one.state.conditions("slow limit"))
    one.use(table("rules: []"))
    assert {} == one.state.conditions("slow limit")


def test_rate_limited_alerts_are_counted_by_rule(engine: Make) -> None:
    one = engine(ROW)
    one.come(*(fail(n) for n in range(5)))
    assert {"failed": 3} == one.evaluations[-1].limited


def test_an_absence_rule_is_limited_too(engine: Make) -> None:
    one = engine(f"rules:\n  - {{name: stuck, when: {{status: Queued, in_status_for: 5m}}, {LIMIT}}}\n")
    one.come(*({**fail(n), "Status": "Queued"} for n in range(4)))
    one.at("5m").tick()
    assert (4, 2) == (len(one.notified()), singly(one))
    assert [Why.DEADLINE, Why.DEADLINE, Why.RATE_LIMITED, Why.RATE_LIMITED] == [
        t.reason for e in one.evaluations for t in e.outcome.transitions
    ]
    one.at("6m").come(*({**fail(n), "Status": "Running"} for n in range(4)))
    assert [None, None, "2026-01-05T13:05:00Z", "2026-01-05T13:05:00Z"] == until(one)


def test_what_was_held_counts_in_the_order_in_which_it_was_due(engine: Make) -> None:
    """Nobody reported from 4:30 to 20:00; a backtest counts as live did, whatever the runs are called."""
    one = engine(f"rules:\n  - {{name: stuck, when: {{status: Queued, in_status_for: 5m}}, {LIMIT}}}\n")
    for at, n in enumerate((9, 5, 7, 5.5, 1), 1):
        one.at(f"{min(at, 4)}m").come({"RunId": f"churn-{n}", "ExperimentName": "churn", "Status": "Queued"})
    one.watermarks = {"test": NOON + parse_duration("270s")}
    one.at("19m").tick()
    assert [] == one.notified()
    one.watermarks = None
    one.at("20m").tick()
    assert (["churn-9", "churn-5"], 3) == ([i.run_id for i in one.notified() if not i.limited], len(one.notified()) - 2)
    (rule,) = one.rules.rules.values()
    outages = {"test": [(NOON + parse_duration("270s"), NOON + parse_duration("20m"))]}
    again = backtest(
        rule, one.log, Span(since=NOON, until=NOON + parse_duration("1h")), clock=one.clock, outages=outages
    )
    assert (["churn-9", "churn-5"], 3) == ([notified.run_id for notified in again.notified], again.limited)


def test_what_is_due_at_once_counts_by_run(engine: Make) -> None:
    """So that it is the same in a backtest, and after a crash."""
    one = engine(f"rules:\n  - {{name: stuck, when: {{status: Queued, in_status_for: 5m}}, {LIMIT}}}\n")
    one.come(*({**fail(n), "Status": "Queued"} for n in (8, 3, 5, 1, 6)))
    one.at("5m").tick()
    (rule,) = one.rules.rules.values()
    again = backtest(rule, one.log, Span(since=NOON, until=NOON + parse_duration("1h")), clock=one.clock)
    assert (
        ["churn-1", "churn-3"]
        == [i.run_id for i in one.notified() if not i.limited]
        == [t.run_id for t in again.notified]
    )


WINDOW = """
rules:
  - name: failing
    over: 1h
    query: |
      RunStatusChanged
      | summarize arg_max(TimeGenerated, Status) by RunId, ExperimentName
      | where Status == 'Failed'
    by: [RunId]
    limit: {per: ExperimentName, max: 2, window: 1h}
"""


def test_a_window_rule_is_limited_too(engine: Make) -> None:
    one = engine(WINDOW)
    one.come(*(fail(n) for n in range(4)))
    assert (4, 2) == (len(one.notified()), singly(one))
    assert 2 == reasons(one).count(Why.RATE_LIMITED)
    one.at("1m").store(*({**fail(n), "Status": "Completed"} for n in range(4)))
    one.tick()
    assert [None, None, "2026-01-05T13:00:00Z", "2026-01-05T13:00:00Z"] == until(one)


def test_inline_tests_count_what_is_notified_singly(load: Load) -> None:
    rules = load(
        """
        defaults: {limit: {per: ExperimentName, max: 1, window: 1d}}
        rules:
          - name: failed
            when: {status: Failed}
            tests:
              - name: one singly
                events:
                  - {at: 0m, RunId: r1, Status: Failed, ExperimentName: churn}
                  - {at: 1m, RunId: r2, Status: Failed, ExperimentName: churn}
                expect: [{at: 2m, notifications: 1}]
        """
    )
    (result,) = run_tests(rules)
    assert result.passed, str(result)
    assert "beyond the limit: waits to be a line of a digest" in result.timeline


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("{per: Experiment, max: 1, window: 1d}", "limit.per: 'Experiment' is no field of the rule's alerts"),
        ("{per: [], max: 1, window: 1d}", "limit.per: names no field"),
        ("{per: RunId, max: 1, window: 0s}", "limit.window: must be longer than nothing"),
    ],
)
def test_what_is_wrong_is_said(load: Load, limit: str, says: str) -> None:
    for text in (
        f"rules:\n  - {{name: a, when: {{status: Failed}},\n     limit: {limit}}}\n",
        WINDOW.replace("{per: ExperimentName, max: 2, window: 1h}", limit),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load(text)
        assert says in str(caught.value)


WAITS = f"rules:\n  - {{name: stuck, when: {{status: Queued, in_status_for: 5m}}, {LIMIT}, repeat_every: 20m}}\n"


@pytest.mark.parametrize("text", [WAITS, WAITS.replace("window: 1h", "window: 1h, then: drop"), RESOLVES, WINDOW])
def test_a_backtest_counts_as_live_operation_does(text: str, engine: Make) -> None:
    """Alerts count in the order in which they are notified, whatever of the history is evaluated together."""
    one = engine(text)
    for n in range(7):
        one.at(f"{n * 11}m").store({**fail(n % 5), "Status": "Queued" if text.startswith(WAITS[:40]) else "Failed"})
        for minute in range(n * 11, n * 11 + 11):
            one.at(f"{minute}m").tick()
    one.at("78m").come(well())
    one.tick()
    said = [i for e in one.evaluations for i in e.outcome.intents if not i.limited]
    (rule,) = one.rules.rules.values()
    found = backtest(rule, one.log, Span(since=NOON, until=NOON + parse_duration("79m")), clock=one.clock)
    assert Counter(str(i.kind) for i in said) == Counter(found.by_kind)
    assert sum(t.reason is Why.RATE_LIMITED for e in one.evaluations for t in e.outcome.transitions) == found.limited
    resolved = sum(t.after is Phase.RESOLVED for e in one.evaluations for t in e.outcome.transitions)
    assert (sum(sum(e.fired.values()) for e in one.evaluations), resolved) == (found.fired, found.resolved)
    assert found.notified_count == sum(i.kind is IntentKind.FIRED for i in said) < found.fired
