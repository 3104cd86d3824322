"""MLflow on a workspace: ``mlflow.set_tracking_uri("tocsin://")``. MLflow loads this module by its entry point.

Runs of MLflow are runs of the workspace: their status reaches tocsin, params are properties ``param.NAME``, and an open run whose process is
gone is Failed. Experiments and runs that MLflow deletes stay, and are left out of its lists.
"""

from __future__ import annotations

import json
import math
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.entities import (
    Experiment,
    ExperimentTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
)
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchExperimentsUtils, SearchUtils

from tocsin.sdk import config
from tocsin.sdk.errors import UserErrorException
from tocsin.sdk.running.ending import watch
from tocsin.sdk.session import Session, session_of
from tocsin.sdk.storage.metrics import Kind, scalar
from tocsin.sdk.storage.rows import New, Query, RunRow
from tocsin.sdk.storage.store import make_error
from tocsin.sdk.text import clean, run_id_of

DELETED = "mlflow.deleted"
"""Tag of a run that MLflow has deleted."""
NOTE, NAME, PARENT = "mlflow.note.content", "mlflow.runName", "mlflow.parentRunId"
PARAM = "param."
"""How properties that are params begin, as ``Run.log_params`` writes them."""
DEFAULT = "0"
"""MLflow's id of the experiment of runs that name none."""
_TO = {RunStatus.RUNNING: "Running", RunStatus.SCHEDULED: "Queued", RunStatus.FINISHED: "Completed", RunStatus.FAILED: "Failed", RunStatus.KILLED: "Canceled"}  # fmt: skip
_FROM = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "Queued": "SCHEDULED", "NotStarted": "SCHEDULED"}  # fmt: skip
_VIEWS = {ViewType.ACTIVE_ONLY: (False,), ViewType.DELETED_ONLY: (True,), ViewType.ALL: (False, True)}


