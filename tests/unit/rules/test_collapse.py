"""One alert for a parent instead of one for each of its children: a test for each sentence of docs/rules-event.md,
"Sweeps".
"""

from collections.abc import Callable
from datetime import timedelta

import pyarrow as pa
import pytest

from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.errors import ConfigurationError
from tocsin.model.alert import Phase, Why
from tocsin.model.details import NONE
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules.kinds.event.parents.read import children_of

SWEEP = """
rules:
  - name: sweep
    when: {status: Failed}
    collapse: {to: root, when: {failed: 20%, at_least: 3}, update: [50%, end]}
    fields: [ExperimentName]
    labels: {team: "{{ Tags.team }}"}
"""
Make = Callable[..., Engine]


def child(n: int, status: str = "Failed", **more: object) -> dict[str, object]:
    return {"RunId": f"t{n}", "RootRunId": "sweep1", "ParentRunId": "sweep1", "Status": status, **more}


def parent(status: str = "Running", **more: object) -> dict[str, object]:
    return {"RunId": "sweep1", "Status": status, "ExperimentName": "churn", **more}


def all_notified(engine: Engine) -> list[Intent]:
    return [*engine.notified(), *engine.intents(IntentKind.REPEATED)]


def in_words(intent: Intent) -> str:
    about = intent.details.group
    assert about is not None
    return f"{intent.run_id}: {about.matched} of {about.children} {about.did}{about.ended and ', '}{about.ended}"


def words(engine: Engine) -> list[str]:
    return [in_words(i) for i in sorted(all_notified(engine), key=lambda i: i.ordinal)]


def test_children_are_notified_by_one_alert_of_their_parent(engine: Make) -> None:
    """Below the threshold nobody is notified, at it the parent, once, however many more fail."""
    e = engine(SWEEP)
    e.come(parent(), *(child(n, "Running") for n in range(10)))
    assert 0 == e.come(child(0), child(1))
    assert 1 == e.come(child(2))
    assert 1 == e.come(child(3))
    assert ["sweep1: 3 of 10 failed"] == words(e)
    assert [Why.ENOUGH_CHILDREN] == [i.why for i in e.notified()]
    assert {"RunId": "sweep1"} == e.notified()[0].instance


def test_both_share_and_number_must_be_reached(engine: Make) -> None:
    """Of 20 children three are 15 %; the fourth is a fifth."""
    e = engine(SWEEP)
    e.come(parent(), *(child(n, "Running") for n in range(20)))
    assert 0 == e.come(child(0), child(1), child(2))
    assert 1 == e.come(child(3))


def test_the_share_is_that_of_the_children_known_by_then(engine: Make) -> None:
    """A child is known from its first event on, whatever its status, and whenever it happened."""
    e = engine(SWEEP)
    assert 0 == e.come(*(child(n) for n in range(2)), *(child(n, "Completed") for n in range(2, 12)))
    assert 1 == e.come(child(12))


def test_a_run_without_a_parent_is_notified_by_itself(engine: Make) -> None:
    e = engine(SWEEP)
    assert 1 == e.come({"RunId": "lone"})
    assert (NONE, Why.FIRST) == (e.notified()[0].details, e.notified()[0].why)


def test_a_child_counts_once(engine: Make) -> None:
    """However often it fails again."""
    e = engine(SWEEP)
    e.come(parent(), *(child(n, "Running", Attempt=1) for n in range(3)))
    for attempt in (1, 2, 3, 4):
        assert 0 == e.come(child(0, Attempt=attempt), child(1, Attempt=attempt))
    assert 1 == e.come(child(2))
    assert ["sweep1: 3 of 3 failed"] == words(e)


def test_notified_again_from_each_share_of_update_on_and_at_the_end(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), *(child(n, "Running") for n in range(10)))
    e.come(*(child(n) for n in range(4)))
    assert 1 == len(all_notified(e))
    e.come(child(4))
    e.come(child(5))
    assert 2 == len(all_notified(e))
    e.come(parent("Completed"))
    e.come(parent("Completed"))
    assert ["sweep1: 4 of 10 failed", "sweep1: 5 of 10 failed", "sweep1: 6 of 10 failed, Completed"] == words(e)
    assert [Why.ENOUGH_CHILDREN, Why.MORE_CHILDREN, Why.PARENT_ENDED] == [i.why for i in all_notified(e)]
    assert [0, 1, 2] == [i.ordinal for i in all_notified(e)]
    assert 1 == len({i.occurrence for i in all_notified(e)})


