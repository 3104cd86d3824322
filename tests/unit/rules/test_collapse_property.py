"""Whatever the order, duplicates, commits and restarts: a sweep says what its oracle says, commit by commit.

The oracle is tests/oracle/parent_groups.py, written from docs/rules-event.md alone. The engine runs on the real stores; a restart
opens the state
file again.
"""

import random
from collections import Counter
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.events import Event, parts, sent_twice, shuffled
from tests.oracle.parent_groups import Notified, Terms, notified
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.intent import Intent, IntentKind
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

RULES = {
    "all": ("{failed: 20%, at_least: 3}, update: [50%, end]", Terms(
        share=Fraction(1, 5), at_least=3, updates=(Fraction(1, 2),), at_end=True)),
    "once": ("{failed: 40%}", Terms(share=Fraction(2, 5), at_least=1)),
    "climbs": ("{failed: 7%, at_least: 2}, update: [100%, 30%]", Terms(
        share=Fraction(7, 100), at_least=2, updates=(Fraction(3, 10), Fraction(1)))),
    "ends": ("{failed: 100%, at_least: 9}, update: [end]", Terms(share=Fraction(1), at_least=9, at_end=True)),
}  # fmt: skip
TEXT = "rules:\n" + "".join(
    f"  - {{name: {name}, when: {{status: Failed}}, collapse: {{to: root, when: {said}}}}}\n"
    for name, (said, _) in RULES.items()
)

statuses = st.sampled_from(("Running", "Failed", "Failed", "Completed", "Queued"))
word = st.tuples(statuses, st.integers(0, 30), st.sampled_from((0, 0, 1, 2)))  # status, s after noon, attempt
sweep = st.tuples(
    st.lists(word, max_size=4),  # of the parent
    st.lists(st.lists(word, min_size=1, max_size=3), max_size=6),  # of its children
)


def life(run: str, words: list[tuple[str, int, int]]) -> list[Event]:
    """An attempt begins with a word that is no end: the oracle knows no other histories."""
    said = [(f"{run}-{attempt}", "Running", 0, attempt) for attempt in sorted({attempt for _, _, attempt in words})]
    said += [(f"{run}.{n}", status, second + 1, attempt) for n, (status, second, attempt) in enumerate(words)]
    return [
        Event(run=run, status=status, id=name, time=NOON + timedelta(seconds=second), attempt=attempt)
        for name, status, second, attempt in said
    ]


def seen(intent: Intent, commits: dict[int, int]) -> Notified:
    number, about = commits[intent.commit_seq], intent.details.group
    if intent.why.name == "FIRST" or about is None:
        return Notified(number, intent.run_id)
    return Notified(number, intent.run_id, about.matched, about.children, about.ended)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(  # another end between two failures parts them
    parent_groups=[([("Completed", 5, 0), ("Failed", 1, 0), ("Failed", 7, 0), ("Completed", 1, 2)], [[("Completed", 24, 0)]])], seed=1586
)  # fmt: skip
@given(parent_groups=st.lists(sweep, min_size=1, max_size=3), seed=st.integers(0, 2**32))
def test_a_sweep_says_what_its_oracle_says(
    parent_groups: list[tuple[list[tuple[str, int, int]], list[list[tuple[str, int, int]]]]],
    seed: int,
    load: Load,
    log: DuckLogStore,
    clock: ManualClock,
    tmp_path: Path,
) -> None:
    """Any few lives of parents and children, sent twice here and there, shuffled, cut into commits, with restarts."""
    before = log.head().seq
    prefix, sent = f"{before}-", list[Event]()
    parents: dict[str, str] = {}
    for number, (own, children) in enumerate(parent_groups):
        parent = f"{prefix}s{number}"
        sent += life(parent, own)
        for n, words in enumerate(children):
            parents[f"{parent}c{n}"] = parent
            sent += life(f"{parent}c{n}", words)
    dice = random.Random(seed)
    path = tmp_path / f"{before}-{seed}.sqlite"
    path.unlink(missing_ok=True)
    engine = Engine(clock=clock, log=log, state=SqliteState.open(path, clock=clock), rules=RuleSet())
    engine.state.commit(Outcome(row_cursor=before), clock.now())
    engine.use(load(TEXT))
    arrived = [piece for piece in parts(shuffled(sent_twice(sent, seed), seed), seed, 12) if piece]
    commits: dict[int, int] = {}
    for number, piece in enumerate(arrived):
        clock.advance(timedelta(milliseconds=dice.randrange(1, 900)))
        head = log.head().seq
        engine.store(*(columns(event, parents) for event in piece))
        if log.head().seq != head:
            commits[log.head().seq] = number
        if dice.random() < 0.5:
            engine.evaluate(dice.choice((1, 2, 1000)))
        if dice.random() < 0.2:
            engine.state.close()
            engine.state = SqliteState.open(path, clock=clock)
            engine.use(engine.rules)
    engine.evaluate()
    intents = [*engine.notified(), *engine.intents(IntentKind.REPEATED)]
    engine.state.close()
    for name, (_, terms) in RULES.items():
        got = sorted(seen(i, commits) for i in intents if i.rule == name)
        assert sorted(notified(arrived, parents, terms)) == got, name
    assert [] == [i for i, n in Counter(i.id for i in intents).items() if n > 1]


def columns(event: Event, parents: dict[str, str]) -> dict[str, object]:
    return {
        "RunId": event.run, "RootRunId": parents.get(event.run, event.run), "Status": event.status, "EventId": event.id,
        "TimeGenerated": event.time, "Source": event.source, "Attempt": event.attempt,
    }  # fmt: skip
