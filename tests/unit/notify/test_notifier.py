"""The whole of notify over a real state in memory: what becomes of intents, without a network."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from email import message_from_bytes, policy

import pytest

from tests.unit.notify.conftest import LATER, Line, Make, Wire, text_of
from tests.unit.notify.make import EVENT, NOW, intent, oncall
from tests.unit.notify.no_facts import NoFacts
from tocsin.errors import StoreError
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent, IntentKind
from tocsin.model.statuses import Severity
from tocsin.notify.channels.base import Connection, Reply
from tocsin.notify.channels.local import LocalChannel
from tocsin.notify.routing.pipeline import group
from tocsin.notify.stages.people import RunChange
from tocsin.notify.stages.portions import BATCH, FIRST
from tocsin.notify.values import Facts, NotificationDraft, Routed

# -- the usual way


def test_an_intent_becomes_one_mail_and_is_notified_once(house: Make) -> None:
    wire = Wire()
    here = house(wire)
    here.notify(intent())
    here.drain()
    here.notify(intent())  # the evaluation replayed
    here.drain()
    assert [(d.address, d.subject) for d in wire.sent] == [
        ("agnes@example.org", "churn failed after 6 h 12: CUDA out of memory")
    ]
    assert [(d.state, d.attempt, d.reply) for d in here.mails()] == [(DeliveryState.SENT, 1, "250 ok")]
    assert here.count("tocsin_notify_mails_total", state="sent") == 1
    assert here.count("tocsin_notifications_total", channel="email") == 1
    assert here.count("tocsin_notification_latency_seconds_count") == 1


def test_without_a_server_mails_stay_here_whatever_the_address(house: Make) -> None:
    """Nothing leaves, so every address is allowed."""
    here = house(LocalChannel())
    here.notify(intent(OwnerEmail="eve@evil.example"))
    here.drain()
    assert [(d.address, d.state, d.reply) for d in here.mails()] == [
        ("eve@evil.example", DeliveryState.SENT, LocalChannel.REPLY)
    ]


def test_with_a_server_a_foreign_owner_goes_to_the_default_receiver(house: Make) -> None:
    here = house(Wire())
    here.notify(intent(OwnerEmail="eve@evil.example"))
    here.drain()
    (mail,) = here.mails()
    assert (mail.address, mail.receiver) == ("ops@example.org", "default_receiver")
    assert "'eve@evil.example', whom smtp.allowed_recipients does not allow" in text_of(mail)


def test_many_go_out_oldest_first(house: Make) -> None:
    wire = Wire(workers=1)
    here = house(wire)
    for n in range(5):
        here.notify(*(intent(run=f"r{n}-{k}", at=NOW + timedelta(seconds=n), seq=n) for k in range(60)))
    here.drain()
    assert len(wire.sent) == 300
    assert [d.created_at for d in wire.sent] == sorted(d.created_at for d in wire.sent)


def test_one_large_evaluation_is_grouped_whole(house: Make) -> None:
    """A batch never cuts an evaluation: two rules of one run stay one mail, wherever the batch ends."""
    here = house(LocalChannel())
    rules = [intent(rule, run=f"r{n}") for rule in ("a", "b") for n in range(150)]
    here.notify(*rules)
    here.drain()
    assert len(here.mails()) == 150
    assert {d.rules for d in here.mails()} == {("a", "b")}


def test_critical_alerts_come_first_where_many_wait(house: Make) -> None:
    """A flood of others does not delay them; two rules of one run stay one mail."""
    here = house(Wire(workers=1))
    late = NOW + timedelta(seconds=1)
    here.notify(*(intent(run=f"r{n:03}") for n in range(3 * BATCH)))
    both = [intent("burns", run="c", severity=Severity.CRITICAL, at=late, seq=9), intent(run="c", at=late, seq=9)]
    here.notify(*both, intent("burns", run="", severity=Severity.CRITICAL, at=late, seq=9))
    here.drain()
    mails = here.mails()
    assert 3 * BATCH + 2 == len(mails)
    assert [1, 2] == sorted(d.covers for d in mails[FIRST : FIRST + 2])
    assert {"critical"} == {d.severity for d in mails[FIRST : FIRST + 2]}


def test_an_oncall_file_takes_effect_with_the_next_mail(house: Make) -> None:
    wire = Wire()
    here = house(wire)
    here.notify(intent(run="a"))
    here.drain()
    here.oncall = oncall("route: {receiver: boss@elsewhere.example}")
    here.notify(intent(run="b"))
    here.drain()
    assert [d.address for d in wire.sent] == ["agnes@example.org", "boss@elsewhere.example"]


def test_mails_of_one_run_are_a_thread(house: Make) -> None:
    """The second answers the first; a recovery keeps its subject."""
    wire = Wire()
    here = house(wire)
    here.notify(intent("a"))
    here.drain()
    here.notify(intent("b", seq=9, Message="disk full"))
    here.drain()
    here.notify(intent("a", kind=IntentKind.RESOLVED, seq=12, OwnerEmail="new@example.org"))
    here.drain()
    first, second, third = (message_from_bytes(d.message, policy=policy.default) for d in wire.sent)
    assert [d.address for d in wire.sent] == ["agnes@example.org"] * 3
    assert second["In-Reply-To"] == third["In-Reply-To"] == first["Message-ID"]
    assert first["In-Reply-To"] is None
    assert str(second["Subject"]) == "churn failed after 6 h 12: disk full"
    assert str(third["Subject"]) == f"recovered: {first['Subject']}"


def test_two_mails_of_one_batch_are_a_thread_too(house: Make) -> None:
    wire = Wire(workers=1)
    here = house(wire)
    here.notify(intent("a"), intent("b", seq=9, at=NOW + timedelta(seconds=1)))
    here.drain()
    first, second = (message_from_bytes(d.message, policy=policy.default) for d in wire.sent)
    assert first["In-Reply-To"] is None
    assert second["In-Reply-To"] == first["Message-ID"]


def test_a_failing_facts_reader_does_not_keep_a_mail_back(house: Make) -> None:
    class Broken(NoFacts):
        def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
            raise StoreError("the disk is full")

    here = house(Wire(), facts=Broken())
    here.notify(intent())
    here.drain()
    assert [d.state for d in here.mails()] == [DeliveryState.SENT]


def test_an_event_of_nonsense_does_not_stop_the_mails_behind_it(house: Make) -> None:
    class Odd(NoFacts):
        def facts(self, intents: Sequence[Intent], seconds: float) -> Facts:
            return {intents[0].id: None}  # type: ignore[dict-item]

    here = house(Wire(), facts=Odd())
    here.notify(intent(run="a"), intent(run="b"))
    here.drain()
    mails = here.mails()
    assert [d.state for d in mails] == [DeliveryState.SENT] * 2
    assert "The mail itself failed" in text_of(mails[0])
    assert here.count("tocsin_notify_template_errors_total") == 1


# -- running


def test_run_says_when_it_is_woken_from_another_thread(house: Make) -> None:
    wire = Wire()
    here = house(wire)

    async def running() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(here.notifier.run(stop))
        await asyncio.sleep(0.05)
        here.notify(intent())
        await asyncio.to_thread(here.notifier.wake)
        async with asyncio.timeout(10):
            while not here.mails(DeliveryState.SENT):
                await asyncio.sleep(0.005)
        stop.set()
        await task

    asyncio.run(running())
    here.notifier.wake()  # after its end: nothing happens
    assert len(wire.sent) == 1


def test_events_that_supersede_an_alert_end_it_at_once(house: Make) -> None:
    """Without an intent that says so: its run goes on."""
    news: list[RunChange] = []
    asked: list[int | None] = []

    class Log(NoFacts):
        def changes(self, after: int | None) -> tuple[int, Sequence[RunChange]]:
            found = list(news)
            asked.append(after)
            return 7, found

    here = house(Wire(), facts=Log())
    here.notify(intent(run="r1"))
    here.drain()
    asked.clear()

    async def running() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(here.notifier.run(stop))
        async with asyncio.timeout(10):
            while not asked:  # from now on nothing wakes it but what comes
                await asyncio.sleep(0.005)
            news.append(RunChange(run_id="r1", job_key="", attempt=1, status="Running", time_us=2**62))
            await asyncio.to_thread(here.notifier.news)
            while here.state.active_count():
                await asyncio.sleep(0.005)
        stop.set()
        await task

    asyncio.run(running())
    assert len(here.mails()) == 1


def test_run_goes_on_where_a_dead_process_stopped(house: Make) -> None:
    """Intents without a delivery and deliveries without an answer: each goes out once."""
    here = house(Wire(lambda _: LATER))
    here.notify(intent(run="a"))
    here.drain()  # a delivery, deferred
    here.notify(intent(run="b"))  # an intent, not grouped
    here.clock.advance(timedelta(minutes=1))
    wire = Wire()
    after = house(wire, state=here.state, clock=here.clock)

    async def running() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(after.notifier.run(stop))
        async with asyncio.timeout(10):
            while len(here.mails(DeliveryState.SENT)) < 2:
                await asyncio.sleep(0.005)
        stop.set()
        await task

    asyncio.run(running())
    assert sorted(d.run_id for d in wire.sent) == ["a", "b"]


def test_an_intent_that_cannot_be_notified_as_it_should_is_notified_plainly(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours costs its mail the form, and the mails beside it nothing."""
    wire = Wire()
    here = house(wire)
    notified = group

    def broken(routed: Sequence[Routed]) -> list[NotificationDraft]:
        if any(r.intent.run_id == "b" for r in routed):
            raise RuntimeError("bug")
        return notified(routed)

    monkeypatch.setattr("tocsin.notify.notifier.group", broken)
    here.notify(intent(run="a"), intent(run="b"), intent(run="c"))
    here.drain()
    assert sorted((d.run_id, d.address) for d in wire.sent) == [
        ("a", "agnes@example.org"), ("b", "ops@example.org"), ("c", "agnes@example.org"),
    ]  # fmt: skip
    assert here.state.intents() == []


def test_stopping_lets_a_mail_under_way_get_its_mark(house: Make) -> None:
    """Else each restart would send it twice."""
    entered, let_go = asyncio.Event(), asyncio.Event()

    class Slow(Wire):
        async def connect(self) -> Connection:
            return _Slow(self)

    class _Slow(Line):
        async def send(self, delivery: Delivery) -> Reply:
            entered.set()
            await let_go.wait()
            return await super().send(delivery)

    wire = Slow(workers=1)
    here = house(wire)
    here.notify(intent(run="a"), intent(run="b"))

    async def running() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(here.notifier.run(stop))
        await entered.wait()
        stop.set()
        await asyncio.sleep(0.05)
        assert not task.done()
        let_go.set()
        await task

    asyncio.run(running())
    assert len(wire.sent) == 1
    assert sorted(d.state.value for d in here.mails()) == ["ready", "sent"]
    assert [d.run_id for d in here.mails(DeliveryState.SENT)] == [wire.sent[0].run_id]


def test_the_event_of_these_tests_is_whole() -> None:
    """The columns that mails read are there."""
    assert {"RunId", "Status", "Message", "OwnerEmail"} <= set(EVENT)
