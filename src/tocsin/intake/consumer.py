"""Consumers: consumer files made ready to decode, and how they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from tocsin.clock import micros
from tocsin.config.project.overlay import lay_file
from tocsin.config.yaml.document import Document, load_file, parse
from tocsin.errors import ConfigurationError, Problem, TocsinError
from tocsin.intake.bound import ANY, Bound
from tocsin.intake.files import ConsumerFile
from tocsin.intake.formats import Piece, Splitter, put_data, splitter, write
from tocsin.intake.mapping import Dead, Mapper, compile_mapping
from tocsin.model.event import (
    MAX_PAYLOAD,
    MOST_DEAD,
    Batch,
    DeadLetter,
    DeadReason,
    MappedEvent,
    MappedEvents,
    Origin,
    Position,
    RawEvents,
    why_no_event,
)
from tocsin.turns import step

_NO_LIMIT = 1 << 40  # of an HTTP body, which the connector has limited; an event in it may have 1 MiB


_STEP = 50  # events of a body between two steps
_NOWHERE = Origin()
_ONE = splitter("one")
_NO_JSON = (DeadReason.NOT_JSON, DeadReason.NOT_UTF8)


class TooMany(TocsinError):
    """A body holds more events than may be sent at once."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it holds more than {most} events")


def _refusal(bound: Bound, value: object) -> tuple[DeadReason, str] | None:
    """Why the sender may not send a canonical event, of which Source and names count where they are texts."""
    event = value if isinstance(value, dict) else {}
    source, data = event.get("source"), event.get("data")
    return bound.refusal(source if isinstance(source, str) else "", data if isinstance(data, dict) else {})


def _at_most(most: int | None, pieces: Iterable[Piece]) -> Iterator[Piece]:
    for n, piece in enumerate(pieces, 1):
        if most is not None and n > most:
            raise TooMany(most)
        if n % _STEP == 0:
            step()
        yield piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a connector received: one HTTP body or one Kafka record.

    ``time`` is the record's own (CreateTime); it stands in where the payload has none.
    """

    payload: bytes
    origin: Origin = _NOWHERE
    time: datetime | None = None


class _Dead:
    """The dead letters of what is decoded. Of a message a hundred are letters, the rest a number: a body of 100,000 dead
    ones then costs little more than to read it.
    """

    def __init__(self, consumer: str, *, body: bool) -> None:
        """``body``: it is one HTTP body, whose parts may be several commits."""
        self._consumer, self._body = consumer, body
        self._letters: list[DeadLetter] = []
        self._first = self._more = 0  # of the message: its first letter; what its last letter stands for besides itself

    def begin(self) -> None:
        """Another message begins."""
        if self._more:
            last, count = self._letters[-1], 1 + self._more
            detail = f"{count} events of this message beyond its first {MOST_DEAD} dead ones; this one: {last.detail}"
            self._letters[-1] = replace(
                last, count=count, rest=self._body, detail=last.detail if self._body else detail
            )
        self._first, self._more = len(self._letters), 0

    def add(self, piece: Piece, origin: Origin, reason: DeadReason, detail: str) -> None:
        """``piece`` cannot be read."""
        if len(self._letters) - self._first > MOST_DEAD:
            self._more += 1
            return
        letter = DeadLetter(consumer=self._consumer, origin=origin, reason=reason, detail=detail, payload=piece.raw)
        self._letters.append(letter)

    def letters(self) -> tuple[DeadLetter, ...]:
        """All of them."""
        self.begin()
        return tuple(self._letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What messages turned out to hold.

    ``filtered`` events were dropped by the consumer's filter. ``no_json``: nothing in them looked like JSON.
    """

    raw: tuple[RawEvents, ...] = ()
    mapped: tuple[MappedEvents, ...] = ()
    dead: tuple[DeadLetter, ...] = ()
    filtered: int = 0
    no_json: bool = False

    @property
    def events(self) -> int:
        """How many messages are not dead so far."""
        return sum(len(r.payloads) for r in self.raw) + sum(len(m.events) for m in self.mapped)

    def parts(self, rows: int, first: int = 0) -> Iterator[Batch]:
        """It as batches of at most so many messages, of one body; each is a commit of its own. The first one is of
        ``first``, where that is not 0.
        """
        raw = [replace(r, payloads=r.payloads[some], times_us=r.times_us[some])
               for r in self.raw for some in _cuts(len(r.payloads), rows, first)]  # fmt: skip
        mapped = [replace(m, events=m.events[some]) for m in self.mapped for some in _cuts(len(m.events), rows, first)]
        whole = [Batch(raw=(r,)) for r in raw] + [Batch(mapped=(m,)) for m in mapped] or [Batch()]
        whole[0] = replace(whole[0], dead=self.dead)
        for batch in whole:
            yield replace(batch, most_dead=MOST_DEAD, more=batch is not whole[-1])

    def batch(self, positions: Sequence[Position] = ()) -> Batch:
        """It as a batch, with the Kafka positions that it moves."""
        return Batch(raw=self.raw, mapped=self.mapped, dead=self.dead, positions=tuple(positions))


