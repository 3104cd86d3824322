"""Workspaces, run configurations and compute targets: what is found, what is wrong and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin import RunConfiguration, ScriptRunConfig, Workspace
from tocsin.sdk import config
from tocsin.sdk.errors import (
    ExperimentExecutionException,
    ProjectSystemException,
    UserErrorException,
    WorkspaceException,
)


def test_a_workspace_is_found_from_below(ws: Workspace, tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert ws == Workspace.from_config(deep) == Workspace.from_config() == Workspace(workspace_name="lab")
    assert ws == Workspace.from_config(tmp_path / ".tocsin" / "config.json")
    with pytest.raises(WorkspaceException, match="called 'lab', not 'other'"):
        Workspace(workspace_name="other")


@pytest.mark.parametrize("name", config.AZURE)
def test_azures_own_file_names_a_workspace_and_is_left_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    text = json.dumps({"subscription_id": "s", "resource_group": "g", "workspace_name": "ml"})
    path.write_text(text)
    found = Workspace.from_config()
    assert ("ml", "g", tmp_path) == (found.name, found.resource_group, found.folder)
    assert text == path.read_text()


def test_another_programs_config_json_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": "webpack"}')
    with pytest.raises(WorkspaceException, match="tocsin folder attach"):
        Workspace.from_config()


@pytest.mark.parametrize(
    ("text", "said"), [("{", r"config\.json:1: this is no JSON"), ("[]", r"config\.json:1: .*object")]
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / ".tocsin").mkdir()
    (tmp_path / ".tocsin" / "config.json").write_text(text)
    with pytest.raises(WorkspaceException, match=said):
        Workspace.from_config()


def test_a_workspace_is_made_once(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ProjectSystemException, match="exist_ok"):
        Workspace.create("again", path=tmp_path)
    assert "again" == Workspace.create("again", path=tmp_path, exist_ok=True).name
    assert "*\n" in (tmp_path / ".tocsin" / ".gitignore").read_text()


def test_a_runconfig_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    made = RunConfiguration(script="train.py", arguments=["--lr", 0.1])
    made.target = "gpu"
    made.environment_variables = {"A": "1"}
    made.max_run_duration_seconds = 60
    path = made.save(tmp_path, "sklearn")
    assert tmp_path / ".tocsin" / "sklearn.runconfig" == path
    again = RunConfiguration.load(tmp_path, "sklearn")
    assert made.to_dict() == {**again.to_dict()}


def test_azures_runconfig_is_read_and_what_is_of_no_use_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".azureml").mkdir()
    (tmp_path / ".azureml" / "sklearn.runconfig").write_text(
        "script: train.py\narguments: [--x, 1]\ntarget: local\nframework: Python\ncommunicator: None\nnodeCount: 1\n"
        "environment:\n  name: e\n  environmentVariables: {EXAMPLE_ENV_VAR: EXAMPLE_VALUE}\n"
        "  python: {userManagedDependencies: false, interpreterPath: python}\n  docker: {enabled: true}\n"
        "history: {outputCollection: true}\n"
    )
    found = RunConfiguration.load(tmp_path, "sklearn")
    assert ("train.py", ["--x", 1], {"EXAMPLE_ENV_VAR": "EXAMPLE_VALUE"}) == (
        found.script, found.arguments, found.environment_variables,
    )  # fmt: skip
    saved = found.to_dict()
    assert ({"outputCollection": True}, {"enabled": True}) == (saved["history"], saved["environment"]["docker"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("script: [\n", r"x\.runconfig:2:"),
        ("- a\n", "is a mapping"),
        ("arguments: --x\n", "arguments: a list"),
        ("maxRunDurationSeconds: soon\n", "a number of seconds"),
        ("script: 3\n", "script: a string"),
    ],
)
def test_a_broken_runconfig_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.runconfig").write_text(text)
    with pytest.raises(UserErrorException, match=said):
        RunConfiguration.load(tmp_path, "x")


def test_a_missing_runconfig_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserErrorException, match=r"no x\.runconfig in .*\.tocsin, .*\.azureml, .*aml_config"):
        RunConfiguration.load(tmp_path, "x")


@pytest.mark.parametrize("argument", ["environment", "distributed_job_config", "resume_from", "docker_runtime_config"])
def test_what_this_machine_cannot_honour_is_named(argument: str) -> None:
    given: dict[str, Any] = {argument: object()}
    with pytest.raises(ExperimentExecutionException, match=f"^{argument}: "):
        ScriptRunConfig(".", script="train.py", **given)


@pytest.mark.parametrize("given", [{}, {"script": "a.py", "command": "b"}])
def test_a_script_or_a_command(given: dict[str, Any]) -> None:
    with pytest.raises(ExperimentExecutionException, match="either script or command"):
        ScriptRunConfig(".", **given)


@pytest.mark.parametrize("slots", [0, -1, True, "2", 1.5])
def test_slots_are_a_number_of_at_least_1(tmp_path: Path, slots: Any) -> None:
    (tmp_path / ".tocsin").mkdir()
    (tmp_path / ".tocsin" / "config.json").write_text(
        json.dumps({"workspace_name": "w", "compute_targets": {"gpu": {"slots": slots}}})
    )
    with pytest.raises(UserErrorException, match=r"compute_targets\.gpu\.slots"):
        _ = Workspace.from_config().compute_targets
