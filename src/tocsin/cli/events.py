"""send, query, dead-letters."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from tocsin.cli.common import (
    HERE,
    AsJson,
    HomeOption,
    LimitOption,
    fail,
    open_home,
    print_json,
    say,
    show,
    table,
    text,
    visible,
)

dead_letters = typer.Typer(no_args_is_help=True, help="Messages that could not be read.")


def send(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="JSON to post as it is; - reads it from stdin.", allow_dash=True),
    ] = None,
    run: Annotated[str, typer.Option(help="RunId.")] = "",
    status: Annotated[str, typer.Option(help="Status: Running, Failed, Completed, …")] = "",
    experiment: Annotated[str, typer.Option(help="ExperimentName.")] = "",
    message: Annotated[str, typer.Option(help="Message: why.")] = "",
    owner: Annotated[str, typer.Option(help="OwnerEmail: whose it is.")] = "",
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag; may be repeated.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--set", metavar="COLUMN=VALUE", help="Any other column; may be repeated.")
    ] = None,
    id: Annotated[str, typer.Option(help="EventId; a fresh one where absent.")] = "",
    source: Annotated[str, typer.Option(help="Source: the producer.")] = "tocsin-send",
    time: Annotated[str, typer.Option(help="TimeGenerated, ISO; now where absent.")] = "",
    consumer: Annotated[str, typer.Option(help="Consumer file that reads it.")] = "events",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Send an event to the running tocsin, from options or as JSON."""
    from tocsin.cli.client import must_run

    if (file is None) == (not run and not status):
        fail(
            "give either FILE or --run and --status",
            "tocsin send --run r1 --status Failed --message 'out of memory'",
            2,
        )
    if file is not None:
        try:
            body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as e:
            fail(f"{file} cannot be read: {e.strerror}", code=2)
    else:
        if not run or not status:
            fail("--run and --status are both needed", "tocsin send --run r1 --status Failed", 2)
        given = {"ExperimentName": experiment, "Message": message, "OwnerEmail": owner}
        data: dict[str, Any] = {"RunId": run, "Status": status, **{k: v for k, v in given.items() if v}}
        data.update(_pairs(column, "--set"))
        if tags := _pairs(tag, "--tag"):
            data["Tags"] = tags
        body = json.dumps(_event(data, id, source, time), ensure_ascii=False).encode()
    remote = must_run(open_home(home))
    with remote.client:
        answer = remote.ask(
            "POST", f"/intake/{consumer}", missing=True, content=body, headers={"Content-Type": "application/json"}
        )
    if answer.status_code == 404:
        fail(f"there is no consumer '{consumer}' with an HTTP connector")
    counts = answer.json() if answer.content else {}
    if as_json:
        print_json(counts)
    else:
        said = [f"{v} {k}" for k, v in counts.items() if isinstance(v, int)]
        say(", ".join(said) if said else "taken")
    _warn_of(counts.get("unknown_columns", ()))
    _warn_of_statuses(counts.get("unknown_statuses", ()))
    if counts.get("dead"):
        fail(f"{counts['dead']} could not be read", "see: tocsin dead-letters list")


def _warn_of(unknown: Iterable[str]) -> None:
    """Names that the event gave and that are no column."""
    from tocsin.config.yaml.document import suggest
    from tocsin.model.columns import RUN_STATUS_CHANGED

    for name in unknown:
        near = suggest(name, [c.name for c in RUN_STATUS_CHANGED if c.wire])
        hint = f"; {near}" if near.startswith("did") else "; put what is yours into Tags or Properties"
        say(f"warning: '{visible(name)}' is no column: it is kept in Raw only{hint}")


def _warn_of_statuses(words: Iterable[str]) -> None:
    """Statuses that no map knows."""
    from tocsin.config.yaml.document import suggest
    from tocsin.model.statuses import Status

    for word in words:
        near = suggest(word, [s.value for s in Status])
        say(
            f"warning: '{visible(word)}' is no status: it is stored as Unknown, which no rule on a status matches; {near}"
        )


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    out = {}
    for pair in given or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            fail(f"{option} {pair!r} is not KEY=VALUE", code=2)
        out[key] = value
    return out


def _event(data: dict[str, Any], id: str, source: str, time: str) -> dict[str, Any]:
    import uuid

    from tocsin.clock import SystemClock
    from tocsin.model.event import STATUS_TYPE

    return {
        "specversion": "1.0",
        "type": STATUS_TYPE,
        "id": id or uuid.uuid4().hex,
        "source": source,
        "time": time or SystemClock().now().isoformat(),
        "data": data,
    }


def query(
    kql: Annotated[str, typer.Argument(metavar="KQL", help="The query; - reads it from stdin.")],
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Run a KQL query over the stored events."""
    from tocsin.cli.client import asking

    if kql == "-":
        kql = sys.stdin.read()
    with asking(open_home(home)) as asked:
        columns, rows = asked.query(kql)
    if as_json:
        print_json({"columns": columns, "rows": rows})
        return
    table(
        [c["name"] for c in columns],
        [[_span(row[c["name"]]) if c["type"] == "timespan" else text(row[c["name"]]) for c in columns] for row in rows],
    )
    say(f"{len(rows)} rows")


def _span(value: Any) -> str:
    """A timespan for people; it comes as KQL's text from a running tocsin, as a length from the store itself."""
    from datetime import timedelta

    from tocsin.model.text.timespans import read_kql_text, spoken

    length = value if isinstance(value, timedelta) else read_kql_text(str(value))
    return spoken(length) if length is not None else text(value)


@dead_letters.command("list")
def dead_letters_list(
    consumer: Annotated[str, typer.Option(help="Only of this consumer.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also those that were sent through again.")] = False,
    limit: LimitOption = 100,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """List messages that could not be read, with the reason."""
    from tocsin.cli.client import asking

    with asking(open_home(home)) as asked:
        rows = asked.dead_letters(consumer, limit, everything)
    show(
        rows,
        ("Id", "Time", "Consumer", "Topic", "Partition", "Offset", "Reason", "Detail"),
        as_json,
        "No dead letters.",
    )


@dead_letters.command("replay")
def dead_letters_replay(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Which ones; all where absent.")] = None,
    consumer: Annotated[str, typer.Option(help="Only of this consumer.")] = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Send messages through again, after their consumer file was fixed."""
    from tocsin.cli.client import must_run

    remote = must_run(open_home(home))
    with remote.client:
        body = {"ids": ids or [], "consumer": consumer}
        counts = remote.ask("POST", "/api/v1/dead-letters/replay", json=body).json()
    if as_json:
        print_json(counts)
    else:
        say(", ".join(f"{v} {k}" for k, v in counts.items()))
    if counts.get("dead") or counts.get("cut"):
        fail("some could still not be read", "see: tocsin dead-letters list")
