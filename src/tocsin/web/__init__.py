"""The HTTP surface; it calls app."""

from __future__ import annotations

from starlette.types import ASGIApp

from tocsin.web.ports import AppFace, ReadFace


def build_asgi(app: AppFace, local_token: str = "") -> ASGIApp:
    """The whole server of ``app``. ``local_token`` opens it to commands on this machine."""
    from tocsin.web.site import build

    return build(app, local_token)


__all__ = ["AppFace", "ReadFace", "build_asgi"]
