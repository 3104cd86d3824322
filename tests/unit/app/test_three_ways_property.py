"""One engine three ways: over any history, the evaluator, an inline test and a backtest notify the same of every
kind of rule.

The live one is ended, crashes, gets rules with other names and other words meanwhile; commits come to it one by one
or several at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.app.three_ways import START, Arrival, Live, as_backtest, as_inline_test
from tocsin.rules.testing.simulator import HEARTBEAT

COUNTED = """
query: |
  RunStatusChanged | where Status in ('Failed', 'Completed')
  | summarize n = countif(Status == 'Failed') by ExperimentName
condition: n >= 2
by: [ExperimentName]
value: n
"""
FAILED = "when: {status: Failed}\n"
WINDOWS = {
    "for": f"{COUNTED}over: 30m\nevery: 5m\nfor: 7m\nkeep_firing_for: 10m",
    "late": f"{COUNTED}over: 20m\nevery: 4m\nlateness: 3m\nfor: 2 of 3\nresolve: {{when: n < 1}}",
    "nodata": f"{COUNTED}over: 15m\nevery: 5m\nno_data: alert\nrepeat_every: 20m",
    "levels": f"{COUNTED}over: 40m\nevery: 5m\nno_data: ok\nseverity: {{warning: '>= 2', critical: '>= 3'}}",
    "limited": f"{COUNTED}over: 15m\nevery: 5m\nlimit: {{per: ExperimentName, max: 1, window: 2h, then: drop}}",
    "most": """
query: |
  RunStatusChanged | where Status == 'Failed' | summarize n = count() by RunId
by: [RunId]
over: 30m
every: 6m
max_instances: 1
for: 5m
""",
    "life": """
query: |
  RunStatusChanged | summarize n = countif(Status == 'NotResponding') by RunId | where n >= 2
by: [RunId]
over: run
every: 5m
value: n
""",
    "root": """
query: |
  RunStatusChanged | summarize n = dcountif(RunId, Status == 'Failed') by RootRunId | where n >= 2
by: [RootRunId]
over: root
every: 5m
lateness: 2m
send_resolved: false
""",
    "cost": """
query: |
  Runs | where Status == 'Running' | extend m = datetime_diff('minute', now(), StartTime) | where m >= 45
by: [RunId]
over: run
every: 5m
value: m
severity: {warning: '>= 45', error: '>= 90'}
""",
    "each-window": """
for_each: {table: limits}
query: |
  RunStatusChanged | where Status == 'Failed' and ExperimentName == experiment
  | summarize n = count() by ExperimentName | where n >= times
by: [ExperimentName]
over: 30m
every: 5m
keep_firing_for: 6m
""",
    "twice": "when: {status: [Queued, Failed], after: [Running, NotResponding], times: 2, within: 40m, by: [RunId]}",
    "thrice": "when: {status: Failed, times: 3, within: 1h, by: [ExperimentName]}\nrepeat_every: 30m",
    "each-twice": """
for_each: {table: limits}
when: {status: Failed, times: "{{ times }}", within: "{{ minutes }}m", where: "ExperimentName == experiment"}
""",
}
ROWS = {
    "failed": f"{FAILED}max_event_age: 20m",
    "final": "when: {status: Failed, final: true}\nfinal_after: 12m",
    "digest": f"{FAILED}limit: {{per: ExperimentName, max: 1, window: 1h}}",
    "sweep": f"{FAILED}collapse: {{to: root, when: {{failed: 30%, at_least: 2}}, update: [60%, end]}}",
    "each-row": "for_each: {table: limits}\nwhen: {status: Failed, where: 'ExperimentName == experiment and Attempt < times'}",
    "faster": "when: {status: Completed, duration: {below: 0.8 * p50, of: [ExperimentName], last: 1d, min_runs: 1}}",
}
OPEN = {
    "recovers": f"{FAILED}resolve: {{when: {{status: Completed, same: ExperimentName}}}}\nrepeat_every: 25m",
    "closes": f"{FAILED}auto_close: 35m\nrepeat_every: 15m",
    "sweep-recovers": (
        f"{FAILED}collapse: {{to: root, when: {{failed: 30%}}, update: [end]}}\n"
        "resolve: {when: {status: Completed, same: ExperimentName}}\nrepeat_every: 40m"
    ),
    "digest-recovers": (
        f"{FAILED}resolve: {{when: {{status: [Completed, Running], same: RunId}}}}\n"
        "limit: {per: ExperimentName, max: 1, window: 30m, then: drop}"
    ),
}
WAITING = {
    "stuck": "when: {status: [Queued, Preparing], in_status_for: 20m}\nauto_close: 1h\nrepeat_every: 25m",
    "silent": "when: {status: [Running, Queued], silent_for: 15m}\nfields: [Target]\nrepeat_every: 1h",
    "still": "when: {status: Running, unchanged: Progress, for: 20m}\nmax_event_age: 10m",
    "slower": "when: {status: Running, duration: {above: 1.5 * p50, of: [ExperimentName], last: 1d, min_runs: 1}}",
    "limited-silent": "when: {status: Running, silent_for: 12m}\nlimit: {per: ExperimentName, max: 1, window: 2h, then: drop}",
    "each-stuck": """
