"""The HTTP surface; it calls app."""

from __future__ import annotations

from starlette.types import ASGIApp

from tocsin.web.ports import AppPorts, ReadPorts


def build_asgi(app: AppPorts, local_token: str = "") -> ASGIApp:
    """The whole server of ``app``. ``local_token`` opens it to commands on this machine."""
    from tocsin.web.site import build

    return build(app, local_token)


__all__ = ["AppPorts", "ReadPorts", "build_asgi"]
