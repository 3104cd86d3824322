"""How a script is to run: ScriptRunConfig, RunConfiguration and its ``.runconfig`` files, compute targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tocsin.sdk.config import replace_file
from tocsin.sdk.errors import ExperimentExecutionException, UserErrorException
from tocsin.sdk.text import warn

LONGEST_RUN = 2_592_000
"""Seconds: thirty days, azureml's default."""
SEARCHED = (".tocsin", ".azureml", "aml_config", ".")
"""Folders below a path in which ``.runconfig`` files are looked for, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeTarget:
    """A place where scripts run: this machine, with at most ``slots`` runs at once (None: any number)."""

    name: str
    slots: int | None = None
    environment_variables: Mapping[str, str] = field(default_factory=dict)

    type = "local"


def targets(settings: Mapping[str, Any]) -> dict[str, ComputeTarget]:
    """Those that a workspace's file names, and ``local``. Raises UserErrorException naming a wrong key."""
    given = settings.get("compute_targets") or {}
    if not isinstance(given, Mapping):
        raise UserErrorException("config.json: compute_targets is an object of targets by name")
    out = {"local": ComputeTarget(name="local")}
    for name, what in given.items():
        what = what or {}
        slots = what.get("slots") if isinstance(what, Mapping) else what
        if slots is not None and (isinstance(slots, bool) or not isinstance(slots, int) or slots < 1):
            raise UserErrorException(
                f"config.json: compute_targets.{name}.slots is a number of at least 1, not {slots!r}"
            )
        variables = what.get("environment_variables") or {} if isinstance(what, Mapping) else {}
        out[str(name)] = ComputeTarget(
            name=str(name), slots=slots, environment_variables={str(k): str(v) for k, v in variables.items()}
        )
    return out


@dataclass(slots=True)
class PythonSection:
    """Which Python runs the script; the default is the one that submits."""

    interpreter_path: str = ""
    user_managed_dependencies: bool = True


@dataclass(slots=True)
class Environment:
    """The script's environment. tocsin makes none: the script runs where the submitter runs."""

    name: str = "local"
    environment_variables: dict[str, str] = field(default_factory=dict)
    python: PythonSection = field(default_factory=PythonSection)


class RunConfiguration:
    """What a ``.runconfig`` file holds. Keys that a local target has no use for are kept and saved again."""

    def __init__(
        self,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        command: str | Sequence[str] | None = None,
    ) -> None:
        self.script = script
        self.arguments: list[Any] = list(arguments or [])
        self.command = command
        self.target: str | ComputeTarget = "local"
        self.environment = Environment()
        self.max_run_duration_seconds = LONGEST_RUN
        self.kept: dict[str, Any] = {}
        """What the file said besides."""

    @property
    def environment_variables(self) -> dict[str, str]:
        """Variables of the script's environment."""
        return self.environment.environment_variables

    @environment_variables.setter
    def environment_variables(self, variables: Mapping[str, str]) -> None:
        self.environment.environment_variables = dict(variables)

    @property
    def target_name(self) -> str:
        """The target's name."""
        return self.target if isinstance(self.target, str) else self.target.name

    def to_dict(self) -> dict[str, Any]:
        """As the file has it, in Azure's camelCase."""
        kept_environment = self.kept.get("environment")
        return {
            **self.kept,
            "script": self.script,
            "command": self.command,
            "arguments": self.arguments,
            "target": self.target_name,
            "maxRunDurationSeconds": self.max_run_duration_seconds,
            "environment": {
                **(kept_environment if isinstance(kept_environment, dict) else {}),
                "name": self.environment.name,
                "environmentVariables": self.environment.environment_variables,
                "python": {
                    "interpreterPath": self.environment.python.interpreter_path or "python",
                    "userManagedDependencies": self.environment.python.user_managed_dependencies,
                },
            },
        }

    def save(
        self, path: str | Path | None = None, name: str | None = None, separate_environment_yaml: bool = False
    ) -> Path:
        """Write ``<name>.runconfig`` into ``<path>/.tocsin`` (or the file that ``path`` names) and return its path."""
        import yaml  # type: ignore[import-untyped]

        if separate_environment_yaml:
            warn("separate_environment_yaml: the environment stays in the .runconfig file")
        where = Path(path or ".")
        file = where if where.suffix == ".runconfig" else where / ".tocsin" / f"{name or self.target_name}.runconfig"
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))
        return file

    @classmethod
    def load(cls, path: str | Path = ".", name: str | None = None) -> RunConfiguration:
        """Read a ``.runconfig`` file: ``path`` itself, or ``name`` in the folders of SEARCHED below ``path``.

        Raises UserErrorException with file and line.
        """
        file = _searched(Path(path), name)
        return _read(file)


