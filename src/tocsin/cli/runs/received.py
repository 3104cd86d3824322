"""Runs of a project directory: those that its tocsin has received."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.cli.common import facts, fail, open_home, print_json, show
from tocsin.model.text.names import by_columns

if TYPE_CHECKING:
    from tocsin.app.runs.find import RunsAsked

_RUN = {
    "RunId": "RunId", "ExperimentName": "Experiment", "Status": "Status", "StatusSince": "Since", "Attempt": "Try",
    "OwnerEmail": "Owner", "Message": "Message",
}  # fmt: skip


def runs_list(asked: RunsAsked, home: Path, as_json: bool) -> None:
    """List runs, the latest seen first."""
    from tocsin.cli.client import asking

    with asking(open_home(home)) as store:
        rows = store.runs(asked)
    show(rows, _RUN, as_json, "No runs.")


def runs_show(id: str, home: Path, as_json: bool) -> None:
    """Show one run: its state, what happened to it, its alerts."""
    from tocsin.cli.client import asking

    with asking(open_home(home)) as asked:
        found = asked.run(id)
    if found is None:
        fail(f"there is no run '{id}'", "tocsin runs list")
    if as_json:
        print_json(by_columns(found))
        return
    facts(found["run"])
    print()
    show(found["events"], ("TimeGenerated", "Status", "OriginalStatus", "Attempt", "Message"), False, "No events.")
    if found["alerts"]:
        print()
        show(found["alerts"], ("Time", "Rule", "Severity", "To", "Reason"), False, "")
