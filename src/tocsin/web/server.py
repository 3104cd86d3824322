"""Runs the server: binds first, so that a taken port is a clear error and port 0 has a number before anything starts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from tocsin.errors import TocsinError


class Server:
    """One listening socket and the ASGI application behind it."""

    def __init__(self, host: str, port: int) -> None:
        """Bind. Raises TocsinError where that is refused."""
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
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def serve(self, asgi: ASGIApp, started: Callable[[], None] = lambda: None) -> None:
        """Serve until ``stop``. Signals are the caller's."""
        config = uvicorn.Config(
            asgi,
            access_log=False,  # addresses may hold tokens
            log_config=None,
            lifespan="off",
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=10,
            limit_concurrency=1000,
            backlog=1024,
        )
        self._server = server = _Quiet(config)
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
    """uvicorn without handlers of signals: the life of the process is the app's."""

    def capture_signals(self):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext

        return nullcontext()
