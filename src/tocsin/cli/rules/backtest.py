"""rules backtest: what a rule would have notified over stored history."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, fail, open_home, print_json, say, table, visible

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.rules.backtest.run import Progress


def register(rules: typer.Typer) -> None:
    """Add the command to ``tocsin rules``."""
    rules.command("backtest")(rules_backtest)


def rules_backtest(
    name: Annotated[str, typer.Argument(help="The rule, enabled or not.")],
    since: Annotated[
        str, typer.Option("--from", metavar="TIME", help="2026-01-05, 2026-01-05T12:00Z, or 30d for 30 days ago.")
    ] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="The same; now where absent.")] = "",
    as_if_live: Annotated[
        bool,
        typer.Option("--as-if-live", help="Take event times for arrival times, for imported history."),
    ] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a plot.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=10_000, help="Most alerts that are listed.")] = 20,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Show what a rule would have notified over stored history. Nobody is notified, nothing is written."""
    found = _ask(open_home(home), name, since, until, as_if_live)
    if html is not None:
        from tocsin.rules.backtest.html import page

        try:
            html.write_text(page(found), encoding="utf-8")
        except OSError as e:
            fail(f"cannot write {html}: {e.strerror}", code=2)
        say(f"written: {html}")
    if as_json:
        print_json(found)
    else:
        _show(found, limit)
    if found["Errors"]:
        raise Stop(1)


def _ask(place: Home, name: str, since: str, until: str, as_if_live: bool) -> dict[str, Any]:
    """From the tocsin that runs on the project directory, else from its files."""
    from tocsin.cli.client import remote

    running = remote(place)
    if running is not None:
        body = {"rule": name, "from": since, "to": until, "as_if_live": as_if_live}
        with running.client, _spinner(name):
            answer = running.ask("POST", "/api/v1/backtest", missing=True, json=body, timeout=3600)
        if answer.status_code == 404:
            _unknown(name, [str(row["Rule"]) for row in _rules_of(place)])
        found: dict[str, Any] = answer.json()
        return found
    from tocsin.app.project.content import load_content
    from tocsin.app.views.offline import open_offline

    rules = load_content(place).rules
    if rules.called(name) is None:
        _unknown(name, list(rules.rules))
    with place.lock(), open_offline(place) as ports, _bar(name) as progress:
        got = ports.backtest(name, since, until, as_if_live, progress)
    assert got is not None
    return got


def _rules_of(place: Home) -> list[dict[str, Any]]:
    from tocsin.cli.client import asking

    with asking(place) as asked:
        return asked.rules()


def _unknown(name: str, names: list[str]) -> None:
    from tocsin.config.yaml.document import suggest

    fail(f"there is no rule '{name}'", suggest(name, names))


@contextmanager
def _bar(name: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,} events"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(name, total=0)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def _spinner(name: str) -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{name}: the running tocsin goes through its history"):
        yield


def _show(found: dict[str, Any], limit: int) -> None:
    from tocsin.rules.backtest.report import spark_of, timeline_of

    print(f"{found['Rule']} {visible(found['Headline'])}")
    print(f"{_time(found['From'])} to {_time(found['To'])} UTC, {found['Events']:,} events, {found['Seconds']:.1f} s")
    print(f"{found['Fired']:,} fired, {found['Notified']:,} notified, {found['Resolved']:,} resolved")
    line = timeline_of(found)
    if found["Notified"]:
        bars = spark_of(found)
        print(f"\n{bars}  by the {line.unit}, at most {line.peak:,}")
        first, last = (b.begins.strftime("%Y-%m-%d") for b in (line.bars[0], line.bars[-1]))
        print(f"{first}{last.rjust(max(len(bars) - len(first), len(last) + 1))}\n")
        rows = [
            [_time(a["Time"]), a["Severity"] if a["Kind"] == "fired" else a["Kind"], a["Subject"], a["RunId"],
             str(a["Message"]).partition("\n")[0][:60]]
            for a in found["Alerts"][:limit]
        ]  # fmt: skip
        if rows:
            table(["when", "", "what", "run", "why"], rows)
    left = sum(found["ByKind"].values()) - min(limit, len(found["Alerts"]))
    if left > 0:
        say(f"… and {left:,} more; --limit shows more, --json and --html all that are kept")
    for note in found["Notes"]:
        say(f"note: {visible(note)}")


def _time(iso: str) -> str:
    return iso[:16].replace("T", " ")
