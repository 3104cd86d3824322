"""Runs of a project directory: those that its tocsin has received."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tocsin.cli.common import facts, fail, open_home, show
from tocsin.model.text.names import by_columns

if TYPE_CHECKING:
    from tocsin.app.runs.find import RunsAsked
    from tocsin.cli.runs.tracked import Style

_RUN = {
    "RunId": "RunId", "ExperimentName": "Experiment", "Status": "Status", "StatusSince": "Since", "Attempt": "Try",
    "OwnerEmail": "Owner", "Message": "Message",
}  # fmt: skip


def runs_list(asked: RunsAsked, home: Path, style: Style) -> None:
    """List runs, the latest seen first."""
    from tocsin.cli.client import asking

    with asking(open_home(home)) as store:
        rows = store.runs(asked)
    if style.query or style.form != "table":
        style.show(_plain(list(rows)))
        return
    show(rows, _RUN, False, "No runs.")


def _plain(value: Any) -> Any:
    """Of JSON's types alone, so that a query works on what is printed."""
    return json.loads(json.dumps(value, default=str))


def runs_show(id: str, home: Path, style: Style) -> None:
    """Show one run: its state, what happened to it, its alerts."""
    from tocsin.cli.client import asking

    with asking(open_home(home)) as asked:
        found = asked.run(id)
    if found is None:
        fail(f"there is no run '{id}'", "tocsin runs list")
    if style.query or style.form != "table":
        style.show(_plain(by_columns(found)))
        return
    facts(found["run"])
    print()
    show(found["events"], ("TimeGenerated", "Status", "OriginalStatus", "Attempt", "Message"), False, "No events.")
    if found["alerts"]:
        print()
        show(found["alerts"], ("Time", "Rule", "Severity", "To", "Reason"), False, "")
