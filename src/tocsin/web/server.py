"""Runs the server: binds first, so that a taken port is a clear error and port 0 has a number before anything starts."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp

from tocsin.config.settings import HttpSettings
from tocsin.errors import TocsinError
from tocsin.metrics.registry import Metrics
from tocsin.web.connections import HEAD, Bounds, Connections, protocol
from tocsin.web.tls import ServerTls

CLOSED: Final = "tocsin_http_connections_closed_total"
OTHER_FILES: Final = 256
"""Open files of a process that are no connections of clients: stores, SMTP, Kafka."""


class Server:
    """One listening socket and the ASGI application behind it."""

    def __init__(self, host: str, port: int, tls: tuple[Path, Path] | None = None) -> None:
        """Bind; ``tls`` are certificate and key. Raises TocsinError where that is refused."""
        self._tls = ServerTls(*tls) if tls is not None else None
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
        except OSError as e:
            self._socket.close()
            raise TocsinError(
                f"cannot listen on {host} port {port}: {e.strerror or e}; take another with --port"
            ) from e
        self._server: uvicorn.Server | None = None
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """Where commands on this machine reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"{'https' if self._tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def serve(
        self,
        asgi: ASGIApp,
        started: Callable[[], None],
        http: HttpSettings,
        metrics: Metrics,
        parser: str = "",
    ) -> None:
        """Serve until ``stop``, within the bounds of ``http``. Signals are the caller's.

        ``parser`` is httptools or h11, by default the fastest there is.
        """
        connections = Connections(_bounds(http), lambda reason: metrics.inc(CLOSED, reason=reason))
        config = uvicorn.Config(
            asgi,
            access_log=False,  # addresses may hold tokens
            log_config=None,
            lifespan="off",
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,  # a stop ends within ten seconds, whatever is under way
            backlog=1024,
            interface="asgi3",
            ws="none",
            http=cast("type[asyncio.Protocol]", protocol(connections, parser)),
            h11_max_incomplete_event_size=HEAD,
        )
        config.load()
        if self._tls is not None:
            config.ssl = self._tls.context
        self._server = server = _Quiet(config, connections, self._tls)
        serving = asyncio.ensure_future(server.serve(sockets=[self._socket]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            started()
        await serving

    def stop(self) -> None:
        """Let requests under way finish, then end ``serve``. Safe from any thread."""
        if self._server is not None:
            self._server.should_exit = True

    def close(self) -> None:
        """Close the socket; for a server that never served."""
        self._socket.close()


class _Quiet(uvicorn.Server):
    """uvicorn without handlers of signals: the life of the process is the app's. With deadlines of connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections, tls: ServerTls | None) -> None:
        super().__init__(config)
        self._connections, self._certificate = connections, tls

    async def on_tick(self, counter: int) -> bool:
        """Called each 0.1 s."""
        if counter % 5 == 0:
            self._connections.close_idle(asyncio.get_running_loop().time())
        if counter % 50 == 0 and self._certificate is not None:
            self._certificate.refresh()
        return await super().on_tick(counter)

    def capture_signals(self):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext

        return nullcontext()


def _bounds(http: HttpSettings) -> Bounds:
    """As settings say, but no more connections than the process may open; asks the system for more where that is
    allowed.
    """
    bounds = Bounds(
        head=http.head_timeout.total_seconds(), body=http.body_timeout.total_seconds(), connections=http.max_connections
    )
    wanted = bounds.connections + bounds.reserved + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            soft = more
    return replace(bounds, connections=max(1, min(bounds.connections, soft - bounds.reserved - OTHER_FILES)))
