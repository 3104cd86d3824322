"""Submitting a script: its snapshot, its row, and the runner beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tocsin.sdk.errors import ExperimentExecutionException, UserErrorException
from tocsin.sdk.runconfig import ScriptRunConfig, targets
from tocsin.sdk.running.capture import git_properties, take_now
from tocsin.sdk.running.process import identify
from tocsin.sdk.running.wrap import new_run_id
from tocsin.sdk.session import Session
from tocsin.sdk.storage.rows import SCRIPT, New, RunRow
from tocsin.sdk.text import clean, experiment_name, string_values

_runners: set[int] = set()


def submit(
    session: Session,
    experiment: str,
    config: ScriptRunConfig,
    *,
    tags: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    parent: RunRow | None = None,
    display_name: str = "",
) -> RunRow:
    """Start a run of ``config`` and return at once. Raises ExperimentExecutionException for what cannot be run."""
    if not isinstance(config, ScriptRunConfig):
        raise UserErrorException(f"submit takes a ScriptRunConfig, not a {type(config).__name__}")
    if session.place is None:
        raise ExperimentExecutionException("an offline run has no workspace to submit to")
    folder = Path(config.source_directory).expanduser().absolute()
    _check(session, folder, config)
    snapshot_id = take_now(session.place.data / "snapshots", folder)
    run_id = new_run_id(experiment, session.store.clock)
    runner = _start_runner(session, run_id)
    return session.store.create([
        New(
            run_id=run_id, experiment=experiment_name(experiment), status="Queued", type=SCRIPT,
            parent_id=parent.run_id if parent else "", root_id=parent.root_id if parent else "",
            display_name=clean(display_name), target=config.target_name, owner=identify(runner).dump(),
            definition=_definition(config), snapshot_id=snapshot_id, tags=string_values(tags, "tag"),
            properties={**git_properties(folder), **string_values(properties, "property")},
        )
    ])[0]  # fmt: skip


def _check(session: Session, folder: Path, config: ScriptRunConfig) -> None:
    if not folder.is_dir():
        raise ExperimentExecutionException(f"source_directory {folder} is no folder")
    known = targets(session.settings)
    if config.target_name not in known:
        raise ExperimentExecutionException(
            f"compute_target {config.target_name!r} is none of {', '.join(known)}; name it in .tocsin/config.json: "
            f'"compute_targets": {{"{config.target_name}": {{"slots": 1}}}}'
        )
    if config.script is not None:
        script = (folder / config.script).resolve()
        if not script.is_relative_to(folder.resolve()):
            raise ExperimentExecutionException(f"script {config.script!r} lies outside of source_directory {folder}")
        if not script.is_file():
            raise ExperimentExecutionException(f"script {config.script!r} is not in source_directory {folder}")


def _definition(config: ScriptRunConfig) -> dict[str, Any]:
    command = config.command
    return {
        "script": config.script,
        "command": command if command is None or isinstance(command, str) else [str(part) for part in command],
        "arguments": [str(a) for a in config.arguments],
        "sourceDirectory": str(Path(config.source_directory).absolute()),
        "target": config.target_name,
        "maxRunDurationSeconds": config.max_run_duration_seconds,
        "environmentVariables": dict(config.run_config.environment_variables),
        "interpreter": config.run_config.environment.python.interpreter_path or sys.executable,
    }


def reap_runners() -> None:
    """Let the kernel forget runners of this process that have ended."""
    for pid in list(_runners):
        try:
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                _runners.discard(pid)
        except ChildProcessError:  # after a fork they are another process's
            _runners.discard(pid)


def _start_runner(session: Session, run_id: str) -> int:
    """Before the run's row, which then names it as its owner: no kill between leaves a run that nobody runs."""
    reap_runners()
    folder = session.run_folder(run_id)
    folder.mkdir(parents=True)
    with (folder / "runner.log").open("ab") as file:
        runner = subprocess.Popen(
            [sys.executable, "-m", "tocsin.sdk.running.runner", str(session.folder), run_id],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=session.folder, start_new_session=True,
        )  # fmt: skip
    _runners.add(runner.pid)
    runner.returncode = 0  # it is to outlive us: no warning that it still runs
    return runner.pid
