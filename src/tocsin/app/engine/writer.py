"""The one thread that writes events: queued batches become commits of the log store.

Group commit comes by itself: while one commit is written, batches queue up, and the next commit takes all of them. A
lone batch is committed at once; what waits when a commit is done waits for more, as long as that took
(docs/decisions/0017). Streams (batches with positions, that is Kafka) have a queue of their own, so that a backlog of
theirs neither fills the queue for whoever waits for an answer nor stands before him: while both wait, a commit takes a
little of each and is short.

    streams ──put──► [ queue, bounded ] ─┐
    large ───put───► [ queue, bounded ] ─┼─► append ──► futures done ──► evaluator woken
    others ──put───► [ queue, bounded ] ─┘

Parts of large bodies have a queue as well, and one of them is a commit of its own: it takes turns with those of the others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import structlog

from tocsin.app.engine.allocator import give_back
from tocsin.clock import Clock
from tocsin.errors import PositionGap, StoreError, StoreFull, StoreLost
from tocsin.intake.connectors.base import Sink
from tocsin.logstore.interface import LogStore
from tocsin.metrics.registry import Metrics
from tocsin.model import crash
from tocsin.model.event import Batch, Commit, Receipt

log = structlog.get_logger(__name__)

MAX_ROWS = 20_000
"""Messages of one commit, at most (a single larger batch is still one commit)."""
SHARED_ROWS = 2000
"""Messages that a commit takes of each queue while both wait, at most (a single larger batch goes whole)."""
MAX_QUEUED = 60_000
"""Messages that may wait in a queue before ``put`` blocks."""
LARGE_BODY = 1_000
"""Messages of one body from which it goes by the queue of the large ones."""
STREAM_BYTES = 12 << 20
"""Payload bytes of streams that may wait before ``put`` blocks."""
OTHER_BYTES = 12 << 20
"""Payload bytes of all others that may wait before ``put`` blocks."""
LARGE_ROWS = 5_000
"""Rows of a commit after which freed memory is given back: what it took lies in pieces, and a burst of such commits
adds up.
"""
BACK_SECONDS = 3.0
"""How long a batch waits for a store that is being opened again. That takes 0.2 s where nothing is wrong with the disk."""
GATHER_SECONDS = 0.05
"""How long what waits behind a commit waits for more, at most, and no longer than that commit took."""
GATHER_MESSAGES = 400
"""Messages that wait for no more: their commit costs what they are, not what a commit is."""
REST_SECONDS = 2.0
"""After so long without anything to write the store may put itself in order."""


@dataclass(slots=True)
class _Item:
    batch: Batch
    messages: int
    size: int
    done: Future[Receipt]


class _Queue:
    """Batches that wait, in order; used under the writer's lock."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._items: deque[_Item] = deque()
        self._messages = self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def messages(self) -> int:
        """How many wait."""
        return self._messages

    @property
    def has_room(self) -> bool:
        return self._messages < MAX_QUEUED and self._bytes < self._most_bytes

    def put(self, item: _Item) -> None:
        self._items.append(item)
        self._messages += item.messages
        self._bytes += item.size

    def take(self, rows: int) -> list[_Item]:
        """The first batches, of ``rows`` messages together at most, but at least one."""
        taken: list[_Item] = []
        while self._items and (not taken or self._items[0].messages <= rows):
            item = self._items.popleft()
            rows -= item.messages
            self._messages -= item.messages
            self._bytes -= item.size
            taken.append(item)
        return taken

    def empty(self) -> list[_Item]:
        """All of them."""
        taken = list(self._items)
        self._items.clear()
        self._messages = self._bytes = 0
        return taken


def _size(batch: Batch) -> int:
    return (
        sum(sum(map(len, r.payloads)) for r in batch.raw)
        + sum(len(e.raw) for m in batch.mapped for e in m.events)
        + sum(len(d.payload) for d in batch.dead)
    )


