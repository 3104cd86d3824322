"""Up to when all that a source had to say has been reached. Pure: every time and offset is an argument.

Kafka. The end offset is asked for at D; everything produced up to D lies below it. Once the stored position has
reached it,
everything produced up to D is stored, and a deadline at D may be evaluated::

    clock      D                          R
    broker     ── end offset is 40 ──►    (41, 42 come later: they do not count)
    store         position 31 … 36 … 40 ──► watermark = D

Samples are taken one after another, and the newest one that is reached counts. A broker that is away gives no samples,
so the watermark stands still, as it must: nobody knows what waits there.

HTTP, file, poll. Nobody can say what a sender still holds, but senders retry with backoff. So after our own outage
we wait
a grace, and from then on what was to come has come::

    down ├──────── 40 min ────────┤ up ├──────── grace: 40 min ────────┤
                                       watermark: unknown               watermark: now

The grace is the larger of 2 min and the outage, at most 1 h.

A source that promised ``event_every: 15m`` and is silent longer has probably died: its watermark stands at its last
word until it speaks again, so that no rule mistakes its silence for its runs' silence.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from tocsin.model.event import Position

SHORTEST_GRACE = timedelta(minutes=2)
LONGEST_GRACE = timedelta(hours=1)
SHORTEST_PAUSE = timedelta(milliseconds=20)
"""Between two questions for end offsets, each of which costs 1 to 2 ms of CPU."""
_MOST_SAMPLES = 1000

Partition = tuple[str, int]
"""Topic id and partition."""


def move_on(stored: dict[Partition, int], positions: Iterable[Position]) -> None:
    """Note ``positions`` that are durable. A partition that was recreated begins again; else positions only grow, also
    where an older one is noted late.
    """
    for p in positions:
        before = 0 if p.reset else stored.get((p.topic_id, p.partition), 0)
        stored[p.topic_id, p.partition] = max(p.next, before)


class KafkaWatermark:
    """Of one Kafka consumer, from samples of end offsets and the positions that are stored. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[tuple[datetime, Mapping[Partition, int]]] = deque()
        self._reached: datetime | None = None

    def sampled(self, at: datetime, ends: Mapping[Partition, int]) -> None:
        """The end offsets of every partition of the topics, asked for at ``at`` or later."""
        with self._lock:
            if self._samples and at < self._samples[-1][0]:  # a clock set back: what was seen before stays true
                at = self._samples[-1][0]
            if len(self._samples) >= _MOST_SAMPLES:  # far behind: every other one is fine enough
                self._samples = deque(sample for i, sample in enumerate(self._samples) if i % 2 == 0)
            self._samples.append((at, dict(ends)))

    def stored(self, positions: Mapping[Partition, int]) -> datetime | None:
        """Note the stored positions (next offsets) and return the watermark; None while none is reached.

        A partition without a stored position counts as at 0.
        """
        with self._lock:
            while self._samples:
                at, ends = self._samples[0]
                if any(positions.get(partition, 0) < end for partition, end in ends.items()):
                    break
                self._reached = at if self._reached is None else max(self._reached, at)
                self._samples.popleft()
            return self._reached


class Wanted:
    """When end offsets are asked for besides each second, so that a deadline is evaluated when it comes.

        deadline        D
        end offsets  ?  ?              at D, not at the next second; then only what was on its way is waited for

    ``expect`` is called by the thread that waits, the others by the one that asks.
    """

    def __init__(self) -> None:
        self._wanted: tuple[datetime, ...] = ()
        self._asked: datetime | None = None

    def expect(self, times: Iterable[datetime]) -> None:
        """For these times the watermark is waited for, or will be: what is held, and what comes next."""
        self._wanted = tuple(times)

    def asked(self, at: datetime) -> None:
        """End offsets are asked for at ``at``."""
        self._asked = at

    def asks(self, now: datetime) -> bool:
        """Whether to ask now: a time has come for which nobody has asked yet."""
        if self._asked is not None and now - self._asked < SHORTEST_PAUSE:
            return False
        return any(at <= now and (self._asked is None or self._asked < at) for at in self._wanted)

    def patience(self, now: datetime, longest: timedelta) -> timedelta:
        """How long records may be waited for until something is to be asked."""
        waits = [longest]
        for at in self._wanted:
            if self._asked is None or self._asked < at:
                waits.append(max(at - now, SHORTEST_PAUSE - (now - self._asked) if self._asked else timedelta(0)))
        return max(min(waits), timedelta(milliseconds=1))


class GraceWatermark:
    """Of a source that pushes: known after a grace since our start, and then always now."""

    def __init__(self, started: datetime, last_alive: datetime) -> None:
        """``last_alive`` is when intake was last known to be up before ``started``; the same where it never was."""
        self.up_from = started + grace(started - last_alive)
        """From when on silence means that there is nothing."""

    def at(self, now: datetime) -> datetime | None:
        """The watermark at ``now``; None inside the grace."""
        return now if now >= self.up_from else None


def grace(outage: timedelta) -> timedelta:
    """How long to wait for senders after an outage of this length."""
    return min(max(outage, SHORTEST_GRACE), LONGEST_GRACE)


class StallWatch:
    """Holds a source to ``expect: {event_every: …}``."""

    def __init__(self, every: timedelta | None, started: datetime) -> None:
        """``every`` None promises nothing. Before the first event the promise counts from ``started``."""
        self._every = every
        self._last = started
        self.spoke = False
        """Whether it reported since our start."""

    def source_progress(self, at: datetime) -> None:
        """An event of the source was received at ``at``."""
        self._last = max(self._last, at)
        self.spoke = True

    @property
    def every(self) -> timedelta | None:
        """The longest silence that the source promises; None: it promises nothing."""
        return self._every

    @property
    def last_event(self) -> datetime:
        """When the source last spoke (or our start)."""
        return self._last

    def breaks_at(self) -> datetime | None:
        """When the promise is broken unless the source speaks before; None: never."""
        return None if self._every is None else self._last + self._every

    def silent(self, now: datetime) -> bool:
        """Whether the source has broken its word at ``now``."""
        breaks = self.breaks_at()
        return breaks is not None and now > breaks

    def hold(self, watermark: datetime | None, now: datetime) -> datetime | None:
        """``watermark``, but not beyond the source's last word while it is silent."""
        if watermark is None or not self.silent(now):
            return watermark
        return min(watermark, self._last)
