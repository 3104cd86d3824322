"""A project directory asked while nobody runs it: this process opens the files itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tocsin.app.project.content import gather
from tocsin.app.project.stores import open_log, open_state
from tocsin.app.views.read import Reading
from tocsin.clock import SystemClock
from tocsin.config.project.home import Home


@contextmanager
def open_offline(home: Home) -> Iterator[Reading]:
    """What can be asked of ``home``. The caller holds the project directory's lock. Raises ContentError (settings), StoreError."""
    settings = home.settings()
    clock = SystemClock()
    store = open_log(home, settings, clock)
    try:
        state = open_state(home, settings, clock)
        try:
            content = gather(home, [], settings)
            yield Reading(store, state, clock, lambda: content)
        finally:
            state.close()
    finally:
        store.close()


def compact(home: Home) -> tuple[int, int]:
    """Rewrite the log store's file without its holes; bytes before and after. The caller holds the project directory's lock."""
    from tocsin.logstore.upkeep import compact_file

    return compact_file(home.store_path(home.settings()))
