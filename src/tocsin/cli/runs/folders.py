"""folder attach, login, and the tree of commands about runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tocsin.cli.common import fail, say
from tocsin.cli.runs import changing, reading
from tocsin.cli.runs.tracked import (
    Command,
    DebugOption,
    GroupOption,
    OutputOption,
    PathOption,
    QueryOption,
    QuietOption,
    Style,
    VerboseOption,
    errors,
    workspace,
)

HERE = Path(".")
_SCRIPT = {"allow_interspersed_args": False, "ignore_unknown_options": True}
_EXAMPLE = """\
# An example: tocsin run submit-script -c sklearn -e testexperiment train.py
script: train.py
arguments: []
target: local
environmentVariables: {EXAMPLE_VARIABLE: a value}
maxRunDurationSeconds: 86400
"""


def attach(
    context: typer.Context,
    name: Annotated[str, typer.Option("-w", "--workspace-name", help="The workspace's name; the folder's where absent.")] = "",
    group: GroupOption = "",
    experiment: Annotated[str, typer.Option("-e", "--experiment-name", help="The experiment of runs that name none; the folder's name where absent.")] = "",
    subscription: Annotated[str, typer.Option("-s", "--subscription-id", help="As in az; tocsin has no use for it.")] = "",
    url: Annotated[str | None, typer.Option(help="The tocsin that gets the events; '' for none.", show_default=False)] = None,
    examples: Annotated[bool, typer.Option("--examples", help="Write three example scripts too: hello.py and others.")] = False,
    path: PathOption = HERE,
    output: OutputOption = "",
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Make a folder a workspace: .tocsin/config.json, local.runconfig and an example, sklearn.runconfig."""
    from tocsin.sdk import config
    from tocsin.sdk.runconfig import RunConfiguration

    style = Style.of(context, output, False, query)
    folder = path.absolute()
    with errors(debug):
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "workspace_name": name or folder.name, "experiment": experiment or changing.plain(folder.name),
            "resource_group": group or None, "subscription_id": subscription or None, "url": url,
        }  # fmt: skip
        place = config.attach(folder, settings, exist_ok=True)
        if not (place.data / "local.runconfig").exists():
            RunConfiguration().save(folder, "local")
        if not (place.data / "sklearn.runconfig").exists():
            (place.data / "sklearn.runconfig").write_text(_EXAMPLE, encoding="utf-8")
        if examples:
            _write_examples(folder)
    if style.azure:
        style.show(
            {"workspace_name": place.name, "experiment_name": place.settings["experiment"], "path": str(place.folder)}
        )
        return
    say(f"{place.folder} is the workspace {place.name}; its runs are kept in {place.data}")


def _write_examples(folder: Path) -> None:
    """Those of the docs; files that are there stay."""
    from tocsin.config.content import packaged

    for script in sorted((packaged() / "docs" / "examples").glob("*.py")):
        if not (folder / script.name).exists():
            (folder / script.name).write_bytes(script.read_bytes())


def login(
    url: Annotated[str, typer.Option(help="A tocsin that asks for a token.")] = "",
    token: Annotated[str, typer.Option(envvar="TOCSIN_TOKEN", help="The token; asked for where it is needed and absent.", show_default=False)] = "",
    path: PathOption = HERE,
) -> None:  # fmt: skip
    """Say that no login is needed; with --url keep a token for the workspace here."""
    if not url and not token:
        say("No login is needed: runs are kept in the workspace's folder.")
        say("For a tocsin that asks for a token: tocsin login --url https://tocsin.example.org")
        return
    from tocsin.sdk import config

    if not token:
        token = typer.prompt("token", hide_input=True)
    if not token.strip():
        fail("the token is empty", code=2)
    with errors():
        ws = workspace(path)
        file = ws.folder / config.FOLDER / "token"
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(opened, 0o600)
        with os.fdopen(opened, "w") as out:
            out.write(token.strip() + "\n")
        config.attach(
            ws.folder,
            {"workspace_name": ws.name, "url": url or None, "token_file": f"{config.FOLDER}/token"},
            exist_ok=True,
        )
    say(f"The token is kept in {file}, readable by you alone.")


def group(help: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(no_args_is_help=True, help=help)


def run_commands() -> typer.Typer:
    """`tocsin run`."""
    out = group("Runs: start, watch, change and end them.")
    out.command("submit-script", context_settings=_SCRIPT)(changing.submit_script)
    commands: dict[str, Command] = {
        "start": changing.start, "list": reading.list_runs, "show": reading.show, "update": changing.update,
        "cancel": changing.cancel, "fail": changing.fail_run, "complete": changing.complete, "children": reading.children,
        "logs": reading.logs, "download": reading.download, "watch": reading.watch, "log": changing.log, "sync": changing.sync,
    }  # fmt: skip
    for name, command in commands.items():
        out.command(name)(command)
    return out


def azure_commands() -> typer.Typer:
    """`tocsin ml`, with az's names."""
    run = group("Runs, with az's flags and keys.")
    run.command("submit-script", context_settings=_SCRIPT)(changing.submit_script)
    commands: dict[str, Command] = {
        "list": reading.list_runs, "show": reading.show, "update": changing.update, "cancel": changing.cancel,
        "monitor-logs": reading.logs, "download-logs": reading.download,
    }  # fmt: skip
    for name, command in commands.items():
        run.command(name)(command)
    out = group("The commands of az ml (v1), with their flags and keys.")
    out.add_typer(run, name="run")
    out.add_typer(experiment_commands(), name="experiment")
    out.add_typer(folder_commands(), name="folder")
    return out


def experiment_commands() -> typer.Typer:
    """`tocsin experiment`."""
    out = group("Experiments of a workspace.")
    out.command("list")(reading.experiments)
    out.callback()(_nothing)
    return out


def folder_commands() -> typer.Typer:
    """`tocsin folder`."""
    out = group("The folder of a workspace.")
    out.command("attach")(attach)
    out.callback()(_nothing)
    return out


def _nothing() -> None:
    pass  # a group of one command is to stay a group
