"""Whatever the order, duplicates, commits, restarts and reloads: as many ends are notified as there are occurrences
that recovered.

The oracle is tests/oracle, written from the semantics alone.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.events import Event, Histories, parts, sent_twice, shuffled
from tests.oracle.oracle import differences, occurrences, recovered, status_is
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

RULES = """
rules:
  - {name: by-experiment, when: {status: Failed}, resolve: {when: {status: Completed, same: ExperimentName}}}
  - {name: by-run, when: {status: Failed, final: false}, resolve: {when: {status: [Running, Completed], same: RunId}}}
  - {name: in-passing, when: {status: NotResponding}, resolve: {when: {status: [Running, Completed, Failed], same: RunId}}}
"""
Case = tuple[tuple[str, ...], tuple[str, ...], Callable[[Event], str]]
CASES: dict[str, Case] = {
    "by-experiment": (("Failed",), ("Completed",), lambda e: e.experiment),
    "by-run": (("Failed",), ("Running", "Completed"), lambda e: e.run),
    "in-passing": (("NotResponding",), ("Running", "Completed", "Failed"), lambda e: e.run),
}


def columns(event: Event) -> dict[str, object]:
    return {
        "RunId": event.run, "Status": event.status, "EventId": event.id, "TimeGenerated": event.time,
        "Source": event.source, "Attempt": event.attempt, "ExperimentName": event.experiment, "WillRetry": event.will_retry,
    }  # fmt: skip


def notify(
    engine: Engine, pieces: list[list[Event]], dice: random.Random, state: Path | None, words: list[RuleSet]
) -> None:
    """Commit the pieces; evaluate now and then, several at once; restart and reload now and then."""
    for piece in pieces:
        engine.clock.advance(timedelta(milliseconds=dice.randrange(1, 900)))
        engine.store(*map(columns, piece))
        if dice.random() < 0.5:
            engine.evaluate(dice.choice((1, 2, 1000)))
        if dice.random() < 0.2:
            if state is not None:
                engine.state.close()
                engine.state = SqliteState.open(state, clock=engine.clock)
            engine.use(dice.choice(words))
    engine.evaluate()
    engine.tick()


def check(engine: Engine, sent: list[Event]) -> None:
    runs = {event.run for event in sent}
    wrong = []
    for rule, (statuses, ends, same) in CASES.items():
        notified = occurrences(sent, status_is(*statuses, final=False if rule == "by-run" else None))
        over = {run: [s for s in found if recovered(s, sent, ends, same)] for run, found in notified.items()}
        for word, expected, intents in (("notified", notified, engine.notified()), ("ended", over, engine.resolved())):
            seen = [i.run_id for i in intents if i.rule == rule and i.run_id in runs]
            wrong += [f"{rule} {word}: {line}" for line in differences(expected, seen)]
        still = Counter(str(s.instance["RunId"]) for s in engine.state.conditions(rule).values())
        left = {run: len(found) - len(over[run]) for run, found in notified.items()}
        wrong += [f"{rule}: {run} is open {still[run]} times, not {n}" for run, n in left.items() if still[run] != n]
    assert [] == wrong
    ids = Counter(i.id for i in [*engine.notified(), *engine.resolved()])
    assert [] == [i for i, n in ids.items() if n > 1]


def reworded(load: Load) -> list[RuleSet]:
    """The same rules in other words: a cosmetic edit."""
    return [load(RULES), load(RULES.replace("}}}", "}}, description: other words}"))]


@pytest.mark.parametrize("seed", range(2))
def test_histories_in_any_order(seed: int, load: Load, log: DuckLogStore, clock: ManualClock, tmp_path: Path) -> None:
    """Sixty lives of four experiments, sent twice here and there, shuffled, cut into commits, with restarts between
    them.
    """
    dice = random.Random(seed)
    path = tmp_path / "state.sqlite"
    engine = Engine(clock=clock, log=log, state=SqliteState.open(path, clock=clock), rules=RuleSet())
    words = reworded(load)
    engine.use(words[0])
    sent = []
    for experiment in ("churn", "ranking", "llm", ""):
        made = Histories(seed, NOON, prefix=f"{experiment}-").runs(15)
        sent += [Event(**{**{n: getattr(e, n) for n in e.__slots__}, "experiment": experiment}) for e in made]
    notify(engine, parts(shuffled(sent_twice(sent, seed), seed), seed, 40), dice, path, words)
    check(engine, sent)
    assert set(CASES) == {i.rule for i in engine.resolved()}
    engine.state.close()


Life = list[tuple[str, int, int, str]]
lives = st.lists(
    st.tuples(
        st.sampled_from(("Running", "NotResponding", "Failed", "Completed")),
        st.integers(0, 8),  # s after noon
        st.sampled_from((0, 1, 2)),  # attempt
        st.sampled_from(("a", "b", "")),  # experiment, which a run may change
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(several=st.lists(lives, min_size=3, max_size=6), seed=st.integers(0, 2**32))
@example(
    several=[[("Failed", 3, 1, "a"), ("Failed", 7, 1, "a"), ("Running", 5, 1, "a")], [("Completed", 5, 0, "a")], []],
    seed=3,
)
def test_small_lives_in_any_order(
    several: list[Life], seed: int, load: Load, log: DuckLogStore, clock: ManualClock
) -> None:
    """Any few events; hypothesis finds the smallest life of which too many or too few ends are notified."""
    prefix = f"{log.head().seq}-"
    sent: list[Event] = []
    for number, life in enumerate(several):
        run = f"{prefix}{number}"
        for attempt in {attempt for _, _, attempt, _ in life}:
            sent.append(
                Event(run=run, status="Running", id=f"{run}-{attempt}", time=NOON, attempt=attempt, experiment="")
            )
        for n, (status, second, attempt, experiment) in enumerate(life):
            time = NOON + timedelta(seconds=second + 1)
            named = f"{prefix}{experiment}" if experiment else ""
            sent.append(
                Event(run=run, status=status, id=f"{run}.{n}", time=time, attempt=attempt, experiment=named)
            )  # fmt: skip
    engine = Engine(clock=clock, log=log, state=SqliteState.open(None, clock=clock), rules=RuleSet())
    engine.state.commit(Outcome(row_cursor=log.head().seq), clock.now())
    words = reworded(load)
    engine.use(words[0])
    notify(engine, parts(shuffled(sent_twice(sent, seed), seed), seed, 12), random.Random(seed), None, words)
    check(engine, sent)
    engine.state.close()
