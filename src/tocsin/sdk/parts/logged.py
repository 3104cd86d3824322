"""The log_* methods of a run, and get_metrics."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.clock import SystemClock, micros
from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.storage import metrics
from tocsin.sdk.storage.metrics import Kind
from tocsin.sdk.storage.rows import Query
from tocsin.sdk.text import clean, warn_once

if TYPE_CHECKING:
    from tocsin.sdk.session import Session

_now = SystemClock().now


class LogsMetrics:
    """What a Run can log. Values reach the disk within a second, or at flush()."""

    id: str
    _num: int
    _session: Session

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log a number or a string. ``step`` is a whole number. Raises UserErrorException for lists and other things."""
        kind = type(value)
        if kind is float:
            if value != value:
                value = None  # NaN, which SQLite cannot hold
        elif kind is not int or not -(2**63) <= value < 2**63:
            value = metrics.scalar(name, value)
        self._session.recorder.log(
            (self._num, _name(name), 0, step if step is None else _step(step), micros(_now()), value, None)
        )

    def log_metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log several values at once, as MLflow and W&B do."""
        for name, value in values.items():
            self.log(name, value, step=step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep parameters of the run as properties ``param.<name>``; one that is there already is overwritten."""
        values = {f"param.{clean(k)}": "" if v is None else clean(v) for k, v in params.items()}
        try:
            self._session.store.relabel(self.id, "p", values)
        except sqlite3.Error as e:
            warn_once("labels", "parameters cannot be kept: %s", e)

    def log_list(self, name: str, value: Sequence[Any], description: str = "") -> None:
        """Log a list of numbers or strings."""
        for item in value:
            self._log(name, Kind.LIST, metrics.scalar(name, item), None)

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Log one row of named numbers or strings; several calls make a table."""
        self._log(name, Kind.ROW, None, metrics.columns(name, kwargs))

    def log_table(self, name: str, value: Mapping[str, Sequence[Any]], description: str = "") -> None:
        """Log a table: a dict of columns of the same length. Raises UserErrorException where they differ."""
        if not isinstance(value, Mapping):
            raise UserErrorException(f"log_table takes a dict of lists, not a {type(value).__name__}")
        for row in metrics.table_rows(name, value):
            self._log(name, Kind.ROW, None, metrics.columns(name, row))

    def log_image(self, name: str, path: str | None = None, plot: Any = None, description: str = "") -> None:
        """Keep an image file, or a matplotlib plot, among the run's files and log where it is."""
        if (path is None) == (plot is None):
            raise UserErrorException("log_image takes either path or plot")
        suffix = Path(str(path)).suffix if path is not None else ".png"
        folder = self._session.run_folder(self.id) / "files" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        file = f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', clean(name))[:80]}_{uuid.uuid4().hex[:8]}{suffix[:10]}"
        if path is not None:
            import shutil

            try:
                shutil.copyfile(path, folder / file)
            except OSError as e:
                raise UserErrorException(f"log_image: {path} cannot be read: {e.strerror}") from e
        else:
            plot.savefig(os.fspath(folder / file), bbox_inches="tight")
        self._log(name, Kind.VALUE, f"images/{file}", None)

    def log_confusion_matrix(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log a confusion matrix in azureml's form."""
        self._log_object(name, value)

    def log_accuracy_table(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log an accuracy table in azureml's form."""
        self._log_object(name, value)

    def log_predictions(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log predictions in azureml's form."""
        self._log_object(name, value)

    def log_residuals(self, name: str, value: Mapping[str, Any] | str, description: str = "") -> None:
        """Log residuals in azureml's form."""
        self._log_object(name, value)

    def _log_object(self, name: str, value: Any) -> None:
        try:
            found = json.loads(value) if isinstance(value, str) else value
            text = json.dumps(found, default=_plain)
        except (TypeError, ValueError) as e:
            raise UserErrorException(f"{clean(name)[:80]!r}: a dict or its JSON is needed: {e}") from e
        if not isinstance(found, Mapping):
            raise UserErrorException(
                f"{clean(name)[:80]!r}: a dict or its JSON is needed, not a {type(found).__name__}"
            )
        self._log(name, Kind.OBJECT, None, text)

    def _log(self, name: str, kind: Kind, value: Any, text: str | None) -> None:
        self._session.recorder.log((self._num, _name(name), int(kind), None, micros(_now()), value, text))

    def flush(self, timeout_seconds: float = 300) -> None:
        """Write what was logged to disk now."""
        self._session.recorder.flush()

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """Metrics by name; with ``recursive`` by run id, this run and all below it."""
        self.flush()
        store = self._session.store
        try:
            mine = metrics.read(store.database, self._num, name)
            if not recursive:
                return mine
            below = {
                row.run_id: metrics.read(store.database, row.num, name) for row in store.find(Query(below=self.id))
            }
        except sqlite3.Error as e:
            warn_once("read", "metrics cannot be read: %s", e)
            return {}
        return {self.id: mine, **below}

    def get_metric_history(self, name: str) -> list[tuple[int | None, Any, Any]]:
        """(step, time, value) of each point of ``name``, in order; times are UTC."""
        from tocsin.clock import from_micros

        self.flush()
        points = metrics.history(self._session.store.database, self._num, name)
        return [(step, from_micros(at), value) for step, at, value in points]


def _step(step: Any) -> int:
    """A step; numpy's and torch's whole numbers too. Raises UserErrorException for what is none, or needs more than 64 bits."""
    try:
        out = int(step)
    except (TypeError, ValueError, OverflowError):
        out = 2**63
    if not -(2**63) <= out < 2**63:
        raise UserErrorException(f"step is a whole number, not {step!r:.80}")
    return out


def _name(name: Any) -> str:
    if type(name) is str and name.isascii() and name:
        return name
    out = clean(name)
    if not out:
        raise UserErrorException("a metric needs a name")
    return out


def _plain(value: Any) -> Any:
    """numpy arrays and scalars as JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
