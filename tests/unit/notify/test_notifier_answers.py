"""What becomes of mails by what the server answers: tried again, failed, notified to another, or not known."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.unit.notify.conftest import CUT, LATER, NEVER, OK, Make, Wire, text_of
from tests.unit.notify.make import NOW, intent
from tests.unit.notify.test_caps import CAP
from tocsin.errors import StoreError
from tocsin.model.delivery import DeliveryState
from tocsin.notify.render.mail import NOTICE


def test_a_deferred_mail_is_tried_again_byte_for_byte(house: Make) -> None:
    wire = Wire(lambda _: LATER)
    here = house(wire)
    here.notify(intent())
    here.drain()
    (mail,) = here.mails()
    assert (mail.state, mail.attempt, mail.reply) == (DeliveryState.READY, 1, "451 later")
    assert timedelta(seconds=8) <= mail.next_at - NOW <= timedelta(seconds=12)
    wire.answer = lambda _: OK
    here.drain()
    assert len(wire.sent) == 1  # not yet
    here.clock.advance(timedelta(seconds=12))
    here.drain()
    assert [d.message for d in wire.sent] == [mail.message] * 2
    assert [(d.state, d.attempt) for d in here.mails()] == [(DeliveryState.SENT, 2)]


def test_the_waits_grow_until_the_deadline_then_the_mail_has_failed(house: Make) -> None:
    wire = Wire(lambda d: LATER if d.receiver != NOTICE else OK)
    here = house(wire)
    here.notify(intent())
    waits = []
    for _ in range(200):
        here.drain()
        first = here.mails()[0]
        if first.state is not DeliveryState.READY:
            break
        waits.append((first.next_at - here.clock.now()).total_seconds())
        here.clock.set(first.next_at)
    assert first.state is DeliveryState.FAILED
    assert first.reply == "not delivered in time: 451 later"
    assert 8 <= waits[0] <= 12 and 16 <= waits[1] <= 24 and 720 <= waits[-1] <= 1080
    assert here.clock.now() <= first.deadline


def test_a_refused_mail_fails_visibly_and_notifies_the_fallback_once(house: Make) -> None:
    wire = Wire(lambda d: NEVER if d.address == "agnes@example.org" else OK)
    here = house(wire)
    here.notify(intent())
    here.drain()
    here.drain()
    failed, notice = here.mails()
    assert (failed.state, failed.reply) == (DeliveryState.FAILED, "550 no such user")
    assert (notice.address, notice.receiver, notice.state) == ("ops@example.org", NOTICE, DeliveryState.SENT)
    assert notice.subject == f"not delivered to agnes@example.org: {failed.subject}"
    assert "550 no such user" in text_of(notice) and "CUDA out of memory" in text_of(notice)
    assert here.count("tocsin_notify_mails_total", state="failed") == 1
    assert here.count("tocsin_notifications_failed_total", channel="email", reason="refused") == 1
    assert here.count("tocsin_notify_attempts_total", outcome="never") == 1


def test_a_notice_that_is_refused_makes_no_other(house: Make) -> None:
    here = house(Wire(lambda _: NEVER))
    here.notify(intent())
    here.drain()
    assert [(d.receiver, d.state) for d in here.mails()] == [
        ("owner", DeliveryState.FAILED), (NOTICE, DeliveryState.FAILED),
    ]  # fmt: skip


def test_the_default_receiver_is_not_notified_of_itself(house: Make) -> None:
    here = house(Wire(lambda _: NEVER))
    here.notify(intent(OwnerEmail=""))
    here.drain()
    assert [(d.address, d.state) for d in here.mails()] == [("ops@example.org", DeliveryState.FAILED)]


def test_many_refused_mails_are_capped_as_any_others(house: Make) -> None:
    wire = Wire(lambda d: NEVER if d.receiver == "owner" else OK)
    here = house(wire, cap=CAP)
    here.notify(*(intent(run=f"r{n}", OwnerEmail=f"gone-{n}@example.org") for n in range(10)))
    here.drain()
    assert len([d for d in wire.sent if d.receiver == NOTICE]) == 3
    assert len(here.mails(DeliveryState.HELD)) == 7
    assert json.loads(here.mails(DeliveryState.HELD)[0].message)["title"].startswith("not delivered to gone-")
    here.clock.advance(timedelta(minutes=10))
    here.drain()
    assert wire.sent[-1].covers == 7


def test_a_server_that_hung_up_between_two_mails_costs_no_attempt(house: Make) -> None:
    answers = iter([OK, CUT, OK, OK])
    wire = Wire(lambda _: next(answers), workers=1)
    here = house(wire)
    here.notify(intent(run="a"), intent(run="b"))
    here.drain()
    assert [(d.state, d.attempt) for d in here.mails()] == [(DeliveryState.SENT, 1)] * 2
    assert wire.connects == 2


def test_a_fresh_connection_that_breaks_is_an_attempt(house: Make) -> None:
    wire = Wire(lambda _: CUT, workers=1)
    here = house(wire)
    here.notify(intent())
    here.drain()
    assert [(d.state, d.attempt, d.reply) for d in here.mails()] == [(DeliveryState.READY, 1, "connection lost")]


def test_a_server_that_cannot_be_reached_costs_no_attempt(house: Make) -> None:
    """Everything waits, one worker probes; then all go."""
    wire = Wire(workers=4, down=5)
    here = house(wire)
    here.notify(*(intent(run=f"r{n}") for n in range(20)))
    here.drain()
    assert [(d.state, d.attempt) for d in here.mails()] == [(DeliveryState.SENT, 1)] * 20
    assert here.count("tocsin_notify_attempts_total", outcome="network") == 5


def test_mails_past_their_deadline_fail_while_nobody_can_be_reached(house: Make) -> None:
    wire = Wire(down=10**9)
    here = house(wire)
    here.notify(intent())

    async def until_failed() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(here.notifier.run(stop))
        async with asyncio.timeout(20):
            while not here.mails():
                await asyncio.sleep(0.005)
            here.clock.advance(timedelta(hours=25))
            while not here.count("tocsin_notifications_failed_total", channel="email", reason="expired"):
                await asyncio.sleep(0.005)
        stop.set()
        await running

    asyncio.run(until_failed())
    failed = here.mails()[0]
    assert (failed.state, failed.reply) == (DeliveryState.FAILED, "not delivered in time: nobody listens")


def test_a_mark_that_cannot_be_written_is_written_later_not_sent_again(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the mail; nothing but the mark is repeated."""
    wire = Wire()
    here = house(wire)
    here.notify(intent())
    attempted, broken = here.state.attempted, iter([True, True])

    def sometimes(results: Sequence[object]) -> None:
        if next(broken, False):
            raise StoreError("database is locked")
        attempted(results)  # type: ignore[arg-type]

    monkeypatch.setattr(here.state, "attempted", sometimes)
    here.drain()
    assert len(wire.sent) == 1
    assert [d.state for d in here.mails()] == [DeliveryState.SENT]
