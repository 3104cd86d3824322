"""One commit: payloads become rows, heartbeats and dead letters, ``Runs`` and positions move, all in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tocsin.logstore.dead_letters import insert_dead
from tocsin.logstore.ingest.batch import AppendBatch, PartitionKey, reread, staged
from tocsin.logstore.ingest.dedupe import find_timed, find_untimed
from tocsin.logstore.ingest.durable import RecentState, Sequencer
from tocsin.logstore.ingest.logged import Logged, drop_duplicates, rows_of
from tocsin.logstore.ingest.read import plain_text, read_cloud_event
from tocsin.logstore.ingest.runs import beat_runs, label_runs, update_runs
from tocsin.logstore.ingest.small import Small, find_runs, key_of, read_small, write_small
from tocsin.logstore.ingest.staging import METRIC_ROWS, MOVES, Staging, table_of
from tocsin.logstore.interface import CommitInfo, Touched
from tocsin.logstore.recent.changes import Brought
from tocsin.logstore.recent.run_locator import RunLocator
from tocsin.logstore.sqlfiles import sql
from tocsin.model.event import (
    MOST_DEAD,
    UNKNOWN_NAMES,
    Batch,
    Commit,
    DeadLetter,
    DeadReason,
    Position,
    Receipt,
    gathered,
    merged,
)
from tocsin.model.statuses import Status
from tocsin.model.text.redact import WORDS, redact
from tocsin.model.text.strictjson import ReadError
from tocsin.model.text.tails import CONTROLS, stored_tail

_SECRETS = "(?i)" + "|".join(sorted(WORDS - {"://", "sig"})) + "|://[^ ]*@|sig="
_UNCLEAN = {"secrets": _SECRETS, "tails": f"{_SECRETS}|{CONTROLS}"}
_IS_BEAT = "ok AND fault = '' AND NOT is_status"
_DETAILS = {
    "no_run_id": (DeadReason.NO_RUN_ID, "no RunId"),
    "no_status": (DeadReason.NO_STATUS, "no Status"),
}


K = TypeVar("K")


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the commit's ``events`` are."""

    faulty: int
    timed: int  # status events with a producer time
    named: int  # without one, but with an id
    nameless: int  # with neither
    beats: int
    secret: int  # texts in which a secret may stand
    bare: int  # ended, with neither start nor length
    twins: int  # timed ones whose hash came before
    first: datetime | None  # producer times
    last: datetime | None
    received: datetime | None
    ahead: int  # status events whose producer time lay too far ahead


