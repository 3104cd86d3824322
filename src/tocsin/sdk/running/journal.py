"""Where ``tocsin exec`` writes its run down: in the workspace that it is called in, else in the user's spool."""

from __future__ import annotations

import os
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tocsin.clock import Clock, micros
from tocsin.sdk.config import Place
from tocsin.sdk.running.process import user_name
from tocsin.sdk.sending.endpoint import Endpoint
from tocsin.sdk.sending.events import heartbeat_event, iso, status_event
from tocsin.sdk.sending.spool import SCHEMA, Sender, made_state_folder, put
from tocsin.sdk.storage.database import Database
from tocsin.sdk.storage.rows import EXEC
from tocsin.sdk.text import clean, experiment_name

HEARTBEAT = 30.0
"""Seconds between heartbeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """What is known of the run before its command starts."""

    command: Sequence[str]
    run_id: str
    name: str
    experiment: str = ""
    owner: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    heartbeat: float = HEARTBEAT  # seconds


class Journal(ABC):
    """Each method returns when it is on disk. They raise sqlite3.Error or OSError where the disk fails."""

    sender: Sender | None

    @abstractmethod
    def status(self, status: str, at: int, data: Mapping[str, Any]) -> None:
        """A change of status at ``at`` (µs since the epoch). ``data``: columns of its event, times in µs, all Properties."""

    @abstractmethod
    def beat(self) -> None:
        """A sign of life."""

    def cancel_requested(self) -> bool:
        """Whether somebody wants the command stopped."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Nothing more comes."""


class SpoolJournal(Journal):
    """Events alone."""

    def __init__(self, wrapped: Wrapped, endpoint: Endpoint, clock: Clock) -> None:
        self._wrapped, self._clock = wrapped, clock
        folder = made_state_folder()
        self._database = Database(folder / "spool.sqlite", SCHEMA)
        self.sender = Sender(self._database, endpoint, folder / "spool.lock", clock, Endpoint.find)
        self._number = 0

    def status(self, status: str, at: int, data: Mapping[str, Any]) -> None:
        self._number += 1
        w = self._wrapped
        times = {key: iso(data[key]) for key in ("StartTime", "EndTime") if key in data}
        columns = {
            "RunId": w.run_id, "ParentRunId": os.environ.get("TOCSIN_RUN_ID", ""), "DisplayName": w.name,
            "ExperimentName": w.experiment or w.name, "RunType": EXEC, "Target": os.uname().nodename,
            "TriggeringUserName": user_name(), "OwnerEmail": w.owner, "Tags": dict(w.tags), **scheduler(), **data, **times,
            "Status": status,
        }  # fmt: skip
        event = status_event(f"{w.run_id}.{self._number}", _source(), at, columns)
        with self._database.write() as tx:
            put(tx, w.run_id, at, event)

    def beat(self) -> None:
        at = micros(self._clock.now())
        event = heartbeat_event(uuid.uuid4().hex, _source(), at, self._wrapped.run_id)
        with self._database.write() as tx:
            put(tx, self._wrapped.run_id, at, event, beat=True)

    def close(self) -> None:
        self._database.close()


class StoreJournal(Journal):
    """A run of the workspace: listed there, and its script finds it by Run.get_context()."""

    def __init__(self, wrapped: Wrapped, place: Place) -> None:
        from tocsin.sdk.session import session_of

        self._wrapped = wrapped
        session = session_of(place)
        self._store, self.sender = session.store, session.recorder.sender
        if wrapped.owner:
            self._store.owner_email = wrapped.owner

    def status(self, status: str, at: int, data: Mapping[str, Any]) -> None:
        from tocsin.sdk.storage.store import make_error

        properties = {k: str(v) for k, v in data["Properties"].items()}
        if status == "Queued":
            self._create(at, properties)
            return
        self._store.relabel(self._wrapped.run_id, "p", properties)
        left_out = ("Properties", "StartTime", "EndTime", "DurationMs")
        facts = {**scheduler(), **{k: v for k, v in data.items() if k not in left_out}}
        error = make_error(str(data["ErrorCode"]), str(data["Message"])) if status == "Failed" else None
        self._store.transition(self._wrapped.run_id, status, error=error, facts=facts, at=at)

    def _create(self, at: int, properties: Mapping[str, str]) -> None:
        from tocsin.sdk.storage.rows import New

        w = self._wrapped
        parent = self._store.get(os.environ.get("TOCSIN_RUN_ID", ""))
        new = New(
            run_id=w.run_id, experiment=experiment_name(_as_name(w.experiment or w.name)), status="Queued", type=EXEC,
            display_name=w.name, target=os.uname().nodename, owner=self._store.presence.identity().dump(), tags=dict(w.tags),
            properties=dict(properties), parent_id=parent.run_id if parent else "", root_id=parent.root_id if parent else "",
        )  # fmt: skip
        try:
            self._store.create([new], at=at)
        except sqlite3.IntegrityError:  # --run-id of a run that is there: it goes on
            self._store.transition(w.run_id, "Queued", unless=(), owner=new.owner, at=at)

    def beat(self) -> None:
        self._store.beat([self._wrapped.run_id])

    def cancel_requested(self) -> bool:
        asked = "SELECT 1 FROM runs WHERE run_id = ? AND status = 'CancelRequested'"
        return self._store.database.one(asked, (self._wrapped.run_id,)) is not None

    def close(self) -> None:
        self._store.presence.leave()


def open_journal(wrapped: Wrapped, place: Place | None, clock: Clock) -> Journal | None:
    """The workspace's, or the spool's; None where there is neither a workspace nor a tocsin to send to."""
    if place is not None:
        return StoreJournal(wrapped, place)
    endpoint = Endpoint.find()
    return None if endpoint is None else SpoolJournal(wrapped, endpoint, clock)


def scheduler() -> dict[str, Any]:
    """Slurm runs a requeued job under its old number and counts; cron's nights are jobs of their own."""
    job, count = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "")
    key = f"slurm/{os.environ.get('SLURM_CLUSTER_NAME', '')}/{clean(job)}" if job else ""
    return {"JobKey": key, "Attempt": int(count) + 1 if count.isdigit() else None}


def _as_name(name: str) -> str:
    """A command's name as an experiment's."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in name).strip("-._")[:255] or "exec"


def _source() -> str:
    return f"tocsin-exec/{os.uname().nodename}"
