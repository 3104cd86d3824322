"""run: starting, changing and ending runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import Stop, fail, say
from tocsin.cli.runs.reading import follow, of_project
from tocsin.cli.runs.tracked import (
    HERE,
    DebugOption,
    ExperimentOption,
    GroupOption,
    JsonOption,
    OutputOption,
    PathOption,
    QueryOption,
    QuietOption,
    RunArgument,
    RunOption,
    Style,
    VerboseOption,
    WorkspaceOption,
    errors,
    pairs,
    record,
    the_run,
    workspace,
)

if TYPE_CHECKING:
    from tocsin.sdk.sending.spool import Sender
    from tocsin.sdk.session import Session

TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY[=VALUE]", help="A tag; may be repeated.")]
COLUMNS = ("RunId", "ExperimentName", "Status", "StartTime", "DurationMs")


def submit_script(
    context: typer.Context,
    script: Annotated[list[str] | None, typer.Argument(metavar="[SCRIPT [ARGUMENTS]]", help="The script and its arguments.")] = None,
    experiment: ExperimentOption = "",
    configuration: Annotated[str, typer.Option("-c", "--run-configuration-name", help="Name of a .runconfig file.")] = "",
    target: Annotated[str, typer.Option("--target", "--ct", help="Compute target; that of the configuration where absent.")] = "",
    source: Annotated[Path | None, typer.Option("--source-directory", metavar="DIR", help="Folder that is copied and run; here where absent.", show_default=False)] = None,
    metadata: Annotated[Path | None, typer.Option("-t", "--output-metadata-file", metavar="FILE", help="Write what is printed here too; it must not be there.")] = None,
    conda: Annotated[str, typer.Option("-d", "--conda-dependencies", help="Refused: tocsin makes no environment.")] = "",
    tag: TagOption = None,
    display: Annotated[str, typer.Option("--display-name", help="A name for people.")] = "",
    no_wait: Annotated[bool, typer.Option("--async", help="Do not wait for the end.")] = False,
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    output: OutputOption = "",
    as_json: JsonOption = False,
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Run SCRIPT in a copy of its folder: print its output, wait for its end, then print the run."""
    from tocsin.sdk.runconfig import RunConfiguration, ScriptRunConfig
    from tocsin.sdk.workspace import Experiment

    style = Style.of(context, output, as_json, query)
    if conda:
        fail("-d/--conda-dependencies: tocsin makes no environment; the script runs in the one that submits it", code=2)
    if metadata is not None and metadata.exists():
        fail(f"-t {metadata} is there already", "name a file that is not", 2)
    with errors(debug):
        ws = workspace(path, name)
        loaded = RunConfiguration.load(path, configuration) if configuration else RunConfiguration()
        words = script or []
        config = ScriptRunConfig(
            source_directory=source or path,
            script=words[0] if words else None,
            arguments=words[1:] if words else None,
            run_config=loaded,
            compute_target=target or None,
            command=None if words or loaded.script else loaded.command,
        )
        exp = Experiment(ws, experiment or str(ws.get_details().get("experiment") or plain(ws.folder.name)))
        run = exp.submit(config, tags=pairs(tag, "--tag"), display_name=display)
    say(f"run {run.id}")
    status = "" if no_wait else follow(run)
    shown = record(run._row(), style)
    if metadata is not None:
        metadata.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    style.show(shown, COLUMNS)
    if status not in ("", "Completed"):
        raise Stop(1)


