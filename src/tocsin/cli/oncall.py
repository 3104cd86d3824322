"""oncall, route: who is on call, who is notified of what, and why: from the files alone, no tocsin needs to run. The
report asks the stores.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, fail, open_home, print_json, say, show, visible
from tocsin.cli.interchange import oncall_import

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
        rows = [{**row, "on_call": ", ".join(row["on_call"]), "next": ", ".join(row["next"])} for row in rows]
    show(rows, ("schedule", "on_call", "why", "shift", "next"), as_json, "No schedules.")


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
    show(view.shifts(name, weeks), ("who", "shift", "why"), as_json, "No shifts.")


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
        f"alerts: {found['alerts']}, pages: {found['pages']}, at night: {found['night_pages']}; "
        f"acknowledged after {times(found['time_to_acknowledge'])}, resolved after {times(found['time_to_resolve'])}: "
        "median (90 %)\n"
    )
    people = [{**row, "time": times(row["time_to_acknowledge"])} for row in found["people"]]
    heads = {
        "person": "person", "pages": "pages", "night_pages": "at night", "timezone": "time zone",
        "acknowledged": "acknowledged", "time": "median (90 %)",
    }  # fmt: skip
    show(people, heads, False, "Nobody was paged.")
    print()
    rules = [{**row, "noise": "" if row["noise"] is None else f"{row['noise']:.0%}"} for row in found["rules"]]
    heads = {name: name.replace("_", " ") for name in ("rule", "alerts", "messages", "pages", "acknowledged")}
    show(rules, {**heads, "nobody_acted": "nobody acted", "noise": "noise"}, False, "Nothing fired.")


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
    rows: list[dict[str, Any]] = view.route(_fields(alert))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["reaches"] = ", ".join(row["reaches"]) or "nobody"
        row["notifies"] = f"{row['notifies']} (escalation)" if row["escalation"] else row["notifies"]
        row["group"] = ", ".join(f"{k}={v}" for k, v in row["group"].items()) or "not grouped"
    columns = ("notifies", "reaches", "why", "group", *(("muted",) if any(row["muted"] for row in rows) else ()))
    show(rows, columns, False, "Nobody.")


@route.command("show")
def route_show(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Show the tree of routes."""
    view = _view(home, "")
    rows: list[dict[str, Any]] = view.tree()
    if as_json:
        print_json({"always": list(view.rules.always), "routes": rows})
        return
    print(f"always: {', '.join(view.rules.always) or 'nobody'}")
    for row in rows:
        who = [*row["receivers"], *([f"escalation {row['escalation']}"] if row["escalation"] else [])]
        more = [f"by {', '.join(row['group_by'])}"] if row["group_by"] else []
        more += ["continue"] if row["continue"] else []
        text = f"{'  ' * row['depth']}{row['matches']} → {', '.join(who) or 'default_receiver'}"
        print(visible(f"{text}  ({'; '.join([*more, row['place']])})" if row["place"] else text))


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
