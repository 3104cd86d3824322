"""What stays is set apart from the collector, and what does not stay is let go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tocsin.app.engine.allocator import YOUNG, set_apart


class Ring:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector as it was before."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


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


@pytest.mark.usefixtures("collector")
def test_from_the_start_on_the_collector_comes_as_often_as_elsewhere() -> None:
    """Before, it hardly comes (`cli.main`)."""
    gc.set_threshold(100_000)
    set_apart()
    assert gc.get_threshold()[0] == YOUNG
