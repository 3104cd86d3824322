"""The state of a run, and the fold that makes it from the run's events and heartbeats: a row of ``Runs``.

    held state ──┐
    new events ──┴─ event-time order ─► Life: does the state follow this event? ─► RunState

``logstore/sql/fold_runs.sql`` says the same for many runs at once; ``tests/unit/logstore/test_fold.py`` holds both to
the oracle. Times are naive UTC, as DuckDB has them. Tags and Properties are JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from tocsin.model.event import Labels
from tocsin.model.run_life import Life, Turn, order
from tocsin.model.statuses import TERMINAL

Row = Mapping[str, Any]
Beat = tuple[int, datetime, float | None]
"""A heartbeat: CommitSeq, receipt, Progress."""

_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What is known of a run as of a commit. The defaults are those of a run of which only heartbeats came."""

    run_id: str
    # of the last event that says them
    parent_run_id: str = ""
    root_run_id: str
    job_key: str
    experiment_name: str = ""
    workspace_name: str = ""
    run_type: str = ""
    display_name: str = ""
    target: str = ""
    triggering_user_name: str = ""
    owner_email: str = ""
    url: str = ""
    tags: str = "{}"
    properties: str = "{}"
    given_start: datetime | None = None  # StartTime as given
    event_progress: float | None = None
    event_progress_at: datetime | None = None
    # of the event that the state comes from
    will_retry: bool | None = False
    original_status: str = ""
    reason: str = ""
    message: str = ""
    error_code: str = ""
    log_tail: str = ""
    source: str = ""
    consumer: str = ""
    status: str = "Unknown"
    attempt: int = 0
    state_time: datetime | None = None  # its TimeGenerated; None: only heartbeats came
    state_event: str | None = None
    given_end: datetime | None = None
    given_ms: int | None = None
    # of all events
    status_since: datetime
    first_time: datetime | None = None
    last_time: datetime | None = None
    first_running: datetime | None = None
    attempt_numbers: tuple[int, ...] = ()
    ended_by: tuple[str, ...] = ()  # sources that ended the run in this Attempt
    # the greatest event in event-time order: what comes after it needs no history
    max_time: datetime | None = None
    max_terminal: bool | None = None
    max_source: str | None = None
    max_event: str | None = None
    # of events and heartbeats
    first_seen: datetime  # when the first of them was committed
    last_seen: datetime  # greatest IngestedAt of events and receipt of heartbeats
    beat_progress: float | None = None
    beat_at: datetime | None = None  # receipt of the stored heartbeat that said it
    commit_seq: int  # the last commit that touched the run
    # set by people: stays, whatever events say
    description: str = ""
    tag_patch: str | None = None  # JSON: tags set, null for those removed
    property_patch: str | None = None

    @property
    def ended(self) -> bool:
        """Whether its status ends a run."""
        return self.status in TERMINAL

    @property
    def greatest(self) -> tuple[Any, ...] | None:
        """Place of its greatest event, as ``order`` has it. None: no event came."""
        if self.max_time is None:
            return None
        return (self.attempt, self.max_time, self.max_terminal, self.max_source, self.max_event)

    @property
    def start_time(self) -> datetime | None:
        """As given, else the time of the first Running event."""
        return self.given_start or self.first_running

    @property
    def end_time(self) -> datetime | None:
        """As given, else, of a run that has ended, the time of the event that ended it."""
        return self.given_end or (self.state_time if self.ended else None)

    @property
    def duration_ms(self) -> int | None:
        """As given, else, of a run that has ended, from start to end."""
        return self.given_ms if self.given_ms is not None else duration_ms(self.ended, self.start_time, self.end_time)

    @property
    def attempts(self) -> int:
        """How many attempts of the run were seen."""
        return 0 if self.state_time is None else max(len(set(self.attempt_numbers) - {0}), 1)

    @property
    def progress(self) -> float | None:
        """Of the latest event or heartbeat that says it."""
        by_beat = self.beat_at is not None and (
            self.event_progress_at is None or self.beat_at >= self.event_progress_at
        )
        return self.beat_progress if by_beat else self.event_progress

    def row(self) -> dict[str, Any]:
        """Columns of tocsin.runs, hashes apart."""
        return {column: getattr(self, name) for name, column in _COLUMNS}

    def beaten(self, received: datetime, progress: float | None, seq: int | None) -> RunState:
        """After a heartbeat. ``progress`` None: it says none, or it was not stored. ``seq`` None: no commit was made."""
        newest = progress is not None and (self.beat_at is None or received >= self.beat_at)
        return replace(
            self,
            last_seen=max(self.last_seen, received),
            beat_progress=progress if newest else self.beat_progress,
            beat_at=received if newest else self.beat_at,
            commit_seq=self.commit_seq if seq is None else seq,
        )

    def labelled(self, labels: Labels, seq: int) -> RunState:
        """After an event that sets tags, properties or the description."""
        tags, properties = _text(labels.tags), _text(labels.properties)
        keeps = labels.description is None or (labels.first and self.description != "")
        return replace(
            self,
            tags=patched(self.tags, tags),
            properties=patched(self.properties, properties),
            description=self.description if keeps else labels.description or "",
            tag_patch=_text({**json.loads(self.tag_patch or "{}"), **labels.tags}) if labels.tags else self.tag_patch,
            property_patch=(
                _text({**json.loads(self.property_patch or "{}"), **labels.properties})
                if labels.properties
                else self.property_patch
            ),
            commit_seq=seq,
        )


