"""What many large bodies take at once is bounded; small ones never wait for them."""

import asyncio
import gzip
from datetime import timedelta

import pytest
from starlette.datastructures import Headers

from tocsin.intake.connectors.http_body import LARGE, Bodies, Refused, event_of_headers, unpacked

LIMIT = 1 << 20
GZIP = Headers({"content-encoding": "gzip"})


def test_bytes_of_large_bodies_are_bounded_together() -> None:
    """Four of the largest may come in at once. What is refused or ends makes room."""
    bodies = Bodies()
    with bodies.holding(LIMIT) as first, bodies.holding(LIMIT) as second, bodies.holding(LIMIT) as small:
        first(LARGE)
        first(2 * LIMIT)
        second(2 * LIMIT + LARGE)
        small(LARGE)
        with bodies.holding(LIMIT) as third, pytest.raises(Refused) as refused:
            third(LARGE + 1)
        assert (429, "5") == (refused.value.status, refused.value.headers["Retry-After"])
    with bodies.holding(LIMIT) as fourth:
        fourth(4 * LIMIT)


def test_two_large_bodies_are_read_at_once() -> None:
    """The third waits for its turn, and is refused where it does not come."""
    asyncio.run(_three_turns())


async def _three_turns() -> None:
    bodies = Bodies()
    soon, never = timedelta(milliseconds=10), timedelta(minutes=1)
    async with bodies.turn(never):
        async with bodies.turn(never):
            with pytest.raises(Refused) as refused:
                async with bodies.turn(soon):
                    pass
            assert 429 == refused.value.status
        waits = asyncio.create_task(_a_turn(bodies))
        assert "had it" == await asyncio.wait_for(waits, 60)


async def _a_turn(bodies: Bodies) -> str:
    async with bodies.turn(timedelta(minutes=1)):
        return "had it"


@pytest.mark.parametrize("members", [1, 5])
def test_a_bomb_goes_no_further_than_the_limit(members: int) -> None:
    """Of one member or of several; the limit itself is fine."""
    part = gzip.compress(b"x" * (LIMIT // members))
    assert LIMIT // members * members == len(unpacked(GZIP, part * members, LIMIT))
    with pytest.raises(Refused) as refused:
        unpacked(GZIP, part * members + gzip.compress(b"x" * members), LIMIT)
    assert 413 == refused.value.status


def test_data_of_a_binary_event_is_not_built_where_it_is_too_large() -> None:
    with pytest.raises(Refused) as refused:
        event_of_headers(Headers({"ce-id": "1"}), b"[" + b"{}," * LIMIT + b"{}]")
    assert 413 == refused.value.status
