"""up, and backup, restore and export of a project directory's stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, fail, open_home, print_json, say, show, structlog_alone
from tocsin.model.text.names import by_columns

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.logstore.interface import LogStore
    from tocsin.state.interface import State


def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made where it is not there, else empty.")],
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Copy events and state into DIR, as of one moment, while tocsin runs or not."""
    from dataclasses import asdict

    from tocsin.app.upkeep.backup import back_up
    from tocsin.cli.client import remote
    from tocsin.clock import SystemClock
    from tocsin.config.yaml.sizes import human_size

    place, target = open_home(home), directory.absolute()
    running = remote(place)
    if running is not None:
        with running.client:
            made = running.ask("POST", "/api/v1/backup", json={"directory": str(target)}).json()
    else:
        with _stores(place) as (log, state):
            made = asdict(back_up(log, state, target, SystemClock()))
    if as_json:
        print_json(by_columns(made))
        return
    print(target)
    say(
        f"Commits up to {made['commit_seq']}, {human_size(made['bytes'])}. Bring it back with: tocsin restore {directory}"
    )


@contextmanager
def _stores(place: Home) -> Iterator[tuple[LogStore, State]]:
    """Both stores of a project directory on which no tocsin runs."""
    from tocsin.app.project.stores import open_log, open_state
    from tocsin.clock import SystemClock

    settings, clock = place.settings(), SystemClock()
    if not place.store_path(settings).exists():
        fail(f"{place.path} has no events yet", "there is nothing to copy")
    with place.lock(), ExitStack() as opened:
        log = open_log(place, settings, clock)
        opened.callback(log.close)
        state = open_state(place, settings, clock)
        opened.callback(state.close)
        yield log, state


def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that `tocsin backup` made.")],
    notified_until: Annotated[
        str,
        typer.Option(
            "--notified-until",
            metavar="TIME",
            help="What fired before TIME is recorded as expired: nobody is notified again. For example when it was lost.",
        ),
    ] = "",
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Bring events and state of a backup into a project directory that has none."""
    from dataclasses import asdict

    from tocsin.app.upkeep.backup import restore as bring_back
    from tocsin.app.views.backtest import moment_of
    from tocsin.clock import SystemClock

    place, clock = open_home(home), SystemClock()
    if place.held():
        fail("a tocsin runs on this project directory", "stop it first")
    until = moment_of(notified_until, clock.now()) if notified_until else None
    with place.lock():
        done = bring_back(place, directory.absolute(), clock, notified_until=until)
    if as_json:
        print_json({**by_columns(asdict(done.backup)), "Expired": done.expired})
        return
    say(f"Restored commits up to {done.backup.commit_seq}, as of {done.backup.made_at}.")
    if until is None:
        say("What fired since then is notified again once its events are read again; --notified-until prevents that.")
    else:
        print(done.expired)
        say(
            f"{done.expired} waiting notifications are expired. So is all that fired before {until:%Y-%m-%d %H:%M:%S} UTC."
        )


def export(
    parquet: Annotated[Path, typer.Option("--parquet", metavar="DIR", help="Where to; made where it is not there.")],
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table; may be repeated.")
    ] = None,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Write tables as Parquet files, all as of one moment, while tocsin runs or not."""
    from tocsin.app.upkeep.backup import export_parquet
    from tocsin.cli.client import remote

    place, target = open_home(home), parquet.absolute()
    running = remote(place)
    if running is not None:
        with running.client:
            asked = {"directory": str(target), "tables": table or []}
            counts = running.ask("POST", "/api/v1/export", json=asked).json()
    else:
        with _stores(place) as (log, _):
            counts = export_parquet(log, target, table or ())
    show(
        [{"Table": name, "Rows": rows, "File": str(target / f"{name}.parquet")} for name, rows in counts.items()],
        ["Table", "Rows", "File"],
        as_json,
        "There are no tables.",
    )


def up(
    demo: Annotated[
        bool,
        typer.Option("--demo", help="In a throw-away project directory, play a day of training runs that ends now."),
    ] = False,
    with_prometheus: Annotated[
        bool,
        typer.Option(
            "--with-prometheus",
            help="With --demo: start the Prometheus of this machine beside it, and say where its plots are.",
        ),
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Take stores that do not belong together: what is stored counts as evaluated."),
    ] = False,
    host: Annotated[str, typer.Option(help="Listen on this address instead of http.host.")] = "",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Listen on this port instead of http.port.")
    ] = None,
    home: HomeOption = HERE,
) -> None:
    """Run tocsin: take events, evaluate rules, send mails, serve pages and metrics. Ends on Ctrl-C."""
    if with_prometheus and not demo:
        fail("--with-prometheus is for --demo only", "deploy/prometheus has a scrape file for a Prometheus of yours", 2)
    structlog_alone()
    from tocsin.app.run.up import up as run
    from tocsin.web import build_asgi
    from tocsin.web.server import Server

    overrides: dict[str, object] = {}
    if host:
        overrides["http.host"] = host
    if port is not None:
        overrides["http.port"] = port
    run(
        None if demo else open_home(home),
        bind=Server,
        build_asgi=build_asgi,
        overrides=overrides,
        demo=demo,
        with_prometheus=with_prometheus,
        adopt=adopt,
    )
