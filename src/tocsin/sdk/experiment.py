"""An experiment: runs of one name in a workspace."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tocsin.sdk.errors import ServiceException, UserErrorException
from tocsin.sdk.run import Run
from tocsin.sdk.runs import Runs
from tocsin.sdk.session import Session
from tocsin.sdk.storage.rows import New, labels_asked
from tocsin.sdk.text import clean, experiment_name, run_id_of, string_value, string_values

if TYPE_CHECKING:
    from tocsin.sdk.runconfig import ScriptRunConfig
    from tocsin.sdk.workspace import Workspace


class Experiment:
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
        from tocsin.sdk.workspace import Workspace

        if self._session.place is None:
            raise UserErrorException("an offline run has no workspace")
        return Workspace._of(self._session)

    def _record(self) -> tuple[Any, ...]:
        database = self._session.store.database
        ask = "SELECT id, archived, tags, created_us FROM experiments WHERE name = ?"
        row = database.one(ask, (self.name,))
        if row is None:
            with database.write() as tx:
                tx.execute(
                    "INSERT OR IGNORE INTO experiments (name, id, created_us) VALUES (?, ?, ?)",
                    (self.name, str(uuid.uuid4()), self._session.store.now()),
                )
            row = database.one(ask, (self.name,))
        assert row is not None
        return row

    @property
    def id(self) -> str:
        """Its id, a UUID."""
        return str(self._record()[0])

    @property
    def tags(self) -> dict[str, str | None]:
        """Its tags."""
        out: dict[str, str | None] = json.loads(self._record()[2])
        return out

    def tag(self, key: str, value: str | None = None) -> None:
        """Set a tag of the experiment."""
        self.set_tags({key: string_value(key, value, "tag")})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags of the experiment; others stay."""
        self._store_tags({**self.tags, **string_values(tags, "tag")})

    def remove_tags(self, tags: list[str] | str) -> None:
        """Remove tags of the experiment by key."""
        gone = {tags} if isinstance(tags, str) else set(tags)
        self._store_tags({k: v for k, v in self.tags.items() if k not in gone})

    def _store_tags(self, tags: Mapping[str, str | None]) -> None:
        with self._session.store.database.write() as tx:
            tx.execute("UPDATE experiments SET tags = ? WHERE name = ?", (json.dumps(dict(tags)), self.name))

    def archive(self) -> None:
        """Leave it out of lists; its runs stay."""
        self._archive(1)

    def reactivate(self, new_name: str | None = None) -> None:
        """List it again."""
        if new_name not in (None, self.name):
            raise UserErrorException("reactivate: an experiment keeps its name")
        self._archive(0)

    def _archive(self, archived: int) -> None:
        self._record()
        with self._session.store.database.write() as tx:
            tx.execute("UPDATE experiments SET archived = ? WHERE name = ?", (archived, self.name))

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
            capture(run, Path(snapshot_directory) if snapshot_directory else None)
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
        from tocsin.sdk.running.ending import watch

        self._session.recorder.own(run_id)
        watch(self._session)
        return Run.get(self.workspace, run_id)

    def submit(
        self, config: ScriptRunConfig, tags: Mapping[str, Any] | None = None, properties: Mapping[str, Any] | None = None,
        display_name: str = "", **_kwargs: Any,
    ) -> Run:  # fmt: skip
        """Run a script in a process of its own and return at once."""
        from tocsin.sdk.running.submit import submit

        return submit(self._session, self.name, config, tags=tags, properties=properties, display_name=display_name)

    def get_runs(
        self, type: str | None = None, tags: Any = None, properties: Any = None, include_children: bool = False
    ) -> Runs:
        """Its runs, StartTime descending: by ``tags`` and ``properties`` (a key, or a dict that all have to match)."""
        return Run.list(self, type=type, tags=tags, properties=properties, include_children=include_children)

    def get_runs_df(self, **query: Any) -> Any:
        """Its runs as a pandas DataFrame: status, times, tags.*, properties.*, metrics.* (the last value)."""
        from tocsin.sdk.frame import frame

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
