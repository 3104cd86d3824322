"""What stays is set apart from the collector, and what does not stay is let go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tocsin.app.run.collector import set_apart


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector as it was before."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_what_lives_is_not_gone_through_and_goes_at_the_next_call_when_it_died() -> None:
    lives = Ring()
    seen = weakref.ref(lives)
    set_apart()
    assert not any(one is lives for one in gc.get_objects())
    del lives
    gc.collect()
    assert seen() is not None
    set_apart()
    assert seen() is None
