"""Stamps and fences."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from tocsin.clock import EPOCH, ManualClock
from tocsin.logstore.ingest.durable import Sequencer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
US = timedelta(microseconds=1)


def test_stamps_strictly_increase() -> None:
    """By the clock, else by a microsecond."""
    clock = ManualClock(NOW)
    sequencer = Sequencer(clock, EPOCH)
    stamps = [sequencer.stamp() for _ in range(3)]
    clock.advance(timedelta(seconds=-5))
    stamps.append(sequencer.stamp())
    clock.advance(timedelta(seconds=10))
    stamps.append(sequencer.stamp())
    assert [NOW, NOW + US, NOW + 2 * US, NOW + 3 * US, NOW + timedelta(seconds=5)] == stamps


def test_it_goes_on_after_the_last_commit() -> None:
    assert NOW + timedelta(hours=1) + US == Sequencer(ManualClock(NOW), NOW + timedelta(hours=1)).stamp()


def test_a_fence_waits_for_commits_stamped_before_it() -> None:
    """Only when they are published does it return."""
    sequencer = Sequencer(ManualClock(NOW), EPOCH)
    stamp = sequencer.stamp()
    order: list[str] = []

    def fence() -> None:
        sequencer.fence(stamp)
        order.append("fenced")

    fenced = threading.Thread(target=fence)
    fenced.start()
    sequencer.done(lambda: order.append("published"))
    fenced.join(10)
    assert ["published", "fenced"] == order
    assert sequencer.stamp() > stamp


def test_a_fence_does_not_wait_for_a_commit_stamped_after_it() -> None:
    sequencer = Sequencer(ManualClock(NOW), EPOCH)
    stamp = sequencer.stamp()
    sequencer.fence(stamp - US)  # would hang
    assert stamp + US == sequencer.stamp()
