"""Backtests of sequences, many ticks read at once, say what evaluations at each tick notify: of any history and
order of arrival.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.oracle import sequences as oracle
from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tests.unit.rules.test_windows_ahead import Counting, lines, notified
from tocsin.config.yaml.durations import parse_duration
from tocsin.errors import QueryError
from tocsin.kql.plan.windowahead import ahead_plan
from tocsin.logstore.interface import Limits
from tocsin.rules.backtest.run import Backtest, backtest
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.spec import WindowSpec
from tocsin.rules.spec.rule import Rule, of_spec

MakeEngine = Callable[..., Engine]

RULES = """
rules:
  - name: rule
    every: {every}
    {each}
    when: {{status: {status}, {after}times: {times}, within: {within}, by: [{by}]{where}}}
    {more}
"""
STATUS = {"Queued": ["Queued"], "[Queued, Running]": ["Queued", "Running"], "Running": ["Running"]}
AFTER = {
    "after: Running, ": ["Running"],
    "after: [Running, Queued], ": ["Running", "Queued"],
    "after: [Queued, Preparing], ": ["Queued", "Preparing"],
    "": [],
}
AFTERWARDS = timedelta(minutes=90)
"""So long after the last event a history is evaluated."""
STATUSES = ["Queued", "Running", "Queued", "Running", "Preparing", "Completed"]
Event = tuple[int, int, int, str, str, int]
"""Minutes since the last commit (0: the same commit), minutes that it is late, run, status, experiment, try."""
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 3, 11, 40]),
        st.sampled_from([0, 0, 0, 0, 1, 2, 5, 20]),
        st.integers(0, 2),
        st.sampled_from(STATUSES),
        st.sampled_from(["churn", "churn", "rank"]),
        st.sampled_from([0, 0, 0, 1, 2]),
    ),
    min_size=1,
    max_size=30,
)


def stored(engine: Engine, events: Sequence[Event]) -> None:
    """A history; events 0 minutes apart come in one commit, those that are late happened before others that came."""
    minute = 1
    waiting: list[Mapping[str, object]] = []
    for n, (pause, late, run, status, experiment, attempt) in enumerate(events):
        if pause and waiting:
            engine.store(*waiting)
            waiting = []
        minute += pause
        engine.clock.set(NOON + timedelta(minutes=minute, seconds=7 * (n % 3)))
        waiting.append({
            "RunId": f"r{run}", "EventId": f"e{n * 7 % 10}{n}", "Status": status, "ExperimentName": experiment, "Attempt": attempt,
            "Message": "spot" if n % 3 else "other", "TimeGenerated": NOON + timedelta(minutes=minute - late),
        })  # fmt: skip
    engine.store(*waiting)


def loaded(load: Load, **words: object) -> RuleSet:
    """A rule of a sequence."""
    given = {"every": "1m", "each": "", "status": "Queued", "after": "after: Running, ", "times": 2, "within": "10m",
             "by": "RunId", "where": "", "more": "", **words}  # fmt: skip
    return load("\n".join(line for line in RULES.format(**given).splitlines() if line.strip()))


@settings(
    max_examples=examples(8),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(
    events=EVENTS,
    status=st.sampled_from(sorted(STATUS)),
    after=st.sampled_from(sorted(AFTER)),
    times=st.integers(1, 3),
    within=st.sampled_from(["3m", "10m", "45m", "2h"]),
    every=st.sampled_from(["1m", "3m"]),
    by=st.sampled_from(["RunId", "ExperimentName"]),
    where=st.sampled_from(["", ", where: \"Message has 'spot'\"", ", where: \"ExperimentName == 'churn'\""]),
    more=st.sampled_from(["", "repeat_every: 7m", "max_instances: 1"]),
    as_if_live=st.booleans(),
    rows=st.sampled_from([3, 1000]),
)
def test_many_ticks_at_once_say_what_one_after_the_other_notifies(
    engine: MakeEngine, load: Load, events: list[Event], as_if_live: bool, rows: int, **words: object
) -> None:
    one = engine("rules: []")
    (rule,) = loaded(load, **words).rules.values()
    stored(one, events)
    found = _same(rule, one, as_if_live=as_if_live, rows=rows)
    if words["more"] == "":
        assert [(t.at, str(t.instance[str(words["by"])])) for t in found.notified] == _by_the_oracle(
            one, as_if_live, words
        )


def _by_the_oracle(engine: Engine, as_if_live: bool, words: Mapping[str, object]) -> list[tuple[datetime, str]]:
    where, by, every = str(words["where"]), str(words["by"]), parse_duration(str(words["every"]))
    events = [
        oracle.Event(
            id=e["EventId"],
            run=e["RunId"],
            attempt=e["Attempt"],
            status=e["Status"],
            time=_utc(e["TimeGenerated"]),
            came=_utc(e["TimeGenerated" if as_if_live else "IngestedAt"]),
            group=e[by],
            passes=("spot" not in where or e["Message"] == "spot") and ("churn" not in where or e["ExperimentName"] == "churn"),
        )
        for e in engine.log.select("SELECT * FROM RunStatusChanged").to_pylist()
    ]  # fmt: skip
    rule = oracle.Rule(
        status=STATUS[str(words["status"])],
        after=AFTER[str(words["after"])],
        times=int(str(words["times"])),
        within=parse_duration(str(words["within"])),
    )
    end = engine.clock.now() + AFTERWARDS
    ticks = [NOON + n * every for n in range(1, (end - NOON) // every + 1) if NOON + n * every < end]
    return oracle.notified(rule, events, ticks)


def _utc(t: datetime) -> datetime:
    return t.replace(tzinfo=UTC) if t.tzinfo is None else t


class Sound(Counting):
    """A log in which nothing may fail: a query for many ticks that does is asked tick by tick, and nobody would see
    it.
    """

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        try:
            return super().select(sql, params, limits)
        except QueryError as e:
            raise AssertionError(str(e)) from e


def _same(rule: Rule, engine: Engine, *, as_if_live: bool, rows: int) -> Backtest:
    assert ahead_plan(of_spec(rule, WindowSpec).spec.query) is not None
    until = engine.clock.now() + AFTERWARDS
    at_once = backtest(
        rule,
        Sound(engine.log),
        Span(since=NOON, until=until, rows=rows, few=0),
        clock=engine.clock,
        as_if_live=as_if_live,
    )
    in_turn = notified(rule, engine, as_if_live=as_if_live, at_once=False, rows=rows)
    assert lines(in_turn) == lines(at_once)
    assert in_turn.by_kind == at_once.by_kind
    assert in_turn.errors == at_once.errors == ()
    return in_turn


CHURNING = [(1, 0, n % 3, status, ("churn", "rank")[n % 2], 0) for n in range(9) for status in ("Running", "Queued")]


@pytest.mark.parametrize("as_if_live", [False, True])
def test_each_rule_of_a_table_notifies_the_same_either_way(engine: MakeEngine, load: Load, as_if_live: bool) -> None:
    one = engine("rules: []")
    words = {"where": ', where: "ExperimentName == experiment"', "each": "for_each: {table: limits}", "within": "2h"}
    rule = loaded(load, **words).rules["rule"]
    assert rule.each is not None
    rows = [{"experiment": name, "longest": 1, "team": "t"} for name in ("churn", "rank", "nothing")]
    stored(one, CHURNING)
    found = [_same(each, one, as_if_live=as_if_live, rows=1000).notified_count for each in rule.each.over(rows).rules]
    assert found == [2, 1, 0]


@pytest.mark.parametrize("after", ["after: Running, ", ""])
@pytest.mark.parametrize("as_if_live", [False, True])
def test_ticks_of_a_step_are_read_at_once(engine: MakeEngine, load: Load, after: str, as_if_live: bool) -> None:
    one = engine("rules: []")
    (rule,) = loaded(load, after=after, within="1h").rules.values()
    stored(one, CHURNING)
    log = Counting(one.log)
    found = backtest(
        rule, log, Span(since=NOON, until=NOON + timedelta(hours=3)), clock=one.clock, as_if_live=as_if_live
    )
    assert found.notified_count == 3
    assert log.selects < 12  # for 180 ticks


@pytest.mark.parametrize("late", [False, True])
def test_what_comes_late_stands_between_what_had_come(engine: MakeEngine, load: Load, late: bool) -> None:
    """Queued after Running counts until Preparing, which happened between the two, arrives."""
    one = engine("rules: []")
    (rule,) = loaded(load, times=1, within="1h", more="repeat_every: 3m").rules.values()
    events: list[Event] = [(1, 0, 0, "Running", "churn", 0), (3, 0, 0, "Queued", "churn", 0)]
    between: Event = (5, 7, 0, "Preparing", "churn", 0) if late else (5, 0, 0, "Preparing", "churn", 0)
    stored(one, [*events, between, (40, 0, 1, "Completed", "churn", 0)])
    count = sum(_same(rule, one, as_if_live=False, rows=1000).by_kind.values())
    assert count == 2 if late else count > 10


@pytest.mark.parametrize(("ran", "count"), [("10m", 1), ("6d", 1), ("8d", 0)])
@pytest.mark.parametrize("as_if_live", [False, True])
def test_what_came_before_may_be_older_than_the_window(
    engine: MakeEngine, load: Load, ran: str, count: int, as_if_live: bool
) -> None:
    """A run that ran for days before it lost its machine the first time; beyond a week that time is not counted."""
    one = engine("rules: []")
    (rule,) = loaded(load, times=3, within="1h").rules.values()
    one.store({"Status": "Running", "EventId": "first"})
    begin = NOON + parse_duration(ran)
    for n, status in enumerate(["Queued", "Running", "Queued", "Running", "Queued"]):
        one.clock.set(begin + timedelta(minutes=n))
        one.store({"Status": status, "EventId": f"e{n}"})
    for few in (0, 1_000_000):
        until = begin + timedelta(hours=2)
        found = backtest(
            rule,
            one.log,
            Span(since=begin - timedelta(minutes=5), until=until, few=few),
            clock=one.clock,
            as_if_live=as_if_live,
        )
        assert found.notified_count == count
