"""subscribe, mute, subscriptions: what people want for themselves. By HTTP where tocsin runs, else on its files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tocsin.cli.alerts.acting import acting, joined, length_of, now_utc
from tocsin.cli.common import HERE, AsJson, HomeOption, fail, show

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose mails: me@example.org.")]
More = Annotated[list[str] | None, typer.Argument(metavar="[MATCHER]...", help="Further matchers: Target=gpu-1.")]
Experiment = Annotated[str, typer.Option("--experiment", metavar="NAME", help="Alerts about runs of this experiment.")]
Rule = Annotated[str, typer.Option("--rule", metavar="NAME", help="Alerts of this rule.")]
On = Annotated[str, typer.Option("--on", metavar="STATUS", help="Alerts about runs in this status: Failed.")]
By = Annotated[str, typer.Option("--by", envvar="TOCSIN_USER", metavar="WHO", help="Who does it, if not ADDRESS.")]
EndedBy = Annotated[str, typer.Option("--by", envvar="TOCSIN_USER", metavar="WHO", help="Who does it.")]
_COLUMNS = ("Id", "Kind", "Address", "Matchers", "To", "By", "Via", "State")


def subscribe(
    address: Address,
    matchers: More = None,
    experiment: Experiment = "",
    rule: Rule = "",
    on: On = "",
    by: By = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Mail ADDRESS about alerts, beside those who are notified anyway."""
    _prefer(home, "subscribe", address, _matchers(experiment, rule, on, matchers), by, None, as_json)


def mute(
    address: Address,
    matchers: More = None,
    experiment: Experiment = "",
    rule: Rule = "",
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="For how long; for good if not given.")] = "",
    by: By = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Do not mail ADDRESS about alerts as owner, subscriber or member of a list. Who is on call is notified."""
    until = now_utc() + length_of(for_) if for_ else None
    _prefer(home, "mute", address, _matchers(experiment, rule, "", matchers), by, until, as_json)


def unsubscribe(
    id: Annotated[str, typer.Argument(metavar="ID", help="Which subscription or mute (the beginning is enough).")],
    by: EndedBy = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """End a subscription or a mute: see tocsin subscriptions."""
    with acting(home) as asked:
        ended = asked.take_back(id, by)
    show([ended], _COLUMNS, as_json, "")


def subscriptions(
    ended: Annotated[bool, typer.Option("--ended", help="Those that are over too.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """List subscriptions and personal mutes, newest first."""
    with acting(home) as asked:
        rows = asked.preferences(ended)
    show(rows, _COLUMNS, as_json, "Nobody has subscribed or muted anything.")


def _matchers(experiment: str, rule: str, on: str, more: list[str] | None) -> str:
    given = (("ExperimentName", experiment), ("rule", rule), ("Status", on))
    found = joined([*(f"{name}={value}" for name, value in given if value), *(more or ())])
    if not found:
        fail("it is not said about what", "add --experiment churn, or --rule run-failed", 2)
    return found


def _prefer(home: Path, kind: str, address: str, matchers: str, by: str, until: datetime | None, as_json: bool) -> None:
    with acting(home) as asked:
        made = asked.prefer(kind, address, matchers, by or address, until)
    show([made], _COLUMNS, as_json, "")
