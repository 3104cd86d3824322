"""One life of a Kafka client, from connecting to the first error that it cannot go on after."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from tocsin.clock import Clock
from tocsin.errors import PositionGap, SourceLost, StoreError
from tocsin.intake.connectors.base import Sink
from tocsin.intake.connectors.kafka_client import Broker, GroupWatch, open_clients
from tocsin.intake.connectors.kafka_records import Slice, decode
from tocsin.intake.consumer import Consumer
from tocsin.intake.watermark import KafkaWatermark, Partition, StallWatch, Wanted, move_on
from tocsin.metrics.registry import Metrics
from tocsin.model.event import Batch, Position, Receipt

log = structlog.get_logger(__name__)

MS, POLL = timedelta(milliseconds=1), timedelta(milliseconds=200)
"""Longest wait for records, so that a stop is noticed soon."""
TEND_SECONDS = 1.0
"""How often end offsets, idle partitions and topic ids are read and the group is given positions."""
REQUEST_MS = 1000
"""Longest wait for an answer about offsets."""
GAP_SECONDS, FULL_SECONDS = 0.2, 2.0
"""Pause before reading again after a refused batch: a hole; a store that is full, lost or failed."""
_PUT_SECONDS = 0.05
_LAG, _MESSAGES = "tocsin_intake_kafka_lag_records", "tocsin_intake_messages_total"
STUCK_SECONDS = 20.0
"""After this long without records though there are some, another client is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSource:
    """What outlives a client: which topics are read and how, and what is known of them."""

    consumer: Consumer
    settings: Mapping[str, Any]  # of the client
    from_end: bool  # where nothing is stored yet, reading begins at the newest record
    reached: Callable[[datetime | None], None]  # called with the source progress, from more than one thread
    silence: StallWatch
    watermark: KafkaWatermark = field(default_factory=KafkaWatermark)
    wanted: Wanted = field(default_factory=Wanted)
    announced: set[str] = field(default_factory=set)  # ids of topics of which the log has a line


