"""``tocsin up``: a project directory from its lock to its last mail."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import structlog
from starlette.types import ASGIApp

from tocsin.app.engine import allocator
from tocsin.app.project.content import load_content
from tocsin.app.run.app import App
from tocsin.app.run.sentences import sentences, structured
from tocsin.clock import SystemClock
from tocsin.config.project.home import Home, throwaway_home
from tocsin.config.settings import HttpSettings, LogSettings, Settings
from tocsin.config.stderr import CURRENT_STDERR
from tocsin.demo.day import lay_project
from tocsin.demo.play import HttpPost, play
from tocsin.demo.prometheus import prometheus
from tocsin.errors import ConfigurationError, TocsinError
from tocsin.metrics.registry import Metrics
from tocsin.model.active import ActionKind

log = structlog.get_logger(__name__)

STOP_SECONDS = 9.0
"""Seconds after a signal after which the process ends, whatever is under way."""
TURN = 0.001
"""Seconds after which one thread leaves the interpreter to another. Python's 5 ms are waited for each time that a commit,
an evaluation or a mail comes back from DuckDB or a socket while others compute.
"""


class WebServer(Protocol):
    """A bound web server; ``tocsin.web.server.Server`` is one."""

    @property
    def url(self) -> str:
        """Where this machine reaches it."""

    async def serve(self, asgi: ASGIApp, started: Callable[[], None], http: HttpSettings, metrics: Metrics) -> None:
        """Serve until ``stop``, within the bounds of ``http``."""

    def stop(self) -> None:
        """Finish requests under way and end ``serve``."""

    def close(self) -> None:
        """Close the socket."""


Bind = Callable[[str, int, tuple[Path, Path] | None], WebServer]
BuildAsgi = Callable[[App, str], ASGIApp]


def up(
    home: Home | None,
    *,
    bind: Bind,
    build_asgi: BuildAsgi,
    overrides: Mapping[str, object] | None = None,
    demo: bool = False,
    with_prometheus: bool = False,
    adopt: bool = False,
) -> None:
    """Run until SIGINT or SIGTERM. ``home`` None: a throw-away one. Raises TocsinError where it cannot start."""
    allocator.keep_little()
    sys.setswitchinterval(TURN)
    os.umask(0o077)  # stores, spill and what else is made here hold payloads and mails
    with ExitStack() as stack:
        place = home or stack.enter_context(throwaway_home())
        if demo:
            lay_project(place.path)
        settings = place.settings(overrides=overrides)
        set_up_logging(settings.log)
        lock = stack.enter_context(place.lock())
        content = load_content(place, settings)
        if not settings.http.loopback and not content.tokens:
            raise TocsinError(
                f"http.host {settings.http.host} can be reached from outside, and there are no tokens; "
                "make one with `tocsin tokens new NAME`, or listen on 127.0.0.1"
            )
        if (lost := place.lost_tokens(settings, content.tokens)) is not None:
            raise ConfigurationError([lost])
        place.note_tokens(content.tokens)
        for problem in place.warnings(settings):
            log.warning("settings", problem=str(problem))
        tls = place.tls(settings)
        server = bind(settings.http.host, settings.http.port, tls)
        stack.callback(server.close)
        url = settings.http.base_url or server.url
        plots = stack.enter_context(prometheus(server.url, place.data / "prometheus")) if with_prometheus else ""
        app = App(place, content, clock=SystemClock(), url=url, adopt=adopt)

        def started() -> None:
            lock.announce(server.url, str(tls[0]) if tls else "")
            _say(settings, server.url, demo=demo, plots=plots)

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(app, server, build_asgi(app, lock.token), started, demo))
    if app.left:
        _end()


async def _serve(app: App, server: WebServer, asgi: ASGIApp, started: Callable[[], None], demo: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    playing = threading.Event()
    last = threading.Timer(STOP_SECONDS, _cut)
    last.daemon = True

    def begun() -> None:
        started()
        if demo:
            threading.Thread(target=_demo, args=(app, server.url, playing), name="demo", daemon=True).start()

    try:
        app.start()
        quiet = asyncio.Event()
        serving = asyncio.create_task(server.serve(asgi, begun, app.settings.http, app.metrics))
        notification = asyncio.create_task(app.notify(quiet))
        stopping: asyncio.Task[object] = asyncio.create_task(stop.wait())
        await asyncio.wait([serving, notification, stopping], return_when=asyncio.FIRST_COMPLETED)
        last.start()
        playing.set()
        app.refuse_large()
        server.stop()
        await asyncio.gather(serving, return_exceptions=True)
        await asyncio.to_thread(app.stop_intake)
        quiet.set()
        results = await asyncio.gather(notification, return_exceptions=True)
        stopping.cancel()
        for result in results:
            if isinstance(result, BaseException):
                raise result
    finally:
        playing.set()
        await asyncio.to_thread(app.stop)
        last.cancel()


def _cut() -> None:
    """A stop ends in time whatever is under way. What is cut off is what a kill -9 cuts off: nothing is lost."""
    log.warning("stop_cut", seconds=STOP_SECONDS, hint="what was under way is done again at the next start")
    _end()


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _demo(app: App, url: str, stop: threading.Event) -> None:
    post = HttpPost(url)
    clock = app.clock
    try:
        play(post, clock.now(), clock=clock, stop=stop, played=lambda: _acknowledge(app, stop))
    except TocsinError as e:
        log.error("demo_failed", error=str(e))
    finally:
        post.close()


def _acknowledge(app: App, stop: threading.Event) -> None:
    """Somebody takes the failing sweep, once it has fired: it shows what acknowledging does."""
    for _ in range(60):
        for alert in app.acting.alerts():
            if alert["Rule"] == "sweep-failing":
                app.acting.act(
                    ActionKind.ACKNOWLEDGE,
                    alert["AlertId"],
                    "Noor",
                    text="smaller batches are on their way",
                    via="demo",
                )
                return
        if stop.wait(0.5):
            return


_LATER = "  in two minutes a run has waited for too long, in about five one is silent: as after any start, senders may be late"


def _say(settings: Settings, url: str, *, demo: bool, plots: str) -> None:
    """Where to look, for a person at a terminal."""
    event = (
        '{"specversion":"1.0","type":"tocsin.run.status","source":"me","id":"1",'
        '"data":{"RunId":"my-run","Status":"Failed","ExperimentName":"my-experiment","Message":"it broke"}}'
    )
    lines = [
        "",
        f"tocsin is up at {url}" + (", playing a day of training runs" if demo else ""),
        f"  mails    {url}/notifications" if settings.smtp.host is None else f"  mails    go to {settings.smtp.host}",
        f"  alerts   {url}/alerts",
        *([f"  on call  {url}/oncall"] if demo else []),
        f"  metrics  {url}/metrics",
        *([f"  plots    {plots}"] if plots else []),
        *([_LATER] if demo else []),
        "  send an event of your own:",
        f"    curl {url}/intake/events -H 'Content-Type: application/json' -d '{event}'",
        "Ctrl-C ends it." + (" Nothing of the demo is kept." if demo else ""),
        "",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def set_up_logging(settings: LogSettings) -> None:
    """Lines on stderr: sentences for people on a terminal, else JSON."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    last: list[structlog.typing.Processor] = (
        [sentences(colour=sys.stderr.isatty())] if text else [structured, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(CURRENT_STDERR),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
