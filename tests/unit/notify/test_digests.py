"""What is beyond a rule's limit comes as one digest at the end of its window: for each address, and never lost."""

from dataclasses import replace
from datetime import datetime, timedelta

from tests.unit.notify.conftest import Make, Wire, text_of
from tests.unit.notify.make import NOW, intent
from tocsin.model.alert import Why
from tocsin.model.delivery import DeliveryState
from tocsin.model.details import Details, Digest, Wait
from tocsin.model.intent import Intent, IntentKind
from tocsin.notify.values import CapRule

DAY = timedelta(days=1)


def beyond(number: int, experiment: str = "churn", **columns: str) -> Intent:
    digest = Digest(until=NOW + DAY, per={"ExperimentName": experiment}, notified=3, seconds=DAY.total_seconds())
    made = intent(run=f"r{number}", details=Details(digest=digest), ExperimentName=experiment, seq=number + 10)
    return replace(made, event={**made.event, **columns})


def test_it_comes_as_one_mail_at_the_end_that_lists_the_runs_and_their_causes(house: Make) -> None:
    wire = Wire()
    here = house(wire)
    here.notify(*(beyond(n, Url=f"https://ml.example.org/r{n}") for n in range(4)), beyond(7, Message="disk full"))
    here.drain()
    here.clock.advance(DAY - timedelta(seconds=1))
    here.drain()
    assert ([], 5) == (wire.sent, len(here.mails(DeliveryState.HELD)))
    here.clock.advance(timedelta(seconds=1))
    here.drain()
    here.drain()
    (digest,) = wire.sent
    text = text_of(digest)
    assert digest.subject.startswith("run-failed: 5 alerts of 5 runs")
    assert "Rule run-failed fired 3 of ExperimentName churn one by one within 1 d; these 5 came together" in text
    assert "4 × CUDA out of memory" in text and "1 × disk full" in text and "https://ml.example.org/r0" in text
    assert (5, 5) == (len(here.mails(DeliveryState.DROPPED)), len(digest.intents))


def test_each_address_and_each_limit_has_its_own(house: Make) -> None:
    wire = Wire()
    here = house(wire)
    here.notify(beyond(1), beyond(2), beyond(3, "ranking"), beyond(4, OwnerEmail="bela@example.org"))
    here.drain()
    here.clock.advance(DAY)
    here.drain()
    assert [("agnes@example.org", 1), ("agnes@example.org", 2), ("bela@example.org", 1)] == sorted(
        (d.address, d.covers) for d in wire.sent
    )


def test_it_outlives_a_restart(house: Make) -> None:
    here = house(Wire())
    here.notify(beyond(1), beyond(2))
    here.drain()
    wire = Wire()
    after = house(wire, state=here.state, clock=here.clock)
    here.clock.advance(DAY)
    after.drain()
    assert [2] == [d.covers for d in wire.sent]


def test_the_cap_holds_nothing_back_for_it_and_sums_up_none_of_it(house: Make) -> None:
    """What waits for a digest is no mail, so other mails go on; and the cap's summary leaves it alone."""
    wire = Wire()
    here = house(wire, cap=CapRule(mails=1, window=timedelta(minutes=10)))
    here.notify(beyond(1), beyond(2))
    here.drain()
    here.notify(intent(run="a", seq=50), intent(run="b", seq=51))
    here.drain()
    assert [("a", 1)] == [(d.run_id, d.covers) for d in wire.sent]
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    assert [1, 1] == [d.covers for d in wire.sent]
    here.clock.advance(DAY)
    here.drain()
    assert [1, 1, 2] == [d.covers for d in wire.sent]


def test_with_another_rule_that_notifies_of_the_run_it_is_named_at_once(house: Make) -> None:
    wire = Wire()
    here = house(wire)
    here.notify(beyond(1), intent("other", run="r1", seq=11))
    here.drain()
    (mail,) = wire.sent
    assert ("other", "run-failed") == mail.rules


def ended(number: int, until: datetime = NOW + DAY) -> Intent:
    """The end of ``beyond(number)``, in the digest of ``until``."""
    made = beyond(number)
    assert made.details.digest is not None
    details = Details(digest=replace(made.details.digest, until=until))
    return replace(made, kind=IntentKind.RESOLVED, why=Why.RECOVERED, details=details, commit_seq=99)


def test_an_end_in_the_same_digest_is_a_line_of_it(house: Make) -> None:
    wire = Wire()
    here = house(wire)
    here.notify(*(beyond(n) for n in range(3)))
    here.drain()
    here.notify(ended(0))
    here.drain()
    here.clock.advance(DAY)
    here.drain()
    (digest,) = wire.sent
    assert "run-failed: 3 alerts of 3 runs: CUDA out of memory; 1 recovered" == digest.subject
    assert "1 × recovered" in text_of(digest)


def test_an_end_goes_to_those_who_got_the_digest_by_one_of_its_own(house: Make) -> None:
    """Also where routes have changed meanwhile."""
    wire = Wire()
    here = house(wire)
    here.notify(beyond(1), beyond(2))
    here.drain()
    here.clock.advance(DAY)
    here.drain()
    later = NOW + 2 * DAY
    ends = [ended(n, until=later) for n in (1, 2)]
    here.notify(*(replace(e, event={**e.event, "OwnerEmail": "bela@example.org"}) for e in ends))
    here.drain()
    assert 1 == len(wire.sent)
    here.clock.advance(DAY)
    here.drain()
    digest, over = wire.sent
    assert (digest.address, "run-failed: 2 recovered of 2 runs") == (over.address, over.subject)


def test_alerts_of_an_absence_rule_say_what_for(house: Make) -> None:
    """Nobody gave a reason for what did not happen."""
    wire = Wire()
    here = house(wire)
    made = replace(beyond(1, Message="", Reason=""), why=Why.DEADLINE)
    wait = Wait(form="in_status_for", statuses=("Queued", "Preparing"), since=NOW)
    here.notify(replace(made, details=replace(made.details, wait=wait)))
    here.drain()
    here.clock.advance(DAY)
    here.drain()
    text = text_of(wire.sent[0])
    assert "1 × still Queued or Preparing" in text
    assert "this one waited." in text
