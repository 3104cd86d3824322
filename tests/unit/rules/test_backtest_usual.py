"""How long runs usually take, many asked at once: held to the plain definition, and to what is told one by one."""

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
from tocsin.rules.backtest_usual import floors
from tocsin.rules.baselines import Asked, Baseline, Below, usual_us
from tocsin.rules.history import micros
from tocsin.rules.playground import Playground
from tocsin.rules.ruleset import RuleSet
from tocsin.rules.sooner import sooner

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


def filled(playground: Playground, story: Sequence[Mapping[str, int]]) -> list[End]:
    """The ends that ``story`` tells, as they are stored."""
    batches: list[tuple[datetime, list[dict[str, object]]]] = []
    at = NOON
    for n, each in enumerate(story):
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
        playground.advance(at)
        playground.arrive(rows)
    table = playground.log.select(
        "SELECT EventId, RunId, ExperimentName, epoch_us(IngestedAt), epoch_us(TimeGenerated),"
        " epoch_us(coalesce(EndTime, TimeGenerated)), DurationMs FROM RunStatusChanged"
    )
    return [End(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def plainly(usual: Baseline, past: Sequence[End], asked: Asked) -> int | None:
    """By the definition: a percentile of the runs like it that had Completed in ``last``, each by its latest word."""
    latest: dict[str, tuple[int, int]] = {}
    for end in past:
        if end.came <= asked.at_us and end.ends > asked.at_us - usual.last // US and (end.like,) == asked.like:
            latest[end.run] = max(latest.get(end.run, (end.time, end.ms)), (end.time, end.ms))
    if len(latest) < usual.min_runs:
        return None
    ms = sorted(ms for _, ms in latest.values())
    cut = statistics.quantiles(ms, n=100, method="inclusive")[usual.percentile - 1] if len(ms) > 1 else ms[0]
    return round(cut * 1000 * usual.factor)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(
    story=ends,
    usual=baselines,
    asks=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6000)), min_size=1, max_size=12),
)
def test_many_are_compared_with_what_each_could_know(
    story: list[dict[str, int]], usual: Baseline, asks: list[tuple[int, int]]
) -> None:
    """However many are asked at once, and however far apart."""
    with Playground(RuleSet({}), NOON) as playground:
        past = filled(playground, story)
        asked = {
            f"asked{n}": Asked(like=(f"x{x}",), at_us=micros(NOON + minutes * MINUTE))
            for n, (x, minutes) in enumerate(asks)
        }
        found = usual_us(usual, asked, playground.log)
    expected = {name: us for name, one in asked.items() if (us := plainly(usual, past, one)) is not None}
    assert found.keys() == expected.keys()
    assert all(abs(found[name] - us) <= 1 for name, us in expected.items())  # halves of a µs


@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(story=ends, usual=baselines, begin=st.integers(-100, 2000), minutes=st.lists(st.integers(0, 6000), max_size=12))
def test_nothing_usual_is_below_its_floor(
    story: list[dict[str, int]], usual: Baseline, begin: int, minutes: list[int]
) -> None:
    """And where there is no floor, there is nothing usual."""
    since, until = NOON + begin * MINUTE, NOON + 9000 * MINUTE
    with Playground(RuleSet({}), NOON) as playground:
        past = filled(playground, story)
        low = floors(usual, playground.log, since, until)
    for t in [
        *(since + m * MINUTE for m in minutes),
        *(since + timedelta(microseconds=e.came - micros(since)) for e in past),
    ]:
        if not since <= t < until:
            continue
        for like in ("x0", "x1"):
            us = plainly(usual, past, Asked(like=(like,), at_us=micros(t)))
            line = low.us.get(like)
            floor = line[(micros(t) - micros(since)) // low.width] if line else None
            assert us is None or (floor is not None and floor <= us)
            assert floor is None or (low.least is not None and low.least <= floor)


def percentile(ms: Sequence[int], share: float) -> int:
    """The smallest that at least such a share do not exceed."""
    ordered = sorted(ms)
    return ordered[max(1, math.ceil(round(share * len(ordered), 6))) - 1]


def sooner_plainly(usual: Baseline, past: Sequence[End], end: End) -> tuple[int, int] | None:
    """By the definition: what was usual, and of how many, where the run ended sooner than that."""
    latest: dict[str, tuple[int, int]] = {}
    for other in past:
        seen = other.came < end.came - 60_000_000 and other.ends > end.came - usual.last // US
        if seen and other.like == end.like and other.run != end.run:
            latest[other.run] = max(latest.get(other.run, (other.time, other.ms)), (other.time, other.ms))
    if len(latest) < usual.min_runs:
        return None
    ms = percentile([ms for _, ms in latest.values()], usual.percentile / 100)
    return (ms, len(latest)) if end.ms < usual.factor * ms else None


@pytest.mark.parametrize("few", [0, 200])
@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(story=ends, usuals=st.lists(baselines, min_size=1, max_size=2))
def test_events_of_a_year_are_compared_as_each_was_when_it_came(
    few: int, story: list[dict[str, int]], usuals: list[Baseline]
) -> None:
    """Whether or not a bound leaves most of them out, and by several rules at once."""
    usuals = [replace(usual, last=usuals[0].last) for usual in usuals]
    with Playground(RuleSet({}), NOON) as playground:
        past = filled(playground, story)
        below = [Below(usual=usual, statuses=("Completed",)) for usual in usuals]
        found = sooner(below, "SELECT * FROM RunStatusChanged", {}, playground.log, few)
    expected = {end.id: [sooner_plainly(usual, past, end) for usual in usuals] for end in past}
    assert {key.event_id for key in found} == {id for id, each in expected.items() if any(each)}
    for key, one in found.items():
        for usual, said in zip(usuals, expected[key.event_id], strict=True):
            assert one.than(usual) == (said is not None)
            if said is not None:
                assert one.computed(usual) == {"usual_ms": said[0], "usual_runs": said[1]}


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


def batches(story: Sequence[Mapping[str, object]], *, live: bool) -> list[tuple[datetime, list[Mapping[str, object]]]]:
    """What arrives when. ``live``: everything arrives when it happens, which is never twice at once."""
    at = NOON
    out: list[tuple[datetime, list[Mapping[str, object]]]] = []
    for n, each in enumerate(story):
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
@given(story=slow)
def test_runs_of_any_history_are_compared_as_they_were_live(
    load: Load, story: list[dict[str, object]], live: bool
) -> None:
    """Late events, runs that are tried again, starts that are given and lie before everything else."""
    told, again = lived(rule(load, "slow"), batches(story, live=live), live=live)
    assert told == again


FAST = """
rules:
  - {name: fast, when: {status: Completed, duration: {below: 0.8 * p50, last: 6h, min_runs: 1}}, keep: [usual_ms]}
"""


@pytest.mark.parametrize("live", [False, True])
@settings(max_examples=examples(12), deadline=None, suppress_health_check=QUIET)
@given(story=slow)
def test_runs_of_any_history_ended_sooner_than_usual_as_they_did_live(
    load: Load, story: list[dict[str, object]], live: bool
) -> None:
    told, again = lived(load(FAST), batches(story, live=live), live=live)
    assert told == again
