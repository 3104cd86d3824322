"""exec: any command as a run."""

from __future__ import annotations

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
    verbose: Annotated[bool, typer.Option("--verbose", help="Say on stderr what tocsin could not do.")] = False,
) -> None:
    """Run COMMAND and report its life: Queued, Running, heartbeats, Completed or Failed.

    The command's exit code, output and signals stay its own, whatever happens to tocsin. Events go to TOCSIN_URL,
    else to a tocsin on this machine; while it is away they wait on disk. The next `tocsin exec` sends them, or that
    tocsin takes them when it runs again.
    """
    from tocsin.sdk.running.wrap import Given, wrap

    given = Given(
        command=command, name=name, experiment=experiment, run_id=run_id, owner=owner, tags=tag or [],
        heartbeat=heartbeat, verbose=verbose,
    )  # fmt: skip
    problem, code = wrap(given)
    if problem:
        fail(problem, code=2)
    raise Stop(code)
