"""The cap: what is beyond it comes as one summary, and nothing of it is lost."""

from datetime import timedelta

from tests.unit.notify.conftest import Make, Wire, text_of
from tests.unit.notify.make import intent
from tocsin.model.delivery import DeliveryState
from tocsin.model.statuses import Severity
from tocsin.notify.values import CapRule

CAP = CapRule(mails=3, window=timedelta(minutes=10))


def test_what_is_beyond_the_cap_comes_as_one_summary(house: Make) -> None:
    wire = Wire()
    here = house(wire, cap=CAP)
    here.notify(*(intent(run=f"r{n:02}", ExperimentName=f"e{n % 2}", severity=Severity(1 + n % 3)) for n in range(20)))
    here.drain()
    assert len(wire.sent) == 3
    assert len(here.mails(DeliveryState.HELD)) == 17
    here.clock.advance(timedelta(minutes=9, seconds=59))
    here.drain()
    assert len(wire.sent) == 3
    here.clock.advance(timedelta(seconds=1))
    here.drain()
    (summary,) = wire.sent[3:]
    assert summary.subject == "17 alerts of 17 runs in 2 experiments: CUDA out of memory"
    assert summary.severity == "error"
    assert "17 × CUDA out of memory" in text_of(summary) and "and 14 more" in text_of(summary)
    assert len(here.mails(DeliveryState.DROPPED)) == 17
    assert len(summary.intents) == 17
    assert here.count("tocsin_notify_capped_total") == 17
    here.drain()
    assert len(wire.sent) == 4


def test_a_held_mail_outlives_a_restart(house: Make) -> None:
    here = house(Wire(), cap=CAP)
    here.notify(*(intent(run=f"r{n}") for n in range(5)))
    here.drain()
    wire = Wire()
    after = house(wire, cap=CAP, state=here.state, clock=here.clock)
    here.notify(intent(run="another"))
    after.drain()
    assert wire.sent == []  # held with the others, so that none overtakes
    here.clock.advance(timedelta(minutes=10))
    after.drain()
    assert [d.covers for d in wire.sent] == [3]


def test_none_is_no_cap(house: Make) -> None:
    wire = Wire()
    here = house(wire, cap=None)
    here.notify(*(intent(run=f"r{n}") for n in range(50)))
    here.drain()
    assert len(wire.sent) == 50


def test_a_cap_taken_away_still_frees_what_was_held(house: Make) -> None:
    here = house(Wire(), cap=CAP)
    here.notify(*(intent(run=f"r{n}") for n in range(5)))
    here.drain()
    wire = Wire()
    here.clock.advance(timedelta(minutes=11))
    house(wire, cap=None, state=here.state, clock=here.clock).drain()
    assert [d.covers for d in wire.sent] == [2]
