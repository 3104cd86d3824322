"""Consumers: consumer files made ready to decode, and how they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tocsin.clock import micros
from tocsin.config.document import Document, load_file, parse
from tocsin.errors import ContentError, Problem
from tocsin.intake.files import ConsumerFile
from tocsin.intake.formats import Piece, Splitter, TooMuch, splitter
from tocsin.intake.mapping import Dead, Mapper, compile_mapping
from tocsin.model.event import (
    LISTED_DEAD,
    MAX_MESSAGES,
    MAX_PAYLOAD,
    Batch,
    DeadLetter,
    DeadReason,
    MappedEvent,
    MappedEvents,
    Origin,
    Position,
    RawEvents,
    fold,
)

_NO_LIMIT = 1 << 40  # of an HTTP body, which the connector has limited; an event in it may have 1 MiB
PART_ROWS, PART_BYTES = 5000, 4 << 20
"""Events, and bytes of them, after which a part of what is decoded ends: it is one commit, so that no body, however large,
makes others wait long or takes much memory."""
_FOLD_AT = 1000

_NOWHERE = Origin()
_ONE = splitter("one")
_NO_JSON = (DeadReason.NOT_JSON, DeadReason.NOT_UTF8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a connector received: one HTTP body or one Kafka record.

    ``time`` is the record's own (CreateTime); it stands in where the payload has none.
    """

    payload: bytes
    origin: Origin = _NOWHERE
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What messages turned out to hold.

    ``filtered`` events were dropped by the consumer's filter. ``no_json``: nothing in them looked like JSON. ``through`` is
    how many of the messages are read to their end with this part; what follows it may be read in part.
    """

    raw: tuple[RawEvents, ...] = ()
    mapped: tuple[MappedEvents, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    filtered: int = 0
    no_json: bool = False
    through: int = 0

    def batch(self, positions: Sequence[Position] = (), *, dead_limit: int | None = None) -> Batch:
        """It as a batch, with the Kafka positions that it moves."""
        return Batch(
            raw=self.raw, mapped=self.mapped, dead=self.dead, positions=tuple(positions), dead_limit=dead_limit
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not self.raw and not self.mapped and not self.dead


def joined(parts: Sequence[Decoded]) -> Decoded:
    """``parts`` as one. ``through`` is the last one's."""
    return Decoded(
        raw=tuple(r for p in parts for r in p.raw),
        mapped=tuple(m for p in parts for m in p.mapped),
        dead=tuple(d for p in parts for d in p.dead),
        filtered=sum(p.filtered for p in parts),
        no_json=bool(parts) and all(p.no_json for p in parts),
        through=parts[-1].through if parts else 0,
    )


class DeadRoom:
    """How many more dead letters of one message are kept each for itself; the rest of them are one letter with their count."""

    def __init__(self) -> None:
        self.left = LISTED_DEAD
        self._beyond: list[DeadLetter] = []

    def admits(self, letter: DeadLetter) -> bool:
        """Whether ``letter`` is kept for itself; else it is counted."""
        if self.left > 0:
            self.left -= 1
            return True
        self.count(letter)
        return False

    def count(self, letter: DeadLetter) -> None:
        """Count ``letter`` among the rest."""
        self._beyond.append(letter)
        if len(self._beyond) >= _FOLD_AT:
            self._beyond = [further for further in [self.further] if further is not None]

    @property
    def further(self) -> DeadLetter | None:
        """One letter for the rest; None where there is none."""
        return fold(self._beyond)