def plain(name: str) -> str:
    """A folder's name as an experiment's."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "-" for c in name).strip("-._") or "default"


def start(
    experiment: ExperimentOption = "",
    run_id: Annotated[str, typer.Option("--run-id", help="Its id; a fresh one where absent.")] = "",
    display: Annotated[str, typer.Option("--display-name", help="A name for people.")] = "",
    description: Annotated[str, typer.Option(help="Markdown.")] = "",
    tag: TagOption = None,
    parent: Annotated[str, typer.Option(help="The run of which it is a child.")] = "",
    name: WorkspaceOption = "",
    path: PathOption = HERE,
) -> None:
    """Start a run and print its id; it is Running until `tocsin run complete`, `fail` or `cancel`.

    RUN=$(tocsin run start -e churn); … ; tocsin run complete "$RUN"
    """
    from tocsin.sdk.running.wrap import new_run_id
    from tocsin.sdk.storage.rows import New
    from tocsin.sdk.text import clean, experiment_name, run_id_of

    with errors():
        ws = workspace(path, name)
        above = the_run(ws, parent, "") if parent else None
        exp = experiment_name(
            above.experiment.name
            if above
            else experiment or ws.get_details().get("experiment") or plain(ws.folder.name)
        )
        new = New(
            run_id=run_id_of(run_id) if run_id else new_run_id(exp), experiment=exp, status="Running", target="local",
            display_name=clean(display), description=clean(description), tags=pairs(tag, "--tag"),
            parent_id=above.id if above else "", root_id=above._first.root_id if above else "",
        )  # fmt: skip
        import sqlite3

        try:
            ws._session.store.create([new])
        except sqlite3.IntegrityError:
            fail(f"a run {new.run_id} exists already")
    print(new.run_id)


def update(
    context: typer.Context,
    run: RunArgument = "",
    run_option: RunOption = "",
    add: Annotated[list[str] | None, typer.Option("--add-tag", metavar="KEY[=VALUE]", help="Add or change a tag; may be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove-tag", metavar="KEY", help="Remove a tag; may be repeated.")] = None,
    properties: Annotated[list[str] | None, typer.Option("--add-property", metavar="KEY=VALUE", help="Add a property, which never changes.")] = None,
    display: Annotated[str | None, typer.Option("--display-name", help="A name for people.", show_default=False)] = None,
    description: Annotated[str | None, typer.Option(help="Markdown.", show_default=False)] = None,
    experiment: ExperimentOption = "",
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    output: OutputOption = "",
    as_json: JsonOption = False,
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """Change a run's tags, name or description, or add properties; outside a workspace of a run that a tocsin has received."""
    style = Style.of(context, output, as_json, query)
    if of_project(context, None, path, name):
        _update_received(run or run_option, add, remove, properties, description, style)
        return
    with errors(debug):
        found = the_run(workspace(path, name), run, run_option, experiment)
        found.add_properties(pairs(properties, "--add-property", bare=False))
        found.set_tags(pairs(add, "--add-tag"))
        found.remove_tags(remove or [])
        if display is not None:
            found.display_name = display
        if description is not None:
            found.description = description
        shown = record(found._row(), style)
    style.show(shown, ("RunId", "Status", "DisplayName", "Tags"))


def _update_received(
    run_id: str,
    add: list[str] | None,
    remove: list[str] | None,
    properties: list[str] | None,
    description: str | None,
    style: Style,
) -> None:
    from tocsin.sdk.remote import get_run
    from tocsin.sdk.sending.endpoint import Endpoint

    if not run_id:
        fail("which run?", "give its id", 2)
    with errors():
        found = get_run(run_id, Endpoint.find(folder=HERE))
        if add:
            found.set_tags(pairs(add, "--add-tag"))
        if remove:
            found.remove_tags(remove)
        if properties:
            found.add_properties(pairs(properties, "--add-property", bare=False))
        if description is not None:
            found.description = description
    style.show(dict(found.row), ("RunId", "Status", "DisplayName", "Tags"))


