"""Many instants read at once say what evaluations at each of them notify: of any history, rule and order of arrival."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.rules.conftest import NOON, Engine, Load
from tocsin.kql.plan.windowahead import ahead_plan
from tocsin.logstore.interface import CommitInfo, Head, Limits, LogReader, Rows, RunSpan, StoredRow, Touched
from tocsin.rules.backtest.run import Backtest, backtest
from tocsin.rules.kinds.base import Span
from tocsin.rules.kinds.window.spec import WindowSpec
from tocsin.rules.spec.rule import Rule, of_spec

MakeEngine = Callable[..., Engine]

RULE = """
rules:
  - name: rule
    over: {over}
    every: {every}
    lateness: {lateness}
    query: |
{query}
    by: [{by}]
    {more}
"""
SUMMED = {
    "count": "| summarize n = count() by ExperimentName",
    "several": "| summarize n = countif(Status == 'Failed'), m = dcount(RunId), worst = max(Attempt) by ExperimentName, Target",
    "filtered": "| where Status == 'Failed' | extend day = startofday(TimeGenerated)"
    " | summarize n = sum(Attempt + 1) by ExperimentName, day | project-away day",
    "rows": "| extend n = Attempt + 1",
    "binned": "| summarize n = count() by ExperimentName, bin(TimeGenerated, 4m)",
    "twice": "| summarize last = max(Attempt) by RunId, ExperimentName | summarize n = countif(last > 0) by ExperimentName",
    "distinct": "| distinct RunId, ExperimentName | summarize n = count() by ExperimentName",
    "owned": "| lookup owners on ExperimentName | summarize n = count() by ExperimentName, team",
}
ENDS = ["", "for: 2 of 3", "for: 3m", "keep_firing_for: 4m", "no_data: ok", "no_data: alert", "repeat_every: 7m",
        "max_instances: 1", 'resolve: {when: "n < 2"}', "{resolve: {when: 'n < 1'}, for: 2 of 4, keep_firing_for: 2m}"]  # fmt: skip


def rule_text(query: str, over: str, every: str, lateness: str, more: str, least: int) -> str:
    lines = ["RunStatusChanged", *query.split("\n")]
    if more.startswith("{"):
        more = more.strip("{}").replace("', ", "'\n    ").replace(", ", "\n    ")
    return RULE.format(
        over=over,
        every=every,
        lateness=lateness,
        query="\n".join(f"      {line}" for line in lines),
        by="ExperimentName",
        more=f"value: n\n    condition: n >= {least}\n    {more}",
    )


Event = tuple[int, int, int, str, str]
"""Minutes since the last commit (0: the same commit), minutes that it is late, run, status, experiment."""
EVENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 3, 11, 40]),
        st.sampled_from([0, 0, 0, 1, 2, 5, 20]),
        st.integers(0, 4),
        st.sampled_from(["Failed", "Completed", "Running"]),
        st.sampled_from(["churn", "rank"]),
    ),
    min_size=1,
    max_size=25,
)


def stored(engine: Engine, events: Sequence[Event]) -> None:
    """A history; events 0 minutes apart come in one commit, and every fourth comes twice."""
    minute = 1
    waiting: list[Mapping[str, object]] = []
    for n, (pause, late, run, status, experiment) in enumerate(events):
        if pause and waiting:
            engine.store(*waiting)
            waiting = []
        minute += pause
        engine.clock.set(NOON + timedelta(minutes=minute, seconds=7 * (n % 3)))
        event = {
            "RunId": f"r{run}",
            "EventId": f"e{n}",
            "Status": status,
            "ExperimentName": experiment,
            "Target": f"t{run % 2}",
            "Attempt": n % 3,
            "TimeGenerated": engine.clock.now() - timedelta(minutes=late),
        }
        waiting += [event] * (2 if n % 4 == 0 else 1)
    engine.store(*waiting)


def notified(rule: Rule, engine: Engine, *, as_if_live: bool, at_once: bool, rows: int) -> Backtest:
    until = engine.clock.now() + timedelta(minutes=90)
    few = 0 if at_once else 1_000_000
    return backtest(
        rule, engine.log, Span(since=NOON, until=until, rows=rows, few=few), clock=engine.clock, as_if_live=as_if_live
    )


def lines(found: Backtest) -> list[tuple[object, ...]]:
    return [(t.at, t.kind, tuple(t.instance.items()), t.value, t.why, t.severity) for t in found.notified]


@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(
    events=EVENTS,
    query=st.sampled_from(sorted(SUMMED)),
    span=st.sampled_from([("10m", "1m"), ("5m", "5m"), ("7m", "3m"), ("1h", "1m")]),
    lateness=st.sampled_from(["0s", "2m"]),
    more=st.sampled_from(ENDS),
    least=st.integers(1, 3),
    as_if_live=st.booleans(),
    rows=st.sampled_from([3, 1000]),
)
def test_many_instants_at_once_say_what_one_after_the_other_notifies(
    engine: MakeEngine,
    load: Load,
    events: list[Event],
    query: str,
    span: tuple[str, str],
    lateness: str,
    more: str,
    least: int,
    as_if_live: bool,
    rows: int,
) -> None:
    one = engine("rules: []")
    rules = load(rule_text(SUMMED[query], *span, lateness, more, least))
    (rule,) = rules.rules.values()
    assert ahead_plan(of_spec(rule, WindowSpec).spec.query) is not None
    one.log.set_table("owners", pa.table({"ExperimentName": ["churn"], "team": ["ranking"]}))
    stored(one, events)
    at_once = notified(rule, one, as_if_live=as_if_live, at_once=True, rows=rows)
    in_turn = notified(rule, one, as_if_live=as_if_live, at_once=False, rows=rows)
    assert lines(in_turn) == lines(at_once)
    assert (in_turn.errors, in_turn.by_kind) == (at_once.errors, at_once.by_kind)


class Counting(LogReader):
    """A log that counts what is read."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self.selects = 0

    def select(self, sql: str, params: Mapping[str, object] | None = None, limits: Limits | None = None) -> pa.Table:
        self.selects += 1
        return self._log.select(sql, params, limits)

    def head(self) -> Head:
        return self._log.head()

    def commits(self, after: int, limit: int = 1000) -> Sequence[CommitInfo]:
        return self._log.commits(after, limit)

    def spans(self, run_ids: Iterable[str]) -> Mapping[str, RunSpan]:
        return self._log.spans(run_ids)

    def table(self, name: str) -> str:
        return self._log.table(name)

    def rows_of(self, after: int, hi: int) -> Rows:
        return self._log.rows_of(after, hi)

    def runs_touched(self, after: int, hi: int) -> Rows:
        return self._log.runs_touched(after, hi)

    def runs_of(self, run_ids: Collection[str]) -> Rows:
        return self._log.runs_of(run_ids)

    def runs_of_jobs(self, job_keys: Collection[str]) -> Rows:
        return self._log.runs_of_jobs(job_keys)

    def runs_as_of(self, seq: int) -> Rows:
        return self._log.runs_as_of(seq)

    def recent_runs(self, after: int, hi: int) -> Mapping[str, Touched] | None:
        return self._log.recent_runs(after, hi)

    def recent_rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        return self._log.recent_rows(after, hi)

    def schema(self) -> Mapping[str, Mapping[str, str]]:
        return self._log.schema()


