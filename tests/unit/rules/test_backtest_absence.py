"""Backtests of absence rules say what live operation notifies."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Load
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.calendars.calendar import Maintenance
from tocsin.model.intent import IntentKind
from tocsin.rules.backtest.run import Backtest, backtest
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.deadline.replay import ahead as deadlines_ahead
from tocsin.rules.kinds.deadline.replay import histories as deadlines_known
from tocsin.rules.kinds.pausing import under
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.testing.simulator import HEARTBEAT, Simulator, Step

MINUTE, HOUR, US = timedelta(minutes=1), timedelta(hours=1), timedelta(microseconds=1)
UNTIL = NOON + timedelta(hours=30)
RULES = {
    "stuck": "when: {status: [Queued, Preparing], in_status_for: 45m}",
    "silent": "when: {status: Running, silent_for: 10m}",
    "still": "when: {status: [Running, Queued], unchanged: Progress, for: 1h}, max_event_age: 2h",
    "often": "when: {status: [Queued, Running], silent_for: 10m}, repeat_every: 7m, auto_close: 3h",
    "slow": "when: {status: Running, duration: {above: 1.5 * p50, of: [ExperimentName], last: 6h, min_runs: 1}}",
    "in-churn": "when: {status: Running, in_status_for: 20m, where: \"ExperimentName == 'churn'\"}, fields: [Target]",
    "hourly": "when: {absent: {status: Completed, where: \"ExperimentName == 'churn'\"}, cron: '0 * * * *', grace: 20m}",
    "shut": (
        "when: {absent: {status: Running, where: \"ExperimentName == 'rank'\"}, cron: '*/30 * * * *', grace: 5m},"
        " auto_close: 20m, repeat_every: 7m"
    ),
}
Event = Mapping[str, object]
Said = tuple[datetime, str, str]

events: st.SearchStrategy[list[dict[str, object]]] = st.lists(
    st.builds(
        dict,
        pause=st.sampled_from((0, 0, 1, 5, 12, 30, 50, 70, 300)),  # min
        run=st.sampled_from((0, 0, 1)),
        status=st.sampled_from(("Queued", "Preparing", "Running", "Running", "Completed", "Failed", "", "")),
        late=st.sampled_from((0, 0, 0, 3, 40)),  # min
        attempt=st.sampled_from((0, 0, 0, 1)),
        progress=st.sampled_from((None, 0.1, 0.1, 0.2)),
        experiment=st.sampled_from(("churn", "rank")),
        watcher=st.booleans(),
        same=st.booleans(),  # whether it arrives with the one before
    ),
    min_size=2,
    max_size=20,
)


def rule(load: Load, name: str) -> RuleSet:
    return load(f"rules:\n  - {{name: {name}, {RULES[name]}}}\n")


def said(steps: Sequence[Step]) -> list[Said]:
    return [
        (i.at, str(i.kind), str(i.instance.get("RunId", "")))
        for step in steps
        for i in step.evaluation.outcome.intents
        if i.kind is not IntentKind.SUMMARY
    ]


def found(one: Backtest) -> list[Said]:
    assert one.errors == ()
    return [(t.at, t.kind, str(t.instance.get("RunId", ""))) for t in one.notified]


def batches(timeline: Sequence[Mapping[str, object]], *, live: bool) -> list[tuple[datetime, list[Event]]]:
    """What arrives when. ``live``: everything arrives when it happens, which is never twice at once.

    Of a run's heartbeats within ten seconds the first one is stored, so a backtest cannot know of more.
    """
    at, beaten = NOON, dict[object, datetime]()
    out: list[tuple[datetime, list[Event]]] = []
    for n, each in enumerate(timeline):
        at += int(str(each["pause"])) * MINUTE
        now = at + timedelta(seconds=1 + n)
        time = now if live else now - int(str(each["late"])) * MINUTE
        beats = each["status"] == ""
        watcher = bool(each["watcher"]) and each["status"] not in ("Completed", "Failed")
        row: dict[str, object] = {
            "EventId": f"e{n}", "RunId": f"r{each['run']}", "TimeGenerated": time, "Progress": each["progress"],
            "Source": "/watcher" if watcher else "/trainer", HEARTBEAT: beats,
        }  # fmt: skip
        if not beats:
            row |= {"Status": each["status"], "Attempt": each["attempt"], "ExperimentName": each["experiment"]}
        if out and each["same"] and not live and not beats:
            out[-1][1].append(row)
        elif not beats:
            out.append((now, [row]))
        elif not live and now - beaten.get(each["run"], NOON - HOUR) >= timedelta(seconds=10):
            beaten[each["run"]] = now
            out.append((now, [row]))
    return out


def lived(
    rules: RuleSet, timeline: Sequence[tuple[datetime, list[Event]]], *, live: bool = False
) -> tuple[list[Said], list[Said]]:
    """What was notified live, and what the backtest says of it."""
    (one,) = rules.rules.values()
    with Simulator(rules, NOON) as simulator:
        steps: list[Step] = []
        for at, rows in timeline:
            steps += simulator.advance(at)
            steps += simulator.arrive(rows)
        steps += simulator.advance(UNTIL - US)
        again = backtest(one, simulator.log, Span(since=NOON, until=UNTIL), clock=simulator.clock, as_if_live=live)
    return sorted(said(steps)), sorted(found(again))


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=events, name=st.sampled_from(sorted(RULES)))
def test_whatever_happened_is_notified_again(load: Load, timeline: list[dict[str, object]], name: str) -> None:
    notified, again = lived(rule(load, name), batches(timeline, live=False))
    assert notified == again


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timeline=events, name=st.sampled_from(sorted(RULES)))
def test_as_if_live_every_event_arrives_when_it_happened(
    load: Load, timeline: list[dict[str, object]], name: str
) -> None:
    notified, again = lived(rule(load, name), batches(timeline, live=True), live=True)
    assert notified == again


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    timeline=events,
    name=st.sampled_from(sorted(RULES)),
    pauses=st.lists(st.tuples(st.integers(-30, 300), st.integers(1, 120), st.integers(0, 20)), min_size=1, max_size=3),
)
def test_what_was_under_maintenance_is_so_again(
    load: Load, timeline: list[dict[str, object]], name: str, pauses: list[tuple[int, int, int]]
) -> None:
    """A backtest knows the maintenances that are announced; deadlines move there as they do live."""
    announced = [
        Maintenance(begin=NOON + b * MINUTE, end=NOON + (b + n) * MINUTE, settle=s * MINUTE) for b, n, s in pauses
    ]
    notified, again = lived(under(rule(load, name), announced), batches(timeline, live=False))
    assert notified == again


def test_what_time_has_closed_is_missed_again(load: Load) -> None:
    """At 12:20 and, since that was closed at 12:50, at 13:20."""
    rules = load(f"rules:\n  - {{name: hourly, {RULES['hourly']}, auto_close: 30m}}\n")
    row = {"EventId": "e", "RunId": "r", "Status": "Running", "TimeGenerated": NOON}
    notified, again = lived(rules, [(NOON, [row])])
    assert notified == again
    assert [NOON + n * HOUR + 20 * MINUTE for n in range(3)] == [at for at, kind, _ in notified if kind == "fired"][:3]


@pytest.mark.parametrize("ids", ["ab", "ba"])
def test_of_what_happened_at_once_the_last_by_its_id_counts(load: Load, ids: str) -> None:
    """Not the one that came first."""
    timeline: list[tuple[datetime, list[Event]]] = [
        (NOON + n * MINUTE, [{"EventId": name, "RunId": "r1", "TimeGenerated": NOON, "Status": status}])
        for n, (name, status) in enumerate(zip(ids, ("Running", "Queued"), strict=True), 1)
    ]
    notified, again = lived(rule(load, "stuck"), timeline)
    assert notified == again
    assert ([(NOON + 45 * MINUTE, "fired", "r1")] if ids == "ab" else []) == notified[:1]


def test_a_rule_comes_into_force_at_the_begin_of_the_range(load: Load) -> None:
    """What is stuck then is stuck; what ended before is over."""
    stuck = rule(load, "stuck")
    row = {"Status": "Queued", "ExperimentName": "churn"}
    with Simulator(RuleSet({}), NOON) as simulator:
        for n, run in enumerate(("waits", "left", "begins")):
            simulator.advance(NOON + n * 30 * MINUTE)
            simulator.arrive([{**row, "EventId": run, "RunId": run, "TimeGenerated": simulator.clock.now()}])
        simulator.advance(NOON + 70 * MINUTE)
        simulator.arrive(
            [{"EventId": "x", "RunId": "left", "Status": "Running", "TimeGenerated": simulator.clock.now()}]
        )
        begin = NOON + 80 * MINUTE
        again = backtest(
            stuck.rules["stuck"], simulator.log, Span(since=begin, until=NOON + 3 * 60 * MINUTE), clock=simulator.clock
        )
    assert found(again) == [(begin, "fired", "waits"), (NOON + 105 * MINUTE, "fired", "begins")]


@pytest.mark.parametrize(("name", "at"), [("stuck", 80), ("silent", 90), ("hourly", 120)])
def test_nobody_is_evaluated_while_it_could_not_be_reached(load: Load, name: str, at: int) -> None:
    """Down from 12:00:30 to 13:20: what is due meanwhile is notified at the end, and silence does not count."""
    outages = {"test": [(NOON + MINUTE / 2, NOON + at * MINUTE)]}
    with Simulator(RuleSet({}), NOON) as simulator:
        status = "Running" if name == "silent" else "Queued"
        simulator.advance(NOON + MINUTE / 4)
        simulator.arrive([{"EventId": "e", "RunId": "r", "Status": status, "TimeGenerated": simulator.clock.now()}])
        until = NOON + 3 * 60 * MINUTE
        again = backtest(
            rule(load, name).rules[name],
            simulator.log,
            Span(since=NOON, until=until),
            clock=simulator.clock,
            outages=outages,
        )
    listened = MINUTE / 4 if name == "silent" else timedelta(0)
    expected = NOON + at * MINUTE + (10 * MINUTE - listened if name == "silent" else timedelta(0))
    assert found(again)[0] == (expected, "fired", "" if name == "hourly" else "r")


def test_what_arrives_behind_an_outage_has_reported_before_anybody_is_evaluated(load: Load) -> None:
    """Down for an hour and a half, with the run's healthy events waiting: nothing false is notified."""
    end = NOON + 90 * MINUTE
    with Simulator(RuleSet({}), NOON) as simulator:
        simulator.advance(NOON + MINUTE)
        simulator.arrive([{"EventId": "e", "RunId": "r", "Status": "Queued", "TimeGenerated": simulator.clock.now()}])
        simulator.advance(end - MINUTE)
        simulator.arrive([{"EventId": "f", "RunId": "r", "Status": "Running", "TimeGenerated": NOON + 5 * MINUTE}])
        one = rule(load, "stuck").rules["stuck"]
        span, clock = Span(since=NOON, until=UNTIL), simulator.clock
        source_progress = backtest(one, simulator.log, span, clock=clock, outages={"test": [(NOON + 2 * MINUTE, end)]})
        outages = backtest(one, simulator.log, span, clock=clock)
    assert (found(source_progress), [kind for _, kind, _ in found(outages)]) == ([], ["fired", "resolved"])


