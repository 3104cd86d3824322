"""A notifier over a state in a file and a real SMTP server; also a program, to be killed.

python -m tests.integration.notify.house STATE HOST PORT [ONCALL]     notifies all that is due in the state, and ends
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.unit.notify.make import oncall, renderer
from tests.unit.notify.no_facts import NoFacts
from tocsin.clock import Clock, SystemClock
from tocsin.metrics.registry import Metrics
from tocsin.notify.channels.base import Setting
from tocsin.notify.channels.registry import Channels
from tocsin.notify.channels.smtp import SmtpChannel, SmtpOptions
from tocsin.notify.delivery.circuit import Backoff, Retry
from tocsin.notify.delivery.read import with_outbox
from tocsin.notify.notifier import Notifier, NotifyOptions
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.state.interface import State
from tocsin.state.sqlite import SqliteState

SENDER = "tocsin <tocsin@example.org>"


def notifier(
    state: State,
    clock: Clock,
    metrics: Metrics | None = None,
    rules: OnCallRules | None = None,
    directory: Path = Path(),
    **smtp: Any,
) -> Notifier:
    """Retries soon, caps nothing; `*_file` options of receivers lie in ``directory``."""
    rules = rules or OnCallRules()
    setting = with_outbox(Setting(directory=directory), state, clock)
    values: dict[str, Any] = {"sender": SENDER, "timeout": 5.0, **smtp}
    return Notifier(
        options=NotifyOptions(
            sender=SENDER,
            default_receiver=("ops@example.org",),
            cap=None,
            allowed_hosts=("ml.example.org",),
            allows=lambda _: True,
            retry=Retry(first=timedelta(milliseconds=50), longest=timedelta(milliseconds=200)),
            circuit=Backoff(first=timedelta(milliseconds=20), longest=timedelta(milliseconds=100)),
        ),
        state=state,
        templates=renderer().templates,
        facts=NoFacts(),
        channels=Channels(SmtpChannel(SmtpOptions(**values)), lambda: rules, setting),
        metrics=metrics or Metrics(),
        clock=clock,
    )


def notify(made: Notifier, until: Callable[[], object], within: float = 30) -> None:
    """Run it until ``until()`` is true."""

    async def running() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(made.run(stop))
        try:
            async with asyncio.timeout(within):
                while not until():
                    if task.done():
                        task.result()
                    await asyncio.sleep(0.01)
        finally:
            stop.set()
            await task

    try:
        asyncio.run(running())
    finally:
        made.close()


def main(path: Path, host: str, port: int, rules: OnCallRules) -> None:
    """Notify everything that is due."""
    clock = SystemClock()
    state = SqliteState.open(path, clock=clock)
    made = notifier(state, clock, rules=rules, directory=path.parent, host=host, port=port)
    asyncio.run(made.drain())
    made.close()
    state.close()


if __name__ == "__main__":
    written = Path(sys.argv[4]).read_text() if len(sys.argv) > 4 else ""
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), oncall(written))
