"""notify: try receivers out."""

from __future__ import annotations

from typing import Annotated

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, open_home, say, show

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
