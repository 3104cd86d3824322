"""What a log store's size costs: the same commits, ticks and backtests on two stores, one with ten times the history.

    python -m bench.growth [--rows 5000000 50000000] [--years 1 10] [--stores DIR] [--rounds 7] [--only commits|ticks|backtests]

Both stores hold the same rate of events (`bench.history`); work goes to them in turn, so that a busy machine hits
both. Given are
CPU and wall clock, medians with spread, and the median of the paired ratios. Commits are of canonical events of now;
"again" has a
tenth of them sent twice, from the store's last hour; of "stragglers" one in fifty is of a run that ended some time
in the last week,
of "ancient" ones some time in the whole history. Ticks are those of `bench.windows`; backtests are of each store's
last year, each
in a process of its own, whose peak memory is given too.

Intake, latency and deadlines over such a store: `--store` of their benchmarks.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from bench import backtest, history
from bench.common import Figure, machine, report, say, spread, table
from bench.history import AT_ONCE, GROUP, History
from bench.payloads import events
from bench.replay import Round, play
from bench.windows import Ticking, rule_texts
from tocsin.clock import ManualClock, SystemClock, micros
from tocsin.kql.schema import schema_with
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, RawEvents
from tocsin.rules.compile.load import load_rules
from tocsin.state.sqlite import SqliteState

SIZES = (1, 50, 1000, 20_000)
WORDS = {
    "fresh": "all new",
    "again": "a tenth sent before",
    "stragglers": "one in fifty of a run of last week",
    "ancient": "one in fifty of a run of long ago",
}
"""Mixes of events, and what they are."""
TICKS = ((10_000, 20), (1_000, 1_000))
"""Window rules, and their shapes."""
WAITS = """
rules:
  - {name: run-stuck, when: {status: [Queued, Preparing], in_status_for: 1h}}
  - {name: run-silent, when: {status: Running, silent_for: 1h}}
  - {name: too-slow, when: {status: Running, duration: {above: 1.5 * p95, of: [ExperimentName], last: 30d, min_runs: 10}}}
"""
BACKTESTS = {
    backtest.RULES: ("failure-rate", "run-failed", "sweep-failing"),
    WAITS: ("run-stuck", "run-silent", "too-slow"),
}


WEEK = 7 * 86_400_000_000  # µs


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True)
class Side:
    """A store that is measured."""

    store: DuckLogStore
    history: History
    dice: random.Random


def batch(payloads: Sequence[bytes]) -> Batch:
    """Payloads as the kafka connector hands them over, without positions."""
    us = micros(datetime.now(UTC))
    raw = RawEvents(consumer="bench", payloads=payloads, times_us=[us] * len(payloads), own_time=True, received_us=us)
    return Batch(raw=(raw,))


def mixed(fresh: list[bytes], mix: str, side: Side) -> list[bytes]:
    """``fresh`` events, some of them replaced as ``mix`` says."""
    ended = side.history.rows - 2 * GROUP
    if mix == "again":
        for k in range(0, len(fresh), 10):
            fresh[k] = side.history.event(ended - side.dice.randrange(600))
    if mix in ("stragglers", "ancient"):
        for k in range(0, len(fresh), 50):
            oldest = ended // GROUP if mix == "ancient" else round(WEEK / side.history.step) // GROUP
            group = ended // GROUP - 1 - side.dice.randrange(oldest)
            fresh[k] = side.history.event(group * GROUP + 4 * AT_ONCE + side.dice.randrange(AT_ONCE))
            # The same happening notified again by another producer: no duplicate, and its run's history is read.
            fresh[k] = fresh[k].replace(b'"source":"trainer', b'"source":"gateway')
    return fresh


def append(side: Side, payloads: list[bytes]) -> Cost:
    """What a commit costs."""
    one = batch(payloads)
    cpu, wall = time.thread_time(), time.perf_counter()
    side.store.append([one])
    return Cost(time.thread_time() - cpu, time.perf_counter() - wall)


def in_turn(sides: Sequence[Side], work: Callable[[Side], Cost], rounds: int, skip: int = 1) -> list[list[Cost]]:
    """Costs of ``rounds`` rounds by side, each side first in every other one; the first ``skip`` rounds do not count."""
    found: list[list[Cost]] = [[] for _ in sides]
    for number in range(rounds + skip):
        for k in range(len(sides)) if number % 2 else reversed(range(len(sides))):
            cost = work(sides[k])
            if number >= skip:
                found[k].append(cost)
    return found


def row_of(name: str, costs: list[list[Cost]]) -> tuple[str, ...]:
    """A line of the table: CPU and wall of the small store and of the large one in ms, and how they compare."""
    line = [name]
    for clock in ("cpu", "wall"):
        took = [[1000 * getattr(cost, clock) for cost in side] for side in costs]
        line += [spread(side, 1) for side in took]
        line.append(f"{statistics.median(b / a for a, b in zip(*took, strict=True)):.2f}")
    return tuple(line)


def commits(sides: Sequence[Side], chosen: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Lines of commits of each size and mix; their CPU goes to the closing table."""
    made = {id(side): events(10**9, datetime.now(UTC), timedelta(milliseconds=10**9)) for side in sides}
    for size in chosen.sizes:
        for mix in chosen.mixes:

            def work(side: Side, size: int = size, mix: str = mix) -> Cost:
                return append(side, mixed(list(islice(made[id(side)], size)), mix, side))

            rounds = chosen.rounds
            many = rounds if size > 1000 else 3 * rounds if size > 50 else 10 * rounds
            costs = in_turn(sides, work, many, skip=2)
            small, large = ([1000 * cost.cpu for cost in side] for side in costs)
            report(
                Figure(
                    what=f"a commit of {size:,} events, {WORDS[mix]}", unit="ms of CPU", ours=large, theirs=small,
                    workload=f"{chosen.rows[1]:,} rows against {chosen.rows[0]:,}", peer="itself with the smaller store",
                )
            )  # fmt: skip
            yield row_of(f"commit of {size:,}, {mix}", costs)
        for side in sides:
            side.store.checkpoint()