def test_a_share_that_was_passed_at_once_is_not_notified_twice(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(*(child(n) for n in range(4)))
    e.come(*(child(n) for n in range(4, 9)))
    assert ["sweep1: 4 of 4 failed"] == words(e)


def test_an_update_is_notified_once_though_the_share_falls_and_rises_again(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(*(child(n) for n in range(4)), *(child(n, "Running") for n in range(4, 10)))
    e.come(child(4))
    e.come(*(child(n, "Running") for n in range(10, 20)))
    e.come(*(child(n) for n in range(5, 12)))
    assert 2 == len(all_notified(e))


def test_the_end_of_a_sweep_with_too_few_is_not_notified(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), *(child(n, "Running") for n in range(10)))
    e.come(child(0), child(1))
    e.come(parent("Completed"))
    assert [] == all_notified(e)


def test_a_sweep_with_fewer_children_than_at_least_is_notified_at_its_end_when_all_match(engine: Make) -> None:
    e = engine(SWEEP)
    assert 0 == e.come(parent(), child(0), child(1))
    assert 1 == e.come(parent("Completed"))
    assert ["sweep1: 2 of 2 failed, Completed"] == words(e)


def test_a_small_sweep_of_which_one_went_well_is_not_notified(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), child(0), child(1, "Completed"), parent("Completed"))
    assert [] == all_notified(e)


def test_children_that_come_after_the_end_still_count(engine: Make) -> None:
    """At the end the share and the number are evaluated, and again with each child that comes late."""
    e = engine(SWEEP)
    e.come(parent(), *(child(n, "Running") for n in range(5)))
    e.come(parent("Completed"), child(0), child(1))
    assert [] == all_notified(e)
    e.come(child(2))
    assert ["sweep1: 3 of 5 failed, Completed"] == words(e)
    e.come(parent("Completed", EventId="again"))
    assert 1 == len(all_notified(e))


def test_the_parents_own_failure_is_notified_by_the_end_of_its_sweep(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), *(child(n) for n in range(3)))
    e.come(parent("Failed"))
    assert ["sweep1: 3 of 3 failed", "sweep1: 3 of 3 failed, Failed"] == words(e)


def test_the_parents_own_failure_below_the_threshold_is_notified_with_what_is_known_of_its_children(
    engine: Make,
) -> None:
    e = engine(SWEEP)
    e.come(parent(), child(0), *(child(n, "Running") for n in range(1, 10)))
    assert 1 == e.come(parent("Failed", Message="controller died"))
    assert [Why.FIRST] == [i.why for i in e.notified()]
    assert ["sweep1: 1 of 10 failed, Failed"] == words(e)


def test_without_end_the_parents_own_failure_is_notified_besides(engine: Make) -> None:
    e = engine(SWEEP.replace(", end]", "]"))
    e.come(parent(), *(child(n) for n in range(3)))
    assert 2 == e.come(parent("Failed"))
    assert [Why.ENOUGH_CHILDREN, Why.FIRST] == [i.why for i in e.notified()]


def test_a_greater_attempt_of_the_parent_begins_a_new_sweep(engine: Make) -> None:
    """It counts what comes from then on, and is another alert."""
    e = engine(SWEEP)
    e.come(parent(Attempt=1), *(child(n) for n in range(3)))
    e.come(parent("Failed", Attempt=1, WillRetry=True))
    assert 2 == len(all_notified(e))
    e.come(parent(Attempt=2), *(child(n, "Running") for n in range(10, 20)))
    e.come(child(10), child(11))
    assert 2 == len(all_notified(e))
    e.come(child(12))
    first, second = e.notified()
    assert "sweep1: 3 of 10 failed" == in_words(second)
    assert first.occurrence != second.occurrence


def test_a_parent_that_goes_on_after_its_end_is_notified_at_its_next_end_too(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), *(child(n) for n in range(3)), parent("Failed"))
    assert ["sweep1: 3 of 3 failed, Failed"] == words(e)
    e.at("1m").come(parent("Running"))
    e.at("2m").come(parent("Failed"))
    assert ["sweep1: 3 of 3 failed, Failed"] * 2 == words(e)


def test_by_parent_only_direct_children_count(engine: Make) -> None:
    """To the root, all below it; to the parent, only its own."""
    text = SWEEP.replace("to: root", "to: parent")
    events = [child(0), child(1), *(child(n, ParentRunId="t9") for n in range(2, 4))]
    e = engine(text)
    e.come(parent(), *events)
    assert [] == all_notified(e)
    e = engine(SWEEP)
    e.come(parent(), *events)
    assert ["sweep1: 4 of 4 failed"] == words(e)


