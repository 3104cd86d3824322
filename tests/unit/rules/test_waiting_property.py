"""Absence rules, over any history: late and repeated events, outages, restarts, reloads, many commits at once.

The oracle is tests/oracle/waiting.py, written from the semantics alone. The engine runs on the real stores.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.events import Event
from tests.oracle.waiting import HEARTBEAT, Notified, Pause, Sign, SourceProgress, Waiting, received_at
from tests.oracle.waiting_rules import EXPECTED, OTHER, RULES, oracles, schedules
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.alert import Phase, Why
from tocsin.model.calendars.calendar import Maintenance
from tocsin.model.intent import IntentKind
from tocsin.rules.kinds.pausing import under
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.sqlite import SqliteState

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Kinds(dict[str, RuleSet]):
    """The rules after a reload of each kind."""

    def __repr__(self) -> str:
        return "rules"


@pytest.fixture
def rules(load: Load) -> Kinds:
    return Kinds({kind: load(change(RULES)) for kind, change in OTHER.items()})


pauses: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        begin=st.sampled_from((-90, -5, 0, 10, 30)),  # min from now
        lasts=st.sampled_from((5, 40, 200)),
        settle=st.sampled_from((0, 0, 20)),
        rule=st.sampled_from(("", "stuck", "silent", "hourly", "shut")),
        run=st.sampled_from(("", "", "r0")),
    ),
    max_size=2,
)

said: st.SearchStrategy[dict[str, object]] = st.builds(
    dict,
    run=st.sampled_from((0, 0, 0, 1)),
    status=st.sampled_from(("Queued", "Preparing", "Running", "Running", "Completed", "Failed", HEARTBEAT, HEARTBEAT)),
    late=st.sampled_from((0, 0, 0, 1, 7, 40, 200)),  # min
    watcher=st.booleans(),  # whether the watcher says it, who never ends a run
    attempt=st.sampled_from((0, 0, 0, 1)),
    progress=st.sampled_from((None, 0.1, 0.1, 0.2)),
    consumer=st.sampled_from(("a", "a", "b")),
    experiment=st.sampled_from(("churn", "nightly")),
    whole=st.booleans(),  # whether it may have happened when another did
)
moments = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.lists(said, min_size=1, max_size=3)),
        st.tuples(st.just("arrive"), st.lists(said, min_size=1, max_size=1)),
        st.tuples(st.just("moves"), st.lists(said, min_size=2, max_size=4)),
        st.tuples(st.just("again"), st.integers(0, 30)),
        st.tuples(st.just("evaluate"), st.sampled_from((0, 3, 10, 11, 20, 44, 45, 61, 130, 250, 1500))),
        st.tuples(st.just("evaluate"), st.sampled_from((1, 9, 10, 15, 25))),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("reload"), st.sampled_from(sorted(OTHER))),
        st.tuples(st.just("maintain"), pauses),
        st.tuples(st.just("outage"), st.tuples(st.sampled_from(("a", "b")), st.sampled_from((1, 12, 90)))),
        st.tuples(st.just("source_progress"), st.sampled_from(("a", "b"))),
    ),
    min_size=8,
    max_size=25,
)


@dataclass
class Timeline:
    """The same moments for the engine and the oracle."""

    engine: Engine
    oracle: Waiting
    rules: Mapping[str, RuleSet]
    at_once: Sequence[int]
    path: Path
    kind: str = "as it was"
    maintenance: list[Maintenance] = field(default_factory=list)
    unevaluated: list[tuple[datetime, list[Sign]]] = field(default_factory=list)
    stored: set[tuple[str, str, datetime]] = field(default_factory=set)
    sent: list[Sign] = field(default_factory=list)
    down: dict[str, datetime] = field(default_factory=dict)
    waiting: dict[str, list[Sign]] = field(default_factory=dict)  # what a consumer that is down has not brought yet

    @property
    def now(self) -> datetime:
        return self.engine.clock.now()

    def source_progress(self) -> SourceProgress:
        marks = {name: self.down.get(name, self.now) for name in ("a", "b")}
        self.engine.watermarks = dict(marks)
        return SourceProgress(upto=marks, outages={name: list(spans) for name, spans in self.engine.outages.items()})

    def go(self, what: str, with_: object) -> None:
        self.engine.clock.advance(MINUTE)
        getattr(self, what)(with_)

    def arrive(self, several: list[dict[str, object]]) -> None:
        self._store([self._sign(each) for each in several])

    def moves(self, several: list[dict[str, object]]) -> None:
        """Time passes, and then come several commits, evaluated at once or one by one."""
        self.evaluate(46)
        for each in several:
            self.engine.clock.advance(MINUTE)
            self.arrive([each])

    def again(self, number: int) -> None:
        if self.sent:
            self._store([self.sent[number % len(self.sent)]])

    def evaluate(self, minutes: int) -> None:
        self.engine.clock.advance(minutes * MINUTE)
        self._evaluate()
        source_progress = self.source_progress()
        for _ in range(2):
            self.engine.tick()
        while [t for t in self.engine.state.timers() if t.due <= self.now and source_progress.has(t.due, t.consumers)]:
            self.engine.tick()
        self.oracle.evaluate(self.now, source_progress)

    def restart(self, _: object) -> None:
        self.source_progress()
        self.engine.state.close()
        self.engine.state = SqliteState.open(self.path, clock=self.engine.clock)
        self.engine.use(self.engine.rules)

    def reload(self, kind: str) -> None:
        source_progress = self.source_progress()
        later = {sign.event.run for _, signs in self.unevaluated for sign in signs}
        self.kind = kind
        self.engine.use(under(self.rules[kind], self.maintenance))
        self.oracle.reload(self.now, oracles(kind), schedules(kind), source_progress, later)

    def maintain(self, several: list[dict[str, Any]]) -> None:
        """These are announced, and others taken back."""
        self._evaluate()
        source_progress = self.source_progress()
        self.maintenance, notified = [], []
        for each in several:
            begin = self.now + each["begin"] * MINUTE
            end, settle = begin + each["lasts"] * MINUTE, each["settle"] * MINUTE
            match = {name: frozenset({each[key]}) for name, key in (("rule", "rule"), ("RunId", "run")) if each[key]}
            self.maintenance.append(Maintenance(begin=begin, end=end, settle=settle, match=match))
            notified.append(Pause(begin=begin, until=end + settle, rule=each["rule"], run=each["run"]))
        self.engine.use(under(self.rules[self.kind], self.maintenance))
        self.oracle.maintenance(self.now, notified, source_progress)

    def outage(self, which: tuple[str, int]) -> None:
        """Its watermark stands still until it is received again; what comes meanwhile waits."""
        name, minutes = which
        self._evaluate()
        self.down.setdefault(name, self.now)
        self.engine.clock.advance(minutes * MINUTE)

    def source_back(self, name: str) -> None:
        """What waited comes in two parts; with the second one its watermark moves on."""
        if name not in self.down:
            return
        waiting = self.waiting.pop(name, [])
        half = len(waiting) // 2
        self._commit(waiting[:half])
        self.evaluate(1)
        self.engine.clock.advance(MINUTE)
        self._commit(waiting[half:])
        self._evaluate()
        begin = self.down.pop(name)
        if begin < self.now:
            self.engine.outages.setdefault(name, []).append((begin, self.now))

    def _sign(self, d: dict[str, object]) -> Sign:
        number = len(self.sent) + 1
        status, watcher = str(d["status"]), bool(d["watcher"])
        if watcher and status in ("Completed", "Failed"):
            status = "Running"
        time = self.now - int(str(d["late"])) * MINUTE - (0 if d.get("whole") else number) * timedelta(milliseconds=1)
        run = f"r{d['run']}"
        beats = status == HEARTBEAT
        event = Event(
            run=run,
            status=status,
            id=f"e{number}",
            time=self.now if beats else time,
            source="/watcher" if watcher else "/trainer",
            attempt=0 if beats else int(str(d["attempt"])),
            experiment=str(d["experiment"]),
        )
        progress = d["progress"]
        sign = Sign(
            event=event, progress=progress if isinstance(progress, float) else None, consumer=str(d["consumer"])
        )
        self.sent.append(sign)
        return sign

    def _store(self, signs: list[Sign]) -> None:
        for sign in signs:
            if sign.consumer in self.down:
                self.waiting.setdefault(sign.consumer, []).append(sign)
        self._commit([sign for sign in signs if sign.consumer not in self.down])

    def _commit(self, signs: list[Sign]) -> None:
        signs = [received_at(sign, self.now) for sign in signs]
        if signs:
            self.engine.store(*map(columns, signs))
            new = [sign for sign in signs if sign.beats or sign.event.key not in self.stored]
            self.stored |= {sign.event.key for sign in signs}
            self.unevaluated.append((self.now, new))

    def _evaluate(self) -> None:
        source_progress = self.source_progress()
        step = self.at_once[len(self.sent) % len(self.at_once)]
        self.engine.evaluate(step)
        for at, signs in self.unevaluated:
            self.oracle.commit(at, at, signs, source_progress)
        self.unevaluated = []


def columns(sign: Sign) -> dict[str, object]:
    event = sign.event
    return {
        "RunId": event.run, "Status": None if sign.beats else event.status, "heartbeat": sign.beats, "EventId": event.id,
        "TimeGenerated": event.time, "Source": event.source, "Attempt": None if sign.beats else event.attempt,
        "Progress": sign.progress, "Consumer": sign.consumer,
        "ExperimentName": None if sign.beats else event.experiment,
    }  # fmt: skip


def what_was_notified(engine: Engine) -> list[Notified]:
    """Of intents what was notified, of transitions what was closed without a notification."""
    words = {IntentKind.FIRED: "fired", IntentKind.RESOLVED: "resolved", IntentKind.REPEATED: "repeated"}
    out = [
        (words[i.kind], i.rule, str(i.instance.get("RunId", "")), i.at)
        for e in engine.evaluations
        for i in e.outcome.intents
        if i.kind in words
    ]
    out += [
        ("closed", t.rule, str(t.instance.get("RunId", "")), t.at)
        for e in engine.evaluations
        for t in e.outcome.transitions
        if t.after is Phase.RESOLVED and t.reason in (Why.RULE_CHANGED, Why.MAINTENANCE, Why.AUTO_CLOSED)
    ]
    return sorted(out, key=_in_order)


def notify(
    timeline: Sequence[tuple[str, object]], at_once: Sequence[int], rules: Mapping[str, RuleSet], path: Path
) -> tuple[list[Notified], list[Notified]]:
    """What must be notified of a story, and what is."""
    with ExitStack() as stack:
        clock = ManualClock(NOON + MINUTE)
        log = DuckLogStore.open(None, clock=clock)
        stack.callback(log.close)
        path.unlink(missing_ok=True)
        engine = Engine(clock=clock, log=log, state=SqliteState.open(path, clock=clock), rules=RuleSet())
        stack.callback(lambda: engine.state.close())
        engine.kinds = {"a": "kafka", "b": "http"}
        engine.use(rules["as it was"])
        oracle = Waiting(oracles("as it was"), EXPECTED, clock.now())
        one = Timeline(engine=engine, oracle=oracle, rules=rules, at_once=at_once, path=path)
        for what, with_ in timeline:
            one.go("source_back" if what == "source_progress" else what, with_)
        one.evaluate(0)
        return sorted(oracle.notified, key=_in_order), what_was_notified(engine)


def one(run: int, status: str, consumer: str, late: int = 0) -> tuple[str, object]:
    """A moment at which one event comes."""
    event = {"run": run, "status": status, "consumer": consumer, "late": late, "attempt": 0, "progress": 0.2}
    return "moves", [{**event, "watcher": True, "experiment": "nightly"}]


MISSED_AGAIN = [  # a deadline that is missed while an earlier miss is notified was taken for the time to repeat it
    one(0, "Running", "a", late=40), ("evaluate", 130), ("outage", ("b", 90)), ("evaluate", 15), one(1, "Running", "b", late=7),
    ("outage", ("a", 90)), ("source_progress", "b"),
]  # fmt: skip


def _in_order(notified: Notified) -> tuple[object, ...]:
    return (notified[3], *notified[1:3], notified[0])


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(timeline=MISSED_AGAIN, at_once=[1])
@given(timeline=moments, at_once=st.lists(st.sampled_from((1, 2, 1000)), min_size=1, max_size=3))
def test_what_is_notified_is_what_the_semantics_say(
    timeline: list[tuple[str, object]], at_once: list[int], rules: Kinds, tmp_path: Path
) -> None:
    expected, notified = notify(timeline, at_once, rules, tmp_path / "state.sqlite")
    assert expected == notified
