"""A workspace, its experiments and their runs: azureml's three classes, which lead to each other, on the workspace's own store."""

from __future__ import annotations

import builtins
import json
import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tocsin.sdk import config
from tocsin.sdk.errors import RunEnvironmentException, ServiceException, UserErrorException, WorkspaceException
from tocsin.sdk.parts.found import Runs, frame
from tocsin.sdk.parts.record import HasRecord
from tocsin.sdk.parts.status import HasStatus
from tocsin.sdk.runconfig import ComputeTarget, ScriptRunConfig, targets
from tocsin.sdk.running.ending import watch
from tocsin.sdk.sending.known import known
from tocsin.sdk.session import Session, memory_session, once_written, session_of, usable
from tocsin.sdk.storage.rows import New, Query, RunRow, labels_asked
from tocsin.sdk.text import clean, experiment_name, run_id_of, string_value, string_values, warn_once

MOST_CHILDREN = 100
_context: dict[tuple[str, str, int], Run] = {}


class Run(HasStatus):
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
        self._inside = inside

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
        return Experiment._of(self._session, self._first.experiment)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.id == self.id and other._session is self._session

    def __hash__(self) -> int:
        return hash(self.id)

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

        row = submit(self._session, self._first.experiment, config, tags=tags, parent=self._first, **kwargs)
        return Run._of(self._session, row)

    def get_children(
        self, recursive: bool = False, tags: Any = None, properties: Any = None, type: str | None = None,
        status: str | None = None, _rehydrate_runs: bool = True,
    ) -> Runs[Run]:  # fmt: skip
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
    ) -> Runs[Run]:  # fmt: skip
        """Runs of an experiment, StartTime descending."""
        query = Query(
            experiment=experiment.name, type=type, status=status, top_only=not include_children,
            tags=labels_asked(tags, "tags"), properties=labels_asked(properties, "properties"),
        )  # fmt: skip
        return found(experiment._session, query)


def found(session: Session, query: Query, inside: bool = False) -> Runs[Run]:
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
        row = once_written(session, run_id)
    except (UserErrorException, sqlite3.Error, OSError) as e:
        warn_once("context", "run %s cannot be read (%s); this process logs to nowhere", run_id, e)
        return _offline()
    if row is None or usable(session) is not session:
        return _offline()
    return Run._of(session, row, inside)


def _offline() -> Run:
    """A run in memory."""
    session = memory_session()
    new = New(run_id=f"OfflineRun_{uuid.uuid4()}", experiment="offline", status="Running")
    return Run._of(session, session.store.create([new])[0], inside=False)