class _Part:
    """A part that is being gathered."""

    def __init__(self) -> None:
        self.events: list[MappedEvent] = []
        self.payloads: list[bytes] = []
        self.dead: list[DeadLetter] = []
        self.filtered, self.size, self.no_json = 0, 0, True

    @property
    def full(self) -> bool:
        good = len(self.events) + len(self.payloads)
        if not good and len(self.dead) < PART_ROWS:
            return False
        return good + len(self.dead) >= PART_ROWS or self.size >= PART_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One consumer file, compiled. ``mapper`` is None for canonical events."""

    name: str
    file: ConsumerFile
    shown: str  # the file's name as people know it
    mapper: Mapper | None
    split: Splitter = field(repr=False)
    max_messages: int = MAX_MESSAGES  # of one message

    @property
    def connector(self) -> str:
        """http or kafka."""
        return self.file.connector

    @property
    def event_every(self) -> timedelta | None:
        """The longest silence that the source promises; None: it promises nothing."""
        return self.file.expect.event_every if self.file.expect else None

    @property
    def retries_unknown(self) -> bool:
        """Whether an absent WillRetry means that nobody knows."""
        return self.file.retries == "unknown"

    def decode(
        self,
        messages: Iterable[Message],
        received: datetime,
        *,
        cluster: str = "",
        topic_id: str = "",
        alone: bool = False,
    ) -> Decoded:
        """Read ``messages``, received at ``received``. Never raises: what cannot be read is a dead letter of its own.

        ``alone``: each message is one event, whatever the format says.
        """
        return joined(list(self.parts(messages, received, cluster=cluster, topic_id=topic_id, alone=alone)))

    def parts(
        self,
        messages: Iterable[Message],
        received: datetime,
        *,
        cluster: str = "",
        topic_id: str = "",
        alone: bool = False,
        room: DeadRoom | None = None,
    ) -> Iterator[Decoded]:
        """The same in parts of PART_ROWS events or PART_BYTES, read as they are asked for; at least one, the last reads all.

        A message with more than ``max_messages`` events is a dead letter. With ``room`` (then there is one message) its dead
        letters are counted there, what is beyond is left to the caller, and TooMuch is raised instead, before the first part.
        """
        received_us = micros(received)
        split = _ONE if alone else self.split
        part, number = _Part(), -1
        for number, message in enumerate(messages):
            mine = room or DeadRoom()
            try:
                pieces = split(message.payload, self.max_messages)
            except TooMuch as e:
                if room is not None:
                    raise
                pieces = [Piece(raw=message.payload, dead=DeadReason.TOO_MANY, detail=str(e))]
            for piece in pieces:
                if part.full:
                    yield self._decoded(part, received_us, cluster, topic_id, number)
                    part = _Part()
                self._read(piece, message, part, mine)
            if room is None and (further := mine.further) is not None:
                part.dead.append(further)
        yield self._decoded(part, received_us, cluster, topic_id, number + 1)

    def _read(self, piece: Piece, message: Message, part: _Part, room: DeadRoom) -> None:
        reason, detail = piece.dead, piece.detail
        part.no_json = part.no_json and reason in _NO_JSON
        if reason is None and self.mapper is None:  # the store reads what is JSON, in bulk
            part.payloads.append(piece.raw)
            part.size += len(piece.raw)
            return
        if reason is None and self.mapper is not None:
            try:
                event = self.mapper.read(piece.value, piece.raw, message.origin, message.time)
            except Dead as e:
                reason, detail = e.reason, e.detail
            else:
                if event is None:
                    part.filtered += 1
                else:
                    part.events.append(event)
                    part.size += len(piece.raw)
                return
        assert reason is not None
        letter = DeadLetter(consumer=self.name, origin=message.origin, reason=reason, detail=detail, payload=piece.raw)
        if room.admits(letter):
            part.dead.append(letter)
            part.size += len(piece.raw)

    def _decoded(self, part: _Part, received_us: int, cluster: str, topic_id: str, through: int) -> Decoded:
        raw = RawEvents(
            consumer=self.name,
            payloads=part.payloads,
            times_us=[received_us] * len(part.payloads),
            own_time=False,
            received_us=received_us,
            retries_unknown=self.retries_unknown,
        )
        mapped = MappedEvents(
            consumer=self.name, events=part.events, received_us=received_us, cluster=cluster, topic_id=topic_id
        )
        return Decoded(
            raw=(raw,) if part.payloads else (),
            mapped=(mapped,) if part.events else (),
            dead=tuple(part.dead),
            filtered=part.filtered,
            no_json=part.no_json and bool(part.dead),
            through=through,
        )


def compile_consumer(name: str, file: ConsumerFile, shown: str = "") -> Consumer:
    """Make ``file`` ready."""
    limit = _NO_LIMIT if file.connector == "http" else MAX_PAYLOAD
    return Consumer(
        name=name,
        file=file,
        shown=shown or name,
        mapper=None if file.canonical else compile_mapping(name, file),
        split=splitter(file.format, limit=limit),
    )


def load_consumers(files: Iterable[Path], shown: Mapping[Path, str] | None = None) -> dict[str, Consumer]:
    """Every consumer of ``files`` by name (the file's, without its ending).

    ``shown`` says how to call a file in problems. Raises ContentError with all faults of all files at once.
    """
    consumers: dict[str, Consumer] = {}
    problems: list[Problem] = []
    for path in files:
        called = (shown or {}).get(path, str(path))
        try:
            document = load_file(path, called)
            file = parse(ConsumerFile, document)
        except ContentError as e:
            problems += e.problems
            continue
        found = _name_problems(path.stem, file, document)
        if path.stem in consumers:
            found.append(document.problem((), f"{consumers[path.stem].shown} has the same name"))
        problems += found
        if not found:
            consumers[path.stem] = compile_consumer(path.stem, file, called)
    if problems:
        raise ContentError(problems)
    return consumers


def _name_problems(stem: str, file: ConsumerFile, document: Document) -> list[Problem]:
    problems = []
    if file.name is not None and file.name != stem:
        problems.append(document.problem(("name",), f"'{file.name}' is not the file's name", f"write name: {stem}"))
    if not stem.replace("-", "").replace("_", "").replace(".", "").isalnum() or not stem.isascii():
        problems.append(
            document.problem(
                (), f"'{stem}' cannot be a consumer's name", "use letters, digits, -, _ and . in the file's name"
            )
        )
    return problems


def active(consumers: Mapping[str, Consumer], *, kafka: bool) -> dict[str, Consumer]:
    """Those that are to run: enabled, and where they read Kafka, only if tocsin.yaml says where it is (``kafka``)."""
    return {
        name: consumer
        for name, consumer in consumers.items()
        if consumer.file.enabled and (kafka or consumer.connector != "kafka")
    }
