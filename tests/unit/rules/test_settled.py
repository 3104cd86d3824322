"""Heartbeats of runs whose deadlines are set: nothing is read for them, and nobody is notified otherwise than if it
were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.unit.rules.conftest import Engine, Load
from tocsin.rules.deadline_table import Deadline, DeadlineTable, Settled
from tocsin.rules.kinds.deadline.kind import KIND as DEADLINE
from tocsin.rules.memory import Memory

Make = Callable[..., Engine]

SILENT = "rules: [{name: run-silent, when: {status: Running, silent_for: 10m}}]"
STILL = "rules: [{name: no-progress, when: {status: Running, unchanged: Progress, for: 1h}}]"
BEAT: Mapping[str, object] = {"heartbeat": True, "Status": None}


class Counted:
    """Counts what is asked of the log."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        select = engine.log.select

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return select(*args, **kwargs)

        monkeypatch.setattr(engine.log, "select", counted)

    def by(self, work: Callable[[], object]) -> int:
        """How much ``work`` asks."""
        before = self.asked
        work()
        return self.asked - before


def _tick(engine: Engine, at: str) -> tuple[int, int]:
    engine.at(at).tick()
    return len(engine.notified()), len(engine.resolved())


def test_a_heartbeat_of_a_run_that_is_waited_for_reads_nothing(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running"})
    counted = Counted(silent, monkeypatch)
    assert counted.by(lambda: silent.at("5m").come(BEAT)) == 0
    assert counted.by(lambda: silent.at("9m").come(BEAT)) == 0
    assert counted.by(lambda: silent.at("18m").tick()) == 0  # its deadline has moved on, so it does not come up either
    assert _tick(silent, "19m") == (1, 0)


def test_so_does_one_of_a_run_that_nothing_waits_for(engine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = engine("rules: [{name: s, when: {status: Running, silent_for: 10m, where: \"Target == 'gpu'\"}}]")
    silent.come({"Status": "Running", "Target": "cpu"})
    assert Counted(silent, monkeypatch).by(lambda: silent.at("5m").come(BEAT)) == 0
    assert _tick(silent, "50m") == (0, 0)


def test_what_was_notified_ends_with_a_heartbeat(engine: Make) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running"})
    assert _tick(silent, "10m") == (1, 0)
    silent.at("30m").come(BEAT)
    assert (len(silent.notified()), len(silent.resolved())) == (1, 1)
    silent.at("35m").come(BEAT)
    assert _tick(silent, "44m") == (1, 1)
    assert _tick(silent, "45m") == (2, 1)


def test_the_first_heartbeat_that_says_how_far_a_run_is_sets_its_deadline(
    engine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = engine(STILL)
    still.come({"Status": "Running"})
    assert Counted(still, monkeypatch).by(lambda: still.at("1m").come(BEAT)) == 0
    still.at("5m").come({**BEAT, "Progress": 0.1})
    still.at("20m").come({**BEAT, "Progress": 0.2})
    assert _tick(still, "79m") == (0, 0)
    assert _tick(still, "80m") == (1, 0)


def test_a_rule_about_progress_heeds_heartbeats(engine: Make) -> None:
    silent = engine('rules: [{name: s, when: {status: Running, silent_for: 10m, where: "Progress > 0.5"}}]')
    silent.come({"Status": "Running", "Progress": 0.1})
    silent.at("5m").come({**BEAT, "Progress": 0.9})
    assert _tick(silent, "14m") == (0, 0)
    assert _tick(silent, "15m") == (1, 0)


def test_a_run_expired_of_is_waited_for_again_when_it_beats(engine: Make) -> None:
    silent = engine(SILENT)
    silent.store({"Status": "Running", "TimeGenerated": "-48h"})
    silent.at("48h").evaluate()
    assert _tick(silent, "49h") == (0, 0)  # found expired
    silent.come(BEAT)
    assert _tick(silent, "2949m") == (0, 0)
    assert _tick(silent, "2950m") == (1, 0)


def test_a_status_that_came_with_the_same_commits_counts(engine: Make) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running"})
    silent.at("5m").store({"Status": "Completed"})
    silent.at("6m").store(BEAT)
    silent.evaluate()
    assert _tick(silent, "1h") == (0, 0)
    silent.store({"RunId": "r2", "Status": "Queued"})
    silent.evaluate()
    silent.at("61m").store({"RunId": "r2", "Status": "Running"})
    silent.at("65m").store({"RunId": "r2", **BEAT})
    silent.evaluate()
    assert _tick(silent, "74m") == (0, 0)
    assert _tick(silent, "75m") == (1, 0)


def test_a_rule_that_is_new_waits_for_runs_that_were_settled(engine: Make, load: Load) -> None:
    silent = engine(SILENT)
    silent.come({"Status": "Running", "Progress": 0.1})
    silent.at("1m").come(BEAT)
    silent.use(
        load(SILENT.replace("}]", "}, {name: no-progress, when: {status: Running, unchanged: Progress, for: 1h}}]"))
    )
    for minute in range(2, 60, 9):
        silent.at(f"{minute}m").come({**BEAT, "Progress": 0.1})
    assert _tick(silent, "59m") == (0, 0)
    silent.at("60m").tick()
    assert [i.rule for i in silent.notified()] == ["no-progress"]


def test_a_table_keeps_what_is_settled_while_deadlines_are_set() -> None:
    table = DeadlineTable()
    table.take([Deadline("rule", "run", 100)], [Settled("run", silent=True, any=False)])
    assert (table.is_settled("run", False), table.is_settled("run", True)) == (True, False)
    table.take([Deadline("rule", "run", 300, not_before=True), Deadline("rule", "other", 300, not_before=True)])
    table.take([Deadline("rule", "run", 200, not_before=True)])
    assert [(run, due.microsecond) for _, run, due in table] == [("run", 300)]
    assert table.is_settled("run", False)
    table.take([Deadline("rule", "run", None)])
    assert not table.is_settled("run", False)
    table.take([], [Settled("run", silent=True, any=True)])  # nothing is waited for, and no heartbeat changes that
    assert table.is_settled("run", True)
    table.unsettle()
    assert not table.is_settled("run", False)


def test_runs_that_never_end_are_forgotten_where_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded; what is waited for stays, and of a run that is forgotten the next heartbeat is
    computed again.
    """
    monkeypatch.setattr("tocsin.rules.deadline_table.IDLE", 10)
    table = DeadlineTable()
    table.take([Deadline("rule", "run", 100)], [Settled("run", silent=True, any=True)])
    for n in range(1, 1000):
        table.take([], [Settled(f"r{n}", silent=True, any=True)])
        known = [run for run in ("run", *(f"r{i}" for i in range(1, n + 1))) if table.is_settled(run, True)]
        assert len(known) <= 1 + 10
    assert known
    assert [("rule", "run")] == [(rule, run) for rule, run, _ in table]


def test_one_rule_of_a_table_that_fires_ends_with_a_heartbeat_though_another_waits(using: Make) -> None:
    rows = [
        {"experiment": "churn", "longest": 1, "team": "ranking"},
        {"experiment": "churn-2", "longest": 2, "team": "risk"},
    ]
    silent = using(
        """
        rules:
          - name: silent
            for_each: {table: limits}
            when: {status: Running, silent_for: "{{ longest }}h", where: ExperimentName startswith experiment}
        """,
        rows,
    )
    silent.come({"Status": "Running", "ExperimentName": "churn-2"})
    assert _tick(silent, "60m") == (1, 0)
    silent.at("70m").come(BEAT)
    assert _tick(silent, "71m") == (1, 1)
    assert _tick(silent, "130m") == (2, 1)
    assert _tick(silent, "190m") == (3, 1)


def test_what_an_evaluation_changed_is_settled_only_after_it(engine: Make) -> None:
    memory = Memory(engine(SILENT).state, settled=lambda run, progress: True)
    assert memory.settled("run", False)
    memory.put_deadline(Deadline("run-silent", "run", 100))
    assert not memory.settled("run", False)
    memory.settle(Settled("other", silent=True, any=True))
    memory.settle(Settled("run", silent=True, any=True))
    memory.put_deadline(Deadline("run-silent", "run", None))  # it was notified
    assert (memory.settled("other", False), list(memory.settles)) == (False, ["other"])


def test_longer_than_its_baseline_is_computed_with_each_heartbeat(engine: Make) -> None:
    """The baseline may be known only by then, or may have come down."""
    slow = engine("rules: [{name: slow, when: {status: Running, duration: {above: 2 * p50, last: 30d, min_runs: 1}}}]")
    slow.come({"Status": "Running"})
    slow.at("10m").come({"RunId": "r2", "Status": "Completed", "DurationMs": 1_200_000})
    slow.at("11m").come(BEAT)
    slow.at("20m").come(*({"RunId": f"s{n}", "Status": "Completed", "DurationMs": 900_000} for n in range(3)))
    slow.at("22m").come(BEAT)
    assert _tick(slow, "29m") == (0, 0)
    assert _tick(slow, "30m") == (1, 0)


@pytest.mark.parametrize(
    ("where", "heeds"),
    [
        ("Target == 'gpu' and Message has 'Progress *'", False),  # only the text says so
        ("Tags.Progress == 'x' and not(Attempt between (2 .. 3))", False),
        ("Progress > 0.5", True),
        ("['Progress'] > 0.5", True),
        ("todouble(column_ifexists('Progress', 0.0)) > 0.5", True),
        ("CommitSeq > 7", True),
        ("IngestedAt > StartTime + 1h", True),
    ],
)
def test_heartbeats_are_heeded_where_the_query_reads_what_they_change(load: Load, where: str, heeds: bool) -> None:
    rules = load(f'rules: [{{name: s, when: {{status: Running, silent_for: 10m, where: "{where}"}}}}]')
    assert heeds is rules.of(DEADLINE)["s"].heeds


def test_heartbeats_are_heeded_where_one_row_of_the_table_is_about_what_they_change(using: Make) -> None:
    rules = """
    rules:
      - name: s
        for_each: {table: limits}
        when: {status: Running, silent_for: 10m, where: "ExperimentName == experiment and Progress > longest"}
    """
    silent = using(rules, [{"experiment": "churn", "longest": 0.5, "team": "ranking"}])
    silent.come({"Status": "Running", "ExperimentName": "churn", "Progress": 0.1})
    silent.at("5m").come({**BEAT, "Progress": 0.9})
    assert _tick(silent, "14m") == (0, 0)
    assert _tick(silent, "15m") == (1, 0)
