"""alerts, notifications: what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tocsin.cli.alerts import acting
from tocsin.cli.common import (
    HERE,
    AsJson,
    HomeOption,
    LimitOption,
    facts,
    fail,
    open_home,
    print_json,
    say,
    show,
    text,
    visible,
)

alerts = typer.Typer(no_args_is_help=True, help="Alerts of rules.")
notifications = typer.Typer(no_args_is_help=True, help="Messages to people and programs: what went out or waits.")

alerts.command("ack")(acting.alerts_ack)
alerts.command("unack")(acting.alerts_unack)
alerts.command("snooze")(acting.alerts_snooze)
alerts.command("assign")(acting.alerts_assign)
alerts.command("comment")(acting.alerts_comment)
alerts.command("close")(acting.alerts_close)

_ALERT = ("Time", "Rule", "Severity", "RunId", "Instance", "From", "To", "Reason", "Occurrence")


@alerts.command("list")
def alerts_list(
    rule: Annotated[str, typer.Option(help="Only of this rule.")] = "",
    run: Annotated[str, typer.Option(help="Only of this run.")] = "",
    open_: Annotated[bool, typer.Option("--open", help="Alerts that are active, instead of what happened.")] = False,
    limit: LimitOption = 100,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """List transitions of alerts, newest first; with --open the alerts that are active."""
    from tocsin.cli.client import asking

    if open_:
        with acting.acting(home) as active:
            found = active.active(limit)
        rows = [row for row in found if (not rule or row["Rule"] == rule) and (not run or row["RunId"] == run)]
        show(rows, acting.OPEN, as_json, "No active alerts.")
        return

    with asking(open_home(home)) as asked:
        rows = asked.alerts(limit, rule, run)
    show(rows, _ALERT[:-1], as_json, "No alerts.")


@alerts.command("show")
def alerts_show(
    occurrence: Annotated[str, typer.Argument(help="Its AlertId or occurrence (or the beginning), or the run.")],
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Show everything about one alert, or about the alerts of one run."""
    from tocsin.cli.client import asking

    with acting.acting(home) as active:
        whole = active.whole(occurrence)
    if whole is not None:
        if as_json:
            print_json(whole)
            return
        facts({k: v for k, v in whole.items() if k not in ("Actions", "Routes")})
        for route in whole["Routes"]:
            print(
                visible(f"notifies    {route['Receiver'] or 'escalation ' + route['Escalation']}  {route['Because']}")
            )
        for action in whole["Actions"]:
            print(visible(f"{text(action['At'])}  {action['Kind']} by {action['By']}  {action['Text']}"))
        return
    with asking(open_home(home)) as asked:
        rows = asked.alerts(1000, "", occurrence) or [
            row
            for row in asked.alerts(1000, "", "")
            if any(row[key] and row[key].startswith(occurrence) for key in ("AlertId", "Occurrence"))
        ]
    if not rows:
        fail(f"no alert is called '{occurrence}' or is about a run of that name", "tocsin alerts list --json")
    if as_json:
        print_json(rows)
        return
    for i, row in enumerate(rows):
        if i:
            print()
        facts(row)


@notifications.command("list")
def notifications_list(
    to: Annotated[str, typer.Option(help="Only to this address.")] = "",
    state: Annotated[str, typer.Option(help="Only in this state: ready, held, sent, failed, dropped.")] = "",
    limit: LimitOption = 100,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """List messages, newest first: mails, and what other channels were sent."""
    from tocsin.cli.client import asking
    from tocsin.model.delivery import DeliveryState

    known = [s.value for s in DeliveryState]
    if state and state not in known:
        fail(f"'{state}' is no state of a mail", ", ".join(known), 2)
    with asking(open_home(home)) as asked:
        rows = asked.mails(limit, to, state)
    show([{**r, "Id": r["Delivery"]} for r in rows] if not as_json else rows,
         {"Time": "Time", "Address": "To", "State": "State", "Subject": "Subject", "Reply": "Answer", "Id": "Id"}, as_json, "No messages.")  # fmt: skip


@notifications.command("show")
def notifications_show(
    id: Annotated[str, typer.Argument(metavar="ID", help="Which one (the beginning is enough); `last` is the newest.")],
    html: Annotated[bool, typer.Option("--html", help="Write the HTML to a file and print its path.")] = False,
    browser: Annotated[bool, typer.Option("--open", help="With --html: open it in the browser.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Show one message as it went out."""
    found = _message(id, home)
    if as_json:
        print_json(found)
        return
    if html:
        path = _written(found)
        print(path)
        if browser:
            import webbrowser

            webbrowser.open(path.as_uri())
        return
    for name, value in found["Headers"].items():
        if not name.lower().startswith(("content-", "mime-")):
            print(f"{name}: {visible(value)}")
    print(f"\n{visible(found['Text'])}")


@notifications.command("resend")
def notifications_resend(
    id: Annotated[str, typer.Argument(metavar="ID", help="Which one (the beginning is enough); `last` is the newest.")],
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Send a message once more that was accepted or failed, to the same address."""
    found = _message(id, home)
    with acting.acting(home) as asked:
        made = asked.resend(found["Delivery"])
    if as_json:
        print_json(made)
    else:
        say(f"{made['Subject']} waits to be sent to {made['Address']} once more: {made['Delivery']}")


def _message(id: str, home: Path) -> dict[str, Any]:
    """The message that ``id`` means."""
    from tocsin.cli.client import asking

    if not id:
        fail("ID is empty", "tocsin notifications list", 2)
    with asking(open_home(home)) as asked:
        found = None if id == "last" else asked.mail(id)
        if found is None:
            names = [row["Delivery"] for row in asked.mails(1000, "", "")]
            names = names[:1] if id == "last" else [n for n in names if n.startswith(id)]
            if len(names) > 1:
                fail(f"{len(names)} messages begin with '{id}'", "write more of it", 2)
            found = asked.mail(names[0]) if names else None
    if found is None:
        missing = "there is no message yet" if id == "last" else f"there is no message '{id}'"
        fail(missing, "tocsin notifications list")
    return found


def _written(mail: dict[str, Any]) -> Path:
    import tempfile

    if not mail["Html"]:
        fail("this mail has no HTML")
    with tempfile.NamedTemporaryFile(
        "w", prefix="tocsin-mail-", suffix=".html", delete=False, encoding="utf-8"
    ) as file:
        file.write(mail["Html"])
    return Path(file.name)
