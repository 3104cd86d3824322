"""Event rules whose alerts stay open: what ends them, what is notified again, what is closed without a notification."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.errors import ConfigurationError
from tocsin.model.alert import Phase, Transition, Why, instance_key
from tocsin.model.intent import IntentKind
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.event.spec import EventSpec
from tocsin.rules.spec.rule import of_spec

Make = Callable[..., Engine]
FAILED = """
rules:
  - name: failed
    when: {status: Failed}
    resolve: {when: {status: Completed, same: ExperimentName}}
    fields: [Target]
    labels: {team: "{{ ExperimentName | upper }}"}
"""
CLOSED = """
rules:
  - name: failed
    when: {status: Failed}
    auto_close: 2h
    repeat_every: 30m
"""


def changes(engine: Engine) -> list[tuple[Phase, Phase, Why]]:
    return [(t.before, t.after, t.reason) for t in transitions(engine)]


def transitions(engine: Engine) -> list[Transition]:
    return [t for e in engine.evaluations for t in e.outcome.transitions]


def counts(engine: Engine) -> tuple[int, int, int]:
    """Notified first, again, and as recovered."""
    return len(engine.notified()), len(engine.intents(IntentKind.REPEATED)), len(engine.resolved())


def fail(run: str, experiment: str = "churn", **more: object) -> dict[str, object]:
    return {"RunId": run, "Status": "Failed", "ExperimentName": experiment, **more}


def complete(run: str, experiment: str = "churn", **more: object) -> dict[str, object]:
    return {"RunId": run, "Status": "Completed", "ExperimentName": experiment, **more}


def test_a_later_event_of_the_same_columns_ends_it(engine: Make) -> None:
    one = engine(FAILED)
    one.come(fail("r1", Target="gpu"))
    one.at("1m").come(complete("r2", "ranking"))
    assert (1, 0, 0) == counts(one)
    one.at("2m").come(complete("r3"))
    one.at("3m").come(complete("r4"))
    assert (1, 0, 1) == counts(one)
    (notified,), (ended,) = one.notified(), one.resolved()
    assert (notified.instance, notified.occurrence, notified.run_id) == (ended.instance, ended.occurrence, ended.run_id)
    assert (Why.RECOVERED, "r1", {"team": "CHURN"}, {"Target": "gpu"}) == (
        ended.why, ended.event["RunId"], ended.labels, ended.fields
    )  # fmt: skip
    assert ended.details.ended_by is not None
    assert "by run r3, Completed at 2026-01-05 12:02 UTC" == ended.details.ended_by.text
    assert [(Phase.NONE, Phase.FIRING, Why.FIRST), (Phase.FIRING, Phase.RESOLVED, Why.RECOVERED)] == changes(one)
    assert {} == one.state.conditions("failed")


def test_its_end_goes_to_those_who_got_the_firing_one(engine: Make) -> None:
    """The intents name one alert, so that the outbox finds who was notified."""
    one = engine(FAILED)
    one.come(fail("r1"))
    one.at("1m").come(complete("r2"))
    (notified,), (ended,) = one.notified(), one.resolved()
    key = (notified.rule, instance_key(notified.instance), notified.occurrence)
    assert key == (ended.rule, instance_key(ended.instance), ended.occurrence)


def test_an_event_that_happened_before_ends_nothing_though_it_comes_later(engine: Make) -> None:
    one = engine(FAILED)
    one.at("5m").come(fail("r1"))
    one.at("6m").come(complete("r2", TimeGenerated="4m"), complete("r3", TimeGenerated="5m"))
    assert (1, 0, 0) == counts(one)


def test_one_that_came_first_and_happened_later_ends_it_at_once(engine: Make) -> None:
    """A late Failed is notified, and so is that it is over: as if it had come in time."""
    one = engine(FAILED)
    one.at("5m").come(complete("r2"))
    one.at("6m").come(fail("r1", TimeGenerated="4m"))
    assert (1, 0, 1) == counts(one)


def test_one_event_ends_all_that_it_is_later_than(engine: Make) -> None:
    one = engine(FAILED)
    one.come(fail("r1"), fail("r2"), fail("r3", "ranking"))
    one.at("1m").come(complete("r4"))
    assert (3, 0, 2) == counts(one)
    assert ["r3"] == [state.instance["RunId"] for state in one.state.conditions("failed").values()]


def test_what_is_absent_equals_nothing(engine: Make) -> None:
    one = engine(FAILED)
    one.come(fail("r1", ""))
    one.at("1m").come(complete("r2", ""))
    assert (1, 0, 0) == counts(one)


def test_an_absent_job_key_is_the_run(engine: Make) -> None:
    one = engine(FAILED.replace("ExperimentName}}\n", "JobKey}}\n"))
    one.come(fail("r1"))
    one.at("1m").come(complete("r2"))
    assert (1, 0, 0) == counts(one)
    one.at("2m").come(complete("r1", Attempt=2))
    assert (1, 0, 1) == counts(one)


def test_a_run_that_fails_again_is_notified_again_and_ends_again(engine: Make) -> None:
    one = engine(FAILED)
    one.come(fail("r1"))
    one.at("1m").come(complete("r2"))
    one.at("2m").come({**fail("r1"), "Status": "Running"})
    one.at("3m").come(fail("r1"))
    assert (2, 0, 1) == counts(one)
    one.at("4m").come(complete("r3"))
    assert (2, 0, 2) == counts(one)
    assert 2 == len({i.id for i in one.resolved()})


def test_a_restart_and_a_cosmetic_reload_change_nothing(engine: Make, load: Load) -> None:
    one = engine(FAILED)
    one.come(fail("r1"))
    one.use(load(FAILED + "    severity: error\n    description: other words\n"))
    one.at("1m").come(complete("r2"))
    assert (1, 0, 1) == counts(one)


def test_of_a_changed_rule_what_does_not_match_any_more_is_closed_without_a_notification(
    engine: Make, load: Load
) -> None:
    one = engine(FAILED)
    one.come(fail("r1", Target="gpu"), fail("r2", Target="cpu"))
    one.at("1m").use(load(FAILED.replace("{status: Failed}", "{status: Failed, where: \"Target == 'gpu'\"}")))
    assert [Why.RULE_CHANGED] == [t.reason for t in transitions(one) if t.after is Phase.RESOLVED]
    one.at("2m").come(complete("r3"))
    assert (2, 0, 1) == counts(one)
    assert "r1" == one.resolved()[0].run_id


def test_a_rule_with_another_end_takes_the_past_too(engine: Make, load: Load) -> None:
    one = engine(FAILED)
    one.come(fail("r1"))
    one.at("1m").come({**complete("r2"), "Status": "Canceled"})
    assert (1, 0, 0) == counts(one)
    one.at("2m").use(load(FAILED.replace("Completed", "[Completed, Canceled]")))
    assert (1, 0, 1) == counts(one)


def test_a_rule_without_an_end_any_more_closes_what_is_open(engine: Make, load: Load) -> None:
    one = engine(FAILED)
    one.come(fail("r1"))
    text = "\n".join(line for line in FAILED.splitlines() if "resolve" not in line)
    one.at("1m").use(load(text))
    assert {} == one.state.conditions("failed")
    one.at("2m").come(complete("r2"))
    assert (1, 0, 0) == counts(one)


def test_what_nothing_ends_is_closed_after_thirty_days(engine: Make) -> None:
    one = engine(FAILED)
    one.come(fail("r1"))
    one.at("30d").tick()
    assert (Phase.FIRING, Phase.RESOLVED, Why.AUTO_CLOSED) == changes(one)[-1]
    one.come(complete("r2"))
    assert (1, 0, 0) == counts(one)


def test_it_is_notified_again_and_closed_by_time(engine: Make) -> None:
    one = engine(CLOSED)
    one.come(fail("r1"))
    found = []
    for at in ("29m", "30m", "60m", "90m", "2h", "5h"):
        one.at(at).tick()
        found.append(counts(one))
    assert [(1, n, 0) for n in (0, 1, 2, 3, 3, 3)] == found
    assert [(Phase.NONE, Phase.FIRED, Why.FIRST), (Phase.FIRED, Phase.CLOSED, Why.AUTO_CLOSED)] == changes(one)
    again = one.intents(IntentKind.REPEATED)
    assert 3 == len({i.id for i in again})
    assert (Why.STILL_FIRING, "Failed", NOON) == (
        again[0].why, again[0].event["Status"], again[0].details.since
    )  # fmt: skip


def test_after_an_outage_it_is_notified_again_once(engine: Make) -> None:
    one = engine(CLOSED)
    one.come(fail("r1"))
    one.at("95m")
    for _ in range(4):
        one.tick()
    assert (1, 1, 0) == counts(one)
    one.at("119m").tick()
    assert (1, 1, 0) == counts(one)


def test_a_repeat_waits_until_it_has_reported_that_nothing_has_ended_it(engine: Make) -> None:
    """After an outage with the good news waiting in the topic, the end is notified and no repeat."""
    one = engine(FAILED + "    repeat_every: 30m\n")
    one.come(fail("r1"))
    one.watermarks = {"test": one.clock.now()}
    one.at("1h").tick()
    one.tick()
    assert ((1, 0, 0), 1) == (counts(one), one.held())
    one.come(complete("r2", TimeGenerated="10m"))
    one.watermarks = None
    one.tick()
    assert (1, 0, 1) == counts(one)


def test_a_final_failure_that_waited_ends_by_what_came_meanwhile(engine: Make) -> None:
    one = engine(FAILED.replace("{status: Failed}", "{status: Failed, final: true}"))
    one.come(fail("r1", WillRetry=None))
    one.at("5m").come(complete("r2"))
    one.at("15m").tick()
    assert (1, 0, 1) == counts(one)


def test_what_is_expired_is_not_open(engine: Make) -> None:
    one = engine(FAILED)
    one.come(fail("r1", TimeGenerated="-30h"))
    one.at("1m").come(complete("r2"))
    assert (0, 0, 0) == counts(one)
    assert {} == one.state.conditions("failed")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("repeat_every: 1h", "repeat_every: would go on for ever: nothing ends this alert; add auto_close: 1d"),
        ("repeat_every: 1h\n    send_resolved: false", "repeat_every: would go on for ever"),
        ("resolve: {}", "resolve.when: is missing"),
        ("resolve: {when: n < 1}", "resolve.when: is a condition, and an event rule resolves by an event"),
        ("auto_close: 0s", "auto_close: must be longer than nothing"),
        ("repeat_every: 2h\n    auto_close: 1h", "repeat_every: never comes: the alert is closed after 1h"),
        ("resolve: {when: {status: Failed, same: RunId}}", "resolve.when.status: 'Failed' is also what the rule waits"),
        ("resolve: {when: {status: Completed, same: Experiment}}", "'Experiment' is no column of an event"),
        ("resolve: {when: {status: Completed, same: [RunId, Tags]}}", "resolve.when.same[1]: 'Tags' is an object"),
        ("resolve: {when: {status: Completed, same: []}}", "resolve.when.same: names no column"),
    ],
)
def test_what_does_not_go_together_is_said(load: Load, more: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f"rules:\n  - name: a\n    when: {{status: Failed}}\n    {more}\n")
    assert says in str(caught.value)
    assert "rules.yaml:4: " in str(caught.value) or "rules.yaml:5: " in str(caught.value)


def test_a_files_repeat_holds_where_something_ends(load: Load) -> None:
    """`defaults: {repeat_every: …}` is for the rules whose alerts have an end."""
    rules = load(
        """
        defaults: {repeat_every: 1h}
        rules:
          - {name: a, when: {status: Failed}}
          - {name: b, when: {status: Failed}, auto_close: 5h}
        """
    ).rules
    policies = [of_spec(rules[name], EventSpec).spec.resolve_policy for name in "ab"]
    assert policies[0] is None
    assert policies[1] is not None
    assert timedelta(hours=1) == policies[1].repeat


def test_explain_says_how_it_ends_and_how_often_it_is_notified(load: Load) -> None:
    rules = load(FAILED + "    repeat_every: 4h\n    limit: {per: ExperimentName, max: 3, window: 1d}\n").rules
    found = explain(rules["failed"])
    assert ("by Completed of the same ExperimentName; closed after 30d", "4h") == (found.ends, found.repeats)
    assert "3 in 1d per ExperimentName, then one digest of the others" == found.limit
    plain = explain(load("rules: [{name: a, when: {status: Failed}}]").rules["a"])
    assert ("", "never", "") == (plain.ends, plain.repeats, plain.limit)
