"""`limit`: the first are told singly, the others wait for one digest, and all are recorded."""

from collections.abc import Callable

import pytest

from tests.unit.rules.conftest import Engine, Load
from tocsin.errors import ContentError
from tocsin.model.alert import Phase, Why
from tocsin.model.intent import IntentKind
from tocsin.rules.testing import run_tests

Make = Callable[..., Engine]
LIMIT = "limit: {per: ExperimentName, told: 2, in: 1h}"
ROW = f"""
rules:
  - name: failed
    when: {{status: Failed}}
    {LIMIT}
"""


def fail(number: int, experiment: str = "churn") -> dict[str, object]:
    return {"RunId": f"{experiment}-{number}", "ExperimentName": experiment}


def singly(engine: Engine) -> int:
    return sum(not i.limited for i in engine.told())


def reasons(engine: Engine) -> list[Why]:
    return [t.reason for e in engine.evaluations for t in e.outcome.transitions if t.before is Phase.NONE]


def test_the_first_are_told_singly_the_others_wait_for_the_windows_end(engine: Make) -> None:
    one = engine(ROW)
    for n in range(5):
        one.at(f"{n * 10}m").come(fail(n))
    one.come(fail(9, "ranking"))
    assert (6, 3) == (len(one.told()), singly(one))
    waits = {"until": "2026-01-05T13:00:00Z", "per": {"ExperimentName": "churn"}, "told": 2, "seconds": 3600.0}
    assert [waits] * 3 == [i.data["limit"] for i in one.told() if i.limited]
    assert {Why.FIRST: 3, Why.LIMITED: 3} == {why: reasons(one).count(why) for why in set(reasons(one))}


def test_a_window_opens_with_the_first_told_and_the_next_one_after_its_end(engine: Make) -> None:
    one = engine(ROW)
    for n, at in enumerate(("0m", "59m", "59m", "60m", "61m", "62m")):
        one.at(at).come(fail(n))
    assert [False, False, True, False, False, True] == [i.limited for i in one.told()]


def test_many_commits_at_once_come_to_the_same(engine: Make) -> None:
    told = []
    for at_once in (1, 1000):
        one = engine(ROW)
        for n in range(8):
            one.at(f"{n * 15}m").store(fail(n))
        one.evaluate(at_once)
        told.append([(i.run_id, i.limited) for i in one.told()])
    assert told[0] == told[1]
    assert 4 == sum(limited for _, limited in told[0])


def test_a_restart_and_a_reload_count_on(engine: Make, load: Load) -> None:
    one = engine(ROW)
    one.come(fail(1))
    one.use(load(ROW.replace("failed\n", "failed\n    description: other words\n", 1)))
    one.come(fail(2), fail(3))
    assert (3, 2) == (len(one.told()), singly(one))


def test_what_is_dropped_is_recorded_all_the_same(engine: Make) -> None:
    one = engine(ROW.replace("in: 1h}", "in: 1h, then: drop}"))
    one.come(*(fail(n) for n in range(5)))
    assert (2, 2) == (len(one.told()), singly(one))
    assert 3 == reasons(one).count(Why.LIMITED)


def test_of_what_is_only_in_a_digest_neither_repeats_nor_an_end_are_told(engine: Make) -> None:
    more = "\n    resolve: {when: {status: Completed, same: ExperimentName}}\n    repeat_every: 10m\n"
    one = engine(ROW.rstrip() + more)
    one.come(*(fail(n) for n in range(4)))
    one.at("10m").tick()
    assert 2 == len(one.intents(IntentKind.REPEATED))
    one.at("11m").come({"RunId": "x", "Status": "Completed", "ExperimentName": "churn"})
    assert 2 == len(one.resolved())
    assert {} == one.state.conditions("failed")


def test_a_rule_that_waits_is_limited_too(engine: Make) -> None:
    one = engine(f"rules:\n  - {{name: stuck, when: {{status: Queued, in_status_for: 5m}}, {LIMIT}}}\n")
    one.come(*({**fail(n), "Status": "Queued"} for n in range(4)))
    one.at("5m").tick()
    assert (4, 2) == (len(one.told()), singly(one))
    assert [Why.DEADLINE, Why.DEADLINE, Why.LIMITED, Why.LIMITED] == [
        t.reason for e in one.evaluations for t in e.outcome.transitions
    ]
    one.at("6m").come(*({**fail(n), "Status": "Running"} for n in range(4)))
    assert 2 == len(one.resolved())


WINDOW = """
rules:
  - name: failing
    over: 1h
    query: "RunStatusChanged | where Status == 'Failed' | summarize n = count() by RunId, ExperimentName"
    by: [RunId]
    limit: {per: ExperimentName, told: 2, in: 1h}
"""


def test_a_window_rule_is_limited_too(engine: Make) -> None:
    one = engine(WINDOW)
    one.come(*(fail(n) for n in range(4)))
    assert (4, 2) == (len(one.told()), singly(one))
    assert 2 == reasons(one).count(Why.LIMITED)


def test_inline_tests_count_what_is_told_singly(load: Load) -> None:
    rules = load(
        """
        defaults: {limit: {per: ExperimentName, told: 1, in: 1d}}
        rules:
          - name: failed
            when: {status: Failed}
            tests:
              - name: one singly
                events:
                  - {at: 0m, RunId: r1, Status: Failed, ExperimentName: churn}
                  - {at: 1m, RunId: r2, Status: Failed, ExperimentName: churn}
                expect: [{at: 2m, told: 1}]
        """
    )
    (result,) = run_tests(rules)
    assert result.passed, str(result)
    assert "beyond the limit: waits to be a line of a digest" in result.timeline


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("{per: Experiment, told: 1, in: 1d}", "limit.per: 'Experiment' is no field of the rule's alerts"),
        ("{per: [], told: 1, in: 1d}", "limit.per: names no field"),
        ("{per: RunId, told: 1, in: 0s}", "limit.in: must be longer than nothing"),
    ],
)
def test_what_is_wrong_is_said(load: Load, limit: str, says: str) -> None:
    for text in (
        f"rules:\n  - {{name: a, when: {{status: Failed}},\n     limit: {limit}}}\n",
        WINDOW.replace("{per: ExperimentName, told: 2, in: 1h}", limit),
    ):
        with pytest.raises(ContentError) as caught:
            load(text)
        assert says in str(caught.value)