def _searched(path: Path, name: str | None) -> Path:
    if path.is_file():
        return path
    if name is None:
        raise UserErrorException(f"{path} is a folder: say which .runconfig by its name")
    names = (f"{name}.runconfig", name) if not name.endswith(".runconfig") else (name,)
    for folder in SEARCHED:
        for candidate in names:
            if (path / folder / candidate).is_file():
                return path / folder / candidate
    where = ", ".join(str(path / folder) for folder in SEARCHED)
    raise UserErrorException(f"there is no {names[0]} in {where}")


def _read(file: Path) -> RunConfiguration:
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise UserErrorException(f"{file}:{line}: {e.problem or 'this is no YAML'}") from e
    except (yaml.YAMLError, ValueError) as e:
        raise UserErrorException(f"{file}:1: this is no YAML: {e}") from e
    if not isinstance(found, dict):
        raise UserErrorException(f"{file}:1: a run configuration is a mapping: script: train.py")
    out = RunConfiguration()
    out.script = _text(file, found.pop("script", None), "script")
    arguments = found.pop("arguments", None) or []
    if not isinstance(arguments, list):
        raise UserErrorException(f"{file}: arguments: a list, not {arguments!r}")
    out.arguments = arguments
    out.command = found.pop("command", None) or None
    out.target = _text(file, found.pop("target", None), "target") or "local"
    seconds = found.pop("maxRunDurationSeconds", None)
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise UserErrorException(f"{file}: maxRunDurationSeconds: a number of seconds, not {seconds!r}")
    out.max_run_duration_seconds = int(seconds or LONGEST_RUN)
    variables = found.pop("environmentVariables", None) or {}
    environment = found.get("environment") or {}
    if isinstance(environment, dict):
        variables = {**(environment.get("environmentVariables") or {}), **variables}
        python = environment.get("python") or {}
        if python.get("userManagedDependencies") and python.get("interpreterPath") not in (None, "", "python"):
            out.environment.python.interpreter_path = str(python["interpreterPath"])
        out.environment.name = str(environment.get("name") or "local")
    out.environment_variables = {str(k): str(v) for k, v in variables.items()}
    out.kept = found
    return out


def _text(file: Path, value: Any, key: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UserErrorException(f"{file}: {key}: a string, not {value!r}")
    return value or None


class ScriptRunConfig:
    """A script (or command) of a folder, its arguments, and how to run it."""

    def __init__(
        self,
        source_directory: str | Path | None = None,
        script: str | None = None,
        arguments: Sequence[Any] | None = None,
        run_config: RunConfiguration | None = None,
        compute_target: str | ComputeTarget | None = None,
        environment: Any = None,
        distributed_job_config: Any = None,
        resume_from: Any = None,
        max_run_duration_seconds: float | None = LONGEST_RUN,
        command: str | Sequence[Any] | None = None,
        docker_runtime_config: Any = None,
    ) -> None:
        """Raises ExperimentExecutionException for what this machine cannot honour; it names the argument."""
        refused = {
            "environment": environment if not isinstance(environment, Environment) else None,
            "distributed_job_config": distributed_job_config,
            "resume_from": resume_from,
            "docker_runtime_config": docker_runtime_config,
        }
        for argument, value in refused.items():
            if value is not None:
                raise ExperimentExecutionException(
                    f"{argument}: a local target cannot honour it; the script runs in the environment that submits it"
                )
        self.source_directory = str(source_directory or ".")
        self.run_config = run_config or RunConfiguration()
        self.script = script or self.run_config.script
        self.arguments = list(arguments if arguments is not None else self.run_config.arguments)
        self.command = command or self.run_config.command
        if isinstance(environment, Environment):
            self.run_config.environment = environment
        self.compute_target = compute_target or self.run_config.target
        limit = max_run_duration_seconds
        if limit == LONGEST_RUN:
            limit = self.run_config.max_run_duration_seconds
        self.max_run_duration_seconds = limit or 0
        if (self.script is None) == (self.command is None):
            raise ExperimentExecutionException("give either script or command: ScriptRunConfig('.', script='train.py')")

    @property
    def target_name(self) -> str:
        """The compute target's name."""
        return self.compute_target if isinstance(self.compute_target, str) else self.compute_target.name