def test_what_is_too_old_does_not_count(engine: Make) -> None:
    """It is summed up as ever; the children are known all the same."""
    e = engine(SWEEP)
    e.at("2d").come(parent(), *(child(n, TimeGenerated="0s") for n in range(5)), *(child(n) for n in range(5, 7)))
    assert [] == all_notified(e)
    e.come(child(7))
    assert ["sweep1: 3 of 8 failed"] == words(e)


def test_an_end_that_is_too_old_is_not_notified(engine: Make) -> None:
    e = engine(SWEEP)
    e.at("2d").come(parent(TimeGenerated="0s"), *(child(n) for n in range(3)))
    e.come(parent("Completed", TimeGenerated="1h"))
    assert ["sweep1: 3 of 3 failed"] == words(e)


def test_children_before_the_rules_start_are_known_but_do_not_count(engine: Make, load: Load) -> None:
    e = engine(SWEEP)
    e.use(load("rules: []"))
    e.come(parent(), *(child(n) for n in range(5)))
    e.use(load(SWEEP))
    assert 0 == e.come(child(5), child(6))
    assert 1 == e.come(child(7))
    assert ["sweep1: 3 of 8 failed"] == words(e)


def test_a_changed_threshold_keeps_what_was_counted_and_notified(engine: Make, load: Load) -> None:
    e = engine(SWEEP)
    e.come(parent(), *(child(n) for n in range(3)))
    e.use(load(SWEEP.replace("at_least: 3", "at_least: 4")))
    e.come(child(3))
    assert 1 == len(all_notified(e))


def test_a_failure_that_may_be_tried_again_counts_when_no_attempt_came(engine: Make) -> None:
    text = SWEEP.replace("status: Failed}", "status: Failed, final: true}")
    e = engine(text)
    e.come(parent(), *(child(n, WillRetry=None) for n in range(3)))
    assert [] == all_notified(e)
    e.at("15m").tick()
    assert ["sweep1: 3 of 3 failed"] == words(e)


def test_a_parent_whose_end_was_notified_is_not_notified_again_when_no_attempt_of_it_came(engine: Make) -> None:
    text = SWEEP.replace("status: Failed}", "status: Failed, final: true}")
    e = engine(text)
    e.come(parent(), *(child(n) for n in range(3)))
    e.come(parent("Failed", WillRetry=None))
    e.at("1h").tick()
    assert ["sweep1: 3 of 3 failed", "sweep1: 3 of 3 failed, Failed"] == words(e)


