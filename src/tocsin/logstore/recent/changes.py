"""What the newest small commits did to runs, kept in memory, so that evaluation of a few events asks no table.

    commits      c7 (3 runs)   c8 (20,000 events)   c9 (1 run)   c10 (2 runs)
    remembered   yes           no                   yes          yes
    news(c8, c10)  →  the runs of c9 and c10, each as the last of these commits left it
    news(c7, c10)  →  None: the tables must be asked

To find out the same from the tables costs three statements, 10 ms of CPU for a commit of ten heartbeats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from tocsin.logstore.interface import Touched

MOST_BYTES = 4 << 20
"""What is remembered, at most, by the length of its texts."""
_EACH = 2000
"""Bytes that a run takes besides its texts."""

_BEATEN = 300
"""Bytes of a run of which only heartbeats came."""

Runs = Mapping[str, Touched]


class NewestRuns:
    """Written by one thread, read by any."""

    def __init__(self, before: int) -> None:
        """``before``: the newest commit before the first of them."""
        self._before = before  # nothing is known of it and of what came earlier
        self._commits: deque[tuple[int, int, Runs]] = deque()  # CommitSeq, bytes, runs
        self._bytes = 0

    def add(self, seq: int, runs: Runs | None) -> None:
        """Commit ``seq`` is durable. ``runs`` None: what it did is not known here."""
        size = sum(_size(each.row) for each in runs.values()) if runs is not None else MOST_BYTES + 1
        if runs is None or size > MOST_BYTES:
            self._before = seq  # first, so that nobody takes what is left for the whole
            self._commits.clear()
            self._bytes = 0
            return
        self._commits.append((seq, size, runs))
        self._bytes += size
        while self._bytes > MOST_BYTES:
            self._before = self._commits[0][0]
            self._bytes -= self._commits.popleft()[1]

    def between(self, after: int, hi: int) -> Runs | None:
        """Runs that commits in (``after``, ``hi``] touched, as the last of these left them; None where not all is
        known.
        """
        while True:
            try:
                commits = [runs for seq, _, runs in self._commits if after < seq <= hi]
            except RuntimeError:  # it grew meanwhile
                continue
            break
        if after < self._before:
            return None
        if len(commits) == 1:
            return commits[0]
        found: dict[str, Touched] = {}
        for runs in commits:
            for run, touched in runs.items():
                known = found.get(run)
                found[run] = touched if known is None else _joined(known, touched)
        return found


def _joined(before: Touched, after: Touched) -> Touched:
    return Touched(
        least=_least(before.least, after.least),
        row=after.row,
        seen=after.seen if before.seen is not None else None,  # receipts go on, as commits do
        progress=after.progress or before.progress,
    )


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _size(row: Mapping[str, Any] | None) -> int:
    if row is None:
        return _BEATEN
    return _EACH + sum(len(value) for value in row.values() if isinstance(value, str))
