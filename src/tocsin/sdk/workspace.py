"""A workspace: a folder that keeps runs, described by ``.tocsin/config.json``."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tocsin.sdk import config
from tocsin.sdk.errors import WorkspaceException
from tocsin.sdk.runconfig import ComputeTarget, targets
from tocsin.sdk.sending.known import known
from tocsin.sdk.session import Session, session_of
from tocsin.sdk.text import clean, string_values

if TYPE_CHECKING:
    from tocsin.sdk.experiment import Experiment
    from tocsin.sdk.run import Run


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
        from tocsin.sdk.experiment import Experiment

        return {e.name: e for e in Experiment.list(self)}

    def get_run(self, run_id: str) -> Run:
        """One of its runs. Raises ServiceException where there is none."""
        from tocsin.sdk.run import Run

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
