"""Shift messages: once a handoff, with what is open, whatever restarts in between."""

from datetime import timedelta

from tests.unit.notify.conftest import House, Make, Wire, text_of
from tests.unit.notify.make import intent, oncall
from tocsin.model.delivery import DeliveryState
from tocsin.model.statuses import Severity

SHIFTS = oncall("""
people:
  - {name: anna, email: anna@example.org, timezone: Europe/Budapest}
  - {name: bela, email: bela@example.org}
receivers: [{name: on-call, schedule: primary}]
schedules:
  - name: primary
    timezone: UTC
    rotation: {every: 1d, handoff: "09:00", starting: 2026-11-23, members: [anna, bela]}
route: {receiver: leads@example.org, routes: [{match: {severity: critical}, receiver: on-call}]}
""")
HOUR = timedelta(hours=1)


def subjects(here: House) -> list[tuple[str, str]]:
    return [(d.address, d.subject) for d in here.mails(DeliveryState.SENT) if d.receiver == "shifts"]


def test_whoever_goes_on_and_off_call_is_notified_once(house: Make) -> None:
    """07:15 UTC: anna has the shift that ends at 09:00."""
    here = house(Wire(), oncall=SHIFTS)
    here.drain()
    assert [] == subjects(here)
    here.clock.advance(2 * HOUR)
    here.drain()
    here.drain()
    assert [
        ("anna@example.org", "Your shift is over: primary, bela has it (nothing is open)"),
        ("bela@example.org", "You are on call: primary (nothing is open)"),
    ] == sorted(subjects(here))
    begins = next(d for d in here.mails() if d.address == "bela@example.org")
    assert "Until Wed 2026-11-25 09:00 UTC." in text_of(begins)


def test_open_alerts_of_the_schedule_are_listed_and_no_others(house: Make) -> None:
    here = house(Wire(), oncall=SHIFTS)
    here.notify(intent(run="r1", severity=Severity.CRITICAL), intent(run="r2", severity=Severity.ERROR))
    here.drain()
    here.clock.advance(2 * HOUR)
    here.drain()
    ((_, subject),) = [each for each in subjects(here) if each[0] == "bela@example.org"]
    assert "You are on call: primary (1 open)" == subject
    begins = next(d for d in here.mails() if d.address == "bela@example.org")
    assert "critical: churn failed" in text_of(begins) and "nobody has it" in text_of(begins)


def test_a_handoff_while_nothing_ran_is_caught_up_once(house: Make) -> None:
    here = house(Wire(), oncall=SHIFTS)
    here.drain()
    here.clock.advance(2 * HOUR)
    for _ in range(2):
        there = house(Wire(), oncall=SHIFTS, state=here.state, clock=here.clock)
        there.drain()
    assert 2 == len(subjects(here))


def test_the_same_person_again_is_no_handoff(house: Make) -> None:
    here = house(
        Wire(), oncall=oncall("schedules: [{name: s, timezone: UTC, rotation: {every: 1d, members: x@example.org}}]")
    )
    here.drain()
    here.clock.advance(timedelta(days=9))
    here.drain()
    assert [] == subjects(here)
