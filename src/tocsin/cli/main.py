"""The tree of commands. Imports nothing heavy: each command imports what it needs when it runs."""

from __future__ import annotations

import copy
import functools
import os
import sys
import threading
from typing import Annotated, Any

import typer

from tocsin import __version__
from tocsin.cli import causes, events
from tocsin.cli.alerts import acting, reading
from tocsin.cli.common import guarded
from tocsin.cli.oncall import commands as oncall
from tocsin.cli.oncall import subscriptions, templates
from tocsin.cli.project import homes, upkeep
from tocsin.cli.rules import commands as rules
from tocsin.cli.runs import execute, folders

app = typer.Typer(
    name="tocsin",
    help="Rings when a run goes wrong: run events in, KQL alert rules over them, one mail to the right person.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tocsin {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


app.command("init")(homes.init)
app.command("copy")(homes.copy)
app.command("up")(upkeep.up)
app.command("check")(homes.check)
app.command("send")(events.send)
app.command("query")(events.query)
app.add_typer(rules.rules, name="rules")
app.add_typer(causes.causes, name="causes")
app.add_typer(reading.alerts, name="alerts")
app.add_typer(oncall.oncall, name="oncall")
app.add_typer(oncall.route, name="route")
app.add_typer(oncall.notify, name="notify")
app.add_typer(acting.silence, name="silence")
app.command("subscribe")(subscriptions.subscribe)
app.command("mute")(subscriptions.mute)
app.command("unsubscribe")(subscriptions.unsubscribe)
app.command("subscriptions")(subscriptions.subscriptions)
app.add_typer(reading.notifications, name="notifications")
app.add_typer(reading.notifications, name="mails", hidden=True)
app.add_typer(folders.run_commands(), name="run")
app.add_typer(folders.run_commands(), name="runs", hidden=True)
app.add_typer(folders.experiment_commands(), name="experiment")
app.add_typer(folders.folder_commands(), name="folder")
app.add_typer(folders.azure_commands(), name="ml")
app.command("login")(folders.login)
app.add_typer(events.dead_letters, name="dead-letters")
app.add_typer(templates.templates, name="templates")
app.add_typer(homes.tokens, name="tokens")
app.command("exec", context_settings={"allow_interspersed_args": False})(execute.execute)
app.command("backup")(upkeep.backup)
app.command("restore")(upkeep.restore)
app.command("export")(upkeep.export)
app.command("doctor")(homes.doctor)


@functools.cache
def tree(only: str = "") -> Any:
    """All commands, as the command line's library sees them; where there is one called ``only``, that one alone. Each is
    made once: to make all takes longer than most commands.
    """
    asked = copy.copy(app)
    commands = [each for each in app.registered_commands if each.name == only]
    groups = [each for each in app.registered_groups if each.name == only]
    if commands or groups:
        asked.registered_commands, asked.registered_groups = commands, groups
    return typer.main.get_command(asked)


LEAVES = frozenset({"query", "store-close"})
"""Names of threads of ``logstore.query`` that may still be in DuckDB's code when a command is done."""


def run() -> None:
    """Run the command of ``sys.argv`` and end the process with its exit code."""
    code: str | int | None
    try:
        code = guarded(tree(next(iter(sys.argv[1:]), "")))
    except SystemExit as ended:
        code = ended.code
    if any(thread.name in LEAVES for thread in threading.enumerate()):
        # A step of a query that cannot be interrupted: Python would end its thread in the midst of DuckDB's code, which
        # aborts the process and takes the exit code with it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
    sys.exit(code)