class Experiment(HasRecord):
    """Made where it is not there."""

    def __init__(self, workspace: Workspace, name: str, **_kwargs: Any) -> None:
        """Raises UserErrorException for a name that azureml refuses."""
        self._session = workspace._session
        self.name = experiment_name(name)

    @classmethod
    def _of(cls, session: Session, name: str) -> Self:
        made = cls.__new__(cls)
        made._session, made.name = session, name
        return made

    @property
    def workspace(self) -> Workspace:
        """Its workspace. Raises UserErrorException for the experiment of an offline run."""
        if self._session.place is None:
            raise UserErrorException("an offline run has no workspace")
        return Workspace._of(self._session)

    def start_logging(
        self,
        name: str | None = None,
        run_id: str | None = None,
        outputs: str | None = None,
        snapshot_directory: str | Path | None = ".",
        tags: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        **_kwargs: Any,
    ) -> Run:
        """Start an interactive run, which this process ends; as a context manager it ends with the block.

        ``run_id`` of an existing run goes on with it. The snapshot of ``snapshot_directory`` (None: none) and the git
        commit are taken in the background.
        """
        from tocsin.sdk.running.capture import capture

        store = self._session.store
        if run_id is not None and (run := self._resumed(run_id_of(run_id))) is not None:
            return run
        new = New(
            run_id=run_id_of(run_id) if run_id else str(uuid.uuid4()), experiment=self.name, status="Running",
            display_name=clean(display_name or name or ""), description=clean(description or ""),
            owner=store.presence.identity().dump(), tags=string_values(tags, "tag"), target="local",
            properties=string_values(properties, "property"),
        )  # fmt: skip
        run = Run._interactive(self._session, [new])[0]
        if run._session.place is not None:
            capture(run._session, run.id, Path(snapshot_directory) if snapshot_directory else None)
        return run

    def _resumed(self, run_id: str) -> Run | None:
        store = self._session.store
        row = store.get(run_id)
        if row is None:
            return None
        if row.experiment != self.name or row.type:
            raise UserErrorException(
                f"run {run_id} belongs to experiment {row.experiment} or was submitted; it cannot be resumed here"
            )
        owner = store.presence.identity().dump()
        if store.transition(run_id, "Running", unless=(), owner=owner) is None:
            store.update(run_id, owner=owner)  # it is Running: this process takes it over
        self._session.recorder.own(run_id)
        watch(self._session)
        return Run.get(self.workspace, run_id)

    def submit(
        self, config: ScriptRunConfig, tags: Mapping[str, Any] | None = None, properties: Mapping[str, Any] | None = None,
        display_name: str = "", **_kwargs: Any,
    ) -> Run:  # fmt: skip
        """Run a script in a process of its own and return at once."""
        from tocsin.sdk.running.submit import submit

        row = submit(self._session, self.name, config, tags=tags, properties=properties, display_name=display_name)
        return Run._of(self._session, row)

    def get_runs(
        self, type: str | None = None, tags: Any = None, properties: Any = None, include_children: bool = False
    ) -> Runs[Run]:
        """Its runs, StartTime descending: by ``tags`` and ``properties`` (a key, or a dict that all have to match)."""
        return Run.list(self, type=type, tags=tags, properties=properties, include_children=include_children)

    def get_runs_df(self, **query: Any) -> Any:
        """Its runs as a pandas DataFrame: status, times, tags.*, properties.*, metrics.* (the last value)."""
        return frame(self.get_runs(**query))

    @staticmethod
    def list(
        workspace: Workspace, experiment_name: str | None = None, view_type: str = "ActiveOnly", tags: Any = None
    ) -> list[Experiment]:
        """Experiments of a workspace by name; ``view_type`` ActiveOnly, ArchivedOnly or All; ``tags`` a key, or a dict of them."""
        views = {"ActiveOnly": "archived = 0", "ArchivedOnly": "archived = 1", "All": "1"}
        if view_type not in views:
            raise UserErrorException(f"view_type: {view_type!r} is none of {', '.join(views)}")
        rows = workspace._session.store.database.read(
            f"SELECT name, tags FROM experiments WHERE {views[view_type]} ORDER BY name"
        )
        wanted = labels_asked(tags, "tags")

        def has(found: Mapping[str, Any]) -> bool:
            return all(key in found and value in (None, found[key]) for key, value in wanted.items())

        return [
            Experiment._of(workspace._session, name)
            for name, found in rows
            if experiment_name in (None, name) and has(json.loads(found))
        ]

    @staticmethod
    def delete(workspace: Workspace, experiment_id: str) -> None:
        """Delete an experiment without runs. Raises ServiceException where there is none, or it has runs."""
        store = workspace._session.store
        with store.database.write() as tx:
            row = tx.execute("SELECT name FROM experiments WHERE id = ?", (experiment_id,)).fetchone()
            if row is None:
                raise ServiceException(f"there is no experiment {experiment_id!r}")
            if tx.execute("SELECT 1 FROM runs WHERE experiment = ? LIMIT 1", row).fetchone():
                raise ServiceException(f"experiment {row[0]} has runs: archive it instead")
            tx.execute("DELETE FROM experiments WHERE name = ?", row)

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self._session.name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and other.name == self.name and other._session is self._session

    def __hash__(self) -> int:
        return hash(self.name)


