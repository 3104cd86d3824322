"""A run's files and logs, where its workspace lies on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tocsin.app.runs.folders import RunFolder
from tocsin.model.statuses import TERMINAL
from tocsin.web.api import Asker

TAIL: Final = 64 << 10
"""Bytes of a log that are shown, and that one answer brings."""
IMAGES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
TEXTS: Final = (".txt", ".log", ".csv", ".json", ".jsonl", ".md", ".yaml", ".yml", ".tsv", ".err", ".out")
FILE_POLICY: Final = "default-src 'none'; sandbox"
_CHUNK = 1 << 16


class FilePages:
    """``/files``, ``/logs`` and what a log has more."""

    def __init__(self, ask: Asker, page: Callable[..., Response]) -> None:
        self._ask, self._app, self._page = ask, ask.app, page

    def routes(self) -> list[BaseRoute]:
        """A route each."""
        return [Route("/files", self._file), Route("/logs", self._log), Route("/logs/tail", self._tail)]

    async def _file(self, request: Request) -> Response:
        """One file: images and texts are shown, anything else is saved."""
        _, name, file = await self._opened(request)
        ending = os.path.splitext(name)[1].lower()
        kind = IMAGES.get(ending) or ("text/plain; charset=utf-8" if ending in TEXTS else "application/octet-stream")
        how = "inline" if ending in IMAGES or ending in TEXTS else "attachment"
        plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in os.path.basename(name))[:100]
        size = os.fstat(file.fileno()).st_size
        headers = {
            "Content-Security-Policy": FILE_POLICY, "Content-Disposition": f'{how}; filename="{plain.encode("ascii", "replace").decode()}"',
            "Content-Length": str(size),
        }  # fmt: skip
        return StreamingResponse(_chunks(file, size), media_type=kind, headers=headers)

    async def _log(self, request: Request) -> Response:
        """The end of a log, and what comes."""
        kept, name, file = await self._opened(request)
        text, start, end = await run_sync(_end_of, file)
        logs = [f.name for f in await run_sync(kept.files) if f.is_log]
        return self._page(
            "log", request, run=kept.row.run_id, file=name, text=text, cut=start > 0, end=end, logs=logs,
            live=kept.row.status not in TERMINAL,
        )  # fmt: skip

    async def _tail(self, request: Request) -> Response:
        """What a log has from a place on; ``X-Next`` says where to go on, ``X-Over`` that the run has ended."""
        given = request.query_params.get("from", "0")
        if not given.isdecimal() or len(given) > 18:
            raise HTTPException(400, f"from: '{given[:20]}' is no place in a file")
        kept, _, file = await self._opened(request)
        data, after = await run_sync(_part, file, int(given))
        headers = {"X-Next": str(after), "X-Over": str(kept.row.status in TERMINAL).lower()}
        return Response(data, media_type="text/plain; charset=utf-8", headers=headers)

    async def _opened(self, request: Request) -> tuple[RunFolder, str, BinaryIO]:
        run, name = request.query_params.get("run", ""), request.query_params.get("name", "")
        kept = await run_sync(self._app.run_actions.folders.find, run)
        if kept is None:
            raise HTTPException(404, "no workspace on this machine keeps this run; see runs.workspaces in tocsin.yaml")
        file = await run_sync(kept.open, name)
        if file is None:
            raise HTTPException(404, "the run has no such file")
        return kept, name, file


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """``size`` bytes: a file that grows meanwhile would break the answer's length."""
    with file:
        while size > 0 and (data := file.read(min(_CHUNK, size))):
            size -= len(data)
            yield data


def _end_of(file: BinaryIO) -> tuple[str, int, int]:
    """The last TAIL bytes from a line's beginning on, where they begin and end."""
    with file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - TAIL)
        file.seek(start)
        data = file.read(TAIL)
    if start and b"\n" in data:
        skipped = data.index(b"\n") + 1
        data, start = data[skipped:], start + skipped
    whole = _whole(data)
    return whole.decode("utf-8", "replace"), start, start + len(whole)


def _part(file: BinaryIO, start: int) -> tuple[bytes, int]:
    with file:
        file.seek(start)
        data = _whole(file.read(TAIL))
    return data, start + len(data)


def _whole(data: bytes) -> bytes:
    """``data`` without the first bytes of a character whose others are still to come."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < wanted else data
        if byte < 0x80:
            break
    return data
