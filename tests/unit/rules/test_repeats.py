"""How often what waits is notified again, and how it ends by time."""

from collections.abc import Callable

import pytest

from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.errors import ConfigurationError
from tocsin.model.alert import Why
from tocsin.model.intent import IntentKind

Make = Callable[..., Engine]
STUCK = """
rules:
  - {name: stuck, when: {status: Queued, in_status_for: 45m}, repeat_every: 1h%s}
"""
NIGHTLY = """
rules:
  - name: nightly
    when: {absent: {status: Completed, where: "ExperimentName == 'n'"}, cron: "0 14 * * *", grace: 30m}
    repeat_every: 3h
    auto_close: 12h
"""


def seen(engine: Engine, at: str) -> tuple[int, int, int]:
    """What was notified by then for the first time, again, and as ended."""
    engine.at(at).tick()
    engine.tick()
    return len(engine.notified()), len(engine.intents(IntentKind.REPEATED)), len(engine.resolved())


def closings(engine: Engine) -> list[Why]:
    return [
        t.reason for e in engine.evaluations for t in e.outcome.transitions if t.after in ("resolved", "closed")
    ]  # fmt: skip


def test_what_waits_is_notified_again_as_often_as_the_rule_says(engine: Make) -> None:
    stuck = engine(STUCK % "")
    stuck.come({"Status": "Queued"})
    assert [(1, 0, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0)] == [seen(stuck, at) for at in ("45m", "104m", "105m", "165m")]


def test_after_an_outage_it_is_notified_again_once(engine: Make) -> None:
    """However many repeats would have been due; the next one comes a whole time later."""
    stuck = engine(STUCK % "")
    stuck.come({"Status": "Queued"})
    seen(stuck, "45m")
    stuck.at("10h")
    for _ in range(5):
        stuck.tick()
    assert (1, 1, 0) == seen(stuck, "10h")
    assert [(1, 1, 0), (1, 2, 0)] == [seen(stuck, "659m"), seen(stuck, "11h")]


def test_a_repeat_waits_until_it_has_reported_that_the_run_has_not_moved_on(engine: Make) -> None:
    """An outage with the good news waiting in the topic: nothing is notified again, its end is."""
    stuck = engine(STUCK % "")
    stuck.come({"Status": "Queued"})
    assert (1, 0, 0) == seen(stuck, "45m")
    stuck.watermarks = {"test": NOON}
    assert (1, 0, 0) == seen(stuck, "3h")
    assert 1 == stuck.held()
    stuck.come({"Status": "Running", "TimeGenerated": "60m"})
    stuck.watermarks = None
    assert (1, 0, 1) == seen(stuck, "181m")


def test_a_repeat_that_waited_is_notified_once_it_has_reported(engine: Make) -> None:
    stuck = engine(STUCK % "")
    stuck.come({"Status": "Queued"})
    seen(stuck, "45m")
    stuck.watermarks = {"test": NOON}
    assert (1, 0, 0) == seen(stuck, "3h")
    stuck.watermarks = None
    assert (1, 1, 0) == seen(stuck, "181m")


def test_it_is_closed_by_time_without_a_notification_and_silent_until_the_run_moves_on(engine: Make) -> None:
    stuck = engine(STUCK % ", auto_close: 90m")
    stuck.come({"Status": "Queued"})
    assert [(1, 0, 0), (1, 1, 0), (1, 1, 0), (1, 1, 0)] == [
        seen(stuck, at) for at in ("45m", "105m", "135m", "9h")
    ]  # fmt: skip
    assert [Why.AUTO_CLOSED] == closings(stuck)
    stuck.come({"Status": "Running"})
    stuck.at("10h").come({"Status": "Queued"})
    assert (2, 1, 0) == seen(stuck, "645m")


def test_repeats_survive_a_restart(engine: Make) -> None:
    stuck = engine(STUCK % "")
    stuck.come({"Status": "Queued"})
    seen(stuck, "45m")
    stuck.use(stuck.rules)
    assert [(1, 0, 0), (1, 1, 0)] == [seen(stuck, "104m"), seen(stuck, "105m")]


def test_each_time_that_is_missed_is_notified_though_the_last_one_was_closed(engine: Make) -> None:
    """The schedule's next miss is another one: it is not the same that goes on."""
    nightly = engine(NIGHTLY)
    found = [seen(nightly, at) for at in ("150m", "330m", "870m", "26h", "1590m")]
    assert [(1, 0, 0), (1, 1, 0)] == found[:2]
    assert [Why.AUTO_CLOSED] == closings(nightly)
    assert 2 == found[-1][0]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            ", resolve: {when: {status: Running, same: RunId}}",
            "resolve: does not go with an absence rule; its alert resolves when what is absent comes",
        ),
        (", resolve: {}", "resolve.when: is missing"),
    ],
)
def test_what_does_not_go_together_is_said(load: Load, more: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(STUCK % more)
    assert f"rules.yaml:3: rules[0].{says}" in str(caught.value)


def test_no_time_is_no_repeat(load: Load) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(STUCK.replace("1h", "0s") % "")
    assert "repeat_every must be longer than nothing" in str(caught.value)


SEQUENCE = """
rules:
  - {name: again, when: {status: Failed, times: 2, within: 1d, by: [JobKey]}%s}
"""


def test_a_sequence_is_notified_again_only_where_the_rule_says(engine: Make) -> None:
    def notified(more: str) -> list[int]:
        one = engine(SEQUENCE % more)
        for run in ("r1", "r2"):
            one.at("1m").come({"RunId": run, "JobKey": "j"})
        return [seen(one, f"{minute}m")[1] for minute in range(2, 64)]

    assert [0] * 62 == notified("")
    assert [0] * 60 + [1, 1] == notified(", repeat_every: 1h")


def test_a_sequence_has_no_end_that_could_be_notified(load: Load) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(SEQUENCE % ", auto_close: 1h")
    assert "rules.yaml:3: rules[0].auto_close: does not go with a sequence" in str(caught.value)
