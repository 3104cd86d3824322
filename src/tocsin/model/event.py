"""What comes in: payloads as received, mapped events, heartbeats, dead letters, positions; one commit takes a list
of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

MAX_PAYLOAD = 1 << 20
"""Bytes of the largest payload that is read; beyond it is a dead letter."""
MAX_NESTING = 64
"""Depth of the deepest JSON that is read."""
DEAD_PAYLOAD = 256 << 10
"""Bytes of a dead letter's payload that are kept."""

MAX_CLOCK_SKEW = timedelta(minutes=10)
"""How far a producer's time may lie after the receipt, where nothing else is set (``intake.max_clock_skew``)."""

STATUS_TYPE = "tocsin.run.status"
HEARTBEAT_TYPE = "tocsin.run.heartbeat"
METRICS_TYPE = "tocsin.run.metrics"
UPDATE_TYPE = "tocsin.run.update"


_TYPES = frozenset((STATUS_TYPE, HEARTBEAT_TYPE, METRICS_TYPE, UPDATE_TYPE))


def why_no_event(value: object) -> str:
    """Why a JSON value cannot be a canonical event, as far as its outermost keys say; '' where it may be one."""
    if not isinstance(value, dict):
        return "no JSON object"
    kind = value.get("type")
    azure = kind or value.get("eventType")
    if isinstance(azure, str) and azure.startswith("Microsoft."):
        return f"type is {json.dumps(azure)[:80]}, which /intake/event-grid takes"
    if kind is None and "RunId" in value:
        return f'no type, and columns outside of data; write {{"type": "{STATUS_TYPE}", "data": {{"RunId": …}}}}'
    if not isinstance(kind, str) or kind not in _TYPES:
        return f"type is {json.dumps(kind)[:80]}, not {STATUS_TYPE}"
    if kind in (STATUS_TYPE, HEARTBEAT_TYPE) and not isinstance(value.get("data"), dict):
        return "data is a text, not an object" if isinstance(value.get("data"), str) else "data is no object"
    return ""


class DeadReason(StrEnum):
    """Why a message could not be read."""

    NOT_JSON = "not_json"
    NOT_UTF8 = "not_utf8"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    BAD_NUMBER = "bad_number"  # NaN, infinities, out of range
    BAD_STRING = "bad_string"  # lone surrogates
    NOT_AN_EVENT = "not_an_event"  # not an object, or of no known type
    FOREIGN_SOURCE = "foreign_source"  # its Source is none of those that the sender's token is for
    FOREIGN_RUN = "foreign_run"  # it names a run or job that the sender's token is not for
    NO_RUN_ID = "no_run_id"
    NO_STATUS = "no_status"
    BAD_TIME = "bad_time"
    BAD_FIELD = "bad_field"  # a field of a type that cannot be read
    MAPPING_FAILED = "mapping_failed"
    STORE_REFUSED = "store_refused"  # the bulk statement threw on it, found by bisecting


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a message came from. Kafka fields are None elsewhere."""

    topic: str = ""
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that could not be read; it travels with its batch's commit."""

    consumer: str
    origin: Origin = Origin()
    reason: DeadReason
    detail: str
    payload: bytes  # whole; the store cuts it
    count: int = 1  # messages that it stands for
    rest: bool = False  # it stands for those of a body beyond ``MOST_DEAD``


MOST_DEAD = 100
"""Dead letters that are kept of one body; one more stands for all others."""


def gathered(letters: Sequence[DeadLetter], most: int = MOST_DEAD) -> tuple[list[DeadLetter], DeadLetter | None]:
    """The first ``most`` letters of a body, and one for the rest; None where there is none."""
    kept = [letter for letter in letters if not letter.rest]
    kept, more = kept[: max(most, 0)], kept[max(most, 0) :]
    more += [letter for letter in letters if letter.rest]
    if not more:
        return kept, None
    return kept, replace(more[0], count=sum(letter.count for letter in more), rest=True)


