"""run: reading runs. In a workspace those of the workspace; elsewhere those of a tocsin project directory."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import Stop, facts, fail, say, visible
from tocsin.cli.runs import received
from tocsin.cli.runs.azformat import emit
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
    StatusOption,
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
    from collections.abc import Iterable, Iterator

    from tocsin.sdk.storage.rows import RunRow
    from tocsin.sdk.workspace import Run

TagsOption = Annotated[list[str] | None, typer.Option("--tags", "--tag", metavar="KEY[=VALUE]", help="Only with this tag; may be repeated.")]  # fmt: skip
HomeOption = Annotated[Path | None, typer.Option("--home", envvar="TOCSIN_HOME", metavar="DIR", help="A project directory: the runs that its tocsin has received.", show_default=False)]  # fmt: skip
COLUMNS = ("RunId", "ExperimentName", "Status", "StartTime", "DurationMs", "Target", "Tags", "Message")


def list_runs(
    context: typer.Context,
    path_query: Annotated[str, typer.Argument(metavar="[JMESPATH]", help="The same as --query.")] = "",
    experiment: ExperimentOption = "",
    last: Annotated[int, typer.Option("--last", "--limit", min=1, help="Most runs.")] = 10,
    status: StatusOption = "",
    tags: TagsOption = None,
    parent: Annotated[str, typer.Option("--parent-run-id", "--parent", help="Only children of this run.")] = "",
    target: Annotated[str, typer.Option("--compute-target-name", "--target", help="Only on this target.")] = "",
    search: Annotated[str, typer.Option(help="Only with this text in id, name, description, experiment, status, submitter or tags.")] = "",
    minimal: Annotated[bool, typer.Option("--minimal", help="Print id, experiment, status and times alone.")] = False,
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    home: HomeOption = None,
    output: OutputOption = "",
    as_json: JsonOption = False,
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:  # fmt: skip
    """List runs, the latest first; children only with --parent-run-id."""
    if query and path_query:
        fail(f"[JMESPATH] {path_query!r} and --query {query!r} are the same: give one of them", "--query alone", 2)
    style = Style.of(context, output, as_json, query or path_query)
    if of_project(context, home, path, name):
        from tocsin.app.runs.find import RunsAsked

        wanted = RunsAsked(
            limit=min(last, 1000), status=(status,), experiment=(experiment,), target=(target,), parent=(parent,), search=search,
            tags=tuple(pairs(tags, "--tags").items()),
        )  # fmt: skip
        received.runs_list(wanted, home or HERE, style)
        return
    from tocsin.sdk.storage.rows import Query

    asked = Query(
        experiment=experiment or None, status=status or None, parent_id=parent or None, target=target or None,
        top_only=not parent, tags=pairs(tags, "--tags"),
    )  # fmt: skip
    with errors(debug):
        rows: Iterable[RunRow] = workspace(path, name)._session.store.find(asked)
        if search:
            rows = (row for row in rows if _matches(row, search.casefold()))
        found = [record(row, style, not minimal) for row in islice(rows, last)]
    style.show(found, COLUMNS[:5] if minimal else COLUMNS, "No runs.")


def _matches(row: RunRow, text: str) -> bool:
    parts = (row.run_id, row.display_name, row.description, row.experiment, row.status, row.submitted_by, row.tags)
    return any(text in part.casefold() for part in parts)


def of_project(context: typer.Context, home: Path | None, path: Path, name: str) -> bool:
    """Whether runs of a project directory are meant: --home says so, or one is here, or a TOCSIN_URL, and no workspace."""
    if " ml " in f" {context.command_path} " or path != HERE or name:
        return False
    if home is not None:
        return True
    from tocsin.sdk import config
    from tocsin.sdk.errors import WorkspaceException

    try:
        config.find(path)
    except WorkspaceException:
        return bool(os.environ.get("TOCSIN_URL")) or (HERE / "tocsin.yaml").exists() or (HERE / "data").is_dir()
    return False


def show(
    context: typer.Context,
    run: RunArgument = "",
    run_option: RunOption = "",
    experiment: ExperimentOption = "",
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    home: HomeOption = None,
    output: OutputOption = "",
    as_json: JsonOption = False,
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:
    """Show one run: its state, metrics and files; of a project directory its events and alerts."""
    style = Style.of(context, output, as_json, query)
    if of_project(context, home, path, name):
        received.runs_show(run or run_option, home or HERE, style)
        return
    with errors(debug):
        found = the_run(workspace(path, name), run, run_option, experiment)
        shown = record(found._row(), style)
        key = "metrics" if style.azure else "Metrics"
        shown[key] = {k: _last(v) for k, v in found.get_metrics().items()}
        shown["files" if style.azure else "Files"] = found.get_file_names()
        if style.azure:
            shown["run_definition"] = found.get_details()["runDefinition"]
    if style.form == "table" and not style.query and not style.azure:
        facts({k: v for k, v in shown.items() if v not in (None, "", [], {})})
        return
    style.show(shown)


def _last(value: Any) -> Any:
    """Of a long series the last value: the whole is get_metrics()'s."""
    return value[-1] if isinstance(value, list) and len(value) > 20 else value


