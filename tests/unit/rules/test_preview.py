"""What a rule sees now, over the real log store."""

from collections.abc import Callable

from tests.unit.rules.conftest import Engine
from tocsin.rules.inspect.preview import Evaluation, last_rows
from tocsin.rules.kinds.previews import MOST_EVENTS

MakeEngine = Callable[..., Engine]

RULES = """
rules:
  - name: failed
    when: {status: Failed, where: "Tags.env == 'prod'"}
    fields: [Target]
  - name: many
    over: 10m
    query: "RunStatusChanged | where Status == 'Failed' | summarize n = count() by ExperimentName | where n >= 2"
    by: [ExperimentName]
    value: n
  - name: stuck
    when: {status: Queued, in_status_for: 45m}
"""


def evaluate(engine: Engine, rule: str) -> Evaluation:
    return last_rows(engine.rules.rules[rule], engine.log, engine.clock.now())


def test_the_newest_matches_of_an_event_rule(engine: MakeEngine) -> None:
    """Newest first by event time, at most SHOWN, with what the alert carries; what does not match is not there."""
    made = engine(RULES)
    for n in range(7):
        made.at(f"{n}m").store({"RunId": f"r{n}", "Tags": {"env": "prod" if n else "dev"}, "Target": f"gpu{n}"})
    seen = evaluate(made, "failed")
    assert ["r6", "r5", "r4", "r3", "r2"] == [row["RunId"] for row in seen.rows]
    assert "gpu6" == seen.rows[0]["Target"]
    assert "" == seen.error


def test_only_the_newest_events_are_evaluated(engine: MakeEngine) -> None:
    """However large the store: with as many events after it, a match is not searched for."""
    made = engine(RULES)
    made.store({"RunId": "old", "Tags": {"env": "prod"}})
    for _ in range(3):
        made.store(*({"RunId": "fine", "Status": "Completed"} for _ in range(MOST_EVENTS // 2)))
    assert [] == list(evaluate(made, "failed").rows)


def test_a_window_as_it_is_now(engine: MakeEngine) -> None:
    """The rows of the window that ends now; none once it has moved on."""
    made = engine(RULES)
    made.store({"ExperimentName": "a"}, {"RunId": "r2", "ExperimentName": "a"}, {"RunId": "r3", "ExperimentName": "b"})
    assert [{"ExperimentName": "a", "n": 2}] == [dict(row) for row in evaluate(made.at("1m"), "many").rows]
    assert [] == list(evaluate(made.at("11m"), "many").rows)


def test_an_absence_rule_shows_what_it_waits_with(engine: MakeEngine) -> None:
    """Events in the statuses that it watches."""
    made = engine(RULES)
    made.store({"RunId": "q", "Status": "Queued"}, {"RunId": "x", "Status": "Running"})
    assert ["q"] == [row["RunId"] for row in evaluate(made, "stuck").rows]


def test_a_query_that_fails_says_why(engine: MakeEngine) -> None:
    made = engine(
        """
        rules:
          - name: sums
            over: 1h
            by: [x]
            query: RunStatusChanged | extend n = tolong(Message) * 2 | summarize n = max(n) by x = ExperimentName
        """
    )
    made.store(*({"RunId": f"r{n}", "Message": "9223372036854775807"} for n in range(3)))
    seen = evaluate(made, "sums")
    assert [] == list(seen.rows)
    assert seen.error
