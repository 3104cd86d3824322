"""Which intents a pass takes of a large evaluation."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.notify.make import INFO, NOW, intent, oncall
from tocsin.clock import ManualClock
from tocsin.model.intent import Intent
from tocsin.model.statuses import Severity
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.stages.portions import BATCH, FIRST, Portions
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState


@pytest.fixture
def state() -> SqliteState:
    return SqliteState.open(None, clock=ManualClock(NOW))


def put(state: SqliteState, *intents: Intent) -> None:
    state.commit(Outcome(intents=intents, infos=(INFO,)), NOW)


def all_of(state: SqliteState, rules: OnCallRules) -> list[list[str]]:
    """Runs of each portion; each is consumed before the next is asked for."""
    portions, found = Portions(state), []
    while True:
        taken, more = portions.next(rules)
        if taken:
            found.append([i.run_id for i in taken])
            state.put_deliveries([], [i.id for i in taken], NOW)
        if not more:
            return found


def failed(count: int) -> list[Intent]:
    return [intent(run=f"r{n:04}") for n in range(count)]


def test_the_severest_go_first_and_none_is_left_out(state: SqliteState) -> None:
    many = [replace(each, severity=Severity.CRITICAL) if n % 9 == 8 else each for n, each in enumerate(failed(600))]
    put(state, *many)
    found = all_of(state, OnCallRules())
    critical = [each.run_id for each in many if each.severity is Severity.CRITICAL]
    assert len(critical) > FIRST
    assert found[0] == critical  # all at once: beyond ten an address gets them as one list
    assert {len(each) for each in found[1:-1]} == {BATCH}
    assert sorted(run for portion in found for run in portion) == [each.run_id for each in many]


def test_the_first_portion_is_small_and_intents_of_a_run_stay_together(state: SqliteState) -> None:
    """An address gets one message of them."""
    put(state, *failed(300), *(intent("other", run=f"r{n:04}") for n in range(300)))
    found = all_of(state, OnCallRules())
    assert len(found[0]) == FIRST
    assert all(portion.count(run) == 2 for portion in found for run in portion)


@pytest.mark.parametrize(
    "text",
    [
        "route: {receiver: owner, group_by: [experiment]}",
        "inhibit: [{source: {rule: cluster-down}, target: {rule: run-failed}}]",
    ],
    ids=["group_by", "inhibit"],
)
def test_where_alerts_decide_on_each_other_an_evaluation_is_whole(state: SqliteState, text: str) -> None:
    put(state, *failed(300))
    assert [len(portion) for portion in all_of(state, oncall(text))] == [300]


def test_a_pass_that_was_not_written_is_read_again_and_later_evaluations_wait(state: SqliteState) -> None:
    put(state, *failed(300), *(intent(run=f"later-{n}", at=NOW + timedelta(seconds=1), seq=9) for n in range(3)))
    portions = Portions(state)
    first, more = portions.next(OnCallRules())
    portions.forget()
    again, _ = portions.next(OnCallRules())
    assert [i.id for i in first] == [i.id for i in again]
    assert len(first) == FIRST and more
    state.put_deliveries([], [i.id for i in again], NOW)
    rest: list[str] = []
    while more:
        taken, more = portions.next(OnCallRules())
        state.put_deliveries([], [i.id for i in taken], NOW)
        rest += [i.run_id for i in taken]
    assert len(rest) == 283
    assert rest[-3:] == ["later-0", "later-1", "later-2"]


@pytest.mark.parametrize("inhibit", [True, False])
def test_critical_alerts_overtake_a_backlog_but_no_source_that_may_hold_them_back(
    state: SqliteState, inhibit: bool
) -> None:
    text = "inhibit: [{source: {rule: cluster-down}, target: {rule: run-failed}, equal: [Target]}]"
    waiting = [intent(run=f"r{n:04}", at=NOW + timedelta(seconds=n), seq=n + 9) for n in range(2 * BATCH)]
    late: dict[str, Any] = {"at": NOW + timedelta(hours=1), "severity": Severity.CRITICAL}
    free, target = intent("disk-full", run="free", **late), intent(run="target", **late)
    beside, untargeted = intent("other", run="target", **late), intent(run="untargeted", **late)
    target, untargeted = replace(target, fields={"Target": "gpu-1"}), replace(untargeted, fields={"Target": ""})
    put(state, *waiting, free, target, beside, untargeted)
    found = all_of(state, oncall(text) if inhibit else OnCallRules())
    first = ["free", "untargeted"] if inhibit else ["free", "target", "target", "untargeted"]
    assert first == sorted(found[1])
    assert len(waiting) + 4 == sum(map(len, found))
    assert ("target" in found[-1]) is inhibit
