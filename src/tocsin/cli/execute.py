"""exec: any command as a run."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tocsin.cli.common import Stop, fail


def execute(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="The command and its arguments.")],
    name: Annotated[
        str, typer.Option(help="What the job is called at every start; the command's name where absent.")
    ] = "",
    experiment: Annotated[str, typer.Option(help="ExperimentName; the job's name where absent.")] = "",
    run_id: Annotated[str, typer.Option("--run-id", help="RunId; a fresh one where absent.")] = "",
    owner: Annotated[str, typer.Option(help="OwnerEmail: whose it is.")] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag; may be repeated.")] = None,
    heartbeat: Annotated[float, typer.Option(min=0.1, help="Seconds between heartbeats.")] = 30.0,
) -> None:
    """Run COMMAND and report its life: Queued, Running, heartbeats, Completed or Failed.

    The command's exit code, output and signals stay its own, whatever happens to tocsin. Events go to TOCSIN_URL,
    else to a
    tocsin on this machine; while it is away they wait on disk, and the next `tocsin exec` sends them.
    """
    from tocsin.sdk.errors import UserErrorException
    from tocsin.sdk.journal import Wrapped
    from tocsin.sdk.text import clean, run_id_of
    from tocsin.sdk.wrap import new_run_id, run

    tags = {}
    for pair in tag or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            fail(f"--tag {pair!r} is not KEY=VALUE", code=2)
        tags[clean(key)] = clean(value)
    job = clean(name or os.path.basename(command[0]))
    try:
        id = run_id_of(run_id) if run_id else new_run_id(job)
    except UserErrorException as e:
        fail(str(e), code=2)
    wrapped = Wrapped(
        command=command, run_id=id, name=job, experiment=clean(experiment), owner=clean(owner), tags=tags,
        heartbeat=heartbeat,
    )  # fmt: skip
    raise Stop(run(wrapped))
