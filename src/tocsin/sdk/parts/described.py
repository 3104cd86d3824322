"""What a run is: names, status, details, snapshot. Reading never fails: without its disk a run is what it was at first."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from tocsin.sdk.errors import ServiceException
from tocsin.sdk.parts.files import HoldsFiles
from tocsin.sdk.sending.events import iso
from tocsin.sdk.storage.rows import RunRow
from tocsin.sdk.text import clean, warn_once


class Described(HoldsFiles):
    """What can be asked of a Run."""

    _first: RunRow

    def _row(self) -> RunRow:
        try:
            return self._session.store.get(self.id) or self._first
        except sqlite3.Error as e:
            warn_once("read", "runs cannot be read: %s", e)
            return self._first

    @property
    def name(self) -> str:
        """Its display name."""
        return self._row().display_name

    @property
    def display_name(self) -> str:
        """Its name for people; its id where it was given none."""
        return self._row().display_name

    @display_name.setter
    def display_name(self, name: str) -> None:
        try:
            self._session.store.rename(self.id, clean(name))
        except sqlite3.Error as e:
            warn_once("labels", "a run's name cannot be kept: %s", e)

    @property
    def description(self) -> str:
        """Markdown."""
        return self._row().description

    @description.setter
    def description(self, text: str) -> None:
        try:
            self._session.store.describe(self.id, clean(text or ""))
        except sqlite3.Error as e:
            warn_once("labels", "a run's description cannot be kept: %s", e)

    def _update(self, **columns: Any) -> None:
        try:
            self._session.store.update(self.id, **columns)
        except sqlite3.Error as e:
            warn_once("labels", "a run's name cannot be kept: %s", e)

    @property
    def number(self) -> int:
        """1 for the experiment's first run."""
        return self._first.number

    @property
    def type(self) -> str | None:
        """None for an interactive run."""
        return self._first.type or None

    @property
    def status(self) -> str:
        """Its status now."""
        return self._row().status

    def get_status(self) -> str:
        """Its status now: one of azureml's words."""
        return self._row().status

    def get_detailed_status(self) -> dict[str, Any]:
        """Status and details."""
        return {"status": self.get_status(), "details": self.get_details()}

    def get_details(self) -> dict[str, Any]:
        """Everything about the run, with azureml's keys."""
        row = self._row()
        root = self._files
        return {
            "runId": row.run_id,
            "target": row.target or "local",
            "status": row.status,
            "startTimeUtc": iso(row.start_us),
            "endTimeUtc": iso(row.end_us),
            "error": json.loads(row.error) if row.error and row.status == "Failed" else None,
            "warnings": [],
            "properties": row.property_values,
            "runDefinition": json.loads(row.definition) if row.definition else None,
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": {n: str(root / n) for n in self.get_file_names() if n.startswith(("user_logs/", "logs/"))},
            "submittedBy": row.submitted_by,
        }

    def get_details_with_logs(self) -> dict[str, Any]:
        """As get_details(), with the logs' text instead of their paths."""
        details = self.get_details()
        texts = {name: Path(path).read_text(errors="replace") for name, path in details["logFiles"].items()}
        return {**details, "logFiles": texts}

    def get_portal_url(self) -> str:
        """Where the run can be looked at: its page on the workspace's tocsin."""
        endpoint = self._session.endpoint
        return f"{endpoint.url if endpoint else ''}/runs/{self.id}"

    def take_snapshot(self, file_or_folder_path: str | Path) -> str:
        """Copy a folder as what ran, and return the snapshot's id."""
        from tocsin.sdk.running.capture import take_now

        id = take_now(self._session.snapshots(self.id), Path(file_or_folder_path))
        self._update(snapshot_id=id)
        return id

    def get_snapshot_id(self) -> str:
        """Its snapshot's id, once that is taken. Raises ServiceException where it has none."""
        from tocsin.sdk.running.capture import finished

        finished(self.id)
        if not (id := self._row().snapshot_id):
            raise ServiceException(f"run {self.id} has no snapshot")
        return id

    def restore_snapshot(self, snapshot_id: str | None = None, path: str | None = None) -> str:
        """Copy its snapshot's files to ``path`` and return the path."""
        return self._restore(snapshot_id or self.get_snapshot_id(), path)
