"""What commands about runs share: the workspace, the run that is meant, and what is printed of it.

`tocsin ml` prints azureml's snake_case keys, `tocsin run` the columns of KQL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import fail, say
from tocsin.cli.runs.azformat import check_format, emit, queried

if TYPE_CHECKING:
    from tocsin.sdk.storage.rows import RunRow
    from tocsin.sdk.workspace import Run, Workspace


def _quietly(wanted: bool) -> bool:
    """Warnings of the SDK are not printed."""
    if wanted:
        import logging

        logging.getLogger("tocsin.sdk").setLevel(logging.ERROR)
    return wanted


def _status(word: str) -> str:
    """A status in its own spelling, however it was written. Ends with 2 where it is none."""
    if not word:
        return ""
    from tocsin.model.statuses import STATUS_WORDS

    known = {status.lower(): status for status in STATUS_WORDS}
    if word.lower() not in known:
        fail(f"--status {word!r} is none of {', '.join(sorted(STATUS_WORDS))}", code=2)
    return known[word.lower()]


StatusOption = Annotated[str, typer.Option(help="Only in this status.", callback=_status)]
WorkspaceOption = Annotated[str, typer.Option("-w", "--workspace-name", help="The workspace's name, to be sure of it.")]
GroupOption = Annotated[str, typer.Option("-g", "--resource-group", help="As in az; tocsin has no use for it.")]
PathOption = Annotated[Path, typer.Option("--path", metavar="DIR", help="The workspace's folder, or one below it.", show_default="here")]  # fmt: skip
ExperimentOption = Annotated[str, typer.Option("-e", "--experiment-name", "--experiment", help="The experiment.")]
RunArgument = Annotated[str, typer.Argument(metavar="[RUN]", help="The run; TOCSIN_RUN_ID where absent.")]
RunOption = Annotated[str, typer.Option("-r", "--run", help="The run, as in az.")]
OutputOption = Annotated[str, typer.Option("-o", "--output", metavar="FORMAT", help="json, jsonc, none, table, tsv, yaml or yamlc.", show_default="table; json in ml")]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="The same as -o json.")]
QueryOption = Annotated[str, typer.Option("--query", metavar="JMESPATH", help="What to print of the result.")]
QuietOption = Annotated[bool, typer.Option("--only-show-errors", callback=_quietly, help="Print no warnings.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="As in az; there is nothing more to print.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Print where an error came from.")]
HERE = Path(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a command prints: as azureml (``ml``) or as KQL names it."""

    azure: bool
    form: str
    query: str = ""

    @classmethod
    def of(cls, context: typer.Context, output: str, as_json: bool = False, query: str = "") -> Style:
        """By how the command was called."""
        azure = " ml " in f" {context.command_path} "
        default = "json" if azure or query else "table"
        return cls(azure=azure, form=check_format(output or ("json" if as_json else default)), query=query)

    def show(self, rows: Any, columns: tuple[str, ...] = (), none: str = "") -> None:
        """Print rows, or one; ``columns`` are what a table without --query shows."""
        found = queried(rows, self.query)
        if self.form == "table" and not self.query and not self.azure:
            rows = rows if isinstance(rows, list) else [rows]
            if not rows:
                say(none)
                return
            from tocsin.cli.common import show

            show(rows, columns, False, none)
            return
        emit(found, self.form)


@contextmanager
def errors(debug: bool = False) -> Iterator[None]:
    """The SDK's errors as texts with exit code 1; a store that cannot be read too."""
    import sqlite3

    from tocsin.sdk.errors import UserErrorException

    try:
        yield
    except UserErrorException as e:
        if debug:
            raise
        fail(str(e))
    except (sqlite3.Error, OSError) as e:
        if debug:
            raise
        fail(f"{type(e).__name__}: {e}")


def workspace(path: Path, name: str = "") -> Workspace:
    """The workspace at ``path`` or above it; inside a submitted run that run's. Raises WorkspaceException."""
    from tocsin.sdk.workspace import Workspace

    inside = os.environ.get("TOCSIN_WORKSPACE")
    where = Path(inside) if inside and path == HERE else path
    return Workspace(workspace_name=name or None, path=where)


def the_run(ws: Workspace, argument: str, option: str, experiment: str = "") -> Run:
    """The run that is meant; ends with 2 where none is named."""
    from tocsin.sdk.workspace import Run

    run_id = argument or option or os.environ.get("TOCSIN_RUN_ID", "")
    if not run_id:
        fail("which run?", "give its id, or set TOCSIN_RUN_ID", 2)
    run = Run.get(ws, run_id)
    if experiment and run.experiment.name != experiment:
        fail(f"run {run_id} belongs to experiment {run.experiment.name}, not {experiment}")
    return run


def record(row: RunRow, style: Style, whole: bool = True) -> dict[str, Any]:
    """What is printed of a run."""
    return (_azure if style.azure else _kql)(row, whole)


def _azure(row: RunRow, whole: bool) -> dict[str, Any]:
    from tocsin.sdk.sending.events import iso

    out: dict[str, Any] = {
        "run_id": row.run_id, "run_number": row.number, "experiment_name": row.experiment, "status": row.status,
        "start_time_utc": iso(row.start_us), "end_time_utc": iso(row.end_us),
    }  # fmt: skip
    if not whole:
        return out
    return out | {
        "created_time_utc": iso(row.created_us), "parent_run_id": row.parent_id or None, "type": row.type or None,
        "display_name": row.display_name, "description": row.description, "target": row.target or None,
        "submitted_by": row.submitted_by, "tags": row.tag_values, "properties": row.property_values,
        "error": _error(row),
    }  # fmt: skip


def _kql(row: RunRow, whole: bool) -> dict[str, Any]:
    from tocsin.sdk.sending.events import iso

    out: dict[str, Any] = {
        "RunId": row.run_id, "ExperimentName": row.experiment, "Status": row.status, "StartTime": iso(row.start_us),
        "EndTime": iso(row.end_us), "DurationMs": None if row.start_us is None or row.end_us is None else (row.end_us - row.start_us) // 1000,
    }  # fmt: skip
    if not whole:
        return out
    error = _error(row) or {}
    return out | {
        "ParentRunId": row.parent_id, "RootRunId": row.root_id, "RunType": row.type, "DisplayName": row.display_name,
        "Description": row.description, "Target": row.target, "TriggeringUserName": row.submitted_by, "Tags": row.tag_values,
        "Properties": row.property_values, "Message": error.get("message", ""), "ErrorCode": error.get("code", ""),
    }  # fmt: skip


def _error(row: RunRow) -> Any:
    import json

    return json.loads(row.error).get("error") if row.error and row.status == "Failed" else None


def pairs(given: list[str] | None, option: str, *, bare: bool = True) -> dict[str, str | None]:
    """KEY=VALUE options; a KEY alone has the value None. Ends with 2 where the key is missing."""
    out: dict[str, str | None] = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not key or not (equals or bare):
            fail(f"{option} {pair!r} is not KEY=VALUE", code=2)
        out[key] = value if equals else None
    return out


Command = Callable[..., None]
