"""One tick of window rules: many rules of few shapes, and as many shapes as rules, over a year of stored rows.

Rows are spread evenly over a year (or several) before the tick, 200 experiments, one event in five a failure; each
shape looks back between
10 minutes and a day. A tick is everything: queries, life cycles, the state transaction. Ticks follow each other a
minute
apart; the first one, which plans queries and makes what fires, is shown apart.

    python -m bench.windows --rows 5000000 --rules 10000 --shapes 20
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

from bench import history
from bench.common import Figure, machine, report, say, spread, table
from tocsin.clock import ManualClock
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, MappedEvent, MappedEvents
from tocsin.model.watermarks import SourceProgress
from tocsin.rules.compile.load import load_rules
from tocsin.rules.driver.evaluate import View, evaluate
from tocsin.rules.driver.lifecycle import reconcile
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.kind import KIND as WINDOW
from tocsin.rules.timers import due_timers
from tocsin.state.evaluation import CachedView
from tocsin.state.sqlite import SqliteState

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
EXPERIMENTS = [f"exp-{n}" for n in range(200)]
KEYS = ("ExperimentName", "Target", "WorkspaceName", "RunType", "TriggeringUserName")
MEASURES = (
    "failed = countif(Status == 'Failed'), finished = count()",
    "failed = dcountif(RunId, Status == 'Failed'), finished = dcount(RunId)",
    "failed = countif(Status in ('Failed', 'Canceled')), finished = count(), longest = max(DurationMs)",
    "failed = countif(Reason == 'out_of_memory'), finished = countif(Status == 'Completed') + 1",
)
SPANS = ("10m", "1h", "6h", "1d")

_FILL = """
INSERT INTO RunStatusChanged BY NAME
SELECT 'e' || i AS EventId, 'bench' AS Source, 'bench' AS Consumer, t AS TimeGenerated, t AS IngestedAt, 0 AS CommitSeq,
    'run-' || (i // 2) AS RunId, '' AS ParentRunId, 'run-' || (i // 2) AS RootRunId, 'run-' || (i // 2) AS JobKey,
    1 AS Attempt, false AS WillRetry, if(i % 5 = 0, 'Failed', 'Completed') AS Status, '' AS OriginalStatus,
    if(i % 35 = 0, 'out_of_memory', '') AS Reason, repeat('message ', 8) AS Message, '' AS ErrorCode, '' AS LogTail,
    'exp-' || (hash(i) % 200) AS ExperimentName, 'ws-' || (i % 7) AS WorkspaceName, 'type-' || (i % 3) AS RunType,
    '' AS DisplayName, 'target-' || (i % 11) AS Target, 'user-' || (i % 40) AS TriggeringUserName, '' AS OwnerEmail,
    '{}'::JSON AS Tags, '{}'::JSON AS Properties, 1000 * (hash(i) % 10000) AS DurationMs, '' AS Url, '{}'::JSON AS Raw,
    true AS TimeGiven, false AS StartDerived
FROM (SELECT i, make_timestamp($first::BIGINT + (i * $step)::BIGINT) AS t FROM range($begin, $end) r(i))
"""


def fill(store: DuckLogStore, rows: int, years: int) -> None:
    """Years of rows, in event-time order, as they would lie by then; and a few through the front door."""
    first = NOW - years * YEAR
    step = years * YEAR / timedelta(microseconds=1) / rows
    for begin in range(0, rows, 5_000_000):
        end = min(rows, begin + 5_000_000)
        store._con.execute(_FILL, {"first": round(first.timestamp() * 1e6), "step": step, "begin": begin, "end": end})
    events = [
        MappedEvent(
            source="bench",
            event_id=f"last-{n}",
            time=NOW - timedelta(seconds=n),
            columns={"RunId": f"last-{n}", "Status": "Failed", "ExperimentName": f"exp-{n % 200}"},
            raw=b"{}",
        )
        for n in range(500)
    ]
    store.append([Batch(mapped=(MappedEvents(consumer="bench", events=events, received_us=0),))])
    store.checkpoint()


def rule_texts(rules: int, shapes: int, experiments: Sequence[str]) -> Iterator[str]:
    """``rules`` rules of ``shapes`` shapes; those of one differ in the experiment and in their thresholds."""
    yield "rules:"
    for n in range(rules):
        shape = n % shapes
        key, measure = KEYS[shape % len(KEYS)], MEASURES[shape // len(KEYS) % len(MEASURES)]
        span = SPANS[shape // 3 % len(SPANS)]
        yield f"""
  - name: rule-{n}
    over: {span}
    every: 1m
    lateness: 1m
    query: |
      RunStatusChanged
      | where Status in ('Completed', 'Failed', 'Canceled')
      | where ExperimentName == '{experiments[n // shapes % len(experiments)]}'
      | summarize {measure} by {key}
      | extend rate_{shape} = todouble(failed) / finished
    condition: "finished >= {3 + n % 5} and rate_{shape} > 0.{30 + n % 50}"
    by: [{key}]
    value: rate_{shape}
    resolve: {{when: "rate_{shape} < 0.{1 + n % 2}"}}
    for: 2 of 3
"""


def run(
    rows: int, years: int, rules: int, shapes: int, ticks: int, kept: Path | None
) -> tuple[float, float, list[float], list[float], int]:
    """(seconds to load the rules, first tick, the others, their CPU, instances that fire). ``kept`` is a store that
    is used again.
    """
    past = history.read(kept) if kept is not None and history.is_made(kept) else None
    experiments = EXPERIMENTS if past is None else history.EXPERIMENTS
    clock = ManualClock(NOW if past is None else past.end)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home)
        there = kept is not None and kept.exists()
        store = DuckLogStore.open(kept or path / "events.duckdb", clock=clock)
        state = SqliteState.open(path / "state.sqlite", clock=clock)
        try:
            if not there:
                say(f"filling {rows:,} rows")
                fill(store, rows, years)
            (path / "rules.yaml").write_text("\n".join(rule_texts(rules, shapes, experiments)))
            began = perf_counter()
            loaded = load_rules([path / "rules.yaml"], schema_with())
            groups = sum(len(each) for each in loaded.of(WINDOW).groups.values())
            loading = perf_counter() - began
            say(f"{rules:,} rules, {groups} queries a tick, loaded in {loading:.1f} s")
            return loading, *_ticks(Ticking(store, state, clock, loaded), ticks)
        finally:
            store.close()
            state.close()


class Ticking:
    """Window rules over a store that ends now, ticking once a minute."""

    def __init__(self, store: DuckLogStore, state: SqliteState, clock: ManualClock, rules: RuleSet) -> None:
        self._store, self._state, self._clock, self._rules = store, state, clock, rules
        self._head = store.head().seq
        state.commit(reconcile(rules, {}, self._head, now=clock.now()), clock.now())
        self._view = CachedView(state)

    def tick(self) -> tuple[float, float]:
        """Seconds of the next tick: wall clock, CPU. Raises RuntimeError where a rule fails."""
        clock, state = self._clock, self._state
        clock.set(clock.now() + timedelta(minutes=1))
        source_progress = SourceProgress(watermarks={"bench": clock.now()}, kinds={"bench": "http"})
        began, spent = perf_counter(), process_time()
        released = due_timers(state.timers(), clock.now(), source_progress, self._head)
        seen = View(reader=self._store, state=self._view, source_progress=source_progress)
        evaluation = evaluate(self._rules, released, self._head, seen)
        state.commit(evaluation.outcome, clock.now())
        self._view.written(evaluation.outcome)
        took = perf_counter() - began, process_time() - spent
        if evaluation.failures:
            raise RuntimeError(evaluation.failures[0].error)
        say(f"tick: {took[0]:.2f} s, {len(evaluation.outcome.conditions)} instances changed")
        return took

    @property
    def firing(self) -> int:
        """Instances that fire."""
        return sum(s.phase == "firing" for name in self._rules.rules for s in self._view.conditions(name).values())


def _ticks(ticking: Ticking, ticks: int) -> tuple[float, list[float], list[float], int]:
    took = [ticking.tick() for _ in range(ticks + 1)]
    return took[0][0], [wall for wall, _ in took[1:]], [cpu for _, cpu in took[1:]], ticking.firing


def main(arguments: list[str]) -> int:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--years", type=int, default=1, help="over which rows are spread: ten of ten times the rows are as dense"
    )
    parser.add_argument("--rules", type=int, default=0, help="with --shapes: only this; else both published mixes")
    parser.add_argument("--shapes", type=int, default=0)
    parser.add_argument("--ticks", type=int, default=5)
    parser.add_argument(
        "--store", type=Path, help="use this file, also one of bench.history; filled where it is not there"
    )
    options = parser.parse_args(arguments)
    mixes = [(options.rules, options.shapes)] if options.rules else [(10_000, 20), (1_000, 1_000)]
    lines = []
    for rules, shapes in mixes:
        loading, first, others, cpu, firing = run(
            options.rows, options.years, rules, shapes or rules, options.ticks, options.store
        )
        figures = (f"{loading:.1f}", f"{first:.2f}", spread(others), spread(cpu), firing)
        lines.append((f"{rules:,}", f"{shapes or rules:,}", *figures))
        report(
            Figure(
                what=f"{rules:,} rules of {shapes or rules:,} shapes", unit="s", ours=others,
                workload=f"{options.rows:,} rows over {options.years} year{'s'[: options.years > 1]}",
            )
        )  # fmt: skip
    print(f"{options.rows:,} rows over {options.years} years; {machine()}\n")
    print(table(("rules", "shapes", "load, s", "first tick, s", "tick, s", "CPU of a tick, s", "firing"), *lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