@dataclass(slots=True, kw_only=True)
class Written:
    """A commit as written, before it is durable."""

    commit: Commit
    known: RecentState
    info: CommitInfo | None  # None where it took no CommitSeq
    runs: Mapping[str, int]  # touched ones, with the CommitSeq of their rows
    brought: Brought | None = None  # of a small commit
    small: Small | None = None  # what it brought, of a small commit
    last: datetime | None = None  # the latest producer time, of a large one
    unknown_status: Mapping[str, int] = field(default_factory=dict)  # by consumer
    ahead: Mapping[str, int] = field(default_factory=dict)  # events stamped too far ahead, by consumer

    def note(self) -> None:
        """It is durable: what is kept in memory follows."""
        self.known.runs.note(self.runs)
        if self.small is not None:
            self.known.beats.note(self.small.kept)
            self.known.keys.note(map(key_of, self.small.rows))
        else:
            self.known.beats.lose(self.commit.ingested_at.replace(tzinfo=None))
            if self.last is not None:
                self.known.keys.lose(self.last)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of the messages of a commit."""

    at: datetime
    seq: int | None  # None where neither a row nor a stored heartbeat came
    stored_beats: int
    runs: Mapping[str, int]  # touched ones, with the CommitSeq of their rows
    brought: Brought | None = None
    live: Sequence[tuple[int, str, str, int]]  # batch, status, consumer, rows
    beats: Mapping[int, int]  # by batch, thinned ones too
    duplicates: Mapping[int, int]  # by batch
    dead: Mapping[int, DeadLetter]  # by number of the message
    ahead: Mapping[str, int] = field(default_factory=dict)  # by consumer
    last: datetime | None = None  # the latest producer time of a large one
    words: Sequence[tuple[int, str]] = ()  # batch, status that no map knows

    @property
    def rows(self) -> int:
        """Rows of RunStatusChanged."""
        return sum(row[3] for row in self.live)


def write(
    staging: Staging,
    append_batch: AppendBatch,
    known: RecentState,
    sequencer: Sequencer,
    refused: Mapping[int, str],
) -> Written:
    """Write ``append_batch`` inside the open transaction, without the ``refused`` messages, which become dead letters.

    The sequencer is stamped as late as possible; its ``done`` is the caller's.
    """
    con = staging.con
    logged, known_logged = drop_duplicates(con, append_batch.logged)
    small = None if refused else read_small(con, append_batch, known.beats, known.keys)
    if small is None:
        outcome = _write_bulk(staging, append_batch, known, sequencer, refused)
    else:
        outcome = _write_small(staging, small, known, sequencer)
    if logged:
        outcome.seq = known.seq + 1  # a commit of these alone takes one too
        _insert_logged(staging, logged, at=outcome.at, seq=outcome.seq, skew_us=append_batch.skew_us)
        labelled = label_runs(
            staging,
            known.runs,
            [one.event for one in logged if one.event.labels is not None],
            at=outcome.at.replace(tzinfo=None),
            seq=outcome.seq,
        )
        if labelled:
            outcome.runs = {**outcome.runs, **dict.fromkeys(labelled, outcome.seq)}
            outcome.brought = None  # is read again
    dead_of = _dead_by_batch(append_batch, outcome.dead)
    letters = _kept(append_batch, dead_of)
    insert_dead(con, letters, outcome.at, known.dead_id)
    _move(staging, append_batch.moves, known.positions, outcome.at)
    info: CommitInfo | None = None
    if outcome.seq is not None:
        info = CommitInfo(seq=outcome.seq, ingested_at=outcome.at, rows=outcome.rows, heartbeats=outcome.stored_beats)
        con.execute(
            "INSERT INTO tocsin.commits VALUES ($seq, $at, $rows, $beats)",
            {"seq": outcome.seq, "at": outcome.at, "rows": outcome.rows, "beats": outcome.stored_beats},
        )
    commit = Commit(
        seq=outcome.seq,
        ingested_at=outcome.at,
        rows=outcome.rows,
        receipts=_receipts(
            append_batch, outcome, dead_of, (Counter(one.batch for one in logged if one.counted), known_logged)
        ),
        consumers=frozenset(row[2] for row in outcome.live),
        statuses=_sums((row[1], row[3]) for row in outcome.live),
    )
    return Written(
        commit=commit,
        known=RecentState(
            seq=known.seq if outcome.seq is None else outcome.seq,
            ingested_at=known.ingested_at if outcome.seq is None else outcome.at,
            dead_id=known.dead_id + len(letters),
            positions=known.positions | {key: p.next for key, p in append_batch.moves.items()},
            runs=known.runs,
            beats=known.beats,
            keys=known.keys,
        ),
        info=info,
        runs=outcome.runs,
        small=small,
        last=outcome.last,
        brought=outcome.brought,
        unknown_status=_sums((row[2], row[3]) for row in outcome.live if row[1] == "Unknown"),
        ahead=outcome.ahead,
    )


def _write_small(staging: Staging, small: Small, known: RecentState, sequencer: Sequencer) -> Outcome:
    taken = known.seq + 1 if small.rows or small.kept else None
    found = find_runs(staging, known.runs, small, taken)
    at = sequencer.stamp()  # evaluation waits for what is stamped, so not before the runs have been looked up
    brought = write_small(staging, small, found, at, taken)
    live = Counter((row["b"], row["Status"], row["Consumer"]) for row in small.rows)
    return Outcome(
        at=at,
        seq=taken,
        stored_beats=len(small.kept),
        runs=_written_by(brought.runs, taken),
        brought=brought,
        live=[(*key, n) for key, n in live.items()],
        beats=Counter(b["b"] for b in small.beats),
        duplicates=small.duplicates,
        dead=small.dead,
        words=[(row["b"], row["OriginalStatus"]) for row in small.rows if row["Status"] == Status.UNKNOWN],
    )


def _written_by(changed: Mapping[str, Touched], seq: int | None) -> dict[str, int]:
    """The runs with the CommitSeq of their rows; what it is of one that was moved without a CommitSeq nobody has
    looked up.
    """
    found = {run: each.row["CommitSeq"] or 0 if each.row is not None else seq for run, each in changed.items()}
    return {run: of for run, of in found.items() if of is not None}


def _write_bulk(
    staging: Staging, append_batch: AppendBatch, known: RecentState, sequencer: Sequencer, refused: Mapping[int, str]
) -> Outcome:
    con, seq = staging.con, known.seq + 1
    dead = {
        n: append_batch.dead_letter(n, ReadError(DeadReason.STORE_REFUSED, why[:300])) for n, why in refused.items()
    }
    table = staged(append_batch)
    if refused:
        table = table.filter(pc.invert(pc.is_in(table["n"], value_set=pa.array(list(refused), pa.int32()))))
    read_events(staging, append_batch, table, dead)
    counts = _count(con)
    if counts.secret:
        _redact(con)
    if counts.faulty:
        for n, fault in con.execute("SELECT n, fault FROM events WHERE fault <> ''").fetchall():
            dead[n] = append_batch.dead_letter(n, ReadError(*_DETAILS[fault]))
    duplicates = _drop_duplicates(con, counts)
    live = con.execute("SELECT b, Status, Consumer, count(*) FROM live GROUP BY ALL").fetchall()
    rows = sum(row[3] for row in live)
    ahead: Mapping[str, int] = {}
    if counts.ahead:
        ahead = dict(con.execute("SELECT Consumer, count(GivenTime) FROM live GROUP BY ALL").fetchall())
    words: Sequence[tuple[int, str]] = ()
    if any(row[1] == Status.UNKNOWN for row in live):
        words = con.execute(sql("unmapped_statuses"), {"most": UNKNOWN_NAMES}).fetchall()
    beats: Mapping[int, int] = {}
    if counts.beats:
        beats = _sums(con.execute(f"SELECT b, count(*) FROM events WHERE {_IS_BEAT} GROUP BY b").fetchall())
    at = sequencer.stamp()
    stored_beats = _beats(con, seq, counts.received or at) if counts.beats else 0
    taken = seq if rows or stored_beats else None
    touched = _rows(staging, known.runs, rows, at, seq, counts) if rows else []
    if counts.beats:
        stamp = at.replace(tzinfo=None)
        beaten = beat_runs(staging, known.runs, touched, ingested=stamp, seq=seq, stored=taken is not None)
        if taken is not None:
            touched += beaten
    return Outcome(
        at=at,
        seq=taken,
        stored_beats=stored_beats,
        runs=dict.fromkeys(touched, seq),
        live=live,
        beats=beats,
        duplicates=duplicates,
        dead=dead,
        ahead=ahead,
        last=counts.last,
        words=words,
    )


def read_events(staging: Staging, append_batch: AppendBatch, table: pa.Table, dead: dict[int, DeadLetter]) -> None:
    """Read ``table`` into ``events``; what the fast reading cannot know goes through the slow one, or to ``dead``."""
    with staging.registered("incoming", table) as con:
        con.execute("CREATE OR REPLACE TEMP TABLE events AS " + sql("read_events"), {"skew": append_batch.skew_us})
    again = [n for (n,) in con.execute("SELECT n FROM events WHERE NOT ok").fetchall()]
    if not again:
        return
    texts: dict[int, str] = {}
    for n in again:
        try:
            event = read_cloud_event(append_batch.payload(n))
            texts[n] = plain_text(event)
        except ReadError as e:
            dead[n] = append_batch.dead_letter(n, e)
        else:
            if event.unknown:
                append_batch.unknown[n] = event.unknown
    con.execute("DELETE FROM events WHERE NOT ok")
    if texts:
        with staging.registered("incoming", reread(append_batch, table, texts)):
            con.execute("INSERT INTO events BY NAME " + sql("read_events"), {"skew": append_batch.skew_us})
        # Rows are stored in the order in which they came.
        con.execute("CREATE OR REPLACE TEMP TABLE events AS FROM events ORDER BY n")


def _count(con: duckdb.DuckDBPyConnection) -> Counts:
    (row,) = con.execute(sql("count_events"), _UNCLEAN).fetchall()
    return Counts(**dict(zip((f.name for f in fields(Counts)), row, strict=True)))


def _redact(con: duckdb.DuckDBPyConnection) -> None:
    """Hide secrets in the texts that are mailed, and make log tails what a person would have seen."""
    found = con.execute(sql("find_secrets"), _UNCLEAN).fetchall()
    changed = [
        {"n": n, "Message": redact(message), "LogTail": stored_tail(tail)}
        for n, message, tail in found
        if redact(message) != message or stored_tail(tail) != tail
    ]
    if not changed:
        return
    con.register("redacted", pa.Table.from_pylist(changed))
    try:
        con.execute(
            "UPDATE events SET Message = r.Message, LogTail = r.LogTail FROM redacted AS r WHERE events.n = r.n"
        )
    finally:
        con.unregister("redacted")


def _rows(staging: Staging, known: RunLocator, rows: int, at: datetime, seq: int, counts: Counts) -> list[str]:
    """Write Runs and the rows; returns the runs that were touched."""
    con = staging.con
    touched = update_runs(staging, known, rows=rows, ingested=at, seq=seq)
    if counts.bare:
        con.execute(sql("derive_starts"), {"seq": seq})
    con.execute(sql("insert_rows"), {"ingested": at, "seq": seq})
    if counts.named:
        con.execute(sql("remember_recent"), {"ingested": at})
    return touched


def _drop_duplicates(con: duckdb.DuckDBPyConnection, counts: Counts) -> dict[int, int]:
    """Delete from ``events`` what came before; how many, by batch."""
    if counts.first is not None and counts.last is not None:
        find_timed(con, counts.first, counts.last, twins=counts.twins > 0)
    if counts.named or counts.nameless:
        find_untimed(con, named=counts.named, nameless=counts.nameless)
    found = con.execute("SELECT b, count(*) FROM events WHERE n IN (FROM dups) GROUP BY b").fetchall()
    if found:
        con.execute("DELETE FROM events WHERE n IN (FROM dups)")
        con.execute("DELETE FROM dups")
    return dict(found)


def _beats(con: duckdb.DuckDBPyConnection, seq: int, since: datetime) -> int:
    (stored,) = con.execute(sql("beats_kept"), {"since": since - timedelta(seconds=10), "seq": seq}).fetchall()
    return int(stored[0])


def _move(
    staging: Staging, moves: Mapping[PartitionKey, Position], stored: Mapping[PartitionKey, int], at: datetime
) -> None:
    moved = [
        {"cluster": p.cluster, "topic_id": p.topic_id, "topic": p.topic, "partition": p.partition, "next": p.next}
        for key, p in moves.items()
        if stored.get(key) != p.next
    ]
    if not moved:
        return
    with staging.registered("moves", table_of(moved, MOVES)) as con:
        con.execute(sql("move_positions"))
        if moves.keys() - stored.keys():
            con.execute(sql("new_positions"), {"at": at})


def _insert_logged(staging: Staging, logged: Sequence[Logged], *, at: datetime, seq: int, skew_us: int) -> None:
    """Write the points of new events, and remember the ids of all."""
    rows = rows_of(logged, seq=seq, skew_us=skew_us)
    if rows:
        staging.insert("RunMetrics", "new_metrics", table_of(rows, METRIC_ROWS))
    sources, ids = zip(*(one.key for one in logged), strict=True)
    staging.con.execute(
        sql("remember_keys"), {"sources": list(sources), "ids": list(ids), "ingested": at.replace(tzinfo=None)}
    )


def _dead_by_batch(append_batch: AppendBatch, dead: Mapping[int, DeadLetter]) -> list[list[DeadLetter]]:
    found = [list(letters) for letters in append_batch.dead]
    for n in sorted(dead):
        found[append_batch.batch_of(n)].append(dead[n])
    for number, batch in enumerate(append_batch.batches):
        if batch.most_dead is not None:
            kept, rest = gathered(found[number], batch.most_dead)
            found[number] = kept if rest is None else [*kept, rest]
    return found


def _kept(append_batch: AppendBatch, dead_of: Sequence[Sequence[DeadLetter]]) -> list[DeadLetter]:
    """Those that are stored: the letter for the rest of a body comes with its last batch, and stands for all of it."""
    kept = []
    for number, letters in enumerate(dead_of):
        batch = append_batch.batches[number] if append_batch.batches else Batch()
        kept += [letter for letter in letters if not letter.rest]
        rest = merged(batch.carried, next((letter for letter in letters if letter.rest), None))
        if rest is not None and not batch.more:
            detail = (
                f"{rest.count} messages of this body beyond its first {MOST_DEAD} dead ones; this one: {rest.detail}"
            )
            kept.append(replace(rest, detail=detail))
    return kept


def _receipts(
    append_batch: AppendBatch,
    outcome: Outcome,
    dead_of: Sequence[Sequence[DeadLetter]],
    logged: tuple[Mapping[int, int], Mapping[int, int]],
) -> tuple[Receipt, ...]:
    """By batch; ``logged``: events of metrics that are new, and that are not."""
    accepted = _sums((row[0], row[3]) for row in outcome.live)
    unknown: dict[int, list[tuple[str, ...]]] = {}
    for n in sorted(append_batch.unknown):
        unknown.setdefault(append_batch.batch_of(n), []).append(append_batch.unknown[n])
    unmapped: dict[int, dict[str, None]] = {}
    for b, word in outcome.words:
        if word != Status.UNKNOWN:
            unmapped.setdefault(b, {})[word] = None
    return tuple(
        Receipt(
            accepted=accepted.get(b, 0) + logged[0].get(b, 0),
            duplicate=outcome.duplicates.get(b, 0) + logged[1].get(b, 0),
            heartbeats=outcome.beats.get(b, 0),
            dead=tuple(letters),
            skipped=append_batch.skipped[b],
            misnamed=len(unknown.get(b, ())),
            unknown=tuple(islice(dict.fromkeys(chain.from_iterable(unknown.get(b, ()))), UNKNOWN_NAMES)),
            unmapped=tuple(islice(unmapped.get(b, ()), UNKNOWN_NAMES)),
        )
        for b, letters in enumerate(dead_of)
    )


def _sums(pairs: Iterable[tuple[K, int]]) -> dict[K, int]:
    total: Counter[K] = Counter()
    for key, n in pairs:
        total[key] += n
    return dict(total)


__all__ = ["Written", "read_events", "write"]