def ticks(sides: Sequence[Side], rounds: int) -> Iterator[tuple[str, ...]]:
    """Lines of ticks of window rules, the first of which does not count."""
    for rules, shapes in TICKS:
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-")))
            (home / "rules.yaml").write_text("\n".join(rule_texts(rules, shapes, history.EXPERIMENTS)))
            loaded = load_rules([home / "rules.yaml"], schema_with())
            ticking = {}
            for number, side in enumerate(sides):
                clock = ManualClock(side.history.end)
                state = SqliteState.open(home / f"{number}.sqlite", clock=clock)
                stack.callback(state.close)
                ticking[id(side)] = Ticking(side.store, state, clock, loaded)

            def work(side: Side, ticking: dict[int, Ticking] = ticking) -> Cost:
                wall, cpu = ticking[id(side)].tick()
                return Cost(cpu, wall)

            line = row_of(f"tick of {rules:,} window rules of {shapes:,} shapes", in_turn(sides, work, rounds))
        say(" | ".join(line))
        yield line


def backtests(paths: Sequence[Path], rounds: int) -> Iterator[tuple[str, ...]]:
    """Lines of backtests over each store's last year."""
    for rules, names in BACKTESTS.items():
        for name in names:
            costs: list[list[Cost]] = [[] for _ in paths]
            peaks = [0.0 for _ in paths]
            for number in range(rounds):
                for k in range(len(paths)) if number % 2 else reversed(range(len(paths))):
                    since = history.read(paths[k]).end - timedelta(days=365)
                    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                        one: Round = pool.submit(
                            play, paths[k], rules, name, False, since=since, span=timedelta(days=365)
                        ).result()
                    say(
                        f"{name}: {one.events:,} events, {one.kinds}, {one.seconds:.1f} s, {one.rss:.0f} MiB {one.errors}"
                    )
                    costs[k].append(Cost(one.cpu, one.seconds))
                    peaks[k] = max(peaks[k], one.rss)
            said = " and ".join(f"{peak:.0f}" for peak in peaks)
            yield row_of(f"backtest of {name}, peak {said} MiB", costs)


def main(arguments: list[str]) -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(prog="bench.growth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs=2, default=(5_000_000, 50_000_000))
    parser.add_argument("--years", type=float, nargs=2, default=(1, 10))
    parser.add_argument(
        "--stores", type=Path, help="directory of the two files; made where they are not there, and kept"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("commits", "ticks", "backtests"))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="events a commit")
    parser.add_argument("--mixes", nargs="+", choices=list(WORDS), default=list(WORDS))
    chosen = parser.parse_args(arguments)
    lines: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        directory = chosen.stores or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-")))
        paths = [history.kept(directory, rows, years) for rows, years in zip(chosen.rows, chosen.years, strict=True)]
        if chosen.only in (None, "backtests"):
            lines += backtests(paths, min(chosen.rounds, 3))
        if chosen.only != "backtests":
            sides = []
            for path in paths:
                store = DuckLogStore.open(path, clock=SystemClock(), checkpoint_threshold=1 << 40, reserve=0)
                stack.callback(store.close)
                sides.append(Side(store, history.read(path), random.Random(store.head().seq)))
            if chosen.only in (None, "ticks"):
                lines += ticks(sides, chosen.rounds)
            if chosen.only in (None, "commits"):
                lines += commits(sides, chosen)
    small, large = (f"{rows // 10**6} M" for rows in chosen.rows)
    print(f"{machine()}\n")
    head = ["what"]
    for clock in ("CPU", "wall"):
        head += [f"{clock}, ms, {small}", f"{large}", "ratio"]
    print(table(head, *lines))


if __name__ == "__main__":
    main(sys.argv[1:])
