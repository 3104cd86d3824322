"""Runs as a table of pandas, where pandas is installed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tocsin.clock import from_micros
from tocsin.sdk.errors import UserErrorException

if TYPE_CHECKING:
    from tocsin.sdk.run import Run


def frame(runs: Iterable[Run]) -> Any:
    """A DataFrame, one row a run. Raises UserErrorException where pandas is missing."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as e:
        raise UserErrorException("get_runs_df() needs pandas: pip install pandas") from e
    return pandas.DataFrame([_record(run) for run in runs])


def _record(run: Run) -> dict[str, Any]:
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
