"""A channel is one file and one line: the rest of notify takes it as it takes mails."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.notify.channels.jsonlines import JsonLines, JsonLinesModel
from tests.unit.notify.conftest import House, Make, Wire
from tests.unit.notify.make import intent, routed
from tocsin.model.delivery import DeliveryState
from tocsin.model.intent import IntentKind
from tocsin.notify.channels.registry import CHANNELS, register
from tocsin.notify.routing.models import FallbackModel, ReceiverModel
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.values import CapRule


@pytest.fixture(autouse=True)
def the_line() -> Iterator[None]:
    register(JsonLines)
    yield
    del CHANNELS[JsonLines.key]


class Receiver(ReceiverModel):
    """As the registry makes it of channels that are known when it is imported."""

    jsonlines: JsonLinesModel | None = None


def receiver(file: Path, name: str = "log", email: tuple[str, ...] = (), fallback: str = "") -> Receiver:
    return Receiver(
        name=name,
        jsonlines=JsonLinesModel(file=str(file)),
        email=email or None,
        fallback=FallbackModel(receiver=fallback) if fallback else None,
    )


def lines(file: Path) -> list[str]:
    return [json.loads(line)["subject"] for line in file.read_text().splitlines()]


def oncall(*receivers: Receiver, always: tuple[str, ...] = ()) -> OnCallRules:
    return routed(receivers[0].name, always=always, receivers={each.name: each for each in receivers})


def rows(house: House) -> list[tuple[str, str, str, str]]:
    """What `Notifications` says."""
    found = [m.row for m in house.state.mirror_after(0) if m.table == "Notifications"]
    return [tuple(str(row[name]) for name in ("Channel", "Address", "Receiver", "State")) for row in found]  # type: ignore[misc]


def test_a_message_is_rendered_stored_sent_and_says_its_channel(house: Make, tmp_path: Path) -> None:
    here = house(Wire(), oncall=oncall(receiver(tmp_path / "out")))
    here.notify(intent("a"))
    here.drain()
    here.notify(intent("a", kind=IntentKind.RESOLVED, seq=9))
    here.drain()
    subject = "churn failed after 6 h 12: CUDA out of memory"
    assert lines(tmp_path / "out") == [subject, f"recovered: {subject}"]
    assert rows(here)[:2] == [
        ("jsonlines", "jsonlines:log", "log", "ready"),
        ("jsonlines", "jsonlines:log", "log", "sent"),
    ]
    assert [(d.channel, d.state, d.reply) for d in here.mails()] == [("jsonlines", DeliveryState.SENT, "written")] * 2


def test_a_receiver_may_have_mail_and_another_channel(house: Make, tmp_path: Path) -> None:
    wire = Wire()
    here = house(wire, oncall=oncall(receiver(tmp_path / "out", email=("ops@example.org",))))
    here.notify(intent())
    here.drain()
    assert [d.address for d in wire.sent] == ["ops@example.org"]
    assert len(lines(tmp_path / "out")) == 1


def test_an_endpoint_that_is_down_keeps_no_other_waiting(house: Make, tmp_path: Path) -> None:
    """The directory of one is missing: its message is tried again, that of the other is there."""
    here = house(
        Wire(down=10**6),
        oncall=oncall(receiver(tmp_path / "no" / "out"), receiver(tmp_path / "out", "other"), always=("other",)),
    )
    here.notify(*(intent(run=f"r{n}") for n in range(20)))
    here.drain()
    assert len(lines(tmp_path / "out")) == 20
    (tmp_path / "no").mkdir()
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert len(lines(tmp_path / "no" / "out")) == 20


def test_what_is_refused_goes_to_the_fallback(house: Make, tmp_path: Path) -> None:
    wire = Wire()
    here = house(wire, oncall=oncall(receiver(tmp_path, fallback="boss@example.org")))  # a directory
    here.notify(intent())
    here.drain()
    assert [(d.address, d.subject) for d in wire.sent] == [
        ("boss@example.org", "not delivered to jsonlines:log: churn failed after 6 h 12: CUDA out of memory")
    ]


def test_a_receiver_that_lost_its_channel_fails_what_waits_for_it(house: Make, tmp_path: Path) -> None:
    """A reload between writing and sending; nobody waits for ever."""
    wire = Wire()
    here = house(wire, oncall=oncall(receiver(tmp_path / "no" / "out")))
    here.notify(intent())
    here.drain()
    here.oncall = routed("boss@example.org")
    here.clock.advance(timedelta(minutes=1))
    here.drain()
    assert [d.reply for d in here.mails(DeliveryState.FAILED)] == ["receiver log has no jsonlines any more"]
    assert here.count("tocsin_notifications_failed_total", channel="jsonlines", reason="no_channel") == 1
    assert [d.address for d in wire.sent] == ["ops@example.org"]


def test_options_that_change_are_taken_with_the_next_message(house: Make, tmp_path: Path) -> None:
    here = house(Wire(), oncall=oncall(receiver(tmp_path / "old")))
    here.notify(intent(run="a"))
    here.drain()
    here.oncall = oncall(receiver(tmp_path / "new"))
    here.notify(intent(run="b"))
    here.drain()
    assert (len(lines(tmp_path / "old")), len(lines(tmp_path / "new"))) == (1, 1)


def test_chats_have_the_cap_and_its_summary(house: Make, tmp_path: Path) -> None:
    here = house(Wire(), cap=CapRule(mails=2, window=timedelta(minutes=10)), oncall=oncall(receiver(tmp_path / "out")))
    here.notify(*(intent(run=f"r{n}") for n in range(5)))
    here.drain()
    assert len(lines(tmp_path / "out")) == 2
    here.clock.advance(timedelta(minutes=11))
    here.drain()
    assert (
        lines(tmp_path / "out")[2] == "3 alerts of 3 runs, 3 with CUDA out of memory"
        or "3 alerts" in lines(tmp_path / "out")[2]
    )


def test_programs_get_every_message(house: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JsonLines, "people", False)
    here = house(Wire(), cap=CapRule(mails=2, window=timedelta(minutes=10)), oncall=oncall(receiver(tmp_path / "out")))
    here.notify(*(intent(run=f"r{n}") for n in range(5)))
    here.drain()
    assert len(lines(tmp_path / "out")) == 5
