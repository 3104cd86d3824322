"""Lists of runs that people saved under a name, for everybody who uses this tocsin."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Final

from tocsin.errors import TocsinError
from tocsin.state.interface import State

MOST: Final = 100
"""Views that are kept."""
LONGEST_NAME: Final = 80
LONGEST_ADDRESS: Final = 2000
_KEY = "run_views"


class Views:
    """Addresses of lists by name, kept in the state. Raises StoreError where that is away."""

    def __init__(self, state: State) -> None:
        self._state, self._lock = state, threading.Lock()

    def all(self) -> Mapping[str, str]:
        """By name."""
        found: dict[str, str] = json.loads(self._state.get(_KEY) or "{}")
        return dict(sorted(found.items()))

    def save(self, name: str, address: str) -> None:
        """Keep the list at ``address`` under ``name``, instead of what had the name. Raises TocsinError for what cannot be kept."""
        name = " ".join(name.split())
        if not name or len(name) > LONGEST_NAME:
            raise TocsinError(f"a view needs a name of at most {LONGEST_NAME} characters")
        if not (address == "/runs" or address.startswith("/runs?")) or len(address) > LONGEST_ADDRESS:
            raise TocsinError("a view is an address of /runs of at most 2000 characters")
        with self._lock:
            views = {**self.all(), name: address}
            if len(views) > MOST:
                raise TocsinError(f"{MOST} views are kept at most: remove one first")
            self._state.put(_KEY, json.dumps(views))

    def remove(self, name: str) -> None:
        """Forget a view; nothing happens where there is none."""
        with self._lock:
            self._state.put(_KEY, json.dumps({key: value for key, value in self.all().items() if key != name}))
