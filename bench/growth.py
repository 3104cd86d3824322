"""What a log store's size costs: the same commits, looks and starts on two stores, one with ten times the history.

    python -m bench.growth [--rows 5000000 50000000] [--years 1 10] [--stores DIR] [--rounds 7] [--only commits]

Both stores hold the same rate of events (`bench.history`); commits go to them in turn, so that a busy machine hits both. Given are
CPU of the writing thread and wall clock, medians with spread, and the median of the paired ratios. Commits are of canonical events of
now; "again" has a tenth of them sent twice, from the store's last hour; of "stragglers" one in fifty is of a run that ended some time
in the last week, of "ancient" ones some time in the whole history.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from bench import history
from bench.common import machine, say, spread, table
from bench.history import AT_ONCE, GROUP, History
from bench.payloads import events
from tocsin.clock import SystemClock, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, RawEvents

SIZES = (1, 50, 1000, 20_000)
MIXES = ("fresh", "again", "stragglers", "ancient")


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
            # The same happening told again by another producer: no duplicate, and its run's history is read.
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


def commits(sides: Sequence[Side], rounds: int, seconds: float) -> Iterator[tuple[str, ...]]:
    """Lines of commits of each size and mix."""
    made = {id(side): events(10**9, datetime.now(UTC), timedelta(milliseconds=10**9)) for side in sides}
    for size in SIZES:
        for mix in MIXES:

            def work(side: Side, size: int = size, mix: str = mix) -> Cost:
                return append(side, mixed(list(islice(made[id(side)], size)), mix, side))

            many = rounds if size > 1000 else 3 * rounds if size > 50 else 10 * rounds
            line = row_of(f"commit of {size:,}, {mix}", in_turn(sides, work, many, skip=2))
            say(" | ".join(line))
            yield line
        for side in sides:
            side.store.checkpoint()


def main(arguments: list[str]) -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(prog="bench.growth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs=2, default=(5_000_000, 50_000_000))
    parser.add_argument("--years", type=float, nargs=2, default=(1, 10))
    parser.add_argument(
        "--stores", type=Path, help="directory of the two files; made where they are not there, and kept"
    )
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args(arguments)
    with ExitStack() as stack:
        directory = chosen.stores or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-bench-")))
        sides = []
        for rows, years in zip(chosen.rows, chosen.years, strict=True):
            path = history.kept(directory, rows, years)
            store = DuckLogStore.open(path, clock=SystemClock(), checkpoint_threshold=1 << 40, reserve=0)
            stack.callback(store.close)
            sides.append(Side(store, history.read(path), random.Random(1)))
        lines = list(commits(sides, chosen.rounds, 0))
    small, large = (f"{rows // 10**6} M" for rows in chosen.rows)
    print(f"{machine()}\n")
    head = ["what"]
    for clock in ("CPU", "wall"):
        head += [f"{clock}, ms, {small}", f"{large}", "ratio"]
    print(table(head, *lines))


if __name__ == "__main__":
    main(sys.argv[1:])
