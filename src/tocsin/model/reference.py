"""docs/events.md: statuses, reasons, columns and tables, made from the code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tocsin.model.columns import TABLES, Column
from tocsin.model.statuses import TERMINAL, Reason, Status

STATUSES: Final[Mapping[Status, str]] = {
    Status.NOT_STARTED: "It exists, nothing was done for it yet.",
    Status.STARTING: "It is being accepted.",
    Status.PROVISIONING: "Its machine is being made.",
    Status.PREPARING: "Its environment or image is being made.",
    Status.QUEUED: "It waits for a place.",
    Status.RUNNING: "Its code runs.",
    Status.PAUSED: "It is suspended and may go on.",
    Status.NOT_RESPONDING: "Its producer has no sign of life of it.",
    Status.FINALIZING: "Its code has ended, outputs are being written.",
    Status.CANCEL_REQUESTED: "Somebody asked to cancel it.",
    Status.COMPLETED: "It ended well.",
    Status.FAILED: "It ended badly.",
    Status.CANCELED: "It was canceled.",
    Status.UNKNOWN: "The producer's word is in no `status_map`; `OriginalStatus` has it.",
}
REASONS: Final[Mapping[Reason, str]] = {
    Reason.NONE: "none was given, or it does not apply",
    Reason.PREEMPTED: "its machine was taken away",
    Reason.OUT_OF_MEMORY: "memory of the machine or of a GPU ran out",
    Reason.TIMEOUT: "it ran longer than it may",
    Reason.USER_CANCELED: "a person canceled it",
    Reason.QUOTA: "a quota was reached",
    Reason.INFRASTRUCTURE: "a machine, disk or network failed",
    Reason.CODE_ERROR: "its code raised an error",
    Reason.UNKNOWN: "the producer says that it does not know",
}
ABOUT: Final[Mapping[str, str]] = {
    "RunStatusChanged": "One row for each status change. It is only appended to.",
    "Heartbeats": "One row for each sign of life; kept for a short time.",
    "RunMetrics": "One row for each value that a run logged.",
    "Runs": "One row for each run: what its events amount to, and what people set.",
    "Alerts": "One row for each change of an alert's state.",
    "Notifications": "One row for each change of a delivery.",
    "Actions": (
        "One row for each thing that a person did: `acknowledge`, `unacknowledge`, `snooze`, `assign`, `comment` and `close`"
        " of an alert; `silence` and `expire` of a silence; `subscribe`, `unsubscribe`, `mute` and `unmute`."
        " The audit trail too: `login`, `login-failed`, `logout`, `refused`, `query`, `replay`, `backup` and `export`."
        " Nothing is removed from it but by age."
    ),
    "DeadLetters": "One row for each message that could not be read.",
    "AmlRunStatusChangedEvent": "`RunStatusChanged` with the names and types of Azure Monitor's table, for queries that were written there.",
}

HEAD = """\
# Event reference

<!-- Made by `make docs` from src/tocsin/model/; a test holds both equal. -->

What a run's events may say, and what becomes of it.
How to send them is on the page on [consumers](consumers.md), how to ask for them on the page on [KQL](kql.md).

## A status change

```json
{
  "specversion": "1.0",
  "type": "tocsin.run.status",
  "id": "churn-42-3",
  "source": "scheduler-eu",
  "time": "2026-01-05T12:03:00Z",
  "data": {
    "RunId": "churn-42",
    "Status": "Failed",
    "Reason": "out_of_memory",
    "Message": "CUDA out of memory",
    "ExperimentName": "churn",
    "OwnerEmail": "anna@example.org",
    "Tags": {"env": "prod"}
  }
}
```

Only `RunId` and `Status` are needed. `data` may have every column below that a producer sets.
A key that is no column is kept in `Raw` only. A value that its column cannot take is left out, and the event stays.

## Other types