class Session(ConsumerRebalanceListener):  # type: ignore[misc]
    """Polls, puts and keeps positions until ``stopping`` or a KafkaError."""

    def __init__(
        self, source: KafkaSource, sink: Sink, metrics: Metrics, clock: Clock, stopping: Callable[[], bool]
    ) -> None:
        """Connect and subscribe. Raises KafkaError, SourceLost where it was to stop meanwhile."""
        self._source, self._consumer = source, source.consumer
        self._sink, self._metrics, self._clock = sink, metrics, clock
        self._at: dict[TopicPartition, int | None] = {}  # where the next batch starts; None: not known yet
        self._fresh: set[TopicPartition] = set()  # the next batch need not start at the stored position
        self._ids: dict[str, str] = {}  # topic ids under which the current positions are
        self._unsettled: set[TopicPartition] = set()  # assigned, but their stored positions are not known yet
        self._stored: dict[Partition, int] = {}
        self._pending: deque[tuple[Future[Receipt], tuple[Position, ...], int]] = deque()
        self._to_commit: dict[TopicPartition, int] = {}
        self._generation, self._stopping = 0, stopping
        self._moved = clock.monotonic()  # when the client last gave records, or had none to give
        self._tended = float("-inf")
        self.progressed, self.connected, self.error = False, True, ""
        self.missing: list[str] = []  # topics that do not exist
        self.lag: dict[tuple[str, int], int] = {}
        topics = list(self._consumer.file.kafka.topics) if self._consumer.file.kafka else []
        self._client, self._asker = open_clients(source.settings, topics, stopping)
        self._broker = Broker(self._client)
        self._watch = GroupWatch(self._broker, topics, clock)
        try:
            self._client.subscribe(topics, listener=self)
        except BaseException:
            for client in (self._client, self._asker):
                client.close(timeout_ms=0)
            raise
        self._topics = topics

    @property
    def partitions(self) -> list[str]:
        """Assigned ones, as ``topic/3``."""
        return [f"{tp.topic}/{tp.partition}" for tp in list(self._at)]

    def run(self) -> None:
        """Read until it is to stop. Raises KafkaError or SourceLost where another client must be made."""
        while not self._stopping():
            try:
                self._reap()
                if self._unsettled:
                    self._settle([tp for tp in self._unsettled if self._broker.topic_id(tp.topic) is not None])
                if self._clock.monotonic() - self._tended >= TEND_SECONDS:
                    self._tend()
                elif self._source.wanted.asks(self._clock.now()):
                    self._sample()
                records = self._poll()
                if records:
                    self._take(records)
            except OffsetOutOfRangeError as e:
                self._out_of_range(e.args[0])
            except StoreError as e:
                self._hold(e)

    def _poll(self) -> Mapping[TopicPartition, list[Any]]:
        self._broker.finish_joining()
        patience = self._source.wanted.patience(self._clock.now(), POLL)
        records: Mapping[TopicPartition, list[Any]] = self._client.poll(timeout_ms=patience // MS)
        if records:
            self._moved = self._clock.monotonic()
        return records

    def close(self) -> None:
        """Notify the group what is stored by now and leave the partitions for our next start."""
        try:
            while self._pending and self._pending[0][0].done() and not self._pending[0][0].exception():
                self._note_stored(self._pending.popleft()[1])
            if self._to_commit:
                self._client.commit(self._group_offsets(), timeout_ms=300)
        except KafkaError:
            pass  # only lag tools read it
        self._client.close(timeout_ms=500)
        self._asker.close(timeout_ms=0)
        for topic, partition in self.lag:
            self._metrics.drop(_LAG, consumer=self._consumer.name, topic=topic, partition=str(partition))

    # --- what the group says: on the client's thread, while ours waits in poll ---

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Seek to the stored positions."""
        assigned = list(assigned)
        self._generation += 1
        self._forget_all()
        self._watch.assigned()
        log.info("kafka_assigned", consumer=self._consumer.name, partitions=len(assigned))
        try:
            self._settle(assigned)
        except StoreError as e:
            self.error = str(e)
            self._suspend(assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing is owed to the group: what was put will be stored, what was not will be read again by its next
        owner.
        """
        self._generation += 1
        self._forget_all()

    def _forget_all(self) -> None:
        for kept in (self._at, self._ids, self._to_commit, self._fresh, self._unsettled):
            kept.clear()

    # --- positions ---

    def _settle(self, partitions: Iterable[TopicPartition]) -> None:
        """Send the client to the stored positions. Raises StoreError; then some are still unsettled."""
        cluster = self._broker.cluster()
        for topic in sorted({tp.topic for tp in partitions}):
            mine = [tp for tp in partitions if tp.topic == topic]
            topic_id = self._broker.topic_id(topic)
            if topic_id is None:
                self._suspend(mine)
                continue
            stored = self._sink.positions(cluster, topic_id)
            if not stored:
                self._notice_recreated(cluster, topic, topic_id)
            self._ids[topic] = topic_id
            for tp in mine:
                self._seek(tp, topic_id, stored.get(tp.partition))

    def _seek(self, tp: TopicPartition, topic_id: str, position: int | None) -> None:
        if position is not None:
            self._client.seek(tp, position)
            self._stored[topic_id, tp.partition] = self._to_commit[tp] = position
            self._fresh.discard(tp)
        else:
            (self._client.seek_to_end if self._source.from_end else self._client.seek_to_beginning)(tp)
            self._stored.pop((topic_id, tp.partition), None)
            self._fresh.add(tp)
        self._at[tp] = position
        self._unsettled.discard(tp)
        self._client.resume(tp)

    def _suspend(self, partitions: Iterable[TopicPartition]) -> None:
        """Read nothing of them until they can be settled: the topic's id or the store is not known yet."""
        for tp in partitions:
            self._client.seek_to_beginning(tp)
            self._client.pause(tp)
            self._at.pop(tp, None)
            self._unsettled.add(tp)

    def _notice_recreated(self, cluster: str, topic: str, topic_id: str) -> None:
        others = [known for known in self._sink.topic_ids(cluster, topic) if known != topic_id]
        if others and topic_id not in self._source.announced:
            self._source.announced.add(topic_id)
            self._count_reset(topic, "its id changed")

    def _count_reset(self, topic: str, why: str) -> None:
        log.warning("kafka_topic_made_anew", consumer=self._consumer.name, topic=topic, why=why)
        self._metrics.inc("tocsin_intake_kafka_topic_resets_total", consumer=self._consumer.name)

    def _out_of_range(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The broker has nothing at these positions: a topic recreated, or records lost to retention."""
        self._client.topics()  # asks for the topics' ids again
        if self._topics_changed():
            self._rewind()
            return
        begins = self._client.beginning_offsets(list(offsets), timeout_ms=REQUEST_MS)
        ends = self._client.end_offsets(list(offsets), timeout_ms=REQUEST_MS)
        for tp, offset in offsets.items():
            if tp not in self._at:
                continue
            if ends[tp] < offset:
                why = f"partition {tp.partition} ends at {ends[tp]}, before the position {offset}"
                self._count_reset(tp.topic, why)
            elif begins[tp] > offset:
                lost = begins[tp] - offset
                log.warning("kafka_records_lost", topic=tp.topic, partition=tp.partition, records=lost)
                self._metrics.inc("tocsin_intake_kafka_gap_records_total", lost, consumer=self._consumer.name)
            else:
                self._client.seek(tp, offset)
                continue
            self._client.seek(tp, begins[tp])
            self._at[tp] = begins[tp]
            self._fresh.add(tp)

    def _topics_changed(self) -> bool:
        return any(self._broker.topic_id(topic) != known for topic, known in self._ids.items())

    # --- records ---

    def _take(self, records: Mapping[TopicPartition, list[Any]]) -> None:
        slices, positions = [], []
        cluster = self._broker.cluster()
        for tp, found in records.items():
            topic_id, start = self._ids.get(tp.topic), self._at.get(tp, -1)
            first, upto = found[0].offset, self._client.position(tp, timeout_ms=REQUEST_MS)
            start = first if start is None else start
            if topic_id is None or not -1 < start <= first or upto is None or upto <= found[-1].offset:
                self._rewind()  # not what we thought to read: nothing of it is taken, all of it comes again
                return
            slices.append(Slice(tp.topic, topic_id, tp.partition, found))
            positions.append(self._position(tp, topic_id, cluster, start, upto))
        if self._topics_changed():
            self._rewind()
            return
        now = self._clock.now()
        decoded = decode(self._consumer, slices, cluster, now)
        self._source.silence.source_progress(now)
        self._put(decoded.batch(positions), decoded.filtered)

    def _position(self, tp: TopicPartition, topic_id: str, cluster: str, start: int, upto: int) -> Position:
        return Position(
            cluster=cluster, topic=tp.topic, topic_id=topic_id, partition=tp.partition, start=start, next=upto,
            reset=tp in self._fresh,
        )  # fmt: skip

    def _put(self, batch: Batch, filtered: int = 0) -> None:
        """Queue ``batch``; while the queue is full, read nothing but stay in the group."""
        generation, paused = self._generation, False
        while not self._stopping():
            try:
                future = self._sink.put(batch, timeout=_PUT_SECONDS)
                break
            except TimeoutError:
                if not paused:
                    paused = True
                    self._client.pause(*self._client.assignment())
                if self._poll() or generation != self._generation:
                    self._rewind()  # another assignment: what we hold may be another member's by now
                    return
        else:
            return
        if paused:
            self._client.resume(*self._at)
        self._pending.append((future, batch.positions, filtered))
        future.add_done_callback(lambda done: self._on_stored(done, batch.positions))
        for p in batch.positions:
            tp = TopicPartition(p.topic, p.partition)
            self._at[tp] = p.next
            self._fresh.discard(tp)
        self.progressed = True

    def _reap(self) -> None:
        """Note what is durable. Raises the StoreError of the first batch that failed."""
        while self._pending and self._pending[0][0].done():
            future, positions, filtered = self._pending.popleft()
            error = future.exception()
            if error is not None:
                raise error if isinstance(error, StoreError) else StoreError(f"commit failed: {error!r}") from error
            self._note_stored(positions)
            if filtered:
                self._metrics.inc(_MESSAGES, filtered, consumer=self._consumer.name, outcome="filtered")

    def _on_stored(self, done: Future[Receipt], positions: Iterable[Position]) -> None:
        """On the writer's thread: a deadline that waits for these records need not wait until ours comes to them
        again.
        """
        if done.exception() is None:
            move_on(self._stored, positions)
            self._source.reached(self._source.watermark.stored(self._stored))

    def _note_stored(self, positions: Iterable[Position]) -> None:
        for p in positions:
            tp = TopicPartition(p.topic, p.partition)
            if tp in self._at and self._ids.get(p.topic) == p.topic_id:
                self._to_commit[tp] = p.next

    def _hold(self, error: StoreError) -> None:
        """After a refused batch: wait, staying in the group, then read again from what is stored."""
        self.error = str(error)
        log.warning("kafka_batch_refused", consumer=self._consumer.name, error=str(error))
        self._client.pause(*self._client.assignment())
        until = self._clock.monotonic() + (GAP_SECONDS if isinstance(error, PositionGap) else FULL_SECONDS)
        while self._clock.monotonic() < until and not self._stopping():
            with suppress(OffsetOutOfRangeError):  # it comes again once we read again
                self._poll()
        self._rewind()

    def _rewind(self) -> None:
        """Read again from the stored positions. What is still queued may be read twice: the store skips it."""
        self._pending.clear()
        self._moved, assigned = self._clock.monotonic(), list(self._client.assignment())
        self._forget_all()
        try:
            self._settle(assigned)
            self.error = ""
        except StoreError as e:
            self.error = str(e)
            self._suspend(assigned)

    # --- once a second ---

    def _tend(self) -> None:
        self._tended = self._clock.monotonic()
        if self._topics_changed():
            self._rewind()
        if why := self._watch.why_join_again(assigned=bool(self._at)):
            log.info("kafka_rejoins", consumer=self._consumer.name, why=why)
            self._broker.join_again()
        self._note_idle()
        if self._to_commit:
            self._client.commit_async(self._group_offsets(), callback=self._committed)
            self._to_commit.clear()
        self._sample()

    def _committed(self, offsets: Mapping[TopicPartition, OffsetAndMetadata], answer: object) -> None:
        if isinstance(answer, Exception):  # a rebalance, mostly
            for tp, offset in offsets.items():
                if tp in self._at:
                    self._to_commit.setdefault(tp, offset.offset)

    def _group_offsets(self) -> dict[TopicPartition, OffsetAndMetadata]:
        return {tp: OffsetAndMetadata(offset, "", -1) for tp, offset in self._to_commit.items()}

    def _note_idle(self) -> None:
        """Store positions that moved without a record: past control records, compacted gaps, to a first start."""
        moved = []
        for tp, at in list(self._at.items()):
            position = None if tp in self._unsettled else self._client.position(tp, timeout_ms=REQUEST_MS)
            topic_id = self._ids.get(tp.topic)
            if position is not None and position != at and topic_id is not None:
                start = position if at is None else at
                moved.append(self._position(tp, topic_id, self._broker.cluster(), start, position))
        if moved:
            self._put(Batch(positions=tuple(moved)))

    def _sample(self) -> None:
        self._source.wanted.asked(now := self._clock.now())
        existing = self._broker.partitions(self._topics)
        self.missing = sorted(set(self._topics) - set(existing))
        if self.missing:
            return
        partitions = [TopicPartition(topic, number) for topic, numbers in existing.items() for number in numbers]
        try:
            ends = self._asker.end_offsets(partitions, timeout_ms=REQUEST_MS)
        except KafkaError as e:
            self.connected, self.error = False, f"{type(e).__name__}: {e}"[:200]
            return
        if not self.connected:
            self.connected, self.error = True, ""
        by_id = {(self._broker.topic_id(tp.topic) or tp.topic, tp.partition): end for tp, end in ends.items()}
        self._source.watermark.sampled(now, by_id)
        self._source.reached(self._source.watermark.stored(self._stored))
        if all((self._at.get(tp) or 0) >= end for tp, end in ends.items() if tp in self._at):
            self._moved = self._clock.monotonic()
        elif self._clock.monotonic() - self._moved > STUCK_SECONDS:
            raise SourceLost(f"the client gives no records for {STUCK_SECONDS:.0f} s, and there are some")
        for tp, end in ends.items():
            if tp in self._at:
                lag = max(0, end - self._stored.get((self._ids.get(tp.topic, tp.topic), tp.partition), 0))
                self.lag[tp.topic, tp.partition] = lag
                self._metrics.set(_LAG, lag, consumer=self._consumer.name, topic=tp.topic, partition=str(tp.partition))