def children(
    context: typer.Context,
    run: RunArgument = "",
    run_option: RunOption = "",
    recursive: Annotated[bool, typer.Option("--recursive", help="Their children too.")] = False,
    status: StatusOption = "",
    tags: TagsOption = None,
    name: WorkspaceOption = "",
    path: PathOption = HERE,
    output: OutputOption = "",
    as_json: JsonOption = False,
    query: QueryOption = "",
) -> None:
    """List the children of a run, the latest first."""
    style = Style.of(context, output, as_json, query)
    with errors():
        parent = the_run(workspace(path, name), run, run_option)
        found = parent.get_children(recursive=recursive, status=status or None, tags=pairs(tags, "--tags") or None)
        rows = [record(child._first, style) for child in found]
    style.show(rows, COLUMNS, "No children.")


def logs(
    context: typer.Context,
    run: RunArgument = "",
    run_option: RunOption = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the run has ended.")] = False,
    experiment: ExperimentOption = "",
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:
    """Print a submitted run's output; `ml run monitor-logs` goes on until it has ended."""
    import threading

    from tocsin.sdk.running import waiting

    with errors(debug):
        found = the_run(workspace(path, name), run, run_option, experiment)
        if follow or context.info_name == "monitor-logs":
            waiting.follow(found, threading.Event())
            return
        log = found._files / waiting.LOG
        if not log.is_file():
            fail(f"run {found.id} has no output", "an interactive run keeps none; see its files: tocsin run show")
        for line in _lines(log):
            print(line, end="")


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            yield visible(line)


def download(
    context: typer.Context,
    run: RunArgument = "",
    run_option: RunOption = "",
    directory: Annotated[
        Path | None, typer.Option("-d", "--output-dir", metavar="DIR", help="Where to; a folder named like the run.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Only files whose names begin so.")] = "",
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
    """Copy a run's files here; `ml run download-logs` copies its logs alone."""
    style = Style.of(context, output, False, query)
    with errors(debug):
        found = the_run(workspace(path, name), run, run_option, experiment)
        target = directory or Path(found.id)
        if context.info_name == "download-logs":
            got = found.get_all_logs(target)
        else:
            found.download_files(prefix=prefix, output_directory=target)
            got = [str(target / n) for n in found.get_file_names() if n.startswith(prefix)]
    if style.azure:
        style.show(got)
        return
    for file in got:
        print(file)
    say(f"{len(got)} files" if len(got) != 1 else "1 file")


def watch(
    run: RunArgument = "",
    run_option: RunOption = "",
    name: WorkspaceOption = "",
    path: PathOption = HERE,
) -> None:
    """Print a run's output until it has ended; ends with 0 where it is Completed, with 1 where it is not."""
    with errors():
        status = follow(the_run(workspace(path, name), run, run_option))
    if status != "Completed":
        raise Stop(1)


def follow(run: Run) -> str:
    """Print what a run writes until it has ended, and how it ended; Ctrl-C leaves the run alone."""
    import threading

    from tocsin.sdk.running import waiting

    try:
        waiting.follow(run, threading.Event())
    except KeyboardInterrupt:
        say(f"\nrun {run.id} goes on; see: tocsin run watch {run.id}")
        raise Stop(130) from None
    details = run.get_details()
    error = (details["error"] or {}).get("error", {}).get("message", "")
    say(f"{run.id}: {details['status']}" + (f": {visible(error)}" if error else ""))
    return str(details["status"])


def experiments(
    context: typer.Context,
    name: WorkspaceOption = "",
    group: GroupOption = "",
    path: PathOption = HERE,
    output: OutputOption = "",
    as_json: JsonOption = False,
    query: QueryOption = "",
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:
    """List the experiments of a workspace."""
    from tocsin.sdk.sending.events import iso

    style = Style.of(context, output, as_json, query)
    with errors(debug):
        rows = workspace(path, name)._session.store.database.read(
            "SELECT name, id, created_us, runs, tags FROM experiments WHERE NOT archived ORDER BY name"
        )
    keys = ("name", "id", "created_time_utc", "runs", "tags") if style.azure else ("ExperimentName", "Id", "Created", "Runs", "Tags")  # fmt: skip
    found = [dict(zip(keys, (n, id, iso(at), runs, json.loads(tags)), strict=True)) for n, id, at, runs, tags in rows]
    style.show(found, ("ExperimentName", "Runs", "Created"), "No experiments.")


__all__ = ["children", "download", "emit", "experiments", "follow", "list_runs", "logs", "show", "watch"]
