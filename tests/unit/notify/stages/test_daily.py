"""Alerts that no step brought anybody to take: on the first page, and once a day in a list to admin_email."""

from datetime import timedelta

import pytest

from tests.unit.notify.conftest import House, Make, Wire, text_of
from tests.unit.notify.make import INFO, intent, oncall
from tocsin.model.active import Action, ActionKind, alert_id
from tocsin.model.alert import instance_key
from tocsin.model.delivery import DeliveryState
from tocsin.model.statuses import Severity

RULES = oncall("""
people: [{name: anna, email: anna@example.org}]
route: {receiver: leads@example.org, routes: [{match: {severity: critical}, escalation: page}]}
escalations: [{name: page, steps: [{notify: anna}, {after: 10m, notify: boss@example.org}]}]
""")
ONE = intent(severity=Severity.CRITICAL)
DAY = timedelta(days=1)


def fired(house: Make) -> House:
    """Both steps are done."""
    from dataclasses import replace

    here = house(Wire(), oncall=RULES)
    here.notify(ONE, infos=(replace(INFO, condition=True),))
    here.drain()
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    return here


def act(here: House, kind: ActionKind) -> None:
    id_ = alert_id(ONE.rule, instance_key(ONE.instance), ONE.occurrence)
    here.state.act(Action(alert=id_, kind=kind, by="anna", at=here.clock.now()))
    here.drain()


def lists(here: House) -> list[str]:
    return [text_of(d) for d in here.mails(DeliveryState.SENT) if d.address == "admin@example.org"]


def test_it_is_listed_once_a_day_also_after_restarts(house: Make) -> None:
    here = fired(house)
    assert ["page"] == [a.exhausted for a in here.state.alerts()]
    for days in range(3):
        assert days == len(lists(here))
        here.clock.advance(DAY)
        here = house(Wire(), oncall=RULES, state=here.state, clock=here.clock)
        here.drain()
        here.drain()
    assert "critical: churn failed" in lists(here)[0] and "nobody has it" in lists(here)[0]


@pytest.mark.parametrize("kind", [ActionKind.ACKNOWLEDGE, ActionKind.CLOSE], ids=["acknowledged", "closed"])
def test_what_somebody_has_taken_is_not_listed(house: Make, kind: ActionKind) -> None:
    here = fired(house)
    act(here, kind)
    assert [] == [a.id for a in here.state.alerts() if a.exhausted]
    here.clock.advance(timedelta(hours=3))
    here.drain()
    assert [] == lists(here)
