"""Suppression: the first reason in SEMANTICS' order, until when, and what becomes of the message."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.oracle.oncall import utc
from tocsin.model.calendars.wallclock import parse_range
from tocsin.notify.routing.critical import CriticalState, fired, next_due
from tocsin.notify.routing.critical import Why as CriticalWhy
from tocsin.notify.routing.decide import SENT, After, Alert, PersonalMute, Recipient, Rules, Verdict, Why, decide
from tocsin.notify.routing.inhibit import Inhibitor, InhibitRule
from tocsin.notify.routing.matchers import one_of, parse_matchers
from tocsin.notify.routing.mute import (
    Interval,
    Maintenance,
    Mute,
    Preview,
    QuietHours,
    Silence,
    SilenceState,
    Then,
    TimeInterval,
    preview,
    silenced,
)

AT = utc("2026-12-01T22:00")
NIGHT = TimeInterval(name="night", any_of=(Interval(times=(parse_range("21:00-07:00"),)),))
MORNING = utc("2026-12-02T07:00")
HOUR = timedelta(hours=1)
FIELDS = {"rule": "run-failed", "severity": "error", "Target": "aks-eu"}
CONDITION = Alert(id="a", fields=FIELDS, condition=True, critical=False)
EVENT = replace(CONDITION, condition=False)
FAILED = (one_of("rule", ["run-failed"]),)

INHIBIT = InhibitRule(source=(one_of("rule", ["cluster-down"]),), target=FAILED)
MAINTENANCE = Maintenance(start=AT - HOUR, end=AT + HOUR, place="m.yaml:3")
SILENCE = Silence(id="s1", matchers=FAILED, start=AT - HOUR, end=AT + HOUR, by="anna", comment="known")


def rules(
    *, inhibit: InhibitRule | None = None, maintenance: Maintenance | None = None, silence: Silence | None = None
) -> Rules:
    inhibitor = Inhibitor((inhibit,) if inhibit else ())
    inhibitor.add("down", {"rule": "cluster-down"})
    return Rules(
        inhibitor=inhibitor,
        maintenances=(maintenance,) if maintenance else (),
        silences=(silence,) if silence else (),
    )


ALL = rules(inhibit=INHIBIT, maintenance=MAINTENANCE, silence=SILENCE)
MUTED = Recipient(
    personal=True,
    mute=Mute(during=(NIGHT,)),
    quiet=QuietHours(interval=NIGHT),
    mutes=(PersonalMute(matchers=FAILED),),
    capped_until=AT + HOUR,
)


def test_the_first_reason_in_order_is_recorded() -> None:
    """inhibition, maintenance, mute and quiet hours, silence, personal mute, cap: each is taken away in turn."""
    found, recipient = [], MUTED
    for given in (
        ALL,
        rules(maintenance=MAINTENANCE, silence=SILENCE),
        rules(silence=SILENCE),
    ):
        found.append(decide(CONDITION, recipient, given, AT).why)
    recipient = replace(recipient, mute=None)
    found.append(decide(CONDITION, recipient, rules(silence=SILENCE), AT).why)
    recipient = replace(recipient, quiet=None)
    found.append(decide(CONDITION, recipient, rules(silence=SILENCE), AT).why)
    found.append(decide(CONDITION, recipient, rules(), AT).why)
    recipient = replace(recipient, mutes=())
    found.append(decide(CONDITION, recipient, rules(), AT).why)
    recipient = replace(recipient, capped_until=None)
    found.append(decide(CONDITION, recipient, rules(), AT).why)
    assert [
        Why.INHIBITED, Why.MAINTENANCE, Why.MUTED, Why.QUIET_HOURS, Why.SILENCED, Why.PERSONAL_MUTE, Why.CAPPED, Why.SENT,
    ] == found  # fmt: skip


@pytest.mark.parametrize(
    ("given", "recipient", "condition", "event"),
    [
        (rules(inhibit=INHIBIT), Recipient(), After.NOTIFY, After.DIGEST),
        (rules(inhibit=replace(INHIBIT, then=Then.DROP)), Recipient(), After.NOTIFY, After.DROP),
        (rules(maintenance=MAINTENANCE), Recipient(), After.NOTIFY, After.DIGEST),
        (rules(maintenance=replace(MAINTENANCE, then=Then.DROP)), Recipient(), After.NOTIFY, After.DROP),
        (rules(), Recipient(mute=Mute(during=(NIGHT,))), After.NOTIFY, After.DIGEST),
        (rules(), Recipient(mute=Mute(during=(NIGHT,), then=Then.DROP)), After.NOTIFY, After.DROP),
        (rules(), Recipient(quiet=QuietHours(interval=NIGHT)), After.NOTIFY, After.DIGEST),
        (rules(silence=SILENCE), Recipient(), After.NOTIFY, After.REPORT),
        (rules(), Recipient(personal=True, mutes=(PersonalMute(matchers=FAILED),)), After.NOTHING, After.NOTHING),
        (rules(), Recipient(capped_until=MORNING), After.SUMMARY, After.SUMMARY),
    ],
)
def test_what_becomes_of_conditions_and_of_event_alerts(
    given: Rules, recipient: Recipient, condition: After, event: After
) -> None:
    assert (condition, event) == (
        decide(CONDITION, recipient, given, AT).after,
        decide(EVENT, recipient, given, AT).after,
    )


def test_it_says_by_what_and_until_when() -> None:
    assert Verdict(why=Why.INHIBITED, by="down", after=After.NOTIFY) == decide(CONDITION, Recipient(), ALL, AT)
    found = decide(CONDITION, Recipient(), rules(maintenance=MAINTENANCE), AT)
    assert ("m.yaml:3", AT + HOUR) == (found.by, found.until)
    found = decide(CONDITION, Recipient(mute=Mute(during=(NIGHT,))), rules(), AT)
    assert ("night", MORNING) == (found.by, found.until)
    found = decide(CONDITION, Recipient(quiet=QuietHours(interval=NIGHT)), rules(), AT)
    assert ("night", MORNING) == (found.by, found.until)
    assert ("s1", AT + HOUR) == (lambda v: (v.by, v.until))(decide(CONDITION, Recipient(), rules(silence=SILENCE), AT))


def test_mutes_quiet_hours_and_personal_mutes_do_not_hold_a_step_of_an_escalation() -> None:
    step = replace(MUTED, escalation=True, capped_until=None)
    assert SENT == decide(CONDITION, step, rules(), AT)
    assert [Why.INHIBITED, Why.MAINTENANCE, Why.SILENCED] == [
        decide(CONDITION, step, given, AT).why
        for given in (rules(inhibit=INHIBIT), rules(maintenance=MAINTENANCE), rules(silence=SILENCE))
    ]


def test_a_personal_mute_touches_only_what_comes_as_owner_subscriber_or_list_member() -> None:
    mutes = (PersonalMute(matchers=FAILED, until=AT + HOUR),)
    assert SENT == decide(CONDITION, Recipient(mutes=mutes), rules(), AT)
    assert Why.PERSONAL_MUTE == decide(CONDITION, Recipient(personal=True, mutes=mutes), rules(), AT).why
    assert SENT == decide(CONDITION, Recipient(personal=True, mutes=mutes), rules(), AT + HOUR)
    other = replace(CONDITION, fields={"rule": "run-stuck"})
    assert SENT == decide(other, Recipient(personal=True, mutes=mutes), rules(), AT)


def test_the_cap_never_delays_critical_alerts_and_ends_with_its_window() -> None:
    full = Recipient(capped_until=AT + HOUR)
    assert SENT == decide(replace(CONDITION, critical=True), full, rules(), AT)
    assert Verdict(why=Why.CAPPED, until=AT + HOUR, after=After.SUMMARY) == decide(CONDITION, full, rules(), AT)
    assert SENT == decide(CONDITION, full, rules(), AT + HOUR)


# -- silences ----------------------------------------------------------------------------------------------------------


def test_a_silence_is_pending_active_expired() -> None:
    found = [SILENCE.state(t) for t in (AT - 2 * HOUR, AT - HOUR, AT, AT + HOUR)]
    assert [SilenceState.PENDING, SilenceState.ACTIVE, SilenceState.ACTIVE, SilenceState.EXPIRED] == found
    assert [None, SILENCE, SILENCE, None] == [
        silenced([SILENCE], FIELDS, t) for t in (AT - 2 * HOUR, AT - HOUR, AT, AT + HOUR)
    ]
    assert silenced([SILENCE], {"rule": "run-stuck"}, AT) is None


def test_of_several_silences_the_one_that_ends_last_counts() -> None:
    longer = replace(SILENCE, id="s2", end=AT + 2 * HOUR)
    assert longer == silenced([SILENCE, longer], FIELDS, AT)


@pytest.mark.parametrize("text", ["{}", 'a=""', 'a=~".*"', 'a!="b"'])
def test_a_silence_that_matches_everything_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must match something in particular"):
        replace(SILENCE, matchers=parse_matchers(text))


def test_a_preview_says_what_it_hides_now_and_hid_in_the_last_seven_days() -> None:
    day = timedelta(days=1)
    alerts = [
        ("now", FIELDS, AT - 9 * day, True),
        ("lately", FIELDS, AT - 6 * day, False),
        ("long ago", FIELDS, AT - 7 * day, False),
        ("other", {"rule": "x"}, AT - day, True),
    ]
    assert Preview(now=("now",), lately=("lately",)) == preview(FAILED, alerts, AT)


# -- critical alerts ---------------------------------------------------------------------------------------------------


def test_the_first_ten_critical_go_alone_then_one_message_at_once_and_again_each_minute() -> None:
    state = CriticalState()
    found: list[tuple[int, CriticalWhy, int, int]] = []

    def step(second: int, *ids: str) -> None:
        nonlocal state
        sent = fired(state, ids, AT + second * timedelta(seconds=1))
        state = sent.state
        found.append((second, sent.why, len(sent.alone), len(sent.together)))

    step(0, *(f"a{n}" for n in range(8)))
    step(1, *(f"b{n}" for n in range(5)))
    step(2, *(f"c{n}" for n in range(987)))
    assert AT + timedelta(seconds=61) == next_due(state)
    step(61)
    assert next_due(state) is None
    step(500, "d")
    step(700, "e")  # the window has passed: alone again
    assert [
        (0, CriticalWhy.ALONE, 8, 0),
        (1, CriticalWhy.TOGETHER, 2, 3),
        (2, CriticalWhy.WAITS, 0, 0),
        (61, CriticalWhy.TOGETHER, 0, 987),
        (500, CriticalWhy.TOGETHER, 0, 1),
        (700, CriticalWhy.ALONE, 1, 0),
    ] == found


def test_a_hundred_thousand_in_a_minute_are_twelve_messages_and_none_is_lost() -> None:
    state, messages, listed = CriticalState(), 0, 0
    for second in range(60):
        at: datetime = AT + second * timedelta(seconds=1)
        sent = fired(state, [f"{second}-{n}" for n in range(1667)], at)
        state = sent.state
        messages += len(sent.alone) + bool(sent.together)
        listed += len(sent.alone) + len(sent.together)
    due = next_due(state)
    assert due is not None
    sent = fired(state, [], due)
    assert (12, 60 * 1667) == (messages + 1, listed + len(sent.together))