| type | `data` | what becomes of it |
| --- | --- | --- |
| `tocsin.run.heartbeat` | `RunId`, perhaps `Progress` | a row of `Heartbeats`; `LastSeen` and `Progress` of the run; no event rule asks about it |
| `tocsin.run.metrics` | `RunId`, perhaps `ExperimentName`, and `Metrics`: points with `Name`, then `Value` or `Columns`, perhaps `Step` and `Time` | rows of `RunMetrics` |
| `tocsin.run.update` | `RunId`, and `Tags`, `Properties` (null removes one) or `Description` | it moves `Runs` alone, and stays whatever later events say |

Any other type is a dead letter.

## Identity

- `source` and `id` together name an event. What comes twice is stored once, whether minutes or months apart.
- Without an `id` one is made from the content and the consumer: the same bytes twice are one event.
- Attempts of one run have one `RunId` and count `Attempt` up, or have a `RunId` each and the same `JobKey`.

## Times

- `time` is when it happened, by the producer's clock, and becomes `TimeGenerated`. Without it the receipt counts, and `TimeGiven` is false.
- A `time` that lies more than `intake.max_clock_skew` (10 minutes) after the receipt counts as none; `GivenTime` keeps it.
- `IngestedAt` is when it was committed. Rules order a run's events by `TimeGenerated`, so late events find their place.
- Forms: ISO 8601 with any precision and offset, without one UTC; seconds or milliseconds since 1970, as number or text.
- Everything is kept in UTC with microseconds. Mails show the reader's time zone.
- Without times, events count in the order in which they are received. Send times: senders repeat and overtake each other.

## Statuses
"""

TRAPS = """\
## JMESPath in mappings: what surprises

| written | means | instead |
| --- | --- | --- |
| `source: my-scheduler` | an error: there is no `-` | `source: "'my-scheduler'"`, quotes within quotes: text stands in `'…'` |
| `RunId: job-id` | an error, too | `RunId: '"job-id"'`: names with a hyphen stand in `"…"` |
| `filter: code == 1` | an error: numbers need backticks | ``filter: "code == `1`"`` |
| `filter: kind == "job"` | compares two fields | `filter: kind == 'job'` |
| `a \\|\\| b` | `b` where `a` is null, false, `''`, `[]` or `{}`; 0 counts as a value | `coalesce(a, b)` skips null and `''` only |
| `items[0].id` | null where there are no items | nothing: null is left out |
| `items[].id` | a list, which is no text | `items[0].id`, or `join(',', items[].id)` |

`tocsin check` compiles every expression and names those that cannot work; a `tests:` entry of the consumer's file shows what comes out.
"""


def events_reference() -> str:
    """The page."""
    parts = [HEAD, _table(("status", "ends the run", "meaning"), _statuses())]
    parts.append(
        "A word of a producer becomes one of these by the consumer's `status_map`; `OriginalStatus` keeps it.\n\n## Reasons\n"
    )
    reasons = [(f"`{reason.value}`" if reason.value else "empty", words) for reason, words in REASONS.items()]
    parts += [_table(("reason", "meaning"), reasons), TRAPS, "## Tables\n"]
    for name, about in ABOUT.items():
        parts += [f"### {name}\n\n{about}\n", _columns(TABLES[name], wire=name == "RunStatusChanged")]
    return "\n".join(parts)


def _statuses() -> list[tuple[str, ...]]:
    return [(f"`{s.value}`", "yes" if s.value in TERMINAL else "", words) for s, words in STATUSES.items()]


def _columns(columns: Sequence[Column], *, wire: bool) -> str:
    if not wire:
        return _table(("column", "type", "meaning"), [(f"`{c.name}`", c.type.value, c.doc) for c in columns])
    rows = [(f"`{c.name}`", c.type.value, "yes" if c.wire else "", c.doc) for c in columns]
    return _table(("column", "type", "may stand in `data`", "meaning"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("||", "\\|\\|") for cell in line) + " |" for line in lines) + "\n"
