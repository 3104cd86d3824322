"""What the newest small commits brought, kept in memory, so that evaluation of a few events asks no table.

    commits      c7 (3 runs)   c8 (20,000 events)   c9 (1 run)   c10 (2 runs)
    remembered   yes           no                   yes          yes
    runs(c8, c10)  →  the runs of c9 and c10, each as the last of these commits left it
    runs(c7, c10)  →  None: the tables must be asked
    rows(c8, c10)  →  the rows of c9 and c10

To find out the same from the tables costs three statements, 10 ms of CPU for a commit of ten heartbeats.

The heartbeats are remembered so that a small commit need not ask the table which of its own are the first of
their ten seconds: 2 ms of CPU, a fifth of a commit of heartbeats.

    stored       before the start   c7 (2 runs)   c8 (bulk)   c9 (1 run)
    remembered                      yes           no          yes
    known(since) →  None where since is before the end of what is not remembered: the table must be asked

The dedupe keys are remembered so that a small commit need not ask the table whether it has them: a
tenth of the commit's CPU.

    stored       before the start   c7 (2 events)   c8 (bulk)   c9 (1 event)
    remembered                      yes             no          yes
    unknown(keys) →  those that lie in the times of what is not remembered, and those that look like a stored one

Rows and runs stay beside the tables: without them p50 of 1,000 events/s with 1,000 rules is 1,403 ms in place of 311; without
the keys it is 415. Without the heartbeats a commit of 15 takes 1.4 times the CPU (docs/decisions/0019).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tocsin.logstore.interface import StoredRow, Touched

MOST_BYTES = 8 << 20
"""What is remembered, at most, by the length of its texts."""
_EACH = 2000
"""Bytes that a run or a row takes besides its texts."""
_BEATEN = 300
"""Bytes of a run of which only heartbeats came."""

Runs = Mapping[str, Touched]


@dataclass(frozen=True, slots=True)
class Brought:
    """What a commit brought."""

    runs: Runs = field(default_factory=dict)  # as it left them
    rows: Sequence[StoredRow] = ()
    payloads: int = 0  # characters that the rows came from

    @property
    def size(self) -> int:
        """Bytes that it takes, about: the texts of a row are those of its payload."""
        runs = sum(_BEATEN if each.row is None else _size(each.row) for each in self.runs.values())
        return runs + _EACH * len(self.rows) + self.payloads


class RecentChanges:
    """Written by one thread, read by any."""

    def __init__(self, before: int) -> None:
        """``before``: the newest commit before the first of them."""
        self._before = before  # nothing is known of it and of what came earlier
        self._commits: deque[tuple[int, int, Brought]] = deque()  # CommitSeq, bytes
        self._bytes = 0

    def add(self, seq: int, brought: Brought | None) -> None:
        """Commit ``seq`` is durable. None: what it did is not known here."""
        size = brought.size if brought is not None else 0
        if brought is None or size > MOST_BYTES:
            self._before = seq  # first, so that nobody takes what is left for the whole
            self._commits.clear()
            self._bytes = 0
            return
        self._commits.append((seq, size, brought))
        self._bytes += size
        while self._bytes > MOST_BYTES:
            self._before = self._commits[0][0]
            self._bytes -= self._commits.popleft()[1]

    def runs(self, after: int, hi: int) -> Runs | None:
        """Runs that commits in (``after``, ``hi``] touched, as the last of these left them; None where not all is
        known.
        """
        commits = self._between(after, hi)
        if commits is None or len(commits) == 1:
            return None if commits is None else commits[0].runs
        found: dict[str, Touched] = {}
        for commit in commits:
            for run, touched in commit.runs.items():
                known = found.get(run)
                found[run] = touched if known is None else _joined(known, touched)
        return found

    def rows(self, after: int, hi: int) -> Sequence[StoredRow] | None:
        """Rows that commits in (``after``, ``hi``] brought, in order; None where not all are known."""
        commits = self._between(after, hi)
        return None if commits is None else [row for commit in commits for row in commit.rows]

    def _between(self, after: int, hi: int) -> list[Brought] | None:
        while True:
            try:
                commits = [brought for seq, _, brought in self._commits if after < seq <= hi]
            except RuntimeError:  # it grew meanwhile
                continue
            break
        return commits if after >= self._before else None


def _joined(before: Touched, after: Touched) -> Touched:
    return Touched(
        least=_least(before.least, after.least),
        row=after.row,
        seen=after.seen if before.seen is not None else None,  # receipts go on, as commits do
        progress=after.progress or before.progress,
    )


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _size(row: StoredRow) -> int:
    return _EACH + sum([len(value) for value in row.values() if type(value) is str])


MOST_KEYS = 16_000
"""Keys that are remembered, by their hashes: 2 MiB."""

Key = tuple[str, str, datetime]
"""Source, EventId, and the producer's time, naive UTC."""


class NewestKeys:
    """Written and read by the writer's thread."""

    def __init__(self, until: datetime) -> None:
        """Events with producer times up to ``until`` may be stored and are not known."""
        self._until = until
        self._times: dict[int, datetime] = {}  # by the key's hash

    def unknown(self, keys: Iterable[Key]) -> list[Key]:
        """Those that the table must be asked about: it may have them. It has none of the others."""
        return [key for key in keys if key[2] <= self._until or hash(key) in self._times]

    def note(self, keys: Iterable[Key]) -> None:
        """These have been stored."""
        self._times.update((hash(key), key[2]) for key in keys)
        if len(self._times) > MOST_KEYS:
            times = sorted(self._times.values())
            self.lose(times[len(times) // 2])
            self._times = {key: at for key, at in self._times.items() if at > self._until}

    def lose(self, until: datetime) -> None:
        """Some have been stored, with producer times up to ``until``, and are not known."""
        self._until = max(self._until, until)


SLOT = 10
"""Seconds of which the first heartbeat of a run is stored, besides changes of Progress."""
MOST_SLOTS = 8_000
"""Slots of runs that are remembered."""
_EPOCH, _LONG = datetime(1970, 1, 1), timedelta(seconds=SLOT)

Slot = tuple[str, int]
"""A run, and the number of a slot."""


def slot_of(beat: Mapping[str, Any]) -> Slot:
    """The slot that a heartbeat lies in, a row of Heartbeats with ``received``."""
    return beat["RunId"], (beat["received"] - _EPOCH) // _LONG


class NewestBeats:
    """Written and read by the writer's thread. Times are naive UTC."""

    def __init__(self, start: datetime) -> None:
        """What was received up to ``start`` is not known."""
        self._after = start
        self._said: dict[Slot, float | None] = {}  # slots with a stored heartbeat → the last Progress that is stored

    def known(self, since: datetime) -> Mapping[Slot, float | None] | None:
        """Slots that begin after ``since`` and have a stored heartbeat, with the last Progress stored; None where
        not all are known.
        """
        return self._said if since >= self._after else None

    def note(self, beats: Iterable[Mapping[str, Any]]) -> None:
        """These have been stored, in this order."""
        for beat in beats:
            slot, progress = slot_of(beat), beat["Progress"]
            self._said[slot] = progress if progress is not None else self._said.get(slot)
        if len(self._said) > MOST_SLOTS:
            numbers = sorted(number for _, number in self._said)
            first = numbers[len(numbers) // 2] + 1  # what is left of one slot may be more than there is room for
            self._said = {slot: progress for slot, progress in self._said.items() if slot[1] >= first}
            self._after = max(self._after, _EPOCH + first * _LONG)

    def lose(self, until: datetime) -> None:
        """Some have been stored that were received before ``until``, and are not known."""
        self._after = max(self._after, until)