def merged(one: DeadLetter | None, other: DeadLetter | None) -> DeadLetter | None:
    """A letter for what both stand for. It holds the payload of the first."""
    if one is None or other is None:
        only = one or other
        return None if only is None else replace(only, rest=True)
    return replace(one, count=one.count + other.count, rest=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Progress in one Kafka partition: the records of a batch lie in [start, next)."""

    cluster: str
    topic: str
    topic_id: str  # the broker's id of the topic; the name where the broker gives none
    partition: int
    start: int  # the position from which the batch was taken
    next: int  # the next offset to read, past control records and compacted gaps
    reset: bool = False  # the topic was recreated or offsets were lost: `start` need not equal the stored position


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEvents:
    """Canonical CloudEvents, unread: the fast path. The lists run in parallel.

    ``times_us`` holds each record's CreateTime, or the receipt, in microseconds since the epoch: it is the event's time
    where the payload has none. ``own_time`` says whether that is a producer's time (Kafka CreateTime) or only the
    receipt.
    """

    consumer: str
    payloads: Sequence[bytes]
    times_us: Sequence[int]
    own_time: bool
    received_us: int
    topic: str = ""
    topic_id: str = ""
    cluster: str = ""
    partitions: Sequence[int] | None = None
    offsets: Sequence[int] | None = None
    retries_unknown: bool = False  # an absent WillRetry stays null instead of false


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """A value that a run has logged. ``time`` None: that of its event."""

    name: str
    value: float | str | None  # as text also NaN, Infinity and -Infinity, which JSON does not have
    step: int | None = None
    time: datetime | None = None
    columns: Mapping[str, object] = field(default_factory=dict)  # a row of a table, a confusion matrix …


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Tags and properties of a run to set (None: to remove), and its description (None: as it was)."""

    tags: Mapping[str, object] = field(default_factory=dict)
    properties: Mapping[str, object] = field(default_factory=dict)
    description: str | None = None
    first: bool = False  # the description stands only until somebody sets one: it is the producer's


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedEvent:
    """An event read by a mapping: values of wire columns by name (absent ones omitted), times as datetime.

    ``time`` None means that the producer gave no time: the receipt is used, and dedupe falls back to recent ids.
    ``event_id`` '' means that the id is derived from content and consumer. ``heartbeat`` events need RunId only.
    With ``metrics`` or ``labels`` it brings these and no status.
    """

    source: str
    event_id: str
    time: datetime | None
    columns: Mapping[str, object]
    raw: bytes
    heartbeat: bool = False
    unknown: tuple[str, ...] = ()  # names in `data` that are no column, at most UNKNOWN_NAMES
    origin: Origin = Origin()
    description: str = ""  # of the run in its producer's words
    metrics: tuple[MetricPoint, ...] = ()
    labels: Labels | None = None


UNKNOWN_NAMES = 20
"""So many names of an event, or of a batch, that are no column are kept, to say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedEvents:
    """Events of one consumer, read by its mapping. ``cluster``/``topic_id`` as in ``Position`` where from Kafka."""

    consumer: str
    events: Sequence[MappedEvent]
    received_us: int
    topic_id: str = ""
    cluster: str = ""
    retries_unknown: bool = False  # an absent WillRetry stays null instead of false


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one connector hands over to be made durable at once: all of it or nothing."""

    raw: tuple[RawEvents, ...] = ()
    mapped: tuple[MappedEvents, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    positions: tuple[Position, ...] = ()
    most_dead: int | None = None  # dead letters that are kept one by one; None: all of them
    carried: DeadLetter | None = None  # for the rest of earlier batches of the same body
    more: bool = False  # another batch of the same body follows, and keeps the letter for the rest

    @property
    def messages(self) -> int:
        """How many events and dead letters it holds."""
        return sum(len(r.payloads) for r in self.raw) + sum(len(m.events) for m in self.mapped) + len(self.dead)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one batch of a commit. Counts are of messages."""

    accepted: int
    duplicate: int
    heartbeats: int
    dead: tuple[DeadLetter, ...] = ()
    skipped: int = 0  # Kafka records below the stored position
    misnamed: int = 0  # messages with names that are no column; what stood under them is only in Raw
    unknown: tuple[str, ...] = ()  # these names, at most UNKNOWN_NAMES
    unmapped: tuple[str, ...] = ()  # words of new events that no status map knows, at most UNKNOWN_NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One durable commit of the log store. ``seq`` is None when no row came and only positions moved."""

    seq: int | None
    ingested_at: datetime
    rows: int
    receipts: tuple[Receipt, ...]
    consumers: frozenset[str] = frozenset()
    statuses: Mapping[str, int] = field(default_factory=dict)