class Workspace:
    """Runs, experiments and compute targets of one folder."""

    def __init__(
        self, subscription_id: str | None = None, resource_group: str | None = None, workspace_name: str | None = None,
        auth: Any = None, _location: Any = None, path: str | Path | None = None, **_kwargs: Any,
    ) -> None:  # fmt: skip
        """The workspace at ``path`` (here where absent) or above it. Raises WorkspaceException for one of another name."""
        place = config.find(path)
        if workspace_name is not None and workspace_name != place.name:
            raise WorkspaceException(
                f"the workspace of {place.folder} is called {place.name!r}, not {workspace_name!r}"
            )
        self._session = session_of(place)

    @classmethod
    def _of(cls, session: Session) -> Self:
        made = cls.__new__(cls)
        made._session = session
        return made

    @classmethod
    def from_config(
        cls, path: str | Path | None = None, auth: Any = None, _logger: Any = None, _file_name: str | None = None
    ) -> Self:
        """The workspace at ``path``, a folder or file, or above it. Raises WorkspaceException where there is none."""
        where = Path(path) if path is not None else None
        if _file_name is not None:
            where = (where or Path()) / _file_name
        return cls._of(session_of(config.find(where)))

    @classmethod
    def create(
        cls, name: str, auth: Any = None, subscription_id: str | None = None, resource_group: str | None = None,
        location: str | None = None, create_resource_group: bool = True, sku: str | None = None,
        tags: Mapping[str, Any] | None = None, exist_ok: bool = False, path: str | Path = ".", **_azure: Any,
    ) -> Self:  # fmt: skip
        """Make the folder ``path`` a workspace. Raises ProjectSystemException where it is one, unless ``exist_ok``."""
        settings = {
            "workspace_name": clean(name), "resource_group": resource_group, "subscription_id": subscription_id,
            "location": location, "sku": sku, "tags": string_values(tags, "tag") or None,
        }  # fmt: skip
        return cls._of(session_of(config.attach(Path(path), settings, exist_ok=exist_ok)))

    @classmethod
    def get(
        cls, name: str, auth: Any = None, subscription_id: str | None = None, resource_group: str | None = None,
        path: str | Path | None = None, **_kwargs: Any,
    ) -> Self:  # fmt: skip
        """The workspace called ``name`` at ``path`` or above it. Raises WorkspaceException where it is called otherwise."""
        return cls(workspace_name=name, path=path)

    @staticmethod
    def list(
        subscription_id: str | None = None, auth: Any = None, resource_group: str | None = None
    ) -> dict[str, builtins.list[Workspace]]:
        """Workspaces by name: those of this user on this machine that have sent events, and the one here.

        A workspace whose file names another subscription or resource group is left out.
        """
        places = []
        for folder in (None, *known()):
            try:
                places.append(config.find(folder))
            except WorkspaceException:
                continue  # none is here, or its file cannot be read
        asked = {"subscription_id": subscription_id, "resource_group": resource_group}
        out: dict[str, builtins.list[Workspace]] = {}
        for place in {place.folder: place for place in places}.values():
            if all(value in (None, "", place.settings.get(key) or value) for key, value in asked.items()):
                out.setdefault(place.name, []).append(Workspace._of(session_of(place)))
        return out

    @property
    def name(self) -> str:
        """Its name."""
        return self._session.name

    @property
    def folder(self) -> Path:
        """The folder that holds ``.tocsin``."""
        return self._session.folder

    @property
    def resource_group(self) -> str:
        """As its file says; tocsin has no use for it."""
        return str(self._session.settings.get("resource_group") or "")

    @property
    def subscription_id(self) -> str:
        """As its file says; tocsin has no use for it."""
        return str(self._session.settings.get("subscription_id") or "")

    @property
    def location(self) -> str:
        """As its file says; tocsin has no use for it."""
        return str(self._session.settings.get("location") or "")

    @property
    def sku(self) -> str:
        """As its file says, else azureml's default; tocsin has no use for it."""
        return str(self._session.settings.get("sku") or "basic")

    @property
    def tags(self) -> dict[str, str | None]:
        """As its file says."""
        found = self._session.settings.get("tags")
        return dict(found) if isinstance(found, Mapping) else {}

    @property
    def compute_targets(self) -> dict[str, ComputeTarget]:
        """Those that its file names, and ``local``."""
        return targets(self._session.settings)

    @property
    def experiments(self) -> dict[str, Experiment]:
        """Its experiments by name, without archived ones."""
        return {e.name: e for e in Experiment.list(self)}

    def get_run(self, run_id: str) -> Run:
        """One of its runs. Raises ServiceException where there is none."""
        return Run.get(self, run_id)

    def get_details(self) -> Mapping[str, Any]:
        """What its file says, and where it is."""
        return {"name": self.name, "folder": str(self.folder), **self._session.settings}

    def write_config(self, path: str | Path | None = None, file_name: str | None = None) -> None:
        """Write the workspace's file into ``<path>/.tocsin`` (its own folder where absent)."""
        target = Path(path or self.folder) / config.FOLDER / (file_name or config.FILE)
        target.parent.mkdir(parents=True, exist_ok=True)
        settings = {"workspace_name": self.name, **self._session.settings}
        config.replace_file(target, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")

    def __repr__(self) -> str:
        return f"Workspace.create(name={self.name!r}, path={str(self.folder)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Workspace) and other._session is self._session

    def __hash__(self) -> int:
        return hash(self.folder)