@pytest.mark.parametrize("most", [20, *(pytest.param(n, marks=pytest.mark.soak) for n in (0, 50_000))])
def test_a_story_of_many_runs(load: Load, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Not by chance: every kind is notified, and notified again; in however many parts, and however many runs are
    known.
    """
    monkeypatch.setattr(deadlines_known, "MOST_ROWS", most)
    if most < 50_000:
        monkeypatch.setattr(deadlines_ahead, "EVALUATIONS", 40)
        monkeypatch.setattr(deadlines_ahead, "AT_ONCE", 4)
    timeline: list[tuple[datetime, list[Event]]] = []
    for n in range(20):
        at = NOON + n * 7 * MINUTE
        for k, status in enumerate(("Queued", "Preparing", "Running", "Completed")):
            after = (0, 3, 9 if n % 4 else 60, 15 if n % 4 else 80)[k]
            row = {
                "EventId": f"{n}.{k}",
                "RunId": f"r{n}",
                "Status": status,
                "ExperimentName": ("churn", "rank")[n % 2],
            }
            when = at + after * MINUTE + timedelta(seconds=n)
            timeline.append((when, [{**row, "TimeGenerated": when, "Progress": 0.5 if k > 1 else None}]))
    timeline.sort(key=lambda each: each[0])
    kinds = set()
    for name in RULES:
        notified, again = lived(rule(load, name), timeline)
        assert notified == again
        kinds |= {(name, kind) for _, kind, _ in notified}
    assert {
        ("stuck", "fired"),
        ("stuck", "resolved"),
        ("silent", "fired"),
        ("hourly", "fired"),
        ("slow", "fired"),
    } <= kinds


def test_what_hangs_is_notified_again_up_to_what_comes_next(load: Load) -> None:
    """A repeat never passes a span in which consumers were not reached, nor the run's next event."""
    (one,) = load("rules: [{name: s, when: {status: Queued, in_status_for: 10m}, repeat_every: 10m}]").rules.values()
    outages = {"test": [(NOON + 35 * MINUTE, NOON + 52 * MINUTE)], "other": [(NOON + 65 * MINUTE, NOON + 66 * MINUTE)]}
    with Simulator(RuleSet({}), NOON) as simulator:
        for run in ("ends", "hangs"):
            row = {"EventId": run, "RunId": run, "Status": "Queued", "TimeGenerated": NOON}
            simulator.arrive([row])
        simulator.advance(NOON + 75 * MINUTE)
        simulator.arrive(
            [{"EventId": "x", "RunId": "ends", "Status": "Failed", "TimeGenerated": simulator.clock.now()}]
        )
        notified = found(
            backtest(
                one, simulator.log, Span(since=NOON, until=NOON + 100 * MINUTE), clock=simulator.clock, outages=outages
            )
        )
    times = {
        run: [(at - NOON) // MINUTE for at, _, name in sorted(notified) if name == run] for run in ("ends", "hangs")
    }
    assert {"ends": [10, 20, 30, 52, 62, 72, 75], "hangs": [10, 20, 30, 52, 62, 72, 82, 92]} == times


def test_a_run_that_hangs_for_long_is_read_a_few_times(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is notified of again every few hours, each time as of the same commit: the log answers that once, not once
    each time.
    """
    asked: list[str] = []

    def counted(log: DuckLogStore, sql: str, *more: Any) -> Any:
        asked.append(sql)
        return select(log, sql, *more)

    select = DuckLogStore.select
    with Simulator(RuleSet({}), NOON) as simulator:
        simulator.arrive([{"EventId": "1", "RunId": "hangs", "Status": "Running", "TimeGenerated": NOON}])
        monkeypatch.setattr(DuckLogStore, "select", counted)
        notified = []
        for days in (20, 200):
            asked.clear()
            until = NOON + timedelta(days=days)
            one = backtest(
                rule(load, "silent").rules["silent"],
                simulator.log,
                Span(since=NOON, until=until),
                clock=ManualClock(until),
            )
            notified.append((len(found(one)), len(asked)))
    (few, short), (many, long) = notified
    assert many > 5 * few > 50
    assert long < short + 20


def test_the_baseline_then_counts_whatever_became_of_it(load: Load) -> None:
    """A run of ten minutes is the baseline when another one takes longer, though it is tried again an hour later."""
    timeline: list[tuple[datetime, list[Event]]] = []
    for n, (at, run, status, attempt) in enumerate(
        ((0, "a", "Running", 0), (10, "a", "Completed", 0), (20, "b", "Running", 0), (60, "a", "Running", 1), (90, "b", "Completed", 0))
    ):  # fmt: skip
        when = NOON + at * MINUTE + timedelta(seconds=1)
        row = {"EventId": f"e{n}", "RunId": run, "Status": status, "Attempt": attempt, "ExperimentName": "churn"}
        timeline.append((when, [{**row, "TimeGenerated": when}]))
    notified, again = lived(rule(load, "slow"), timeline)
    assert notified == again
    assert (NOON + 35 * MINUTE + timedelta(seconds=1), "fired", "b") in notified