class TocsinStore(AbstractStore):  # type: ignore[misc]
    """Keeps experiments, runs, params, metrics and tags in the workspace that the URI names."""

    def __init__(self, store_uri: str | None = None, artifact_uri: str | None = None) -> None:
        """``tocsin://`` is the workspace here or above, ``tocsin:///DIR`` the one at DIR. Raises MlflowException."""
        super().__init__()
        try:
            place = config.find(unquote(urlsplit(store_uri or "").path) or None)
        except UserErrorException as e:
            raise MlflowException(str(e), INVALID_PARAMETER_VALUE) from e
        self._session: Session = session_of(place)
        self._store = self._session.store

    # --- experiments ---

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: Sequence[Any] | None = None
    ) -> str:
        """Its id. Artifacts of its runs stay in the workspace, so ``artifact_location`` is refused."""
        if artifact_location:
            raise MlflowException("artifact_location: a workspace keeps the files of its runs", INVALID_PARAMETER_VALUE)
        name, made = clean(name), str(uuid.uuid4())
        kept = json.dumps({tag.key: tag.value for tag in tags or ()})
        try:
            with self._store.database.write() as tx:
                tx.execute(
                    "INSERT INTO experiments (name, id, created_us, tags) VALUES (?, ?, ?, ?)", (name, made, self._store.now(), kept)
                )  # fmt: skip
        except sqlite3.IntegrityError as e:
            raise MlflowException(f"an experiment {name!r} exists already", RESOURCE_ALREADY_EXISTS) from e
        return made

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Raises MlflowException where there is none."""
        found = self._experiments("id = ?", experiment_id)
        if not found and experiment_id == DEFAULT:
            with self._store.database.write() as tx:
                tx.execute(
                    "INSERT OR IGNORE INTO experiments (name, id, created_us) VALUES ('Default', ?, ?)", (DEFAULT, self._store.now())
                )  # fmt: skip
            found = self._experiments("id = ?", experiment_id)
        if not found:
            raise MlflowException(f"there is no experiment {experiment_id!r}", RESOURCE_DOES_NOT_EXIST)
        return found[0]

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """None where there is none."""
        return next(iter(self._experiments("name = ?", clean(experiment_name))), None)

    def _experiments(self, where: str = "1", *values: object) -> list[Experiment]:
        rows = self._store.database.read(
            f"SELECT id, name, created_us, archived, tags FROM experiments WHERE {where}", values
        )
        return [
            Experiment(
                experiment_id=id_, name=name, artifact_location=(self._session.folder / config.FOLDER / "runs").as_uri(),
                lifecycle_stage=_stage(archived), creation_time=created // 1000, last_update_time=created // 1000,
                tags=[ExperimentTag(key, value or "") for key, value in json.loads(tags).items()],
            )
            for id_, name, created, archived, tags in rows
        ]  # fmt: skip

    def search_experiments(
        self, view_type: int = ViewType.ACTIVE_ONLY, max_results: int = 1000, filter_string: str | None = None,
        order_by: Sequence[str] | None = None, page_token: str | None = None,
    ) -> PagedList:  # fmt: skip
        """As MLflow filters and sorts."""
        wanted = [_stage(deleted) for deleted in _VIEWS[view_type]]
        found = [one for one in self._experiments() if one.lifecycle_stage in wanted]
        found = SearchExperimentsUtils.filter(found, filter_string)
        found = SearchExperimentsUtils.sort(found, order_by or ["creation_time DESC", "experiment_id ASC"])
        return PagedList(*SearchUtils.paginate(found, page_token, max_results))

    def delete_experiment(self, experiment_id: str) -> None:
        """Archive it."""
        self._change_experiment(experiment_id, "archived = ?", 1)

    def restore_experiment(self, experiment_id: str) -> None:
        """List it again."""
        self._change_experiment(experiment_id, "archived = ?", 0)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Refused: events and rules know an experiment by its name."""
        raise MlflowException("an experiment keeps its name, by which events and rules know it", INVALID_STATE)

    def set_experiment_tag(self, experiment_id: str, tag: Any) -> None:
        """Set one tag of an experiment."""
        after = {**self.get_experiment(experiment_id).tags, tag.key: tag.value}
        self._change_experiment(experiment_id, "tags = ?", json.dumps(after))

    def _change_experiment(self, experiment_id: str, change: str, value: object) -> None:
        self.get_experiment(experiment_id)
        with self._store.database.write() as tx:
            tx.execute(f"UPDATE experiments SET {change} WHERE id = ?", (value, experiment_id))

    # --- runs ---

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int, tags: Sequence[Any] | None, run_name: str | None
    ) -> Run:
        """A run that this process owns."""
        experiment = self.get_experiment(experiment_id)
        given = {clean(tag.key): clean(tag.value) for tag in tags or ()}
        parent = self._store.get(given[PARENT]) if given.get(PARENT) else None
        run_id = uuid.uuid4().hex
        name = clean(run_name or given.get(NAME) or run_id)
        new = New(
            run_id=run_id, experiment=experiment.name, status="Running", target="local", tags={**given, NAME: name}, display_name=name,
            description=given.get(NOTE, ""), owner=self._store.presence.identity().dump(), parent_id=parent.run_id if parent else "",
            root_id=parent.root_id if parent else "",
        )  # fmt: skip
        row = self._store.create([new])[0]
        self._session.recorder.own(run_id)
        watch(self._session)
        return self._run(row)

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """Its status, and its name for people."""
        self._session.recorder.flush()
        if run_name:
            self._store.rename(run_id, clean(run_name))
            self._store.relabel(run_id, "t", {NAME: clean(run_name)})
        status = _TO.get(run_status) if run_status is not None else None
        if status is not None:
            error = make_error("UserError", "MLflow ended it as FAILED") if status == "Failed" else None
            self._store.transition(run_id, status, unless=(), error=error)
            if status in _FROM and status != "Queued":
                self._session.recorder.disown(run_id)
            elif status == "Running":
                self._store.update(run_id, owner=self._store.presence.identity().dump())
                self._session.recorder.own(run_id)
        return self._run(self._row(run_id)).info

    def get_run(self, run_id: str) -> Run:
        """Raises MlflowException where there is none."""
        self._session.recorder.flush()
        return self._run(self._row(run_id))

    def delete_run(self, run_id: str) -> None:
        """Leave it out of MLflow's lists."""
        self._row(run_id)
        self._store.relabel(run_id, "t", {DELETED: "true"})

    def restore_run(self, run_id: str) -> None:
        """List it again."""
        self._row(run_id)
        self._store.relabel(run_id, "t", {}, [DELETED])

    def _row(self, run_id: str) -> RunRow:
        try:
            row = self._store.get(run_id_of(run_id))
        except UserErrorException as e:
            raise MlflowException(str(e), INVALID_PARAMETER_VALUE) from e
        if row is None:
            raise MlflowException(f"workspace {self._session.name} has no run {run_id!r}", RESOURCE_DOES_NOT_EXIST)
        return row

    def _run(self, row: RunRow, ids: Mapping[str, str] | None = None) -> Run:
        tags = {key: value or "" for key, value in row.tag_values.items()}
        experiment = (ids or {}).get(row.experiment) or self._experiments("name = ?", row.experiment)[0].experiment_id
        info = RunInfo(
            run_id=row.run_id, experiment_id=experiment, user_id=row.submitted_by, status=_FROM.get(row.status, "RUNNING"),
            start_time=(row.start_us or row.created_us) // 1000, end_time=None if row.end_us is None else row.end_us // 1000,
            lifecycle_stage=_stage(DELETED in tags), run_name=row.display_name,
            artifact_uri=(self._session.run_folder(row.run_id) / "files").as_uri(),
        )  # fmt: skip
        if row.description:
            tags[NOTE] = row.description
        params = [
            Param(key.removeprefix(PARAM), value or "")
            for key, value in row.property_values.items()
            if key.startswith(PARAM)
        ]
        return Run(info, RunData(self._last(row.num), params, [RunTag(key, value) for key, value in tags.items()]))

    def _last(self, run: int) -> list[Metric]:
        rows = self._store.database.read(
            "SELECT name, value, at_us, step FROM metrics WHERE run = ? AND kind = 0 AND id IN"
            " (SELECT max(id) FROM metrics WHERE run = ? AND kind = 0 GROUP BY name)",
            (run, run),
        )
        return [_metric(*row) for row in rows if not isinstance(row[1], str)]

    def _search_runs(
        self, experiment_ids: Sequence[str], filter_string: str | None, run_view_type: int, max_results: int,
        order_by: Sequence[str] | None, page_token: str | None,
    ) -> tuple[list[Run], str | None]:  # fmt: skip
        self._session.recorder.flush()
        wanted = [_stage(deleted) for deleted in _VIEWS[run_view_type]]
        names = {one.name: one.experiment_id for one in self._experiments() if one.experiment_id in experiment_ids}
        runs = [self._run(row, names) for name in names for row in self._store.find(Query(experiment=name))]
        runs = SearchUtils.filter([run for run in runs if run.info.lifecycle_stage in wanted], filter_string)
        page: tuple[list[Run], str | None] = SearchUtils.paginate(
            SearchUtils.sort(runs, order_by), page_token, max_results
        )
        return page

    # --- what is logged ---

    def log_batch(self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        """Metrics are on disk within a second; params never change. Raises MlflowException for one that would."""
        row = self._row(run_id)
        if params:
            self._log_params(row, params)
        for metric in metrics:
            value = scalar(metric.key, float(metric.value))
            self._session.recorder.log(
                (row.num, clean(metric.key), int(Kind.VALUE), metric.step, metric.timestamp * 1000, value, None)
            )
        if tags:
            given = {clean(tag.key): clean(tag.value) for tag in tags}
            self._store.relabel(run_id, "t", given)
            if NOTE in given:
                self._store.describe(run_id, given[NOTE])

    def _log_params(self, row: RunRow, params: Iterable[Any]) -> None:
        before, given = row.property_values, {PARAM + clean(param.key): clean(param.value) for param in params}
        for key, value in given.items():
            if key in before and before[key] != value:
                raise MlflowException(
                    f"the param {key.removeprefix(PARAM)!r} is {before[key]!r} and cannot become {value!r}",
                    INVALID_PARAMETER_VALUE,
                )
        self._store.relabel(row.run_id, "p", given)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Remove one tag."""
        if key not in self._row(run_id).tag_values:
            raise MlflowException(f"run {run_id} has no tag {key!r}", RESOURCE_DOES_NOT_EXIST)
        self._store.relabel(run_id, "t", {}, [key])

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList:  # fmt: skip
        """Every value of a metric, in the order in which they were logged."""
        self._session.recorder.flush()
        rows = self._store.database.read(
            "SELECT name, value, at_us, step FROM metrics WHERE run = ? AND name = ? AND kind = 0 ORDER BY id",
            (self._row(run_id).num, clean(metric_key)),
        )
        found = [_metric(*row) for row in rows if not isinstance(row[1], str)]
        return PagedList(*SearchUtils.paginate(found, page_token, max_results or max(1, len(found))))

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:
        """Refused: a workspace keeps no data sets."""
        raise MlflowException("a workspace keeps no inputs; log their names as params", INVALID_STATE)

    def link_traces_to_run(self, trace_ids: list[str], run_id: str) -> None:
        """Refused: a workspace keeps no traces."""
        raise MlflowException("a workspace keeps no traces", INVALID_STATE)


def _stage(deleted: object) -> str:
    return str(LifecycleStage.DELETED if deleted else LifecycleStage.ACTIVE)


def _metric(name: str, value: float | None, at_us: int, step: int | None) -> Metric:
    return Metric(name, math.nan if value is None else float(value), at_us // 1000, step or 0)
