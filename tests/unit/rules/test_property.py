"""Whatever the order, duplicates, commits and restarts: as many are notified as there are occurrences.

The oracle is tests/oracle, written from the semantics alone. The engine runs on the real stores; a restart opens the
state
file again.
"""

import random
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.events import Event, Histories, parts, sent_twice, shuffled
from tests.oracle.oracle import differences, occurrences, status_is
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

RULES = """
rules:
  - {name: final, when: {status: Failed, final: true}}
  - {name: failed, when: {status: Failed}}
  - {name: each-attempt, when: {status: Failed, final: false}}
  - {name: silent, when: {status: NotResponding}}
  - {name: any-end, when: {status: [Failed, Canceled, Completed]}}
"""
ORACLES = {
    "final": status_is("Failed", final=True),
    "failed": status_is("Failed"),
    "each-attempt": status_is("Failed", final=False),
    "silent": status_is("NotResponding"),
    "any-end": status_is("Failed", "Canceled", "Completed"),
}


def columns(event: Event) -> dict[str, object]:
    return {
        "RunId": event.run, "Status": event.status, "EventId": event.id, "TimeGenerated": event.time,
        "Source": event.source, "Attempt": event.attempt, "WillRetry": event.will_retry,
    }  # fmt: skip


def notify(engine: Engine, pieces: list[list[Event]], dice: random.Random, restart: Path | None) -> None:
    """Commit the pieces; evaluate now and then, several at once; restart now and then."""
    for piece in pieces:
        engine.clock.advance(timedelta(milliseconds=dice.randrange(1, 900)))
        engine.store(*map(columns, piece))
        if dice.random() < 0.5:
            engine.evaluate(dice.choice((1, 2, 1000)))
        if restart is not None and dice.random() < 0.2:
            engine.state.close()
            engine.state = SqliteState.open(restart, clock=engine.clock)
            engine.use(engine.rules)
    engine.evaluate()
    engine.tick()


def check(engine: Engine, sent: list[Event]) -> None:
    runs = {event.run for event in sent}
    for rule, matches in ORACLES.items():
        notified = [i.run_id for i in engine.notified() if i.rule == rule and i.run_id in runs]
        assert [] == differences(occurrences(sent, matches), notified), rule
    ids = Counter(i.id for i in engine.notified())
    assert [] == [i for i, n in ids.items() if n > 1]


@pytest.mark.parametrize("seed", range(2))
def test_histories_in_any_order(seed: int, load: Load, log: DuckLogStore, clock: ManualClock, tmp_path: Path) -> None:
    """Sixty lives, sent twice here and there, shuffled, cut into commits, with restarts between them."""
    dice = random.Random(seed)
    path = tmp_path / "state.sqlite"
    engine = Engine(clock=clock, log=log, state=SqliteState.open(path, clock=clock), rules=RuleSet())
    engine.use(load(RULES))
    sent = Histories(seed, NOON).runs(60)
    notify(engine, parts(shuffled(sent_twice(sent, seed), seed), seed, 60), dice, path)
    check(engine, sent)
    assert {"final", "failed", "each-attempt", "silent", "any-end"} == {i.rule for i in engine.notified()}
    engine.state.close()


lives = st.lists(
    st.tuples(
        st.sampled_from(("Running", "NotResponding", "Failed", "Canceled")),
        st.integers(0, 8),  # s after noon
        st.sampled_from((0, 1, 2)),  # attempt
        st.booleans(),  # whether the watcher says it, who never ends a run
        st.booleans(),  # will_retry
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(lives, min_size=4, max_size=8), seed=st.integers(0, 2**32))
def test_small_lives_in_any_order(
    several: list[list[tuple[str, int, int, bool, bool]]], seed: int, load: Load, log: DuckLogStore, clock: ManualClock
) -> None:
    """Any few events; hypothesis finds the smallest life that is notified too often or too seldom.

    The watcher never ends a run, and an attempt begins with a word that is no end: the oracle refuses other histories.
    """
    prefix = f"{log.head().seq}-"
    sent = []
    for number, life in enumerate(several):
        run = f"{prefix}{number}"
        for attempt in {attempt for _, _, attempt, _, _ in life}:
            sent.append(Event(run=run, status="Running", id=f"{run}-{attempt}", time=NOON, attempt=attempt))
        for n, (status, second, attempt, watcher, again) in enumerate(life):
            if watcher and status in ("Failed", "Canceled"):
                status = "Running"
            time, source = NOON + timedelta(seconds=second + 1), "/watcher" if watcher else "/trainer"
            sent.append(
                Event(
                    run=run, status=status, id=f"{run}.{n}", time=time, attempt=attempt, source=source, will_retry=again
                )
            )  # fmt: skip
    engine = Engine(clock=clock, log=log, state=SqliteState.open(None, clock=clock), rules=RuleSet())
    engine.state.commit(Outcome(row_cursor=log.head().seq), clock.now())
    engine.use(load(RULES))
    notify(engine, parts(shuffled(sent_twice(sent, seed), seed), seed, 16), random.Random(seed), None)
    check(engine, sent)
    engine.state.close()
