"""Failures of which nobody says whether another attempt follows, in any order, with repetitions, outages and restarts.

The oracle is tests/oracle/tries.py, written from the semantics alone. The engine runs on the real stores.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.events import Event
from tests.oracle.tries import Tries
from tests.unit.rules.conftest import Engine, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.intent import IntentKind
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

MINUTE = timedelta(minutes=1)
RULE = "rules: [{name: final, when: {status: Failed, final: true}, final_after: 15m}]"

Word = tuple[int, str, bool | None, int, int]
word = st.tuples(
    st.sampled_from((0, 0, 1, 1, 2, 3)),  # run; all but the last are of one job
    st.sampled_from(("Queued", "Running", "Failed", "Failed", "Failed", "Completed")),
    st.sampled_from((None, None, None, False, True)),  # whether another attempt follows
    st.sampled_from((0, 0, 1, 5, 14, 15, 16, 40)),  # min late
    st.sampled_from((0, 0, 1, 2)),  # attempt
)
moments = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.lists(word, min_size=1, max_size=4)),
        st.tuples(st.just("again"), st.integers(0, 20)),
        st.tuples(st.just("look"), st.sampled_from((0, 1, 5, 14, 15, 30))),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("outage"), st.just(0)),
        st.tuples(st.just("source_progress"), st.just(0)),
    ),
    min_size=3,
    max_size=20,
)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=moments, at_once=st.sampled_from((1, 2, 1000)))
def test_what_is_final_is_what_the_semantics_say(
    timeline: list[tuple[str, Any]], at_once: int, load: Load, log: DuckLogStore, clock: ManualClock, tmp_path: Path
) -> None:
    clock.advance(timedelta(days=3))
    prefix, path = f"{log.head().seq}-", tmp_path / "state.sqlite"
    path.unlink(missing_ok=True)
    engine = Engine(clock=clock, log=log, state=SqliteState.open(path, clock=clock), rules=RuleSet())
    engine.state.commit(Outcome(row_cursor=log.head().seq), clock.now())
    engine.use(load(RULE))
    oracle = Tries(15 * MINUTE)
    sent: list[tuple[Event, bool]] = []
    tries: set[tuple[int, int]] = set()
    waiting: list[tuple[datetime, list[tuple[Event, bool]]]] = []
    down: datetime | None = None

    def store(events: list[tuple[Event, bool]]) -> None:
        engine.store(*(columns(event, unsure) for event, unsure in events))
        waiting.append((clock.now(), events))

    def evaluate(minutes: int) -> None:
        nonlocal waiting
        clock.advance(minutes * MINUTE)
        engine.watermarks = {"test": down or clock.now()}
        engine.evaluate(at_once)
        engine.tick()
        for at, events in waiting:
            oracle.commit(at, [event for event, _ in events], {event.id for event, unsure in events if unsure})
        waiting = []
        oracle.evaluate(clock.now(), down or clock.now())

    for what, with_ in [*timeline, ("look", 15), ("source_progress", 0), ("look", 30)]:
        clock.advance(MINUTE)
        if what == "arrive":
            new: list[tuple[Event, bool]] = []
            for run, status, retry, late, attempt in begun(with_, tries):
                event = Event(
                    run=f"{prefix}{run}", status=status, id=f"{prefix}e{len(sent)}", time=clock.now() - late * MINUTE,
                    attempt=attempt, will_retry=retry is True, experiment=f"{prefix}{'own' if run == 3 else 'job'}",
                )  # fmt: skip
                new.append((event, retry is None))
                sent.append(new[-1])
            store(new)
        elif what == "again" and sent:
            store([sent[with_ % len(sent)]])
        elif what == "look":
            evaluate(with_)
        elif what == "restart":
            engine.state.close()
            engine.state = SqliteState.open(path, clock=clock)
            engine.use(engine.rules)
        elif what == "outage":
            evaluate(0)
            down = down or clock.now()
        elif what == "source_progress":
            down = None
    notified = [(i.at, i.run_id) for i in engine.intents(IntentKind.FIRED)]
    engine.state.close()
    assert sorted(oracle.notified) == sorted(notified)


def begun(words: list[Word], tries: set[tuple[int, int]]) -> list[Word]:
    """An attempt begins with a word that is no end: the oracle of occurrences knows no other histories."""
    fresh = dict.fromkeys((run, attempt) for run, _, _, _, attempt in words if (run, attempt) not in tries)
    tries |= set(fresh)
    return [*((run, "Running", None, 50, attempt) for run, attempt in fresh), *words]


def columns(event: Event, unsure: bool) -> dict[str, object]:
    return {
        "RunId": event.run, "Status": event.status, "EventId": event.id, "TimeGenerated": event.time,
        "Source": event.source, "Attempt": event.attempt, "WillRetry": None if unsure else event.will_retry,
        "JobKey": None if event.experiment.endswith("own") else event.experiment,
    }  # fmt: skip
