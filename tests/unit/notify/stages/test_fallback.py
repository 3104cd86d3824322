"""A fallback with `digest: daily` collects what nobody else could be notified of."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.notify.conftest import House, Make, Wire, text_of
from tests.unit.notify.make import INFO, intent, oncall
from tests.unit.notify.stages.test_live_path import after, critical, resolve, to
from tocsin.model.delivery import DeliveryState
from tocsin.model.intent import Intent

HOUR = timedelta(hours=1)
LEADS = "leads@example.org"
CONDITION = replace(INFO, condition=True)
COLLECTS = """
people: [{name: leads, email: leads@example.org, timezone: Europe/Budapest}]
receivers:
  - {name: owner, email: {first_of: ["{{ OwnerEmail }}"]}, fallback: {receiver: leads, digest: daily, at: "09:00"}}
"""
ROUTE = "route: {receiver: owner, repeat_interval: 4h}"


@pytest.fixture
def here(house: Make) -> House:
    """It is 07:15 UTC: 08:15 where the leads are, and 45 minutes before their digest."""
    return house(Wire(), oncall=oncall(COLLECTS + ROUTE))


def nobodys(run: str) -> Intent:
    return intent(run=run, OwnerEmail="")


def test_a_run_without_an_owner_waits_for_the_digest_of_the_day(here: House) -> None:
    """In the reader's time zone. An owner who is known is notified at once, and what is critical is not delayed."""
    here.notify(
        nobodys("r1"), intent(run="r2"), replace(critical("r3"), event={**critical("r3").event, "OwnerEmail": ""})
    )
    sent = [(d.run_id, d.address) for d in after(here, timedelta(0)) if d.state is DeliveryState.SENT]
    assert [("r2", "agnes@example.org"), ("r3", LEADS)] == sorted(sent)
    here.clock.advance(timedelta(minutes=30))
    here.notify(nobodys("r4"))
    assert [] == to(after(here, timedelta(minutes=14)))
    (digest,) = [d for d in after(here, timedelta(minutes=1)) if d.state is DeliveryState.SENT]
    assert (LEADS, "leads", 2) == (digest.address, digest.receiver, digest.covers)
    assert "nobody else could be notified (owner)" in text_of(digest)
    assert [] == to(after(here, 24 * HOUR))


def test_what_comes_after_the_digest_waits_for_the_next_day(here: House) -> None:
    here.clock.advance(HOUR)
    here.notify(nobodys("r1"))
    assert [] == to(after(here, 23 * HOUR + timedelta(minutes=44)))
    assert [LEADS] == to(after(here, timedelta(minutes=1)))


def test_a_digest_outlives_a_restart(here: House, house: Make) -> None:
    here.notify(nobodys("r1"))
    assert [] == to(after(here, timedelta(0)))
    again = house(Wire(), oncall=oncall(COLLECTS + ROUTE), state=here.state, clock=here.clock)
    assert [LEADS] == to(after(again, HOUR))


def test_a_condition_is_in_one_digest_and_its_end_in_one(here: House) -> None:
    """It is not repeated meanwhile; what recovered before the digest is a line of it."""
    first, second = nobodys("r1"), replace(nobodys("r2"), occurrence="o2")
    here.notify(first, second, infos=(CONDITION,))
    assert [] == to(after(here, HOUR / 2))
    resolve(here, second)
    assert [] == to(after(here, timedelta(0)))
    (digest,) = [d for d in after(here, HOUR / 2) if d.state is DeliveryState.SENT]
    assert "1 recovered" in digest.subject
    assert [] == to(after(here, 9 * HOUR))
    resolve(here, first)
    assert [] == to(after(here, HOUR))
    (ends,) = [d for d in after(here, 14 * HOUR) if d.state is DeliveryState.SENT]
    assert (LEADS, True) == (ends.address, "1 recovered" in ends.subject)


def test_who_is_notified_anyway_does_not_wait(house: Make) -> None:
    """One of two ways to the same address is no fallback."""
    here = house(Wire(), oncall=oncall(COLLECTS + "route: {receiver: leads, always: [owner]}"))
    here.notify(nobodys("r1"))
    assert [LEADS] == to(after(here, timedelta(0)))
    assert [] == to(after(here, HOUR))