def cancel(
    context: typer.Context,
    run: RunArgument = "",
    run_option: RunOption = "",
    experiment: ExperimentOption = "",
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    output: OutputOption = "",
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:
    """Cancel a run; a submitted script is stopped. Outside a workspace a run that a tocsin has received."""
    style = Style.of(context, output, False, query)
    if of_project(context, None, path, name):
        from tocsin.sdk.remote import get_run
        from tocsin.sdk.sending.endpoint import Endpoint

        with errors(debug):
            received = get_run(run or run_option or fail("which run?", "give its id", 2), Endpoint.find(folder=HERE))
            say(f"{received.id}: {received.cancel()}")
        style.show(dict(received.row), COLUMNS[:3])
        return
    with errors(debug):
        found = the_run(workspace(path, name), run, run_option, experiment)
        found.cancel()
    style.show(record(found._row(), style), COLUMNS[:3])


def fail_run(
    run: RunArgument = "",
    run_option: RunOption = "",
    message: Annotated[str, typer.Option("-m", "--message", help="Why.")] = "",
    code: Annotated[str, typer.Option("--error-code", help="The error's code.")] = "",
    name: WorkspaceOption = "",
    path: PathOption = HERE,
) -> None:
    """Say that a run has failed; a submitted script is stopped."""
    with errors():
        found = the_run(workspace(path, name), run, run_option)
        found.fail(message or None, code or None)
        say(f"{found.id}: {found.status}")


def complete(
    run: RunArgument = "", run_option: RunOption = "", name: WorkspaceOption = "", path: PathOption = HERE
) -> None:
    """Say that a run is complete."""
    with errors():
        found = the_run(workspace(path, name), run, run_option)
        found.complete()
        say(f"{found.id}: {found.status}")


def log(
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="What to log; numbers where they read as such.")],
    run_option: RunOption = "",
    step: Annotated[int | None, typer.Option(help="The step, a whole number.", show_default=False)] = None,
    name: WorkspaceOption = "",
    path: PathOption = HERE,
) -> None:  # fmt: skip
    """Log values of a run (TOCSIN_RUN_ID where no -r says which), from any language."""
    given: dict[str, Any] = {}
    for pair in values:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            fail(f"{pair!r} is not NAME=VALUE", "tocsin run log loss=0.5 accuracy=0.9", 2)
        given[key] = _number(text)
    with errors():
        found = the_run(workspace(path, name), "", run_option)
        found.log_metrics(given, step=step)
        found.flush()


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _elsewhere(here: Session | None) -> list[tuple[str, Sender]]:
    """Senders of this user's other workspaces where events wait for the tocsin that would get them now."""
    import sqlite3

    from tocsin.sdk.config import find
    from tocsin.sdk.errors import WorkspaceException
    from tocsin.sdk.sending.known import known
    from tocsin.sdk.sending.spool import meant_for
    from tocsin.sdk.session import session_of

    out = []
    for data in (folder / ".tocsin" for folder in known()):
        try:
            if not (data / "runs.sqlite").is_file():
                continue
            session = session_of(find(data.parent))
            sender = session.recorder.sender
            if session is here or sender is None or meant_for(data / "spool.lock") not in ("", sender.endpoint.url):
                continue
            if sender.waiting():
                out.append((f"workspace {session.name} in {session.folder}", sender))
        except (WorkspaceException, sqlite3.Error, OSError):
            continue  # its own commands say why
    return out


def sync(name: WorkspaceOption = "", path: PathOption = HERE) -> None:
    """Send the events that wait on this machine: of your workspaces, the one here first, and of `tocsin exec`."""
    import threading

    from tocsin.sdk.errors import WorkspaceException
    from tocsin.sdk.sending.endpoint import Endpoint
    from tocsin.sdk.sending.spool import SCHEMA, Drained, Sender, state_folder
    from tocsin.sdk.storage.database import Database

    senders: list[tuple[str, Sender]] = []
    session: Session | None = None
    try:
        session = workspace(path, name)._session
        if session.recorder.sender is not None:
            senders.append(("workspace " + session.name, session.recorder.sender))
    except WorkspaceException:
        pass  # then there are only the others
    if not name and path == HERE:
        senders += _elsewhere(session)
    endpoint, folder = Endpoint.find(), state_folder()
    if endpoint is not None and (folder / "spool.sqlite").exists():
        senders.append(("exec", Sender(Database(folder / "spool.sqlite", SCHEMA), endpoint, folder / "spool.lock")))
    left, pause = 0, threading.Event()
    with errors():
        for what, sender in senders:
            before = sender.waiting()
            outcome = sender.drain(600)
            for _ in range(100):
                if outcome is not Drained.BUSY:
                    break
                pause.wait(0.1)
                outcome = sender.drain(600)
            waiting = sender.waiting()
            left += waiting
            why = "" if outcome is Drained.EMPTY else f"; {waiting} wait: {outcome}, {sender.said}"
            say(f"{what}: {before - waiting} sent to {sender.endpoint.url}{why}")
    if not senders:
        say("Nothing waits.")
    if left:
        raise Stop(1)
