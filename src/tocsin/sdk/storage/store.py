"""The runs of one workspace: every change of a run is one transaction with its event."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tocsin.clock import Clock, SystemClock, micros
from tocsin.model.statuses import TERMINAL
from tocsin.sdk.running.process import Presence, ProcessId, is_gone, user_name
from tocsin.sdk.sending.events import UPDATE_TYPE, heartbeat_event, iso, metrics_event, status_event
from tocsin.sdk.sending.spool import put
from tocsin.sdk.storage import metrics
from tocsin.sdk.storage.database import Database
from tocsin.sdk.storage.rows import COLUMNS, EXEC, SCRIPT, New, Query, RunRow, encoded
from tocsin.sdk.storage.tables import SCHEMA

POINTS = 200
"""Logged values of one event."""
PAGE = 500
"""Runs that are read at once."""
FEW = 20_000
"""Labels up to which runs are found by label and sorted; beyond, runs are walked in order and their labels looked up."""
ACTIVE = "status NOT IN ('Completed', 'Failed', 'Canceled')"


class Store:
    """A workspace's file. Methods raise sqlite3.Error where the disk fails."""

    def __init__(self, folder: Path | None, workspace: str, *, sends: bool = False, clock: Clock | None = None) -> None:
        """``folder`` None keeps everything in memory. ``sends``: events are spooled."""
        self.folder, self.workspace, self.sends = folder, workspace, sends
        self.clock = clock or SystemClock()
        self.database = Database(folder / "runs.sqlite" if folder else ":memory:", SCHEMA)
        self.locks = (folder or Path("/nonexistent")) / "alive"
        self.presence = Presence(self.locks if folder else None)
        self.owner_email = ""
        self.on_event: Callable[[], None] = lambda: None
        """Called when an event was spooled."""
        self._reaped = 0.0

    def now(self) -> int:
        """Microseconds since the epoch."""
        return micros(self.clock.now())

    # --- making ---

    def create(self, runs: Sequence[New], at: int | None = None) -> list[RunRow]:
        """Make runs, all or none, ``at`` a time or now. Raises sqlite3.IntegrityError where an id is taken."""
        made = []
        at = self.now() if at is None else at
        with self.database.write() as tx:
            for new in runs:
                number = self._count_in(tx, new.experiment, at)
                start = at if new.status == "Running" else None
                cursor = tx.execute(
                    "INSERT INTO runs (run_id, experiment, number, parent_id, root_id, type, display_name, description,"
                    " status, target, submitted_by, created_us, sort_us, start_us, definition, snapshot_id, owner,"
                    " heartbeat_us, tags, properties) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        new.run_id, new.experiment, number, new.parent_id, new.root_id or new.run_id, new.type,
                        new.display_name or new.run_id, new.description, new.status, new.target, user_name(), at, at, start,
                        None if new.definition is None else json.dumps(new.definition, default=str), new.snapshot_id,
                        new.owner, at, _dump(new.tags), _dump(new.properties),
                    ),
                )  # fmt: skip
                num = int(cursor.lastrowid or 0)
                _label(tx, num, "t", new.tags)
                _label(tx, num, "p", new.properties)
                row = self._row(tx, new.run_id)
                assert row is not None
                self._announce(tx, row, at, {})
                if new.description:
                    self._send_update(tx, row.run_id, {"Description": new.description})
                made.append(row)
        self.on_event()
        return made

    def _count_in(self, tx: sqlite3.Connection, experiment: str, at: int) -> int:
        found = tx.execute(
            "INSERT INTO experiments (name, id, created_us, runs) VALUES (?, ?, ?, 1)"
            " ON CONFLICT (name) DO UPDATE SET runs = runs + 1 RETURNING runs",
            (experiment, str(uuid.uuid4()), at),
        ).fetchone()
        return int(found[0])

    # --- status ---

    def transition(
        self,
        run_id: str,
        to: str,
        *,
        unless: Iterable[str] = TERMINAL,
        error: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        owner: str | None = None,
        at: int | None = None,
    ) -> RunRow | None:
        """Give a run the status ``to``, with its event; None where it is in one of ``unless``, or unknown.

        ``error`` is kept as the run's error; ``facts`` are further columns of the event; ``owner`` takes the run over; ``at``: when, in µs
        since the epoch; now where absent.
        """
        at = self.now() if at is None else at
        with self.database.write() as tx:
            row = self._row(tx, run_id)
            if row is None or row.status in unless or row.status == to:
                return None
            at = _after(row, at)
            starts = to == "Running" and row.start_us is None
            tx.execute(
                "UPDATE runs SET status = ?, heartbeat_us = ?, start_us = ?, sort_us = ?, end_us = ?, error = ?, slot = ?,"
                " owner = ? WHERE num = ?",
                (
                    to,
                    at,
                    at if starts else row.start_us,
                    at if starts else row.sort_us,
                    at if to in TERMINAL else None,
                    row.error if error is None else json.dumps(error, default=str),
                    0 if to in TERMINAL else row.slot,
                    row.owner if owner is None else owner,
                    row.num,
                ),
            )
            after = self._row(tx, run_id)
            assert after is not None
            self._announce(tx, after, at, facts or {})
        self.on_event()
        return after

    def cancel(self, run_id: str) -> RunRow | None:
        """Whoever runs a submitted script, or a wrapped command, is asked to stop it; any other run is Canceled. None where it has ended."""
        row = self._get(run_id)
        if row is None:
            return None
        to = "CancelRequested" if row.type in (SCRIPT, EXEC) else "Canceled"
        return self.transition(run_id, to, facts={"Reason": "user_canceled"})

    def _announce(self, tx: sqlite3.Connection, row: RunRow, at: int, facts: Mapping[str, Any]) -> None:
        if not self.sends:
            return
        tx.execute("UPDATE runs SET events = events + 1 WHERE num = ?", (row.num,))
        ended = row.end_us is not None
        start = row.start_us or row.created_us
        data = {
            "RunId": row.run_id, "ParentRunId": row.parent_id, "RootRunId": row.root_id, "Status": row.status,
            "ExperimentName": row.experiment, "WorkspaceName": self.workspace, "RunType": row.type,
            "DisplayName": row.display_name, "Target": row.target, "TriggeringUserName": row.submitted_by,
            "OwnerEmail": self.owner_email, "Tags": row.tag_values, "Properties": row.property_values,
            "StartTime": iso(row.start_us), "EndTime": iso(row.end_us),
            "DurationMs": (row.end_us - start) // 1000 if row.end_us is not None else None,
            **(_error_facts(row) if ended else {}), **facts,
        }  # fmt: skip
        put(tx, row.run_id, at, status_event(f"{row.run_id}.{row.events + 1}", self.source, at, data))

    @property
    def source(self) -> str:
        """Who says it, in events."""
        return f"tocsin-sdk/{self.workspace}"

    def alert(self, run_id: str, facts: Mapping[str, Any]) -> None:
        """An event of the run's present status that carries ``facts``."""
        with self.database.write() as tx:
            if row := self._row(tx, run_id):
                self._announce(tx, row, _after(row, self.now()), facts)
        self.on_event()

    def beat(self, run_ids: Iterable[str]) -> None:
        """Signs of life of runs that this process owns."""
        at = self.now()
        with self.database.write() as tx:
            for run_id in run_ids:
                tx.execute("UPDATE runs SET heartbeat_us = max(heartbeat_us, ?) WHERE run_id = ?", (at, run_id))
                if self.sends:
                    put(tx, run_id, at, heartbeat_event(uuid.uuid4().hex, self.source, at, run_id), beat=True)

    def log(self, points: Sequence[metrics.Point], send: bool) -> None:
        """Store logged values, and ``send`` them, in one transaction. Raises sqlite3.Error; then none is stored."""
        with self.database.write() as tx:
            metrics.write(tx, points)
            if send and self.sends:
                of_run: dict[int, list[metrics.Point]] = {}
                for point in points:
                    of_run.setdefault(point[0], []).append(point)
                for num, mine in of_run.items():
                    self._send_metrics(tx, num, mine)

    def _send_metrics(self, tx: sqlite3.Connection, num: int, points: Sequence[metrics.Point]) -> None:
        found = tx.execute("SELECT run_id, experiment FROM runs WHERE num = ?", (num,)).fetchone()
        if found is None:
            return
        for first in range(0, len(points), POINTS):
            some = [(name, step, at, value, row) for _, name, _, step, at, value, row in points[first : first + POINTS]]
            put(tx, found[0], some[-1][2], metrics_event(uuid.uuid4().hex, self.source, found[0], found[1], some))

    def update(self, run_id: str, **columns: Any) -> None:
        """Set columns of ``runs`` that are no status and no labels."""
        names = ", ".join(f"{name} = ?" for name in columns)
        with self.database.write() as tx:
            tx.execute(f"UPDATE runs SET {names} WHERE run_id = ?", (*columns.values(), run_id))

    # --- labels ---

    def relabel(
        self, run_id: str, kind: str, put_: Mapping[str, str | None], drop: Iterable[str] = ()
    ) -> dict[str, str | None]:
        """Set and remove tags (kind 't') or properties ('p'); all of them afterwards."""
        column = "tags" if kind == "t" else "properties"
        with self.database.write() as tx:
            row = self._row(tx, run_id)
            if row is None:
                return {}
            before = row.tag_values if kind == "t" else row.property_values
            after = {k: v for k, v in {**before, **put_}.items() if k not in set(drop)}
            for key in {*put_, *drop}:
                tx.execute("DELETE FROM labels WHERE run = ? AND kind = ? AND key = ?", (row.num, kind, key))
            _label(tx, row.num, kind, {k: v for k, v in put_.items() if k in after})
            tx.execute(f"UPDATE runs SET {column} = ? WHERE num = ?", (_dump(after), row.num))
            changes = {k: "" if v is None else v for k, v in put_.items() if k in after} | dict.fromkeys(drop)
            self._send_update(tx, run_id, {"Tags" if kind == "t" else "Properties": changes})
        self.on_event()
        return after

    def rename(self, run_id: str, display_name: str) -> None:
        """Set a run's display name. Its event has the status that it has; a run that has ended sends none."""
        with self.database.write() as tx:
            tx.execute("UPDATE runs SET display_name = ? WHERE run_id = ?", (display_name, run_id))
            if (row := self._row(tx, run_id)) and row.status not in TERMINAL:
                self._announce(tx, row, _after(row, self.now()), {})
        self.on_event()

    def describe(self, run_id: str, text: str) -> None:
        """Set a run's description."""
        with self.database.write() as tx:
            tx.execute("UPDATE runs SET description = ? WHERE run_id = ?", (text, run_id))
            self._send_update(tx, run_id, {"Description": text or " "})
        self.on_event()

    def _send_update(self, tx: sqlite3.Connection, run_id: str, changes: Mapping[str, Any]) -> None:
        if self.sends:
            at = self.now()
            data = {"RunId": run_id, **changes}
            put(tx, run_id, at, status_event(uuid.uuid4().hex, self.source, at, data, UPDATE_TYPE))

    # --- reading ---

    def get(self, run_id: str) -> RunRow | None:
        """A run; one whose process is gone is marked first."""
        row = self._get(run_id)
        if row is not None and row.status not in TERMINAL and self._mark_if_gone(row):
            row = self._get(run_id)
        return row

    def _get(self, run_id: str) -> RunRow | None:
        found = self.database.one(f"SELECT {COLUMNS} FROM runs r WHERE run_id = ?", (run_id,))
        return None if found is None else RunRow(*found)

    def _row(self, tx: sqlite3.Connection, run_id: str) -> RunRow | None:
        found = tx.execute(f"SELECT {COLUMNS} FROM runs r WHERE run_id = ?", (run_id,)).fetchone()
        return None if found is None else RunRow(*found)

    def find(self, query: Query) -> Iterator[RunRow]:
        """Runs, StartTime descending, a page at a time."""
        self.reap()
        sql, parameters = self._select(query)
        last: tuple[int, int] | None = None
        while True:
            where = sql if last is None else f"{sql} AND (r.sort_us, r.num) < (?, ?)"
            page = (
                f"{where} ORDER BY r.sort_us DESC, r.num DESC LIMIT {PAGE}"  # of numbers: whole rows are slow to sort
            )
            rows = self.database.read(
                f"SELECT {COLUMNS} FROM runs r WHERE r.num IN ({page}) ORDER BY r.sort_us DESC, r.num DESC",
                [*parameters, *(last or ())],
            )
            for found in rows:
                row = RunRow(*found)
                last = (row.sort_us, row.num)
                yield row
            if len(rows) < PAGE:
                return

    def _select(self, query: Query) -> tuple[str, list[Any]]:
        labels = [("t", k, v) for k, v in query.tags.items()] + [("p", k, v) for k, v in query.properties.items()]
        parameters: list[Any] = []
        source = "runs r"
        wheres = ["1"]
        counted = sorted((self._count(label), label) for label in labels)
        if counted and counted[0][0] < FEW:
            _, (kind, key, value) = counted.pop(0)
            source = "labels l CROSS JOIN runs r ON r.num = l.run"
            wheres.append("l.kind = ? AND l.key = ?" + ("" if value is None else " AND l.value = ?"))
            parameters += [kind, key] if value is None else [kind, key, encoded(value)]
        for _, (kind, key, value) in counted:
            also = "" if value is None else " AND x.value = ?"
            wheres.append(
                f"EXISTS (SELECT 1 FROM labels x WHERE x.run = r.num AND x.kind = ? AND x.key = ?{also} LIMIT 1)"
            )
            parameters += [kind, key] if value is None else [kind, key, encoded(value)]
        plain = {"experiment": query.experiment, "parent_id": query.parent_id, "type": query.type,
                 "status": query.status, "target": query.target}  # fmt: skip
        for column, asked in plain.items():
            if asked is not None:
                wheres.append(f"r.{column} = ?")
                parameters.append(asked)
        if query.parent_id is not None:
            wheres.append("r.parent_id <> ''")  # so that the partial index serves
        if query.top_only:
            wheres.append("r.parent_id = ''")
        if query.below is not None:
            wheres.append(
                "r.run_id IN (WITH RECURSIVE t(id) AS (SELECT run_id FROM runs WHERE parent_id = ? AND parent_id <> ''"
                " UNION SELECT c.run_id FROM runs c JOIN t ON c.parent_id = t.id AND c.parent_id <> '') SELECT id FROM t)"
            )
            parameters.append(query.below)
        return f"SELECT r.num FROM {source} WHERE {' AND '.join(wheres)}", parameters

    def _count(self, label: tuple[str, str, str | None]) -> int:
        kind, key, value = label
        also, more = ("", []) if value is None else (" AND value = ?", [encoded(value)])
        found = self.database.one(
            f"SELECT count(*) FROM (SELECT 1 FROM labels WHERE kind = ? AND key = ?{also} LIMIT {FEW})",
            [kind, key, *more],
        )
        return int(found[0]) if found else 0

    # --- runs whose process is gone ---

    def reap(self, every: float = 1.0) -> int:
        """Mark runs whose process is gone; once in ``every`` seconds at most. How many have not ended; 0 where it did not look."""
        if self.folder is None or self.clock.monotonic() - self._reaped < every:
            return 0
        self._reaped = self.clock.monotonic()
        active = [RunRow(*found) for found in self.database.read(f"SELECT {COLUMNS} FROM runs r WHERE {ACTIVE}")]
        return sum(not self._mark_if_gone(row) for row in active)

    def _mark_if_gone(self, row: RunRow) -> bool:
        owner = ProcessId.load(row.owner) if row.owner else None
        if owner is None or not is_gone(owner, self.locks, (self.now() - row.heartbeat_us) / 1e6):
            return False
        now = self._get(row.run_id)
        if now is None or now.status in TERMINAL or now.owner != row.owner:
            return True  # it ended, or changed hands, while we looked
        if row.script:
            from tocsin.sdk.running.stopping import kill_left_over

            kill_left_over(row.script, Path(self.database.path).stat().st_uid)
        to = "Canceled" if row.status == "CancelRequested" else "Failed"
        error = make_error("ProcessGone", f"process gone: process {owner.pid} on {owner.host} ended without saying how")
        self.transition(row.run_id, to, error=None if to == "Canceled" else error)
        if owner.lock and "/" not in owner.lock:
            (self.locks / owner.lock).unlink(missing_ok=True)
        return True


