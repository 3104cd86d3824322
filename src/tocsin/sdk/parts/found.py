"""Runs that a query finds: lazy, in pages, to be gone through again and again, printable; or a table of pandas."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from tocsin.clock import from_micros
from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.storage.rows import RunRow

SHOWN = 20
Found = TypeVar("Found")


class Runs(Generic[Found]):
    """What get_runs() and get_children() return. azureml gives a generator, so ``next()`` works too."""

    def __init__(self, find: Callable[[], Iterator[Found]]) -> None:
        self._find = find
        self._at: Iterator[Found] | None = None

    def __iter__(self) -> Iterator[Found]:
        return self._find()

    def __next__(self) -> Found:
        if self._at is None:
            self._at = self._find()
        return next(self._at)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next(self._find(), None) is not None

    def __getitem__(self, index: int) -> Found:
        if index < 0:
            return list(self)[index]
        for i, run in enumerate(self):
            if i == index:
                return run
        raise IndexError(index)

    def __repr__(self) -> str:
        shown = []
        for i, run in enumerate(self):
            if i == SHOWN:
                shown.append("…")
                break
            shown.append(repr(run))
        return "[" + ",\n ".join(shown) + "]"


class Recorded(Protocol):
    """What a table needs of a run."""

    def _row(self) -> RunRow: ...

    def get_metrics(self) -> dict[str, Any]:
        """Metrics by name."""


def frame(runs: Iterable[Recorded]) -> Any:
    """A DataFrame, one row a run. Raises UserErrorException where pandas is missing."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as e:
        raise UserErrorException("get_runs_df() needs pandas: pip install pandas") from e
    return pandas.DataFrame([_record(run) for run in runs])


def _record(run: Recorded) -> dict[str, Any]:
    row = run._row()
    out: dict[str, Any] = {
        "run_id": row.run_id, "experiment": row.experiment, "display_name": row.display_name, "status": row.status,
        "parent_run_id": row.parent_id, "target": row.target, "submitted_by": row.submitted_by,
        "start_time": None if row.start_us is None else from_micros(row.start_us),
        "end_time": None if row.end_us is None else from_micros(row.end_us),
    }  # fmt: skip
    out |= {f"tags.{k}": v for k, v in row.tag_values.items()}
    out |= {f"properties.{k}": v for k, v in row.property_values.items()}
    for name, value in run.get_metrics().items():
        out[f"metrics.{name}"] = value[-1] if isinstance(value, list) and value else value
    return out