class Writer(Sink):
    """Sink of all connectors. ``on_commit`` is called on the writer thread after each commit, before futures are
    done.
    """

    def __init__(
        self,
        store: LogStore,
        metrics: Metrics,
        clock: Clock,
        on_commit: Callable[[Commit], None],
        *,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._on_commit = on_commit
        self._max_rows = max_rows
        self._streams, self._others, self._large = _Queue(STREAM_BYTES), _Queue(OTHER_BYTES), _Queue(OTHER_BYTES)
        self._turn_of_large = True
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)
        self._gathered = threading.Condition(self._lock)
        self._closing = self._ending = False
        self._lost = False
        self._full = self._why = ""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def refuse_large(self) -> None:
        """tocsin is about to stop: parts of large bodies that wait fail, and so do later ones. Their senders send them
        again; to write them all would take longer than a stop may.
        """
        with self._lock:
            self._ending = True
            waiting = self._large.empty()
            self._drained.notify_all()
        for item in waiting:
            item.done.set_exception(StoreError("tocsin is stopping"))

    def stop(self) -> None:
        """Commit what is queued, then end the thread; later puts fail."""
        with self._lock:
            self._closing = True
            self._filled.notify_all()
            self._gathered.notify_all()
            self._drained.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def failures(self) -> str:
        """Why intake cannot go on now; '' while it can."""
        if self._lost:
            return f"the log store is lost and being reopened: {self._why}"
        return self._full

    def put(self, batch: Batch, timeout: float | None = None) -> Future[Receipt]:
        item = _Item(batch, batch.messages, _size(batch), Future())
        queue = self._streams if batch.positions else self._large if item.messages > LARGE_BODY else self._others
        with self._lock:
            if queue is not self._streams:  # who waits for an answer need not hear of a store that is soon back
                self._drained.wait_for(
                    lambda: self._closing or not self._lost, min(timeout or BACK_SECONDS, BACK_SECONDS)
                )
            if not self._drained.wait_for(lambda: self._ends(queue) or self._lost or queue.has_room, timeout):
                raise TimeoutError("intake queue is full")
            if self._ends(queue):
                raise StoreError("tocsin is stopping")
            if self._lost:
                raise StoreLost(self.failures)
            queue.put(item)
            self._filled.notify()
            if self._messages >= GATHER_MESSAGES:
                self._gathered.notify()
        return item.done

    def _ends(self, queue: _Queue) -> bool:
        return self._closing or (self._ending and queue is self._large)

    def positions(self, cluster: str, topic_id: str) -> Mapping[int, int]:
        return self._store.positions(cluster, topic_id)

    def topic_ids(self, cluster: str, topic: str) -> list[str]:
        return list(self._store.topic_ids(cluster, topic))

    def _run(self) -> None:
        patience: float | None = REST_SECONDS
        while True:
            items: list[_Item] = []
            with self._lock:
                if self._filled.wait_for(lambda: self._waiting or self._closing, patience):
                    if not self._waiting:
                        return
                    items = self._take()
                    self._metrics.set("tocsin_intake_queue_batches", self._waiting)
                    self._drained.notify_all()
            if items:
                began = self._clock.monotonic()
                self._write(items)
                self._gather(min(self._clock.monotonic() - began, GATHER_SECONDS))
                patience = REST_SECONDS
            else:
                self._rest()
                patience = None  # once, until something has been written again

    def _rest(self) -> None:
        try:
            self._store.rest()
        except StoreLost as e:
            self._recover([], e)
        except StoreError as e:
            log.warning("store_rest_failed", error=str(e))

    def _gather(self, seconds: float) -> None:
        """Let more come to what waits by now, for ``seconds`` at most: who sends one event after the other has just got
        his answer and sends the next, and rules and mails have the core meanwhile. Where nothing waits, whatever comes
        next is committed at once.
        """
        with self._lock:
            if self._waiting:
                self._gathered.wait_for(lambda: self._closing or self._messages >= GATHER_MESSAGES, seconds)

    @property
    def _messages(self) -> int:
        return self._streams.messages + self._others.messages + self._large.messages

    @property
    def _waiting(self) -> int:
        return len(self._streams) + len(self._others) + len(self._large)

    def _take(self) -> list[_Item]:
        small = bool(self._streams or self._others)
        if self._large and (self._turn_of_large or not small):
            self._turn_of_large = False
            return self._large.take(1)
        self._turn_of_large = True
        rows = min(SHARED_ROWS, self._max_rows) if self._streams and self._others else self._max_rows
        return self._others.take(rows) + self._streams.take(rows)

    def _write(self, items: list[_Item], again: bool = True) -> None:
        began = self._clock.monotonic()
        try:
            commit = self._store.append([i.batch for i in items])
        except PositionGap as e:
            if len(items) == 1:
                items[0].done.set_exception(e)
                return
            for item in items:  # only the one that starts beyond its position is to blame
                self._write([item])
            return
        except StoreFull as e:
            self._full = str(e)
            log.warning("store_full", error=str(e))
            for item in items:
                item.done.set_exception(e)
            return
        except StoreLost as e:
            self._recover(items, e, again)
            return
        except Exception as e:  # noqa: BLE001 the thread must outlive whatever a batch provokes
            log.error("commit_failed", error=repr(e), messages=sum(i.messages for i in items))
            if len(items) > 1:
                for item in items:
                    self._write([item])
                return
            items[0].done.set_exception(e if isinstance(e, StoreError) else StoreError(f"commit failed: {e}"))
            return
        crash.point("after_log_commit")
        self._full = ""
        self._metrics.observe("tocsin_store_commit_seconds", self._clock.monotonic() - began)
        self._count(items, commit)
        self._on_commit(commit)
        for item, receipt in zip(items, commit.receipts, strict=True):
            item.done.set_result(receipt)
        if commit.rows >= LARGE_ROWS:  # by now nobody waits for it
            give_back()

    def _recover(self, items: list[_Item], error: StoreLost, again: bool = True) -> None:
        """Reopen until it works, then write what had been taken once more: what was durable of it is a duplicate.

        Streams fail, since their positions are unknown until they are read again; so does what waits, where it takes
        long or the store is lost ``again``.
        """
        log.error("store_lost", error=str(error))
        with self._lock:
            self._lost, self._why = True, str(error)
            streams = [i for i in items if i.batch.positions] + self._streams.empty()
        _fail(streams, error)
        items = [i for i in items if not i.batch.positions]
        if not again:
            _fail(items, error)
            items = []
        if self._reopened(items, error):
            self._lost = False
            with self._lock:
                self._drained.notify_all()
            for item in items:
                if not item.done.done():
                    self._write([item], again=False)

    def _reopened(self, items: list[_Item], error: StoreLost) -> bool:
        pause = threading.Event()
        wait, gone = 0.2, self._clock.monotonic()
        while not self._closing:
            try:
                head = self._store.reopen()
            except StoreError as e:
                log.warning("reopen_failed", error=str(e), retry_in_s=wait)
                self._why = str(e)
                if self._clock.monotonic() - gone >= BACK_SECONDS:
                    with self._lock:
                        items += self._others.empty() + self._large.empty()
                    _fail(items, error)
                    items.clear()
                pause.wait(wait)
                wait = min(wait * 2, 10.0)
                continue
            self._metrics.inc("tocsin_store_reopened_total")
            log.info("store_reopened", commit_seq=head.seq)
            return True
        _fail(items, error)
        return False

    def _count(self, items: list[_Item], commit: Commit) -> None:
        m = self._metrics
        m.observe("tocsin_store_commit_rows", commit.rows)
        if commit.seq is not None:
            m.set("tocsin_store_commit_seq", commit.seq)
        for status, n in commit.statuses.items():
            m.inc("tocsin_runs_status_changes_total", n, status=status)
        for item, receipt in zip(items, commit.receipts, strict=True):
            consumer = _consumer(item.batch)
            for outcome, n in (
                ("accepted", receipt.accepted),
                ("duplicate", receipt.duplicate),
                ("heartbeat", receipt.heartbeats),
                ("dead", sum(letter.count for letter in receipt.dead)),
                ("skipped", receipt.skipped),
            ):
                if n:
                    m.inc("tocsin_intake_messages_total", n, consumer=consumer, outcome=outcome)
            if receipt.misnamed:
                m.inc("tocsin_intake_unknown_columns_total", receipt.misnamed, consumer=consumer)
            if receipt.heartbeats:
                m.inc("tocsin_runs_heartbeats_total", receipt.heartbeats)
            for draft in receipt.dead:
                m.inc(
                    "tocsin_intake_dead_letters_total", draft.count, consumer=draft.consumer, reason=draft.reason.value
                )


def _fail(items: list[_Item], error: StoreLost) -> None:
    for item in items:
        item.done.set_exception(StoreLost(str(error)))


def _consumer(batch: Batch) -> str:
    names = [r.consumer for r in batch.raw] + [m.consumer for m in batch.mapped] + [d.consumer for d in batch.dead]
    return names[0] if names else ""
