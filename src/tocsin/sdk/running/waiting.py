"""Waiting for a run's end, with its output where that is wanted."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, BinaryIO

from tocsin.model.statuses import TERMINAL
from tocsin.sdk.errors import ActivityFailedException
from tocsin.sdk.parts.described import Described
from tocsin.sdk.runconfig import targets
from tocsin.sdk.storage.slots import lend, wait_for_slot

LOG = "user_logs/std_log.txt"
POLL_EVERY = 0.1


def wait(run: Described, inside: bool, show_output: bool, raise_on_error: bool) -> dict[str, Any]:
    """Wait through CancelRequested and Finalizing. ``inside``: this process is the run's script. A script that waits lends its slot to what it waits for."""
    store = run._session.store
    me = os.environ.get("TOCSIN_RUN_ID", "") if inside or os.environ.get("TOCSIN_WORKSPACE") else ""
    lent = bool(me) and me != run.id and run.get_status() not in TERMINAL and lend(store, me)
    pause = threading.Event()
    try:
        if show_output:
            print(f"RunId: {run.id}\n", flush=True)
        follow(run, pause) if show_output else _until_ended(run, pause)
    finally:
        if lent:
            _take_back(run, me, pause)
    details = run.get_details()
    if show_output:
        print(f"\nExecution Summary\n=================\nRunId: {run.id}\nStatus: {details['status']}", flush=True)
    if details["status"] == "Failed" and raise_on_error:
        raise ActivityFailedException(details["error"])
    return details


def _until_ended(run: Described, pause: threading.Event) -> None:
    while run.get_status() not in TERMINAL:
        pause.wait(POLL_EVERY)


def _take_back(run: Described, me: str, pause: threading.Event) -> None:
    store = run._session.store
    row = store.get(me)
    if row is None or row.status in TERMINAL:
        return
    target = targets(run._session.settings).get(row.target)

    def go_on() -> bool:
        pause.wait(POLL_EVERY)
        found = store.get(me)
        return found is not None and found.status not in TERMINAL

    wait_for_slot(store, me, row.target, target.slots if target else None, go_on, again=True)


def follow(run: Described, pause: threading.Event) -> None:
    """Print the script's output as it comes, until the run has ended."""
    path = run._files / LOG
    file: BinaryIO | None = None
    try:
        while True:
            over = run.get_status() in TERMINAL
            if file is None and path.is_file():
                file = path.open("rb")
            while file is not None and (data := file.read(65536)):
                sys.stdout.write(data.decode("utf-8", "replace"))
                sys.stdout.flush()
            if over:
                return
            pause.wait(POLL_EVERY)
    finally:
        if file is not None:
            file.close()