def patched(text: str, patch: str | None) -> str:
    """A JSON object after a patch, as ``json_merge_patch`` has it: values set, and removed where it has null."""
    if not patch or patch == "{}":
        return text
    changes = json.loads(patch)
    kept = {key: value for key, value in json.loads(text).items() if key not in changes}
    return _text(kept | {key: value for key, value in changes.items() if value is not None})


def state_of(row: Row) -> RunState:
    """What a row of tocsin.runs holds."""
    values = {name: row[column] for name, column in _STORED}
    values["ended_by"] = tuple(values["ended_by"] or ())
    values["description"] = values["description"] or ""
    values["attempt_numbers"] = tuple(values["attempt_numbers"] or ())
    return RunState(**values)


def unknown(
    run_id: str, received: datetime, *, first_seen: datetime, source: str = "", consumer: str = "", seq: int
) -> RunState:
    """A run of which only heartbeats came, the first at ``received``."""
    return RunState(
        run_id=run_id,
        root_run_id=run_id,
        job_key=run_id,
        source=source,
        consumer=consumer,
        status_since=received,
        first_seen=first_seen,
        last_seen=received,
        commit_seq=seq,
    )


def fold(before: RunState | None, events: Iterable[Row]) -> RunState:
    """The state after ``events``, rows of RunStatusChanged of one run in any order, none of them before what
    ``before`` knows; at least one.

    Where one came late, the caller gives ``forgotten(before)`` and all events of the run.
    """
    line = sorted(events, key=order)
    run = _begin(before, line[0])
    life = Life()
    if before is not None and before.state_time is not None:
        life = Life(attempt=before.attempt, ended=before.ended, ended_by=dict.fromkeys(before.ended_by))
    attempts = set(run["attempt_numbers"])
    for event in line:
        attempt, status, at, ingested = event["Attempt"], event["Status"], event["TimeGenerated"], event["IngestedAt"]
        turn = life.take(
            attempt=attempt,
            source=event["Source"],
            at=at,
            terminal=status in TERMINAL,
            has_time=event["TimeGiven"] is not False,
        )
        attempts.add(attempt)
        run["commit_seq"] = max(run["commit_seq"], event["CommitSeq"])
        run["last_seen"] = _greatest(run["last_seen"], ingested)
        run["first_time"], run["last_time"] = _least(run["first_time"], at), _greatest(run["last_time"], at)
        if status == "Running":
            run["first_running"] = _least(run["first_running"], at)
        if turn is Turn.IGNORED:
            continue
        if turn in _NEW_ATTEMPT or run["status"] != status:
            run["status_since"] = at
        _follow(run, event)
    last = line[-1]
    run |= {
        "max_time": last["TimeGenerated"],
        "max_terminal": last["Status"] in TERMINAL,
        "max_source": last["Source"],
        "max_event": last["EventId"],
        "ended_by": tuple(sorted(life.ended_by)),
        "attempt_numbers": tuple(sorted(attempts)),
        "tags": patched(run["tags"], run["tag_patch"]),
        "properties": patched(run["properties"], run["property_patch"]),
    }
    return RunState(**run)


def forgotten(before: RunState) -> RunState:
    """Without what its events said: receipts, heartbeats and what people set are kept."""
    return replace(
        unknown(before.run_id, before.last_seen, first_seen=before.first_seen, seq=before.commit_seq),
        beat_progress=before.beat_progress,
        beat_at=before.beat_at,
        description=before.description,
        tags=patched("{}", before.tag_patch),
        tag_patch=before.tag_patch,
        properties=patched("{}", before.property_patch),
        property_patch=before.property_patch,
    )


