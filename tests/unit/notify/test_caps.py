"""The cap: what is beyond it comes as one summary, and nothing of it is lost."""

from datetime import timedelta

from tests.unit.notify.conftest import Make, Wire, text_of
from tests.unit.notify.make import intent
from tocsin.app.run.app import _options
from tocsin.config.settings import Settings
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


def test_a_mailbox_has_one_cap_however_its_address_is_written(house: Make) -> None:
    """Upper case and +tags reach the same person; events may name any of them."""
    wire = Wire()
    here = house(wire, cap=CAP)
    ways = (
        "ops@example.org",
        "Ops@example.org",
        "OPS@EXAMPLE.ORG",
        "ops+a@example.org",
        "ops+b@example.org",
        "Ops+c+d@Example.org",
    )
    here.notify(*(intent(run=f"r{n}", OwnerEmail=way) for n, way in enumerate(ways)))
    here.drain()
    assert 3 == len(wire.sent)
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    (summary,) = wire.sent[3:]
    assert 3 == summary.covers
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    assert 4 == len(wire.sent)


def test_all_together_have_a_cap_and_critical_ones_go_first(house: Make) -> None:
    """A storm to a thousand addresses takes no more from the mail server than one to a few."""
    wire = Wire()
    total = CapRule(mails=4, window=timedelta(minutes=10))
    here = house(wire, cap=CAP, global_cap=total)
    severities = (
        Severity.WARNING,
        Severity.ERROR,
        Severity.WARNING,
        Severity.CRITICAL,
        Severity.WARNING,
        Severity.CRITICAL,
    )
    here.notify(*(intent(run=f"r{n}", OwnerEmail=f"p{n}@example.org", severity=s) for n, s in enumerate(severities)))
    here.drain()
    assert 4 == len(wire.sent)
    assert {"p3@example.org", "p5@example.org"} <= {d.address for d in wire.sent}
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    assert {f"p{n}@example.org" for n in range(6)} == {d.address for d in wire.sent}


def test_what_is_critical_counts_and_is_not_held(house: Make) -> None:
    """That all together are too many is no reason to keep from anybody that the house burns."""
    wire = Wire()
    here = house(wire, cap=CAP, global_cap=CapRule(mails=1, window=timedelta(minutes=10)))
    here.notify(*(intent(run=f"r{n}", OwnerEmail=f"p{n}@example.org") for n in range(2)))
    here.drain()
    assert 1 == len(wire.sent)
    here.notify(intent(run="burns", OwnerEmail="p1@example.org", severity=Severity.CRITICAL))
    here.drain()
    assert "p1@example.org" == wire.sent[1].address
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    assert 1 == len(wire.sent) - 2


def test_a_cap_of_none_switches_off_that_of_all_together() -> None:
    settings = Settings.model_validate({"smtp": {"cap": "none", "global_cap": {"max": 1, "window": "1h"}}})
    assert (None, None) == (_options(settings, "").cap, _options(settings, "").global_cap)
