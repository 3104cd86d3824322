"""Since when a run is in a set of statuses: SEMANTICS.md, Absence rules."""

import pytest

from tocsin.alerts.occurrences import RunEvent
from tocsin.model.alert import EventKey
from tocsin.rules.kinds.deadline.due import time_in_status

WAITS = ("Queued", "Preparing", "Running")
Word = tuple[int, str, str, int]
"""Time, status, source, attempt."""


def since(*words: Word) -> int | None:
    return time_in_status(
        (
            RunEvent(
                key=EventKey(source=source, event_id=f"{n}", time_us=at), attempt=attempt, status=status, commit_seq=1
            )
            for n, (at, status, source, attempt) in enumerate(words)
        ),
        WAITS,
    )


@pytest.mark.parametrize(
    ("words", "at"),
    [
        ([(1, "Queued", "a", 0), (2, "Preparing", "a", 0), (3, "Running", "b", 0)], 1),
        ([(1, "Queued", "a", 0), (2, "Paused", "a", 0), (3, "Running", "a", 0)], 3),
        ([(1, "Queued", "a", 0), (2, "Completed", "a", 0)], None),
        # who ended it reopens it, another does not, nor its resolving event in an earlier try
        ([(1, "Queued", "a", 0), (2, "Completed", "a", 0), (3, "Running", "a", 0)], 3),
        ([(1, "Queued", "a", 0), (2, "Completed", "a", 0), (3, "Running", "b", 0)], None),
        ([(1, "Failed", "b", 1), (2, "Running", "a", 2), (3, "Completed", "a", 2), (4, "Running", "b", 2)], None),
        # another Attempt counts again
        ([(1, "Queued", "a", 1), (2, "Queued", "a", 2), (3, "Running", "a", 2)], 2),
    ],
)
def test_it_is_in_them_since(words: list[Word], at: int | None) -> None:
    assert since(*words) == at
    assert since(*reversed(words)) == at
