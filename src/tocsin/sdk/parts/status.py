"""The status of a run: started, ended, canceled, waited for."""

from __future__ import annotations

import builtins
import sqlite3
from types import TracebackType
from typing import Any, Self

from tocsin.model.statuses import TERMINAL
from tocsin.sdk.errors import ExperimentExecutionException
from tocsin.sdk.parts.labels import Labelled
from tocsin.sdk.parts.logged import LogsMetrics
from tocsin.sdk.running.ending import user_error
from tocsin.sdk.storage.rows import RunRow
from tocsin.sdk.storage.store import make_error
from tocsin.sdk.text import clean, warn, warn_once


class HasStatus(Labelled, LogsMetrics):
    """A Run's status, and what changes it."""

    _inside: bool  # this process is (part of) the submitted script

    def __repr__(self) -> str:
        return f"Run(Experiment: {self._first.experiment},\nId: {self.id},\nType: {self.type},\nStatus: {self.status})"

    def _repr_html_(self) -> str:
        import html

        row = self._row()
        cells = {"Experiment": row.experiment, "Id": row.run_id, "Type": row.type, "Status": row.status}
        head = "".join(f"<th>{name}</th>" for name in cells)
        body = "".join(f"<td>{html.escape(value)}</td>" for value in cells.values())
        return f"<table><tr>{head}</tr><tr>{body}</tr></table>"

    def _change(self, to: str, **how: Any) -> RunRow | None:
        try:
            row = self._session.store.transition(self.id, to, **how)
        except sqlite3.Error as e:
            warn_once("status", "the status of runs cannot be kept: %s", e)
            return None
        if to in TERMINAL:
            self._session.recorder.disown(self.id)
        return row

    def start(self) -> None:
        """Say that it runs."""
        self._change("Running")

    def complete(self, _set_status: bool = True) -> None:
        """It is Completed. Inside a submitted script the exit code decides, so only metrics are flushed."""
        self.flush()
        if not self._inside and _set_status:
            self._change("Completed")

    def fail(
        self, error_details: str | BaseException | None = None, error_code: str | None = None, _set_status: bool = True
    ) -> None:
        """It is Failed, also where it had Completed. A submitted script is stopped. Inside one the exit code decides."""
        self.flush()
        if self._inside or not _set_status:
            return
        if isinstance(error_details, BaseException):
            error = user_error(error_details, error_details.__traceback__)
            error["error"]["code"] = error_code or error["error"]["code"]
        else:
            error = make_error(error_code or "UserError", clean(error_details or "marked as failed"))
        self._change("Failed", unless=("Failed", "Canceled"), error=error)

    def cancel(self) -> None:
        """Cancel it: a submitted script is stopped, and is Canceled when all its processes are gone."""
        if self._inside:
            return
        row = self._row()
        if row.status in TERMINAL:
            warn("run %s is %s already: there is nothing to cancel", self.id, row.status)
            return
        try:
            after = self._session.store.cancel(self.id)
        except sqlite3.Error as e:
            warn_once("status", "the status of runs cannot be kept: %s", e)
            return
        if after is not None and after.status in TERMINAL:
            self._session.recorder.disown(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: builtins.type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
        if self._inside:
            return
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            self._change("Completed")
        elif isinstance(error, KeyboardInterrupt):
            self._change("Canceled", facts={"Reason": "user_canceled"})
        else:
            self._change("Failed", error=user_error(error, trace))

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until it has ended and return get_details(). Raises ActivityFailedException where it Failed."""
        from tocsin.sdk.running.waiting import wait

        return wait(self, self._inside, show_output, raise_on_error)

    def clean(self) -> builtins.list[str]:
        """Remove the copy of the source that a submitted script ran in; its files and snapshot stay.

        Returns one sentence for each folder removed. Raises ExperimentExecutionException where there is none, or the script still runs.
        """
        folder = self._session.run_folder(self.id) / "code"
        if self.status not in TERMINAL:
            raise ExperimentExecutionException(f"run {self.id} is {self.status}: its script may need {folder}")
        if not folder.is_dir():
            raise ExperimentExecutionException(
                f"run {self.id} has no folder of its own: it was not submitted, or cleaned before"
            )
        import shutil

        shutil.rmtree(folder)
        return [f"Removed temporary run directory {folder}"]
