"""When each token was used last: `tocsin tokens list` shows it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from tocsin.web.access.sessions import write_json

FILE: Final = "tokens-used.json"
EVERY: Final = timedelta(minutes=1)
"""How late a use may be written."""


def last_uses(data: Path) -> dict[str, str]:
    """By name of the token when it was used last, ISO."""
    with suppress(OSError, ValueError):
        found = json.loads((data / FILE).read_text())
        if isinstance(found, dict):
            return {str(name): str(at) for name, at in found.items()}
    return {}


class Used:
    """Notes uses. Everything happens in the server's event loop."""

    def __init__(self, data: Path) -> None:
        self._path, self._at, self._written = data / FILE, last_uses(data), datetime.min

    def note(self, name: str, now: datetime) -> None:
        """The token ``name`` was used now (UTC)."""
        new = name not in self._at
        self._at[name] = f"{now:%Y-%m-%dT%H:%M:%SZ}"
        if new or now.replace(tzinfo=None) - self._written >= EVERY:
            self._written = now.replace(tzinfo=None)
            write_json(self._path, self._at)
