"""Events and heartbeats of three runs, drawn at random, for tests that read runs back from a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.clock import ManualClock
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.details import Expired, Wait
from tocsin.model.intent import Intent

Said = dict[str, Any]

messages: st.SearchStrategy[Said] = st.builds(
    dict,
    run=st.integers(0, 2),
    status=st.sampled_from(("Queued", "Preparing", "Running", "Completed", "beat", "beat")),
    at=st.integers(-3000, 3000),
    progress=st.sampled_from((None, 0.25, 0.5)),
    attempt=st.sampled_from((0, 0, 1)),
    source=st.sampled_from(("a", "b")),
)
pauses = st.sampled_from((1, 8, 30))
"""Seconds between commits: heartbeats are thinned to one in ten."""


def payload(own: str, said: Said) -> bytes:
    """The message, of a run that is ``own`` to an example."""
    run, progress = f"{own}-{said['run']}", said["progress"]
    more: Said = {} if progress is None else {"Progress": progress}
    if said["status"] == "beat":
        return beat(run, **more)
    more |= {"Attempt": said["attempt"], "Tags": {"a": "b"}}
    return event(run, said["status"], said["at"], source=said["source"], **more)


@contextmanager
def bench_in_memory() -> Iterator[Bench]:
    """One store for all examples; each takes names of its own."""
    clock = ManualClock(datetime(2026, 3, 1, 13, tzinfo=UTC))
    store = DuckLogStore.open(None, clock=clock)
    try:
        yield Bench(store, clock)
    finally:
        store.close()


def wait_of(intent: Intent) -> Wait:
    """What an absence rule waited for."""
    assert intent.details.wait is not None
    return intent.details.wait


def expired(intent: Intent) -> Expired:
    """What a summary is about."""
    assert intent.details.expired is not None
    return intent.details.expired
