"""oncall, route, notify: who is on call, who is notified of what, and why.

From the files alone: no tocsin needs to run. The report asks the stores, `notify test` sends.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, fail, open_home, print_json, say, show, visible
from tocsin.cli.rules.interchange import oncall_import

if TYPE_CHECKING:
    from pathlib import Path

    from tocsin.app.views.oncall import OnCallView

oncall = typer.Typer(no_args_is_help=True, help="Who is on call when.")
route = typer.Typer(no_args_is_help=True, help="Who is notified of what.")

oncall.command("import")(oncall_import)

AtOption = Annotated[
    str, typer.Option("--at", metavar="TIME", help="At this time, with its zone: 2026-12-24T03:00Z; now where absent.")
]


@oncall.command("now")
def oncall_now(at: AtOption = "", home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Show who is on call, why, and until when."""
    view = _view(home, at)
    rows = view.now()
    if not as_json:
        rows = [{**row, "OnCall": ", ".join(row["OnCall"]), "Next": ", ".join(row["Next"])} for row in rows]
    show(rows, ("Schedule", "OnCall", "Why", "Shift", "Next"), as_json, "No schedules.")


@oncall.command("schedule")
def oncall_schedule(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")],
    weeks: Annotated[int, typer.Option("--weeks", min=1, max=104, help="How many weeks.")] = 4,
    at: AtOption = "",
    ical: Annotated[bool, typer.Option("--ical", help="Print an iCalendar file, for calendars of people.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """List the shifts of the schedule NAME."""
    view = _view(home, at)
    if ical:
        sys.stdout.write(view.ical(name, weeks).decode())
        return
    show(view.shifts(name, weeks), ("Who", "Shift", "Why"), as_json, "No shifts.")


@oncall.command("test")
def oncall_test(home: HomeOption = HERE) -> None:
    """Run the inline tests of on-call files; list gaps and overlaps. Ends with 1 where a test fails."""
    view = _view(home, "", with_rules=True)
    found = view.check()
    for problem in found:
        print(visible(str(problem)))
    failed = sum(not p.warning for p in found)
    say(f"{view.tests - failed} passed, {failed} failed" if view.tests else "No on-call file has tests.")
    if failed:
        raise Stop(1)


@oncall.command("report")
def oncall_report(
    weeks: Annotated[int, typer.Option("--weeks", min=1, max=53, help="How many weeks back.")] = 4,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Show pages by person, night pages, times to acknowledge and resolve, and noise by rule."""
    from tocsin.cli.client import asking
    from tocsin.web.sections.oncall import times

    with asking(open_home(home)) as asked:
        found = asked.oncall_report(weeks)
    if as_json:
        print_json(found)
        return
    print(
        f"alerts: {found['Alerts']}, pages: {found['Pages']}, at night: {found['NightPages']}; "
        f"acknowledged after {times(found['TimeToAcknowledge'])}, resolved after {times(found['TimeToResolve'])}: "
        "median (90 %)\n"
    )
    people = [{**row, "Time": times(row["TimeToAcknowledge"])} for row in found["People"]]
    heads = {
        "Person": "Person", "Pages": "Pages", "NightPages": "At night", "Timezone": "Time zone",
        "Acknowledged": "Acknowledged", "Time": "Median (90 %)",
    }  # fmt: skip
    show(people, heads, False, "Nobody was paged.")
    print()
    rules = [{**row, "Noise": "" if row["Noise"] is None else f"{row['Noise']:.0%}"} for row in found["Rules"]]
    heads = {name: name for name in ("Rule", "Alerts", "Messages", "Pages", "Acknowledged")}
    show(rules, {**heads, "NobodyActed": "Nobody acted", "Noise": "Noise"}, False, "Nothing fired.")


@route.command("test")
def route_test(
    alert: Annotated[
        list[str],
        typer.Option(
            "--alert", metavar="FIELD=VALUE,…", help="Fields of the alert: rule=run-failed,severity=critical."
        ),
    ],
    at: AtOption = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Show who is notified of an alert, and why. A rule that is named adds its severity and receivers."""
    view = _view(home, at, with_rules=True)
    fields = _fields(alert)
    _check_fields(fields, view)
    rows: list[dict[str, Any]] = view.route(fields)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["Reaches"] = ", ".join(row["Reaches"]) or "nobody"
        row["Notifies"] = f"{row['Notifies']} (escalation)" if row["Escalation"] else row["Notifies"]
        row["Group"] = ", ".join(f"{k}={v}" for k, v in row["Group"].items()) or "not grouped"
    columns = ("Notifies", "Reaches", "Why", "Group", *(("Muted",) if any(row["Muted"] for row in rows) else ()))
    show(rows, columns, False, "Nobody.")


def _check_fields(fields: dict[str, str], view: Any) -> None:
    """An alert of a severity that is none ends the command; one of an unknown rule is a warning, since rules come and go."""
    from tocsin.config.yaml.document import suggest
    from tocsin.model.statuses import Severity

    words = [each.word for each in Severity]
    if (word := fields.get("severity", words[0])) not in words:
        fail(f"'{word}' is no severity", suggest(word, words), 2)
    rules = view.alerts.rules if view.alerts is not None else {}
    if (name := fields.get("rule", "")) and rules and name not in rules:
        say(f"warning: there is no rule '{visible(name)}'; {suggest(name, rules)}")


@route.command("show")
def route_show(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Show the tree of routes."""
    view = _view(home, "")
    rows: list[dict[str, Any]] = view.tree()
    if as_json:
        print_json({"Always": list(view.rules.always), "Routes": rows})
        return
    print(f"always: {', '.join(view.rules.always) or 'nobody'}")
    for row in rows:
        who = [*row["Receivers"], *([f"escalation {row['Escalation']}"] if row["Escalation"] else [])]
        more = [f"by {', '.join(row['GroupBy'])}"] if row["GroupBy"] else []
        more += ["continue"] if row["Continue"] else []
        text = f"{'  ' * row['Depth']}{row['Matches']} → {', '.join(who) or 'default_receiver'}"
        print(visible(f"{text}  ({'; '.join([*more, row['Place']])})" if row["Place"] else text))


def _fields(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in (part for each in texts for part in each.split(",")):
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            fail(f"'{text}' is no field of an alert", "write for example rule=run-failed,severity=critical", 2)
        found[name.strip()] = value.strip()
    return found


def _view(home: Path, at: str, *, with_rules: bool = False) -> OnCallView:
    from tocsin.app.views.oncall import view_oncall

    view = view_oncall(open_home(home), _instant(at), with_rules=with_rules)
    for warning in view.warnings:
        say(str(warning))
    return view


def _instant(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"'{text}' is no time", "write for example 2026-12-24T03:00Z", 2)
    if found.tzinfo is None:
        fail(f"'{text}' says no zone", f"write {text}Z, or +01:00 at its end", 2)
    return found.astimezone(UTC)


notify = typer.Typer(no_args_is_help=True, help="Receivers.")


@notify.callback()
def _alone() -> None:
    pass


@notify.command("test")
def notify_test(
    receiver: Annotated[str, typer.Argument(help="A receiver, a person or an address.")],
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Send a real message marked TEST, say what was answered, and resolve what it opened."""
    import asyncio

    place = open_home(home)
    from tocsin.app.project.content import load_content
    from tocsin.app.views.trial import try_receiver
    from tocsin.clock import SystemClock

    tried, open_ends = asyncio.run(try_receiver(place, load_content(place), receiver, SystemClock()))
    rows = [
        {
            "Channel": each.channel,
            "Address": each.address,
            "Sent": each.sent,
            "Outcome": each.outcome.value,
            "Reply": each.reply,
        }
        for each in tried
    ]
    show(rows, ("Channel", "Address", "Sent", "Outcome", "Reply"), as_json, "There is nobody whom a test could reach.")
    for entry in open_ends:
        say(f"Not tried: {entry}, which only an event can name.")
    if not rows or not all(each.ok for each in tried):
        raise Stop(1)