def _cuts(count: int, rows: int, first: int) -> Iterator[slice]:
    at = 0
    while at < count:
        end = at + (rows if at or not first else first)
        yield slice(at, end)
        at = end


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """One consumer file, compiled. ``mapper`` is None for canonical events."""

    name: str
    file: ConsumerFile
    shown: str  # the file's name as people know it
    mapper: Mapper | None
    split: Splitter = field(repr=False)

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
        most: int | None = None,
        bound: Bound = ANY,
    ) -> Decoded:
        """Read ``messages``, received at ``received``: what cannot be read is a dead letter of its own.

        ``alone``: each message is one event, whatever the format says. ``bound``: what the sender may send.
        Raises TooMany past ``most`` events.
        """
        if self.mapper is None:
            return self._decode_canonical(messages, received, most, bound)
        events: list[MappedEvent] = []
        dead = _Dead(self.name, body=most is not None)
        filtered, no_json = 0, True
        read, split = self.mapper.read, _ONE if alone else self.split
        for message in messages:
            dead.begin()
            for piece in _at_most(most, split(message.payload)):
                no_json = no_json and piece.dead in _NO_JSON
                if piece.dead is not None:
                    dead.add(piece, message.origin, piece.dead, piece.detail)
                    continue
                put_data(piece.value)
                try:
                    event = read(piece.value, piece.raw, message.origin, message.time)
                except Dead as e:
                    dead.add(piece, message.origin, e.reason, e.detail)
                    continue
                if event is None:
                    filtered += 1
                elif bound and (foreign := bound.refusal(event.source, event.columns)) is not None:
                    dead.add(piece, message.origin, *foreign)
                else:
                    events.append(event)
        mapped = MappedEvents(
            consumer=self.name,
            events=events,
            received_us=micros(received),
            cluster=cluster,
            topic_id=topic_id,
            retries_unknown=self.retries_unknown,
        )
        letters = dead.letters()
        return Decoded(
            mapped=(mapped,) if events else (), dead=letters, filtered=filtered, no_json=no_json and bool(letters)
        )

    def _decode_canonical(
        self, messages: Iterable[Message], received: datetime, most: int | None, bound: Bound
    ) -> Decoded:
        """Cut bodies into events and leave the reading of what is JSON to the store, which does it in bulk."""
        received_us = micros(received)
        payloads: list[bytes] = []
        dead = _Dead(self.name, body=most is not None)
        no_json = True
        for message in messages:
            dead.begin()
            for piece in _at_most(most, self.split(message.payload)):
                no_json = no_json and piece.dead in _NO_JSON
                packed = put_data(piece.value)
                why = why_no_event(piece.value) if piece.dead is None and most is not None else ""
                if piece.dead is not None:
                    dead.add(piece, message.origin, piece.dead, piece.detail)
                elif why:  # the store would say the same, of each by itself
                    dead.add(piece, message.origin, DeadReason.NOT_AN_EVENT, why)
                elif bound and (foreign := _refusal(bound, piece.value)) is not None:
                    dead.add(piece, message.origin, *foreign)
                else:
                    payloads.append(write(piece.value) if packed else piece.raw)
        raw = RawEvents(
            consumer=self.name,
            payloads=payloads,
            times_us=[received_us] * len(payloads),
            own_time=False,
            received_us=received_us,
            retries_unknown=self.retries_unknown,
        )
        letters = dead.letters()
        return Decoded(raw=(raw,) if payloads else (), dead=letters, no_json=no_json and bool(letters))


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


def read_consumer(path: Path, called: str, shipped: Mapping[str, Path] | None = None) -> tuple[Document, ConsumerFile]:
    """The consumer file at ``path``, laid over the one of its name in ``shipped``. Raises ContentError."""
    document = load_file(path, called)
    base = (shipped or {}).get(path.stem)
    if base is not None and base != path:
        document = lay_file(load_file(base), document, "connector")
    return document, parse(ConsumerFile, document)


def load_consumers(
    files: Iterable[Path], shown: Mapping[Path, str] | None = None, shipped: Mapping[str, Path] | None = None
) -> dict[str, Consumer]:
    """Every consumer of ``files`` by name (the file's, without its ending).

    ``shown`` says how to call a file in problems; a file without `connector` only changes keys of that of its name in
    ``shipped``. Raises ContentError with all faults of all files at once.
    """
    consumers: dict[str, Consumer] = {}
    problems: list[Problem] = []
    for path in files:
        called = (shown or {}).get(path, str(path))
        try:
            document, file = read_consumer(path, called, shipped)
        except ConfigurationError as e:
            problems += e.problems
            continue
        found = _name_problems(path.stem, file, document)
        if path.stem in consumers:
            found.append(document.problem((), f"{consumers[path.stem].shown} has the same name"))
        problems += found
        if not found:
            consumers[path.stem] = compile_consumer(path.stem, file, called)
    if problems:
        raise ConfigurationError(problems)
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
