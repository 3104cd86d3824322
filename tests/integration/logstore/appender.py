"""A child process that appends Kafka-like batches until it is killed: python -m … FILE, prints each durable offset."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.logstore.helpers import event
from tocsin.clock import SystemClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, Position, RawEvents

SIZES = (1, 40, 3, 700, 12)
"""Records of one batch after the other."""


def record(offset: int) -> bytes:
    """The record at an offset: always the same one."""
    return event(
        f"r{offset % 97}", ("Queued", "Running", "Failed")[offset % 3], offset, id=f"e{offset}", Message="x" * 300
    )


def batch(start: int, size: int) -> Batch:
    """``size`` records from ``start``."""
    offsets = list(range(start, start + size))
    return Batch(
        raw=(
            RawEvents(
                consumer="k",
                payloads=[record(o) for o in offsets],
                times_us=offsets,
                own_time=True,
                received_us=0,
                topic="runs",
                topic_id="t",
                cluster="c",
                partitions=[0] * size,
                offsets=offsets,
            ),
        ),
        positions=(Position(cluster="c", topic="runs", topic_id="t", partition=0, start=start, next=start + size),),
    )


def main(path: Path) -> None:
    """Append from the stored position on, for ever, with a small checkpoint threshold."""
    store = DuckLogStore.open(path, clock=SystemClock(), checkpoint_threshold=1 << 20, reserve=0)
    turn = 0
    while True:
        at = store.positions("c", "t").get(0, 0)
        commit = store.append([batch(at, SIZES[turn % len(SIZES)])])
        print(at + SIZES[turn % len(SIZES)], commit.seq, flush=True)
        turn += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
