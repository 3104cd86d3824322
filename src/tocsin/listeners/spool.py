"""How a listener reports: the event is on disk first, in the spool of ``tocsin exec``, then it is sent.

A kill -9 before the commit costs the event, after it nothing: the next report, ``tocsin run sync`` or a tocsin of the same
user on this machine sends what waits.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any

from tocsin.clock import Clock, SystemClock, micros
from tocsin.sdk.sending.endpoint import Endpoint
from tocsin.sdk.sending.events import status_event
from tocsin.sdk.sending.spool import SCHEMA, Sender, made_state_folder, put
from tocsin.sdk.storage.database import Database
from tocsin.sdk.text import clean

SECONDS = 2.0
"""How long a report may take to send; what is not sent then waits on disk."""
_log = logging.getLogger("tocsin.listeners")


def report(source: str, data: Mapping[str, Any], clock: Clock | None = None) -> bool:
    """Keep one status event, then send what waits. Whether it was kept. Raises nothing: a scheduler must not notice."""
    try:
        endpoint = Endpoint.find()
        if endpoint is None:
            return False
        _report(source, data, endpoint, clock or SystemClock())
        return True
    except (OSError, sqlite3.Error) as e:
        _log.warning("an event could not be kept: %s", e)
    except Exception as e:  # noqa: BLE001  # what a scheduler hands over may be anything
        _log.warning("an event could not be made: %s: %s", type(e).__name__, e)
    return False


def _report(source: str, data: Mapping[str, Any], endpoint: Endpoint, clock: Clock) -> None:
    at = micros(clock.now())
    cleaned = {key: clean(value) if isinstance(value, str) else value for key, value in data.items()}
    folder = made_state_folder()
    database = Database(folder / "spool.sqlite", SCHEMA)
    try:
        with database.write() as tx:
            put(tx, cleaned["RunId"], at, status_event(uuid.uuid4().hex, source, at, cleaned))
        sender = Sender(database, endpoint, folder / "spool.lock", clock, Endpoint.find)
        sender.drain(SECONDS, timeout=SECONDS)
        sender.close()
    finally:
        database.close()