@pytest.mark.parametrize("query", sorted(SUMMED))
@pytest.mark.parametrize("as_if_live", [False, True])
def test_instants_of_a_step_are_read_at_once(engine: MakeEngine, load: Load, query: str, as_if_live: bool) -> None:
    one = engine("rules: []")
    one.log.set_table("owners", pa.table({"ExperimentName": ["churn"], "team": ["ranking"]}))
    (rule,) = load(rule_text(SUMMED[query], "10m", "1m", "2m", "for: 2 of 3", 1)).rules.values()
    stored(one, [(n % 3, 0, n % 2, "Failed", "churn") for n in range(12)])
    log = Counting(one.log)
    until = NOON + timedelta(hours=3)
    found = backtest(rule, log, Span(since=NOON, until=until), clock=one.clock, as_if_live=as_if_live)
    assert found.notified_count
    assert log.selects < 16  # for 180 ticks


@pytest.mark.parametrize(
    "query",
    [
        "Runs | where Status == 'Running' | summarize n = count() by ExperimentName",
        "RunStatusChanged | where TimeGenerated > ago(5m) | summarize n = count() by ExperimentName",
        "RunStatusChanged | join kind=inner (RunStatusChanged | where Attempt > 1) on RunId"
        " | summarize n = count() by ExperimentName",
        "RunStatusChanged | sort by TimeGenerated asc | extend n = row_number()",
    ],
)
def test_what_depends_on_more_than_the_rows_of_a_window_is_read_one_by_one(load: Load, query: str) -> None:
    text = rule_text("", "10m", "1m", "0s", "", 1).replace("RunStatusChanged\n", query + "\n", 1)
    (rule,) = load("\n".join(line for line in text.splitlines() if line.strip())).rules.values()
    assert ahead_plan(of_spec(rule, WindowSpec).spec.query) is None