def test_it_says_the_most_frequent_causes_with_counts_and_some_runs(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(
        parent(),
        *(child(n, Message="CUDA out of memory. Tried to allocate 2 GiB", DisplayName=f"trial {n}") for n in range(5)),
        child(5, Reason="timeout"),
        child(6, Reason="timeout"),
        child(7),
    )
    group = e.notified()[0].details.group
    assert group is not None
    assert [("CUDA out of memory", 5), ("timeout", 2), ("", 1)] == [(c.cause, c.count) for c in group.causes]
    assert ["trial 0", "trial 1", "trial 2"] == [run.name for run in group.causes[0].runs]


def test_a_parent_that_nothing_is_known_of_is_described_by_a_child(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(*(child(n, ExperimentName="churn", OwnerEmail="a@example.org", Tags={"team": "x"}) for n in range(3)))
    (notified,) = e.notified()
    assert ({"ExperimentName": "churn"}, {"team": "x"}) == (notified.fields, notified.labels)
    assert ("sweep1", "a@example.org") == (notified.event["RunId"], notified.event["OwnerEmail"])


def test_every_child_is_in_alerts(engine: Make) -> None:
    """What is held for the parent is recorded, and its reason."""
    e = engine(SWEEP)
    e.come(parent(), child(0), child(1), *(child(n, "Running") for n in range(2, 10)))
    rows = [t for each in e.evaluations for t in each.outcome.transitions]
    assert [("t0", Phase.COLLAPSED, Why.COLLAPSED), ("t1", Phase.COLLAPSED, Why.COLLAPSED)] == [
        (t.run_id, t.after, t.reason) for t in rows
    ]


def test_a_parent_is_forgotten_a_month_after_its_last_child(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), child(0))
    e.at("29d").tick()
    assert e.state.conditions("sweep")
    e.at("30d").tick()
    assert ({}, []) == (e.state.conditions("sweep"), e.state.timers())


@pytest.mark.parametrize(
    ("collapse", "fault"),
    [
        ("{to: root, when: {failed: 20}}", "'20' is no share"),
        ("{to: root, when: {failed: 0%}}", "'0%' is no share"),
        ("{to: root, when: {failed: 120%}}", "'120%' is no share"),
        ("{to: root, when: {failed: 20%}, update: [half]}", "'half' is neither a share nor `end`"),
        ("{to: root, when: {failed: 20%}, update: [20%]}", "20% is not above `failed: 20%`"),
        ("{to: root, when: {failed: 20%}, update: [end, end]}", "'end' stands there twice"),
        ("{to: top, when: {failed: 20%}}", "root"),
    ],
)
def test_what_is_wrong_with_collapse_has_its_place(load: Load, collapse: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(f"rules:\n  - name: sweep\n    when: {{status: Failed}}\n    collapse: {collapse}\n")
    (problem,) = error.value.problems
    assert fault in problem.message + problem.hint
    assert 4 == problem.line


@pytest.mark.parametrize(
    "rule",
    [
        "{name: w, over: 1h, query: RunStatusChanged | summarize n = count() by RunId, by: [RunId], COLLAPSE}",
        "{name: a, when: {status: Queued, in_status_for: 5m}, COLLAPSE}",
        "{name: b, when: {absent: {status: Completed}, cron: '0 2 * * *', grace: 1h}, COLLAPSE}",
    ],
)
def test_only_rules_about_single_events_collapse(load: Load, rule: str) -> None:
    text = rule.replace("COLLAPSE", "collapse: {to: root, when: {failed: 20%}}")
    with pytest.raises(ConfigurationError, match="belongs to an event rule"):
        load(f"rules:\n  - {text}\n")


def test_seven_of_a_hundred_are_seven_per_cent(engine: Make) -> None:
    """Shares are fractions: 0.07 * 100 would be more than 7."""
    e = engine(SWEEP.replace("20%", "7%"))
    e.come(*(child(n, "Running") for n in range(100)))
    assert 0 == e.come(*(child(n) for n in range(6)))
    assert 1 == e.come(child(6))


def test_a_late_word_from_between_two_ends_does_not_notify_the_end_again(engine: Make) -> None:
    e = engine(SWEEP)
    e.come(parent(), *(child(n) for n in range(3)), parent("Failed"))
    e.at("2m").come(parent("Running", TimeGenerated="1m"), parent("Failed", TimeGenerated="2m"))
    assert 2 == len(all_notified(e))
    e.come(parent("Queued", TimeGenerated="90s"))
    assert 2 == len(all_notified(e))


def test_a_rule_that_lagged_notifies_of_its_sweeps_what_it_would_have_notified(engine: Make) -> None:
    """Each count is that of its own commit, though all are there when it is tried again."""
    text = """
    rules:
      - name: sweep
        query: RunStatusChanged | where Status == 'Failed' | lookup kind=leftouter owners on ExperimentName
        collapse: {to: root, when: {failed: 20%, at_least: 2}, update: [50%, end]}
    """
    lagging, prompt = engine(text), engine(text)
    owners = pa.table({"ExperimentName": ["churn"], "team": ["ranking"]})
    prompt.log.set_table("owners", owners)
    for e in (lagging, prompt):
        e.at("1s").come(parent(), *(child(n, "Running") for n in range(6)))
        for n in range(4):
            e.at(f"{2 + n}s").come(child(n))
        e.at("9s").come(*(child(n, "Running") for n in range(6, 9)), parent("Completed"))
    assert [] == all_notified(lagging)
    lagging.log.set_table("owners", owners)
    lagging.at("1m").tick()
    assert ["sweep1: 2 of 6 failed", "sweep1: 3 of 6 failed", "sweep1: 4 of 9 failed, Completed"] == words(prompt)
    assert words(prompt) == words(lagging)
    assert [i.id for i in all_notified(prompt)] == [i.id for i in all_notified(lagging)]


def test_who_is_whose_child_does_not_depend_on_what_came_later(engine: Make) -> None:
    """A replay after a crash counts as of its commits: also children that name another parent since, and that alone."""
    e = engine(SWEEP)
    e.come(*(child(n, "Running", TimeGenerated=NOON - timedelta(hours=2)) for n in range(3)))
    seq = e.log.head().seq
    before = children_of(e.log, "RootRunId", [("sweep1", 0)], seq)
    assert 3 == len(before[("sweep1", 0)].known)
    e.come(*(child(n, "Running", TimeGenerated=NOON) | {"RootRunId": "other"} for n in range(3)))
    assert before == children_of(e.log, "RootRunId", [("sweep1", 0)], seq)
