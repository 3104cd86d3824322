"""What people do with runs: tags, descriptions, cancel. Each is an event that takes the same way as a producer's.

To cancel a run tocsin asks the system that it came from, as its consumer file says how.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from anyio.to_thread import run_sync

from tocsin.app.runs.folders import Folders, RunFolder
from tocsin.clock import Clock, micros
from tocsin.errors import TocsinError
from tocsin.intake.files import CancelPart
from tocsin.model.statuses import TERMINAL
from tocsin.model.text.causes import one_line
from tocsin.notify.channels.base import Reply, Unreachable
from tocsin.notify.channels.http import Call, Client
from tocsin.sdk.sending.events import UPDATE_TYPE, status_event
from tocsin.sdk.text import clean

SOURCE = "tocsin"
"""Source of events that people's acts are."""
MOST_EVENTS = 100
"""Events that one act takes."""
LONGEST = 100_000
"""Characters of a description."""
LONGEST_TAG = 10_000
"""Characters of a tag's key or value."""

Row = Mapping[str, Any]
Ask = Callable[[Row], Awaitable[str]]
"""Ask the producer of a run (with its events) to cancel it; says why not, or ''."""


class NoSuchRun(TocsinError):
    """There is no run of that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What acts need of the app."""

    run: Callable[[str], Row | None]
    take: Callable[[bytes], Awaitable[object]]  # an event; returns when it is durable
    ask: Ask
    clock: Clock


class RunActions:
    """Acts on runs, wherever they came from. Every method returns when the change can be read."""

    def __init__(self, ports: Ports, folders: Folders) -> None:
        self._ports, self.folders = ports, folders

    async def tag(self, run_id: str, put: Mapping[str, str | None], drop: Sequence[str] = ()) -> None:
        """Set tags and remove others. Raises NoSuchRun, and TocsinError for a tag that is none."""
        put = {_key(key): None if value is None else _short(value, "value") for key, value in put.items()}
        drop = [_key(key) for key in drop]
        found = await self._found(run_id)
        if isinstance(found, RunFolder):
            await self._change(found, lambda: found.store.relabel(run_id, "t", put, drop))
            return
        changes = {key: value or "" for key, value in put.items()} | dict.fromkeys(drop)
        await self._update(run_id, {"Tags": changes})

    async def describe(self, run_id: str, text: str) -> None:
        """Set the description, Markdown. Raises NoSuchRun, and TocsinError where it is too long."""
        text = clean(text.replace("\r\n", "\n")).strip()
        if len(text) > LONGEST:
            raise TocsinError(f"a description has at most {LONGEST} characters, this one has {len(text)}")
        found = await self._found(run_id)
        if isinstance(found, RunFolder):
            await self._change(found, lambda: found.store.describe(run_id, text))
            return
        await self._update(run_id, {"Description": text or " "})

    async def cancel(self, run_id: str) -> str:
        """Cancel it, or ask its producer to. What became of it, for people. Raises NoSuchRun, and TocsinError where
        nobody can cancel it.
        """
        found = await self._found(run_id)
        if isinstance(found, RunFolder):
            if found.row.status in TERMINAL:
                raise TocsinError(f"{run_id} is {found.row.status} already")
            row = await self._change(found, lambda: found.store.cancel(run_id))
            return "canceled" if row is None or row.status in TERMINAL else "cancel requested"
        status = found["run"]["Status"]
        if status in TERMINAL:
            raise TocsinError(f"{run_id} is {status} already")
        if why := await self._ports.ask(found):
            raise TocsinError(f"{run_id}: {why}")
        if status != "CancelRequested":
            facts = {"RunId": run_id, "Status": "CancelRequested", "Reason": "user_canceled"}
            await self._take([status_event(uuid.uuid4().hex, SOURCE, self._now(), facts).encode()])
        return "cancel requested"

    async def _found(self, run_id: str) -> RunFolder | Row:
        here = await run_sync(self.folders.find, run_id)
        if here is not None:
            return here
        found = await run_sync(self._ports.run, run_id)
        if found is None:
            raise NoSuchRun(f"there is no run '{run_id[:80]}'")
        return found

    async def _change(self, found: RunFolder, change: Callable[[], Any]) -> Any:
        """Make the change in the workspace. Its event is spooled there, and taken here at once: it is known when it comes again."""
        try:
            made = await run_sync(change)
            events = await run_sync(found.spooled)
        except sqlite3.Error as e:
            raise TocsinError(f"the workspace {found.place.folder} cannot be written: {e}") from e
        await self._take(events)
        return made

    async def _update(self, run_id: str, changes: Mapping[str, Any]) -> None:
        data = {"RunId": run_id, **changes}
        await self._take([status_event(uuid.uuid4().hex, SOURCE, self._now(), data, UPDATE_TYPE).encode()])

    async def _take(self, events: Sequence[bytes]) -> None:
        if events:
            await self._ports.take(b"[" + b",".join(events) + b"]")

    def _now(self) -> int:
        return micros(self._ports.clock.now())


def _key(text: str) -> str:
    if not text.strip():
        raise TocsinError("a tag needs a key: write team=ranking, or checked")
    return _short(text.strip(), "key")


def _short(text: str, what: str) -> str:
    if len(text) > LONGEST_TAG:
        raise TocsinError(f"a tag's {what} has at most {LONGEST_TAG} characters, this one has {len(text)}")
    return clean(text)


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


__all__ = ["NoSuchRun", "Ports", "RunActions"]