def fold_all(
    run_id: str,
    events: Iterable[Row],
    beats: Iterable[Beat],
    *,
    first_seen: datetime,
    consumer: str,
    labels: Row | None = None,
) -> RunState | None:
    """The state of a run as of a commit, from all its events and stored heartbeats up to there. None where nothing came.

    ``first_seen`` never changes, and where only heartbeats came, ``consumer`` brought them: neither is stored with them.
    ``labels`` is the last row of tocsin.run_updates up to there.
    """
    state: RunState | None = None
    for seq, received, progress in beats:
        if state is None:
            state = unknown(run_id, received, first_seen=first_seen, consumer=consumer, seq=seq)
        state = state.beaten(received, progress, seq)
    line = list(events)
    if line:
        state = replace(fold(state, line), first_seen=first_seen)
    if state is None or labels is None:
        return state
    return replace(
        state,
        tags=patched(state.tags, labels["TagPatch"]),
        properties=patched(state.properties, labels["PropertyPatch"]),
        description=labels["Description"],
        tag_patch=labels["TagPatch"],
        property_patch=labels["PropertyPatch"],
        commit_seq=max(state.commit_seq, labels["CommitSeq"]),
    )


def duration_ms(ended: bool, start: datetime | None, end: datetime | None) -> int | None:
    """Milliseconds from ``start`` to ``end`` of a run that has ended; None where they are not known or the wrong way
    round.
    """
    if not ended or start is None or end is None or end < start:
        return None
    return _millis(end) - _millis(start)


_STORED = tuple((f.name, "".join(word.capitalize() for word in f.name.split("_"))) for f in fields(RunState))
_COLUMNS = (
    *_STORED,
    ("start_time", "StartTime"),
    ("end_time", "EndTime"),
    ("duration_ms", "DurationMs"),
    ("attempts", "Attempts"),
    ("progress", "Progress"),
)
_OF_STATE = tuple(
    (name, column)
    for name, column in _STORED
    if name
    in (
        "will_retry", "original_status", "reason", "message", "error_code", "log_tail", "source", "consumer", "status",
        "attempt",
    )
)  # fmt: skip
_TEXTS = tuple(
    (name, column)
    for name, column in _STORED
    if name
    in (
        "parent_run_id", "experiment_name", "workspace_name", "run_type", "display_name", "target",
        "triggering_user_name", "owner_email", "url",
    )
)  # fmt: skip
_NEW_ATTEMPT = (Turn.FIRST, Turn.NEWER_ATTEMPT)


def _begin(before: RunState | None, first: Row) -> dict[str, Any]:
    """The fields of ``before``, to go on with."""
    if before is None:
        before = unknown(first["RunId"], first["IngestedAt"], first_seen=first["IngestedAt"], seq=0)
    return {name: getattr(before, name) for name, _ in _STORED}


def _follow(run: dict[str, Any], event: Row) -> None:
    """The state becomes that of ``event``; what describes the run is kept where the event does not say it."""
    for name, column in _OF_STATE:
        run[name] = event[column]
    for name, column in _TEXTS:
        if event[column]:
            run[name] = event[column]
    if event["Tags"] != "{}":
        run["tags"] = event["Tags"]
    if event["Properties"] != "{}":
        run["properties"] = event["Properties"]
    # an event without them has its RunId there
    if event["RootRunId"] != event["RunId"]:
        run["root_run_id"] = event["RootRunId"]
    if event["JobKey"] != event["RunId"]:
        run["job_key"] = event["JobKey"]
    run["state_time"], run["state_event"] = event["TimeGenerated"], event["EventId"]
    # A stored terminal event has the end that was derived for it, which is the one derived here.
    run["given_end"], run["given_ms"] = event["EndTime"], event["DurationMs"]
    run["given_start"] = event["StartTime"] or run["given_start"]
    if event["Progress"] is not None:
        run["event_progress"], run["event_progress_at"] = event["Progress"], event["TimeGenerated"]


def _text(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _least(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b < a else a


def _greatest(a: datetime | None, b: datetime) -> datetime:
    return b if a is None or b > a else a


def _millis(at: datetime) -> int:
    """Milliseconds since the epoch of a naive UTC time, as DuckDB cuts them."""
    span = at - _EPOCH
    return (span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds) // 1000
