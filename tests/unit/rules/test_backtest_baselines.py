"""How long runs usually take, many asked at once: held to the plain definition, and to what is notified one by one."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Load
from tests.unit.rules.test_backtest_absence import lived, rule
from tocsin.rules.history import micros
from tocsin.rules.kinds.deadline.replay.floors import floors
from tocsin.rules.kinds.event.shorter import shorter
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.spec.baseline import Asked, Baseline, Below, baseline_us
from tocsin.rules.testing.simulator import Simulator

MINUTE, US = timedelta(minutes=1), timedelta(microseconds=1)
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

ends: st.SearchStrategy[list[dict[str, int]]] = st.lists(
    st.builds(
        dict,
        pause=st.sampled_from((0, 1, 7, 40, 200, 900)),  # min
        run=st.integers(0, 5),
        experiment=st.sampled_from((0, 0, 1)),
        late=st.sampled_from((0, 0, 3, 50, 400)),  # min
        ended=st.sampled_from((0, 0, 0, 5, 60, -5)),  # so many min before its event, where that is given
        seconds=st.integers(1, 500),
        moved=st.sampled_from((0, 0, 0, 1)),  # whether it arrives with the one before
    ),
    min_size=1,
    max_size=25,
)
baselines = st.builds(
    Baseline,
    factor=st.sampled_from((1.0, 1.5)),
    percentile=st.sampled_from((1, 5, 50, 95)),
    of=st.just(("ExperimentName",)),
    last=st.sampled_from((2 * 60 * MINUTE, 30 * 60 * MINUTE)),
    min_runs=st.integers(1, 3),
)


@dataclass(frozen=True, slots=True)
class End:
    """A run that Completed, as it is stored; times are µs."""

    id: str
    run: str
    like: str
    came: int
    time: int
    ends: int
    ms: int


def filled(simulator: Simulator, timeline: Sequence[Mapping[str, int]]) -> list[End]:
    """The ends that ``timeline`` notifies, as they are stored."""
    batches: list[tuple[datetime, list[dict[str, object]]]] = []
    at = NOON
    for n, each in enumerate(timeline):
        at += each["pause"] * MINUTE
        time = at - each["late"] * MINUTE
        row: dict[str, object] = {
            "EventId": f"e{n}", "RunId": f"r{each['run']}", "Status": "Completed", "TimeGenerated": time,
            "ExperimentName": f"x{each['experiment']}", "DurationMs": each["seconds"] * 1000,
        }  # fmt: skip
        if each["ended"]:
            row["EndTime"] = time - each["ended"] * MINUTE
        if each["moved"] and batches:
            batches[-1][1].append(row)
        else:
            batches.append((at, [row]))
    for at, rows in batches:
        simulator.advance(at)
        simulator.arrive(rows)
    table = simulator.log.select(
        "SELECT EventId, RunId, ExperimentName, epoch_us(IngestedAt), epoch_us(TimeGenerated),"
        " epoch_us(coalesce(EndTime, TimeGenerated)), DurationMs FROM RunStatusChanged"
    )
    return [End(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def plainly(baseline: Baseline, past: Sequence[End], asked: Asked) -> int | None:
    """By the definition: a percentile of the runs like it that had Completed in ``last``, each by its latest word."""
    latest: dict[str, tuple[int, int]] = {}
    for end in past:
        if end.came <= asked.at_us and end.ends > asked.at_us - baseline.last // US and (end.like,) == asked.like:
            latest[end.run] = max(latest.get(end.run, (end.time, end.ms)), (end.time, end.ms))
    if len(latest) < baseline.min_runs:
        return None
    ms = sorted(ms for _, ms in latest.values())
    cut = statistics.quantiles(ms, n=100, method="inclusive")[baseline.percentile - 1] if len(ms) > 1 else ms[0]
    return round(cut * 1000 * baseline.factor)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(
    timeline=ends,
    baseline=baselines,
    asks=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6000)), min_size=1, max_size=12),
)
def test_many_are_compared_with_what_each_could_know(
    timeline: list[dict[str, int]], baseline: Baseline, asks: list[tuple[int, int]]
) -> None:
    """However many are asked at once, and however far apart."""
    with Simulator(RuleSet({}), NOON) as simulator:
        past = filled(simulator, timeline)
        asked = {
            f"asked{n}": Asked(like=(f"x{x}",), at_us=micros(NOON + minutes * MINUTE))
            for n, (x, minutes) in enumerate(asks)
        }
        found = baseline_us(baseline, asked, simulator.log)
    expected = {name: us for name, one in asked.items() if (us := plainly(baseline, past, one)) is not None}
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - us) <= 1 for name, us in expected.items())  # halves of a µs


@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(
    timeline=ends,
    baseline=baselines,
    begin=st.integers(-100, 2000),
    minutes=st.lists(st.integers(0, 6000), max_size=12),
)
def test_nothing_usual_is_below_its_floor(
    timeline: list[dict[str, int]], baseline: Baseline, begin: int, minutes: list[int]
) -> None:
    """And where there is no floor, there is nothing usual."""
    since, until = NOON + begin * MINUTE, NOON + 9000 * MINUTE
    with Simulator(RuleSet({}), NOON) as simulator:
        past = filled(simulator, timeline)
        low = floors(baseline, simulator.log, since, until)
    for t in [
        *(since + m * MINUTE for m in minutes),
        *(since + timedelta(microseconds=e.came - micros(since)) for e in past),
    ]:
        if not since <= t < until:
            continue
        for like in ("x0", "x1"):
            us = plainly(baseline, past, Asked(like=(like,), at_us=micros(t)))
            line = low.us.get(like)
            floor = line[(micros(t) - micros(since)) // low.width] if line else None
            assert us is None or (floor is not None and floor <= us)
            assert floor is None or (low.least is not None and low.least <= floor)


def percentile(ms: Sequence[int], share: float) -> int:
    """The smallest that at least such a share do not exceed."""
    ordered = sorted(ms)
    return ordered[max(1, math.ceil(round(share * len(ordered), 6))) - 1]


def shorter_plainly(baseline: Baseline, past: Sequence[End], end: End) -> tuple[int, int] | None:
    """By the definition: the baseline, and of how many, where the run ended sooner than that."""
    latest: dict[str, tuple[int, int]] = {}
    for other in past:
        seen = other.came < end.came - 60_000_000 and other.ends > end.came - baseline.last // US
        if seen and other.like == end.like and other.run != end.run:
            latest[other.run] = max(latest.get(other.run, (other.time, other.ms)), (other.time, other.ms))
    if len(latest) < baseline.min_runs:
        return None
    ms = percentile([ms for _, ms in latest.values()], baseline.percentile / 100)
    return (ms, len(latest)) if end.ms < baseline.factor * ms else None


@pytest.mark.parametrize("few", [0, 200])
@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(timeline=ends, baselines=st.lists(baselines, min_size=1, max_size=2))
def test_events_of_a_year_are_compared_as_each_was_when_it_came(
    few: int, timeline: list[dict[str, int]], baselines: list[Baseline]
) -> None:
    """Whether or not a bound leaves most of them out, and by several rules at once."""
    baselines = [replace(baseline, last=baselines[0].last) for baseline in baselines]
    with Simulator(RuleSet({}), NOON) as simulator:
        past = filled(simulator, timeline)
        below = [Below(baseline=baseline, statuses=("Completed",)) for baseline in baselines]
        found = shorter(below, "SELECT * FROM RunStatusChanged", {}, simulator.log, few)
    expected = {end.id: [shorter_plainly(baseline, past, end) for baseline in baselines] for end in past}
    assert {key.event_id for key in found} == {id for id, each in expected.items() if any(each)}
    for key, one in found.items():
        for baseline, said in zip(baselines, expected[key.event_id], strict=True):
            assert one.than(baseline) == (said is not None)
            if said is not None:
                assert one.computed(baseline) == {"baseline_ms": said[0], "baseline_runs": said[1]}


slow: st.SearchStrategy[list[dict[str, object]]] = st.lists(
    st.builds(
        dict,
        pause=st.sampled_from((0, 1, 5, 12, 30, 70, 70)),  # min; all of it lies before UNTIL
        run=st.integers(0, 3),
        status=st.sampled_from(("Preparing", "Running", "Running", "Completed", "Completed", "Failed")),
        late=st.sampled_from((0, 0, 0, 3, 40)),  # min
        attempt=st.sampled_from((0, 0, 0, 1)),
        experiment=st.sampled_from(("churn", "churn", "rank")),
        began=st.sampled_from((None, None, 2, 45, 400)),  # so many min before it says so
        seconds=st.sampled_from((None, None, 60, 1200)),
        watcher=st.booleans(),
        same=st.booleans(),  # whether it arrives with the one before
    ),
    min_size=3,
    max_size=25,
)


def batches(
    timeline: Sequence[Mapping[str, object]], *, live: bool
) -> list[tuple[datetime, list[Mapping[str, object]]]]:
    """What arrives when. ``live``: everything arrives when it happens, which is never twice at once."""
    at = NOON
    out: list[tuple[datetime, list[Mapping[str, object]]]] = []
    for n, each in enumerate(timeline):
        at += int(str(each["pause"])) * MINUTE
        now = at + timedelta(seconds=1 + n)
        time = now if live else now - int(str(each["late"])) * MINUTE
        watcher = bool(each["watcher"]) and each["status"] not in ("Completed", "Failed")
        row: dict[str, object] = {
            "EventId": f"e{n}", "RunId": f"r{each['run']}", "TimeGenerated": time, "Status": each["status"],
            "Attempt": each["attempt"], "ExperimentName": each["experiment"],
            "Source": "/watcher" if watcher else "/trainer",
        }  # fmt: skip
        if each["began"] is not None:
            row["StartTime"] = time - int(str(each["began"])) * MINUTE
        if each["seconds"] is not None and each["status"] == "Completed":
            row["DurationMs"] = int(str(each["seconds"])) * 1000
        if out and each["same"] and not live:
            out[-1][1].append(row)
        else:
            out.append((now, [row]))
    return out


@pytest.mark.parametrize("live", [False, True])
@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(timeline=slow)
def test_runs_of_any_history_are_compared_as_they_were_live(
    load: Load, timeline: list[dict[str, object]], live: bool
) -> None:
    """Late events, runs that are tried again, starts that are given and lie before everything else."""
    notified, again = lived(rule(load, "slow"), batches(timeline, live=live), live=live)
    assert notified == again


FAST = """
rules:
  - {name: fast, when: {status: Completed, duration: {below: 0.8 * p50, last: 6h, min_runs: 1}}, fields: [baseline_ms]}
"""


@pytest.mark.parametrize("live", [False, True])
@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(timeline=slow)
def test_runs_of_any_history_ended_shorter_than_its_baseline_as_they_did_live(
    load: Load, timeline: list[dict[str, object]], live: bool
) -> None:
    notified, again = lived(load(FAST), batches(timeline, live=live), live=live)
    assert notified == again
