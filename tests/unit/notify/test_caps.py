"""The cap: what is beyond it comes as one summary, and nothing of it is lost."""

from datetime import timedelta

from tests.unit.notify.conftest import LATER, OK, Make, Wire, text_of
from tests.unit.notify.make import intent, oncall
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


def test_the_list_of_critical_alerts_beyond_ten_is_not_held_by_a_full_cap(house: Make) -> None:
    """A flood fills the cap of its readers first; what is critical goes out all the same, and first."""
    wire = Wire()
    here = house(wire, cap=CAP)
    here.notify(*(intent(run=f"r{n}") for n in range(8)))
    here.drain()
    assert 3 == len(wire.sent)
    here.notify(*(intent(run=f"c{n}", severity=Severity.CRITICAL) for n in range(15)))
    here.drain()
    assert ["5 alerts of 5 runs: CUDA out of memory"] == [d.subject for d in wire.sent[3:] if d.covers > 1]
    assert 10 + 1 == len(wire.sent) - 3
    assert 5 == len(here.mails(DeliveryState.HELD))


def test_a_list_among_what_was_held_counts_as_the_alerts_that_it_is_about(house: Make) -> None:
    wire = Wire()
    here = house(wire, cap=CAP, oncall=oncall("route: {receiver: ops@example.org, group_by: [team]}"))
    here.notify(*(intent(run=f"r{n}", labels={"team": f"e{n}"}) for n in range(3)))
    here.drain()
    here.notify(*(intent(run=f"s{n}", labels={"team": "sweep"}) for n in range(7)))
    here.drain()
    assert [1, 1, 1] == [d.covers for d in wire.sent]
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    assert (7, "7 alerts") == (wire.sent[3].covers, wire.sent[3].subject[:8])
    assert "these 7 came together" in text_of(wire.sent[3])


def test_critical_mails_overtake_those_that_wait_for_a_server(house: Make) -> None:
    """Also after a restart: what the state holds is read in that order."""
    wire = Wire(lambda d: LATER if d.created_at == here.clock.now() else OK, workers=1)
    here = house(wire, cap=None)
    here.notify(*(intent(run=f"r{n:03}") for n in range(20)))
    here.drain()
    here.clock.advance(timedelta(minutes=1))
    here.notify(intent(run="burns", severity=Severity.CRITICAL))
    here.drain()
    assert ["critical", *["error"] * 20] == [d.severity for d in wire.sent[20:]]
    here.clock.advance(timedelta(minutes=1))
    after = Wire(workers=1)
    there = house(after, cap=None, state=here.state, clock=here.clock)
    there.notify(*(intent(run=f"s{n}") for n in range(3)))
    there.drain()
    assert "critical" == after.sent[0].severity
