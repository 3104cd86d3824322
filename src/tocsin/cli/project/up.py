"""up: run tocsin."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.cli.common import HERE, HomeOption, fail, open_home, structlog_alone


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
