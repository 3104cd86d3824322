"""Window rules over any history, taken by the evaluator's own steps: late and repeated events, outages, backlogs,
restarts, crashes,
reloads.

The oracle is tests/oracle/windows.py, written from the semantics alone. The stores are the real ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.windows import Notified, Row, Terms, Windows
from tocsin.app.engine.evaluator import Consumers, Evaluator
from tocsin.clock import ManualClock
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.metrics.registry import Metrics
from tocsin.model.alert import Phase, Why
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.intent import IntentKind
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.state.interface import Outcome
from tocsin.state.sqlite import SqliteState

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
CONSUMERS = ("a", "b")

PLAIN = Terms(over=10 * MINUTE, every=MINUTE)
ENDS: dict[str, Terms] = {
    "": PLAIN,
    "for: 450s": replace(PLAIN, hold=450 * SECOND),
    "for: 25m": replace(PLAIN, hold=25 * MINUTE),
    "for: 2 of 3": replace(PLAIN, of_ticks=(2, 3)),
    "for: 3 of 3\nno_data: alert": replace(PLAIN, of_ticks=(3, 3), no_data="alert"),
    "keep_firing_for: 15m": replace(PLAIN, keep_firing=15 * MINUTE),
    "keep_firing_for: 10m\nno_data: ok\nfor: 5m": replace(
        PLAIN, keep_firing=10 * MINUTE, no_data="ok", hold=5 * MINUTE
    ),
    "no_data: ok": replace(PLAIN, no_data="ok"),
    "no_data: alert": replace(PLAIN, no_data="alert"),
    "no_data: alert\nfor: 10m": replace(PLAIN, no_data="alert", hold=10 * MINUTE),
    "repeat_every: 35m": replace(PLAIN, repeat=35 * MINUTE),
    'resolve: {when: "n < 1"}': replace(PLAIN, clear_below=1),
    'resolve: {when: "n < 1"}\nkeep_firing_for: 10m\nrepeat_every: 25m': replace(
        PLAIN, clear_below=1, keep_firing=10 * MINUTE, repeat=25 * MINUTE
    ),
    'severity: {warning: ">= 1", error: ">= 3", critical: ">= 4"}\nvalue: n': replace(PLAIN, levels=(1, 3, 4)),
    "send_resolved: false": replace(PLAIN, send_resolved=False),
}
SPANS = [(50, 300, 0), (15, 300, 0), (15, 300, 450), (20, 600, 0), (25, 1500, 150)]
"""Over (min), every and lateness (s)."""


@dataclass(frozen=True)
class Kind:
    """A rule in its own words, and what the oracle knows of it."""

    more: str
    span: tuple[int, int, int]
    least: int

    @property
    def terms(self) -> Terms:
        over, every, lateness = self.span
        return replace(
            ENDS[self.more], over=over * MINUTE, every=every * SECOND, lateness=lateness * SECOND, least=self.least
        )

    def text(self, name: str) -> str:
        over, every, lateness = self.span
        lines = [
            f"- name: {name}", f"  over: {over}m", f"  every: {every}s", f"  lateness: {lateness}s", "  query: |",
            "    RunStatusChanged", "    | where Status in ('Completed', 'Failed')",
            "    | summarize n = countif(Status == 'Failed') by ExperimentName", f"  condition: n >= {self.least}",
            "  by: [ExperimentName]", *(f"  {line}" for line in self.more.split("\n") if line),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


kinds = st.builds(Kind, more=st.sampled_from(sorted(ENDS)), span=st.sampled_from(SPANS), least=st.just(2))
said = st.tuples(
    st.sampled_from(("churn", "churn", "rank")),
    st.sampled_from(("Failed", "Failed", "Completed", "Running")),
    st.sampled_from((0, 0, 0, 100, 350, 1000, 2500, -200)),  # s late; ahead of our clock
    st.sampled_from(("a", "a", "b")),
)
moments = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.lists(said, min_size=1, max_size=3)),
        st.tuples(st.just("arrive"), st.lists(said, min_size=2, max_size=5)),
        st.tuples(st.just("evaluate"), st.just(0)),
        st.tuples(st.just("look_at"), st.sampled_from((1, 60, 150, 300, 300, 301, 595, 900, 1500))),
        st.tuples(st.just("look_at"), st.sampled_from((300, 600, 3000, 7500, 100_000))),
        st.tuples(st.just("passes"), st.sampled_from((1, 100, 300, 500, 2000))),
        st.tuples(st.just("again"), st.integers(0, 30)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 3)),
        st.tuples(st.just("reload"), st.tuples(st.integers(0, 2), st.sampled_from(sorted(ENDS)), st.integers(1, 3))),
        st.tuples(st.just("outage"), st.sampled_from(CONSUMERS)),
        st.tuples(st.just("source_progress"), st.sampled_from(CONSUMERS)),
        st.tuples(st.just("nearer"), st.tuples(st.sampled_from(CONSUMERS), st.sampled_from((30, 290, 400, 1000)))),
    ),
    min_size=4,
    max_size=25,
)


class Crash(Exception):
    """The process ends before a state transaction is written."""


@dataclass
class Timeline:
    """The same moments for the evaluator and an oracle a rule."""

    clock: ManualClock
    log: DuckLogStore
    path: Path
    kinds: list[Kind]
    lag: timedelta
    prefix: str
    notified: list[tuple[str, Notified]] = field(default_factory=list)
    sent: list[tuple[str, MappedEvent]] = field(default_factory=list)
    stored: set[tuple[str, datetime]] = field(default_factory=set)
    commits: list[tuple[datetime, list[Row]]] = field(default_factory=list)  # not evaluated yet
    down: dict[str, datetime] = field(default_factory=dict)
    waiting: dict[str, list[tuple[datetime, MappedEvent]]] = field(default_factory=dict)  # said meanwhile, and when
    crashes: int = -1  # so many transactions are still written; -1: all
    state: SqliteState | None = None

    def __post_init__(self) -> None:
        self.oracles = {n: Windows(kind.terms, self.now) for n, kind in self.named()}
        self.restart()

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def named(self) -> list[tuple[str, Kind]]:
        return [(f"r{n}", kind) for n, kind in enumerate(self.kinds)]

    def rules(self) -> RuleSet:
        return rule_set(tuple(self.named()))

    def marks(self) -> dict[str, datetime | None]:
        return {name: self.down.get(name, self.now - self.lag) for name in CONSUMERS}

    # -- moments -------------------------------------------------------------------------------------------------------

    def restart(self, _: object = 0) -> None:
        self.crashes = -1
        self.close()
        self.state = SqliteState.open(self.path, clock=self.clock)
        write = self.state.commit

        def commit(outcome: Outcome, now: datetime) -> None:
            if self.crashes == 0:
                raise Crash
            self.crashes -= 1
            write(outcome, now)
            self.notified += words(outcome)

        setattr(self.state, "commit", commit)  # noqa: B010 - it writes as ever, but for a crash
        self.evaluator = Evaluator(
            self.log, self.state, Metrics(), self.clock,
            Consumers(source_progress=lambda: SourceProgress(watermarks=self.marks(), kinds=dict.fromkeys(CONSUMERS, "kafka"))),
            lambda: None,
        )  # fmt: skip
        self.evaluator._reload(self.rules())

    def close(self) -> None:
        if self.state is not None:
            self.state.close()

    def arrive(self, several: Sequence[tuple[str, str, int, str]]) -> None:
        events = []
        for group, status, late, consumer in several:
            number = len(self.sent)
            event = MappedEvent(
                source="s", event_id=f"{self.prefix}{number}", time=self.now - late * SECOND - timedelta(microseconds=number),
                columns={"RunId": f"{self.prefix}{number}", "Status": status, "ExperimentName": group}, raw=b"{}",
            )  # fmt: skip
            self.sent.append((consumer, event))
            events.append((consumer, event))
        self._bring(events)

    def again(self, number: int) -> None:
        if self.sent:
            self._bring([self.sent[number % len(self.sent)]])

    def passes(self, seconds: int) -> None:
        self.clock.advance(seconds * SECOND)

    def look_at(self, seconds: int) -> None:
        self.clock.advance(seconds * SECOND)
        self.evaluate()

    def evaluate(self, _: object = 0) -> None:
        marks = self.marks()
        while True:
            try:
                while self.evaluator.step():
                    pass
                break
            except Crash:
                self.crashes = -1
                self.restart()
        for oracle in self.oracles.values():
            oracle.drain(self.now, self.commits, marks)
        self.commits = []

    def crash(self, after: int) -> None:
        """One of the next transactions is not written."""
        self.crashes = after

    def reload(self, with_: tuple[int, str, int]) -> None:
        number, more, least = with_
        number %= len(self.kinds)
        self.kinds[number] = replace(self.kinds[number], more=more, least=least)
        self.crashes = -1
        self.evaluator._reload(self.rules())
        self.oracles[f"r{number}"].reload(self.kinds[number].terms)

    def outage(self, name: str) -> None:
        """Its watermark stands still until it is received again; what comes meanwhile waits."""
        self.evaluate()
        self.down.setdefault(name, self.now)

    def source_progress(self, name: str) -> None:
        if name in self.down:
            self.nearer((name, 1))
            self.look_at(1)
            self._store([(name, event) for _, event in self.waiting.pop(name, [])])
            del self.down[name]

    def nearer(self, which: tuple[str, int]) -> None:
        """Error in the next so many seconds has come; its watermark says so."""
        name, seconds = which
        if name in self.down:
            mark = self.down[name] = min(self.down[name] + seconds * SECOND, self.now)
            waiting = self.waiting.pop(name, [])
            self.waiting[name] = [(at, event) for at, event in waiting if at > mark]
            self._store([(name, event) for at, event in waiting if at <= mark])

    # -- how events come -----------------------------------------------------------------------------------------------

    def _bring(self, events: Sequence[tuple[str, MappedEvent]]) -> None:
        for name, event in events:
            if name in self.down:
                self.waiting.setdefault(name, []).append((self.now, event))
        self._store([(name, event) for name, event in events if name not in self.down])

    def _store(self, events: Sequence[tuple[str, MappedEvent]]) -> None:
        if not events:
            return
        self.clock.advance(timedelta(microseconds=1))
        before = self.log.head().seq
        mapped = tuple(
            MappedEvents(consumer=name, events=[e for by, e in events if by == name], received_us=0)
            for name in CONSUMERS
        )
        self.log.append([Batch(mapped=tuple(m for m in mapped if m.events))])
        for commit in self.log.commits(before):
            rows = [
                Row(id=e.event_id, time=e.time, group=str(e.columns["ExperimentName"]), counts=e.columns["Status"] == "Failed")
                for _, e in events
                if e.time is not None and e.columns["Status"] in ("Failed", "Completed")
            ]  # fmt: skip
            self.commits.append((commit.ingested_at, rows))


def words(outcome: Outcome) -> list[tuple[str, Notified]]:
    """What an outcome notifies, and what it closes without a notification."""
    kinds = {IntentKind.FIRED: "fired", IntentKind.REPEATED: "repeated", IntentKind.RESOLVED: "resolved"}
    out = [
        (i.rule, (i.at, "worse" if i.why is Why.WORSE else kinds[i.kind], str(i.instance["ExperimentName"])))
        for i in outcome.intents
        if i.kind in kinds
    ]
    notified = {
        (i.rule, str(i.instance["ExperimentName"]), i.at) for i in outcome.intents if i.kind is IntentKind.RESOLVED
    }
    out += [
        (t.rule, (t.at, "closed", str(t.instance["ExperimentName"])))
        for t in outcome.transitions
        if t.after is Phase.RESOLVED and (t.rule, str(t.instance["ExperimentName"]), t.at) not in notified
    ]
    return out


@cache
def rule_set(named: tuple[tuple[str, Kind], ...]) -> RuleSet:
    path = FILES[0] / "rules.yaml"
    path.write_text("rules:\n" + "".join(kind.text(name) for name, kind in named))
    return load_rules([path], SCHEMA)


SCHEMA = schema_with()
FILES: list[Path] = []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ManualClock, DuckLogStore]]:
    """One log for all examples, each of which begins days after the one before."""
    clock = ManualClock(NOON)
    log = DuckLogStore.open(None, clock=clock)
    FILES.append(tmp_path_factory.mktemp("rules"))
    yield clock, log
    log.close()


World = tuple[ManualClock, DuckLogStore]
Run = Callable[[list[Kind], int, list[tuple[str, Any]]], None]


@pytest.fixture
def run(world: World, tmp_path: Path) -> Run:
    def ran(several: list[Kind], lag: int, timeline: list[tuple[str, Any]]) -> None:
        clock, log = world
        clock.set((clock.now() + timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0))
        path = tmp_path / "state.sqlite"
        path.unlink(missing_ok=True)
        one = Timeline(
            clock=clock, log=log, path=path, kinds=list(several), lag=lag * SECOND, prefix=f"{log.head().seq}-"
        )  # fmt: skip
        start = clock.now()
        try:
            for what, with_ in [*timeline, ("look_at", 1)]:
                clock.advance(SECOND)
                getattr(one, what)(with_)
            expected = sorted((name, notified) for name, oracle in one.oracles.items() for notified in oracle.notified)
            assert shown(expected, start) == shown(sorted(one.notified), start)
            assert one.state is not None
            for name, oracle in one.oracles.items():
                states = one.state.conditions(name).values()
                found = {str(s.instance["ExperimentName"]): s.phase.value for s in states if s.phase is not Phase.NONE}
                assert oracle.phases() == found, name
        finally:
            one.close()

    return ran


def shown(notified: Sequence[tuple[str, Notified]], start: datetime) -> list[str]:
    return [f"{name} {group} {word} at {at - start}" for name, (at, word, group) in notified]


@settings(
    max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=False,
)  # fmt: skip
@given(several=st.lists(kinds, min_size=1, max_size=2), lag=st.sampled_from((0, 0, 1, 25)), timeline=moments)
def test_what_windows_notify_is_what_the_semantics_say(
    several: list[Kind], lag: int, timeline: list[tuple[str, Any]], run: Run
) -> None:
    run(several, lag, timeline)
