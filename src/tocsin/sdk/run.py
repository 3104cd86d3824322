"""A run: its status, labels, children. azureml's Run, on the workspace's own store."""

from __future__ import annotations

import builtins
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tocsin.model.statuses import TERMINAL
from tocsin.sdk import config
from tocsin.sdk.errors import (
    ExperimentExecutionException,
    RunEnvironmentException,
    ServiceException,
    UserErrorException,
)
from tocsin.sdk.parts.labels import Labelled
from tocsin.sdk.parts.logged import LogsMetrics
from tocsin.sdk.running.ending import user_error, watch
from tocsin.sdk.runs import Runs
from tocsin.sdk.session import Session, memory_session, session_of, usable
from tocsin.sdk.storage.rows import New, Query, RunRow, labels_asked
from tocsin.sdk.storage.store import make_error
from tocsin.sdk.text import clean, run_id_of, string_value, warn, warn_once

if TYPE_CHECKING:
    from tocsin.sdk.experiment import Experiment
    from tocsin.sdk.runconfig import ScriptRunConfig
    from tocsin.sdk.workspace import Workspace

MOST_CHILDREN = 100
_context: dict[tuple[str, str, int], Run] = {}


class Run(Labelled, LogsMetrics):
    """One run of an experiment."""

    def __init__(self, experiment: Experiment, run_id: str, outputs: str | None = None, **_kwargs: Any) -> None:
        """An existing run. Raises ServiceException where the experiment has none of that id."""
        session = experiment._session
        row = session.store.get(str(run_id))
        if row is None or row.experiment != experiment.name:
            raise ServiceException(f"experiment {experiment.name} has no run {str(run_id)[:80]!r}")
        self._set(session, row, inside=False)

    def _set(self, session: Session, row: RunRow, inside: bool) -> None:
        self._session, self._first = session, row
        self.id, self._num = row.run_id, row.num
        self._inside = inside  # this process is (part of) the submitted script

    @classmethod
    def _of(cls, session: Session, row: RunRow, inside: bool = False) -> Self:
        run = cls.__new__(cls)
        run._set(session, row, inside)
        return run

    @classmethod
    def _interactive(cls, session: Session, new: list[New]) -> list[Self]:
        """Runs that this process owns and ends."""
        session = usable(session)
        try:
            rows = session.store.create(new)
        except sqlite3.IntegrityError:
            raise UserErrorException(f"a run {new[0].run_id} exists already") from None
        except sqlite3.Error as e:
            warn_once("create", "runs cannot be kept: %s; they are kept in memory only", e)
            session = memory_session()
            rows = session.store.create(new)
        session.recorder.own(*(row.run_id for row in rows))
        watch(session)
        return [cls._of(session, row) for row in rows]

    def __reduce__(self) -> Any:
        folder = str(self._session.place.folder) if self._session.place else None
        return _load, (folder, self.id, self._inside)

    @property
    def experiment(self) -> Experiment:
        """Its experiment; ``run.experiment.workspace`` is its workspace."""
        from tocsin.sdk.experiment import Experiment

        return Experiment._of(self._session, self._first.experiment)

    def __repr__(self) -> str:
        return f"Run(Experiment: {self._first.experiment},\nId: {self.id},\nType: {self.type},\nStatus: {self.status})"

    def _repr_html_(self) -> str:
        import html

        row = self._row()
        cells = {"Experiment": row.experiment, "Id": row.run_id, "Type": row.type, "Status": row.status}
        head = "".join(f"<th>{name}</th>" for name in cells)
        body = "".join(f"<td>{html.escape(value)}</td>" for value in cells.values())
        return f"<table><tr>{head}</tr><tr>{body}</tr></table>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other._session is self._session

    def __hash__(self) -> int:
        return hash(self.id)

    # --- status ---

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

        return wait(self, show_output, raise_on_error)

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

    # --- parents and children ---

    @property
    def parent(self) -> Run | None:
        """The run that made it; None for one at the top."""
        return self._other(self._first.parent_id)

    @property
    def root(self) -> Run:
        """The top of its tree; itself where it is the top."""
        return self if self._first.root_id == self.id else self._other(self._first.root_id) or self

    def _other(self, run_id: str) -> Run | None:
        row = self._session.store.get(run_id) if run_id else None
        return None if row is None else Run._of(self._session, row, self._inside)

    def _child(
        self, run_id: str | None = None, name: str | None = None, tags: Mapping[str, str | None] | None = None
    ) -> New:
        owner = self._session.store.presence.identity().dump()
        return New(
            run_id=run_id_of(run_id) if run_id else str(uuid.uuid4()), experiment=self._first.experiment, status="Running",
            parent_id=self.id, root_id=self._first.root_id, display_name=clean(name or ""), owner=owner, tags=tags or {},
            target=self._first.target,
        )  # fmt: skip

    def child_run(self, name: str | None = None, run_id: str | None = None, outputs: str | None = None) -> Run:
        """A child that this process runs and ends; as a context manager it ends with the block."""
        return Run._interactive(self._session, [self._child(run_id, name)])[0]

    def create_children(
        self, count: int | None = None, tag_key: str | None = None, tag_values: Sequence[Any] | None = None
    ) -> list[Run]:
        """Many children at once, Running: ``count`` of them, or one for each of ``tag_values`` with the tag ``tag_key``."""
        if (count is None) == (tag_key is None and tag_values is None):
            raise UserErrorException("create_children takes either count, or tag_key and tag_values")
        if count is None and (tag_key is None or tag_values is None):
            raise UserErrorException("create_children: tag_key and tag_values go together")
        number = len(tag_values) if tag_values is not None else int(count or 0)
        if not 1 <= number <= MOST_CHILDREN:
            raise UserErrorException(f"create_children makes 1 to {MOST_CHILDREN} children at once, not {number}")
        tags: list[Mapping[str, str | None]] = [{} for _ in range(number)]
        if tag_key is not None and tag_values is not None:
            tags = [{clean(tag_key): string_value(tag_key, value, "tag")} for value in tag_values]
        return list(Run._interactive(self._session, [self._child(tags=t) for t in tags]))

    def submit_child(self, config: ScriptRunConfig, tags: Mapping[str, Any] | None = None, **kwargs: Any) -> Run:
        """Submit a script as a child of this run."""
        from tocsin.sdk.running.submit import submit

        return submit(self._session, self._first.experiment, config, tags=tags, parent=self, **kwargs)

    def get_children(
        self, recursive: bool = False, tags: Any = None, properties: Any = None, type: str | None = None,
        status: str | None = None, _rehydrate_runs: bool = True,
    ) -> Runs:  # fmt: skip
        """Its children, StartTime descending; with ``recursive`` all below it."""
        query = Query(
            parent_id=None if recursive else self.id, below=self.id if recursive else None, type=type, status=status,
            tags=labels_asked(tags, "tags"), properties=labels_asked(properties, "properties"),
        )  # fmt: skip
        return found(self._session, query, self._inside)

    # --- finding runs ---

    @staticmethod
    def get_context(allow_offline: bool = True, used_for_context_manager: bool = False, **_kwargs: Any) -> Run:
        """The run of which this process is the script, or part of it.

        Elsewhere an offline run, kept in memory; or RunEnvironmentException where ``allow_offline`` is False.
        """
        run_id, folder = os.environ.get("TOCSIN_RUN_ID", ""), os.environ.get("TOCSIN_WORKSPACE", "")
        if not run_id or not folder:
            if not allow_offline:
                raise RunEnvironmentException(
                    "this process is no submitted run: TOCSIN_RUN_ID and TOCSIN_WORKSPACE are not set"
                )
            run_id, folder = "", ""
        key = (folder, run_id, os.getpid())
        if key not in _context:
            _context[key] = _load(folder, run_id, True) if run_id else _offline()
        return _context[key]

    @classmethod
    def get_submitted_run(cls, **kwargs: Any) -> Run:
        """As ``get_context(allow_offline=False)``, which azureml recommends instead since it deprecated this."""
        warn_once("submitted", "Run.get_submitted_run() is deprecated: write Run.get_context()")
        return cls.get_context(allow_offline=False, **kwargs)

    @staticmethod
    def get(workspace: Workspace, run_id: str) -> Run:
        """A run of the workspace. Raises ServiceException where there is none."""
        row = workspace._session.store.get(str(run_id))
        if row is None:
            raise ServiceException(f"workspace {workspace.name} has no run {str(run_id)[:80]!r}")
        return Run._of(workspace._session, row)

    @staticmethod
    def list(
        experiment: Experiment, type: str | None = None, tags: Any = None, properties: Any = None, status: str | None = None,
        include_children: bool = False, _rehydrate_runs: bool = True,
    ) -> Runs:  # fmt: skip
        """Runs of an experiment, StartTime descending."""
        query = Query(
            experiment=experiment.name, type=type, status=status, top_only=not include_children,
            tags=labels_asked(tags, "tags"), properties=labels_asked(properties, "properties"),
        )  # fmt: skip
        return found(experiment._session, query)


