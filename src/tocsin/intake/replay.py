"""Dead letters sent through their consumer again, after a mapping was mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice

from tocsin.intake.connectors.base import Sink
from tocsin.intake.consumer import Consumer, Decoded, Message
from tocsin.logstore.interface import StoredDeadLetter
from tocsin.model.event import Batch, Origin, Receipt

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of a replay. ``ids`` are the letters that were sent through and are durable by now, dead again or
    not.
    """

    ids: tuple[int, ...] = ()
    accepted: int = 0
    duplicate: int = 0
    heartbeats: int = 0
    dead: int = 0
    filtered: int = 0
    cut: int = 0  # kept only in part: cannot be sent through
    orphaned: int = 0  # of a consumer that is no more


def replay(letters: Iterable[StoredDeadLetter], consumers: Mapping[str, Consumer], sink: Sink) -> Replayed:
    """Send ``letters`` through their consumers again and wait until that is durable.

    An event without a time of its own keeps the time at which its letter was received. Raises what the sink's futures
    raise; then nothing is known of the letters in flight, and sending them again does no harm.
    """
    done = Replayed()
    waiting = iter(letters)
    while chunk := list(islice(waiting, _AT_ONCE)):
        done = _replay(chunk, consumers, sink, done)
    return done


def _replay(
    letters: Sequence[StoredDeadLetter], consumers: Mapping[str, Consumer], sink: Sink, before: Replayed
) -> Replayed:
    parts: list[Decoded] = []
    ids: list[int] = []
    cut = orphaned = 0
    for letter in letters:
        consumer = consumers.get(letter.consumer)
        if not letter.whole:
            cut += 1
        elif consumer is None:
            orphaned += 1
        else:
            parts.append(decode_again(consumer, letter))
            ids.append(letter.id)
    batch = Batch(
        raw=tuple(r for p in parts for r in p.raw),
        mapped=tuple(m for p in parts for m in p.mapped),
        dead=tuple(d for p in parts for d in p.dead),
    )
    receipt = Receipt(accepted=0, duplicate=0, heartbeats=0)
    if batch.messages:
        future: Future[Receipt] = sink.put(batch)
        receipt = future.result()
    return replace(
        before,
        ids=(*before.ids, *ids),
        accepted=before.accepted + receipt.accepted,
        duplicate=before.duplicate + receipt.duplicate,
        heartbeats=before.heartbeats + receipt.heartbeats,
        dead=before.dead + len(receipt.dead),
        filtered=before.filtered + sum(p.filtered for p in parts),
        cut=before.cut + cut,
        orphaned=before.orphaned + orphaned,
    )


def decode_again(consumer: Consumer, letter: StoredDeadLetter) -> Decoded:
    """A letter holds a whole message where its format failed, else one event cut out of it: it is tried as both."""
    message = Message(payload=letter.payload, origin=Origin(topic=letter.topic))
    whole = consumer.decode([message], letter.time)
    if whole.raw or whole.mapped or whole.filtered or consumer.mapper is None:
        return whole
    event = consumer.decode([message], letter.time, alone=True)
    return event if event.mapped else whole