for_each: {table: limits}
when: {status: [Queued, Running], in_status_for: "{{ minutes }}m", where: "ExperimentName == experiment"}
""",
    "nightly": """
when:
  absent: {status: Completed, where: "ExperimentName == 'churn'"}
  cron: "*/45 * * * *"
  grace: 10m
  timezone: Europe/Budapest
  except: company
repeat_every: 50m
""",
    "each-nightly": """
for_each: {table: nightlies}
when: {absent: {status: [Completed, Running], where: "ExperimentName == experiment"}, cron: "{{ cron }}", grace: "{{ grace }}"}
auto_close: 40m
""",
}
RULES: Mapping[str, str] = {**WINDOWS, **ROWS, **OPEN, **WAITING}
BY_ROWS_ALONE = {*WINDOWS, "failed", "digest", "sweep", "each-row"}
"""Rules whose timers, if they have any, see what was there when they were due: commits that wait for one another
change nothing.
"""
DEFAULTS = ("", "{severity: error, labels: {team: ranking}, max_event_age: 3h}")

said = st.fixed_dictionaries({
    "run": st.sampled_from(("a0", "a1", "a2", "b0", "b1", "a", "lone", "lone")),
    "status": st.sampled_from(("Queued", "Preparing", "Running", "Running", "NotResponding", "Failed", "Failed", "Completed", "")),
    "late": st.sampled_from((0, 0, 0, 0, 1, 180, 700, 2400)),  # s
    "attempt": st.sampled_from((0, 0, 0, 1, 2)),
    "retry": st.sampled_from((False, False, None, True)),
    "progress": st.sampled_from((None, 0.1, 0.1, 0.2)),
    "experiment": st.sampled_from(("churn", "churn", "rank", "")),
    "consumer": st.sampled_from(("test", "test", "b")),
    "watcher": st.booleans(),
})  # fmt: skip
moments = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.lists(said, min_size=2, max_size=6)),
        st.tuples(st.just("arrive"), st.lists(said, min_size=1, max_size=1)),
        st.tuples(st.just("pass"), st.sampled_from((60, 300, 600, 1260, 2700, 5400))),
        st.tuples(st.just("again"), st.integers(0, 20)),
        st.tuples(st.just("several"), st.lists(st.lists(said, min_size=1, max_size=2), min_size=2, max_size=4)),
        st.tuples(st.sampled_from(("begin", "renamed", "reworded")), st.just(0)),
        st.tuples(st.just("crash"), st.integers(0, 3)),
    ),
    min_size=4,
    max_size=18,
)


def columns(number: int, at: int, one: Mapping[str, Any]) -> dict[str, Any]:
    """One event or heartbeat as an inline test has it."""
    run, beats = one["run"], one["status"] == ""
    if beats:
        return {HEARTBEAT: True, "RunId": run, "Progress": one["progress"], "EventId": f"e{number}", "Consumer": one["consumer"]}  # fmt: skip
    watcher = one["watcher"] and one["status"] not in ("Failed", "Completed")
    event = {
        "RunId": run, "RootRunId": run.rstrip("0123456789"), "Status": one["status"], "EventId": f"e{number}",
        "TimeGenerated": at - one["late"], "Attempt": one["attempt"], "ExperimentName": one["experiment"],
        "Source": "watcher" if watcher else "trainer", "Consumer": one["consumer"], "WillRetry": one["retry"],
    }  # fmt: skip
    if one["progress"] is not None:
        event["Progress"] = one["progress"]
    return event


def one(run: str, status: str, **more: Any) -> dict[str, Any]:
    plain = {"late": 0, "attempt": 0, "retry": None, "progress": 0.1, "experiment": "churn", "consumer": "test", "watcher": False}  # fmt: skip
    return {"run": run, "status": status, **plain, **more}


FIRST: tuple[str, Any] = ("arrive", [one("first", "Completed"), one("second", "Completed", consumer="b")])
"""A backtest knows the consumers that have ever brought something."""


def played(live: Live, timeline: Sequence[tuple[str, Any]], waits: bool) -> tuple[list[Arrival], int]:
    """What came to ``live`` of a story, and when it ends. ``waits``: whether commits may wait for one another."""
    arrivals: list[Arrival] = []
    sent: list[dict[str, Any]] = []
    at = 0

    def arrive(events: Sequence[Mapping[str, Any]]) -> None:
        nonlocal at
        live.store(events)
        arrivals.append(Arrival(at, events))

    for what, with_ in [FIRST, *timeline]:
        at += 61
        if what != "several":
            live.advance(START + timedelta(seconds=at))
        if what == "arrive":
            new = [columns(len(sent) + n, at, one) for n, one in enumerate(with_)]
            sent += new
            arrive(new)
            live.evaluate()
        elif what == "again" and sent:
            arrive([sent[with_ % len(sent)]])
            live.evaluate()
        elif what == "several":
            for group in with_:
                at += 97
                if waits:
                    live.clock.set(START + timedelta(seconds=at))
                else:
                    live.advance(START + timedelta(seconds=at))
                new = [columns(len(sent) + n, at, one) for n, one in enumerate(group)]
                sent += new
                arrive(new)
                if not waits:
                    live.evaluate()
                    live.expect(at)
            live.evaluate()
        elif what == "pass":
            at += with_
            live.advance(START + timedelta(seconds=at))
        elif what == "crash":
            live.crashes = with_
        elif what in ("begin", "renamed", "reworded"):
            live.crashes = -1
            getattr(live, what)()
            live.evaluate()
        if not arrivals or arrivals[-1].at != at or not live.moments or what != "several":
            live.expect(at)
    at += 7207
    live.advance(START + timedelta(seconds=at))
    live.expect(at)
    return arrivals, at


Ways = Callable[[Sequence[str], Sequence[tuple[str, Any]], str, int], Mapping[str, int]]
"""How much was notified by each rule."""


@pytest.fixture
def agree(tmp_path: Path) -> Iterator[Ways]:
    def agreed(
        names: Sequence[str], timeline: Sequence[tuple[str, Any]], defaults: str, step_rows: int
    ) -> dict[str, int]:
        live = Live({name: RULES[name] for name in names}, tmp_path / "state.sqlite", defaults)
        try:
            arrivals, end = played(live, timeline, waits=set(names) <= BY_ROWS_ALONE)
            until = START + timedelta(seconds=end, microseconds=1)
            for name in names:
                assert live.notified(name) == as_backtest(live, name, until, step_rows), name
                assert [] == as_inline_test(live, name, arrivals)
            return {name: len(live.notified(name)) for name in names}
        finally:
            live.close()

    yield agreed


@pytest.mark.timeout(300)  # 15 s of CPU, more than others, where three share two cores
@pytest.mark.parametrize("kinds", [WINDOWS, {**ROWS, **OPEN}, WAITING], ids=["windows", "rows", "waiting"])
def test_each_kind_of_rule_notifies_something(kinds: Mapping[str, str], agree: Ways) -> None:
    """So that what they agree on is not silence; many rules at once."""
    notified = agree(sorted(kinds), BUSY, "", 3)
    assert [] == [name for name in kinds if not notified[name]]


BUSY: list[tuple[str, Any]] = [
    ("arrive", [one("lone", "Queued"), one("a", "Running"), one("b0", "Running", experiment="rank"), one("b1", "Running")]),
    ("arrive", [one("b2", "Running")]),
    ("arrive", [one("lone", "Running"), one("a0", "Running"), one("a1", "Running"), one("a2", "NotResponding")]),
    ("arrive", [one("lone", "Completed"), one("a2", "Running"), one("a1", "Queued")]),
    ("pass", 600),
    ("arrive", [one("a0", "Failed"), one("a1", "Failed"), one("a2", "NotResponding"), one("lone", "Running", attempt=2)]),
    ("arrive", [one("a1", "Running", attempt=2), one("a2", "Failed"), one("lone", "Failed", attempt=2, experiment="rank")]),
    ("arrive", [one("a1", "Failed", attempt=2), one("b1", "Completed"), one("b1", "Completed", attempt=2, late=1)]),
    ("arrive", [one("b2", "Completed")]),
    ("pass", 5400),
    ("arrive", [one("b0", "Completed", experiment="rank"), one("other", "Running"), one("waits", "Queued")]),
    ("arrive", [one("other", "Completed")]),
]  # fmt: skip


@settings(
    max_examples=examples(12), deadline=None, print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    names=st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=3, unique=True),
    timeline=moments, defaults=st.sampled_from(DEFAULTS), step_rows=st.sampled_from((1, 3, 10, 1000)),
)  # fmt: skip
def test_the_three_notify_the_same(
    names: list[str], timeline: list[tuple[str, Any]], defaults: str, step_rows: int, agree: Ways
) -> None:
    agree(names, timeline, defaults, step_rows)
