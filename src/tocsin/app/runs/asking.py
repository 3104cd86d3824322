"""Asks the system that a run came from to cancel it, as its consumer file says how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from tocsin.intake.files import CancelPart
from tocsin.model.text.causes import one_line
from tocsin.notify.channels.base import Reply, Unreachable
from tocsin.notify.channels.http import Call, Client

log = structlog.get_logger(__name__)

SECONDS = 20.0
"""How long the other side has to answer."""


async def ask(part: CancelPart, run: Mapping[str, Any], directory: Path) -> str:
    """Make the request that cancels ``run``; why it was not taken, or ''. ``directory`` holds the token's file."""
    headers = {"Content-Type": "application/json", **part.headers}
    if part.token_file is not None:
        try:
            token = (directory / part.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            return f"{part.token_file} cannot be read: {getattr(e, 'strerror', None) or e}"
        headers["Authorization"] = f"Bearer {token}"
    body = b"" if part.body is None else json.dumps(part.filled(part.body, run)).encode()
    client = Client(private=part.allow_private, seconds=SECONDS)
    try:
        answer = await client.post(Call(url=part.address(run), method=part.method, body=body, headers=headers))
    except Unreachable as e:
        return str(e)
    finally:
        await client.close()
    if isinstance(answer, Reply):
        return answer.text
    log.info("run_cancel_asked", run=run["RunId"], consumer=run["Consumer"], status=answer.status)
    return "" if answer.status < 300 else f"its system answers {one_line(answer.text, 200)}"