def make_error(code: str, message: str, details: str = "") -> dict[str, Any]:
    """A run's error in azureml's form."""
    out: dict[str, Any] = {"error": {"code": code, "message": message, "details": []}}
    if details:
        out["error"]["debugInfo"] = {"stackTrace": details}
    return out


def _after(row: RunRow, at: int) -> int:
    """``at``, or just after the run's last change or heartbeat: where a clock was set back, its end still comes after its start."""
    return max(at, row.heartbeat_us + 1)


def _error_facts(row: RunRow) -> dict[str, Any]:
    if row.status != "Failed" or not row.error:
        return {}
    error = json.loads(row.error).get("error", {})
    facts = {"Message": error.get("message"), "ErrorCode": error.get("code")}
    if stack := error.get("debug_stack_trace"):
        from tocsin.model.text.tails import sent_tail

        facts["LogTail"] = sent_tail(str(stack))
    return facts


def _dump(labels: Mapping[str, str | None]) -> str:
    return json.dumps(dict(labels), ensure_ascii=False)


def _label(tx: sqlite3.Connection, num: int, kind: str, labels: Mapping[str, str | None]) -> None:
    if labels:
        tx.executemany(
            "INSERT OR REPLACE INTO labels (kind, key, value, run) VALUES (?, ?, ?, ?)",
            [(kind, key, encoded(value), num) for key, value in labels.items()],
        )