def found(session: Session, query: Query, inside: bool = False) -> Runs:
    """The runs that ``query`` finds."""

    def find() -> Iterator[Run]:
        return (Run._of(session, row, inside) for row in session.store.find(query))

    return Runs(find)


def _load(folder: str | None, run_id: str, inside: bool) -> Run:
    """The run again, in another process. What cannot be read becomes an offline run: training goes on."""
    if folder is None:
        return _offline()
    try:
        session = session_of(config.find(folder))
        row = _once_written(session, run_id)
    except (UserErrorException, sqlite3.Error, OSError) as e:
        warn_once("context", "run %s cannot be read (%s); this process logs to nowhere", run_id, e)
        return _offline()
    if row is None or usable(session) is not session:
        return _offline()
    return Run._of(session, row, inside)


def _once_written(session: Session, run_id: str) -> RunRow | None:
    """`tocsin exec` starts its command first and writes its run down beside it: the script may be a little quicker."""
    pause = threading.Event()
    for _ in range(250):
        if row := session.store.get(run_id):
            return row
        pause.wait(0.02)
    return None


def _offline() -> Run:
    """A run in memory."""
    session = memory_session()
    new = New(run_id=f"OfflineRun_{uuid.uuid4()}", experiment="offline", status="Running")
    return Run._of(session, session.store.create([new])[0], inside=False)
