"""The oracle of ``Runs``: what is known of a run as of a commit, from the sentences of the semantics, slow and obvious.

It knows nothing of the engine. Each column is worked out by itself, from all events and heartbeats that have arrived.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.oracle.events import TERMINAL

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLOT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A status change as it was stored. Times are UTC."""

    run: str
    status: str
    id: str
    source: str
    time: datetime  # the receipt where not ``timed``
    timed: bool = True
    attempt: int = 0
    seq: int = 0  # of the commit that brought it
    committed: datetime = EPOCH
    consumer: str = ""
    texts: dict[str, str] = field(default_factory=dict)  # columns that describe the run, '' where it does not say them
    tags: str = "{}"
    message: str = ""
    progress: float | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A heartbeat as it arrived."""

    received: datetime
    progress: float | None = None
    seq: int = 0
    committed: datetime = EPOCH
    source: str = ""
    consumer: str = ""


def in_order(changes: Sequence[Change]) -> list[Change]:
    """Event-time order: Attempt, TimeGenerated, non-terminal before terminal, Source, EventId."""
    return sorted(changes, key=lambda e: (e.attempt, e.time, e.status in TERMINAL, e.source, e.id))


def reopens(ordered: Sequence[Change], n: int) -> bool:
    """Whether the n-th event says that the run goes on, at a strictly later time than an end that its Source said in
    this Attempt; never by a source without producer times.
    """
    e = ordered[n]
    return (
        e.status not in TERMINAL
        and e.timed
        and any(
            x.status in TERMINAL and x.attempt == e.attempt and x.source == e.source and x.time < e.time
            for x in ordered[:n]
        )
    )


def followed(ordered: Sequence[Change]) -> list[Change]:
    """The events that the state follows: ends, and what comes while the run is under way."""
    found = []
    for n, e in enumerate(ordered):
        ends = [m for m in range(n) if ordered[m].status in TERMINAL and ordered[m].attempt == e.attempt]
        under_way = not ends or any(reopens(ordered, m) for m in range(ends[-1] + 1, n + 1))
        if e.status in TERMINAL or under_way:
            found.append(e)
    return found


def said(beats: Sequence[Beat]) -> list[Beat]:
    """The heartbeats that say how far the run is: in ten seconds only changes count."""
    found: list[Beat] = []
    last: dict[int, float] = {}
    for beat in beats:
        slot = (beat.received - EPOCH) // SLOT
        if beat.progress is not None and last.get(slot) != beat.progress:
            last[slot] = beat.progress
            found.append(beat)
    return found


def run_state(run: str, changes: Sequence[Change], beats: Sequence[Beat]) -> dict[str, Any]:
    """The row of ``Runs``, after at least one change or heartbeat, in the order in which they came."""
    came: list[Change | Beat] = [*changes, *beats]
    receipts = [e.committed for e in changes] + [b.received for b in beats]
    row: dict[str, Any] = {
        "RunId": run,
        "FirstSeen": min(one.committed for one in came),
        "LastSeen": max(receipts),
        "CommitSeq": max(one.seq for one in came),
    }
    by_beat = said(beats)
    if not changes:
        first, last = beats[0], beats[-1]
        return row | {
            "Status": "Unknown", "StatusSince": first.received, "OriginalStatus": "", "Source": last.source,
            "Consumer": last.consumer, "Message": "", "Attempt": 0, "Attempts": 0, "Tags": "{}", "RootRunId": run,
            "JobKey": run, "ParentRunId": "", "ExperimentName": "", "OwnerEmail": "", "StartTime": None, "EndTime": None,
            "DurationMs": None, "FirstTime": None, "LastTime": None,
            "Progress": by_beat[-1].progress if by_beat else None,
        }  # fmt: skip
    ordered = in_order(changes)
    line = followed(ordered)
    state = line[-1]
    same = [
        e for n, e in enumerate(line) if all((x.status, x.attempt) == (state.status, state.attempt) for x in line[n:])
    ]
    ended = state.status in TERMINAL
    starts = [e.start for e in line if e.start is not None]
    running = [e.time for e in changes if e.status == "Running"]
    start = starts[-1] if starts else min(running, default=None)
    end = state.end or (state.time if ended else None)
    by_event = [e for e in line if e.progress is not None]
    progress = by_event[-1].progress if by_event else None
    if by_beat and (not by_event or by_beat[-1].received >= by_event[-1].time):
        progress = by_beat[-1].progress
    lasts = {
        name: next((e.texts[name] for e in reversed(line) if e.texts.get(name)), "")
        for name in ("RootRunId", "JobKey", "ParentRunId", "ExperimentName", "OwnerEmail")
    }
    lasts["RootRunId"] = next(
        (
            at
            for e in reversed(line)
            if (at := e.texts.get("RootRunId") or e.texts.get("ParentRunId") or "") not in ("", run)
        ),
        run,
    )
    return row | lasts | {
        "JobKey": lasts["JobKey"] or run,
        "Status": state.status,
        "StatusSince": same[0].time,
        "OriginalStatus": state.status,
        "Source": state.source,
        "Consumer": state.consumer,
        "Message": state.message,
        "Attempt": state.attempt,
        "Attempts": max(len({e.attempt for e in changes} - {0}), 1),
        "Tags": next((e.tags for e in reversed(line) if e.tags != "{}"), "{}"),
        "StartTime": start,
        "EndTime": end,
        "DurationMs": (end - start) // timedelta(milliseconds=1) if ended and start and end and end >= start else None,
        "FirstTime": min(e.time for e in changes),
        "LastTime": max(e.time for e in changes),
        "Progress": progress,
    }  # fmt: skip
