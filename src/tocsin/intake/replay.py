"""Dead letters sent through their consumer again, after a mapping was mended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

from tocsin.intake.connectors.base import Sink
from tocsin.intake.consumer import PART_ROWS, Consumer, Decoded, Message, joined
from tocsin.logstore.interface import StoredDeadLetter
from tocsin.model.event import Origin, Receipt

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of a replay. ``ids`` are the letters that were sent through and are durable by now, dead again or not."""

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
    parts: list[Decoded] = []
    ids: list[int] = []
    messages = 0
    for letter in letters:
        consumer = consumers.get(letter.consumer)
        if not letter.whole:
            done = replace(done, cut=done.cut + 1)
        elif consumer is None:
            done = replace(done, orphaned=done.orphaned + 1)
        else:
            parts.append(decode_again(consumer, letter))
            ids.append(letter.id)
            messages += parts[-1].batch().messages
            if len(parts) >= _AT_ONCE or messages >= PART_ROWS:
                done = _put(parts, ids, sink, done)
                parts, ids, messages = [], [], 0
    return _put(parts, ids, sink, done)


def _put(parts: list[Decoded], ids: list[int], sink: Sink, before: Replayed) -> Replayed:
    decoded = joined(parts)
    receipt = Receipt(accepted=0, duplicate=0, heartbeats=0)
    if not decoded.is_empty:
        future: Future[Receipt] = sink.put(decoded.batch())
        receipt = future.result()
    return replace(
        before,
        ids=(*before.ids, *ids),
        accepted=before.accepted + receipt.accepted,
        duplicate=before.duplicate + receipt.duplicate,
        heartbeats=before.heartbeats + receipt.heartbeats,
        dead=before.dead + receipt.dead_messages,
        filtered=before.filtered + decoded.filtered,
    )


def decode_again(consumer: Consumer, letter: StoredDeadLetter) -> Decoded:
    """A letter holds a whole message where its format failed, else one event cut out of it: it is tried as both."""
    message = Message(payload=letter.payload, origin=Origin(topic=letter.topic))
    whole = consumer.decode([message], letter.time)
    if whole.raw or whole.mapped or whole.filtered or consumer.mapper is None:
        return whole
    event = consumer.decode([message], letter.time, alone=True)
    return event if event.mapped else whole
