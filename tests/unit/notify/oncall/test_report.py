"""What being on call was like: who was paged, at night by whose clock, how soon alerts were taken, what was noise."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tocsin.model.active import ActionTaken, AlertLife, MessageSent, OnCallHistory
from tocsin.notify.oncall.report import Known, is_night, report

SINCE, UNTIL = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
ZONES = {"anna": ZoneInfo("Europe/Budapest"), "cruz": ZoneInfo("America/Los_Angeles")}
PEOPLE = {"anna@example.org": "anna", "apprise:anna": "anna", "cruz@example.org": "cruz", "anna": "anna"}
KNOWN = Known(
    person=lambda text: PEOPLE.get(text, ""), zone=lambda who: ZONES.get(who, ZoneInfo("UTC")), scheduled={"on-call"},
    on_call=lambda receiver, at: ("cruz",) if receiver == "rota" else (),
)  # fmt: skip


def message(address: str, at: datetime = NOON, *, ordinal: int = 1, alert: str = "a", **more: Any) -> MessageSent:
    given = {"channel": "email", "receiver": "page", "group": f"escalation/page/{alert}/{ordinal}", "rule": "r"}
    return MessageSent(address=address, created_at=at, **{**given, **more})


def life(id: str, ended: timedelta | None = None, why: str = "recovered", rule: str = "r") -> AlertLife:
    return AlertLife(
        id=id, rule=rule, fired_at=NOON, ended_at=None if ended is None else NOON + ended, ended_why=why
    )  # fmt: skip


def of(*messages: MessageSent, alerts: tuple[AlertLife, ...] = (), actions: tuple[ActionTaken, ...] = ()) -> Any:
    return report(OnCallHistory(alerts=alerts, actions=actions, messages=messages), KNOWN, SINCE, UNTIL)


def took(alert: str, minutes: float, by: str = "anna@example.org", kind: str = "acknowledge") -> ActionTaken:
    return ActionTaken(alert=alert, kind=kind, by=by, at=NOON + timedelta(minutes=minutes))


def test_a_mail_and_a_push_of_one_step_are_one_page() -> None:
    mail, push = message("anna@example.org"), message("apprise:anna", channel="apprise", receiver="anna")
    again = message("anna@example.org", ordinal=2)
    assert [("anna", 3 - 1)] == [(p["Person"], p["Pages"]) for p in of(mail, push, again)["People"]]


def test_what_an_owner_gets_and_the_end_of_an_escalation_are_no_pages() -> None:
    owner = message("anna@example.org", receiver="owner", group="run/r1")
    ended = message("anna@example.org", group="escalation-end/page/a/2")
    scheduled = message("cruz@example.org", receiver="on-call", group="run/r1")
    assert [("cruz", 1)] == [(p["Person"], p["Pages"]) for p in of(owner, ended, scheduled)["People"]]


def test_an_incident_of_a_pager_is_a_page_of_who_was_on_call() -> None:
    """Whatever is sent of the incident, and beside a mail of the same moment; without a schedule it stands for itself."""
    pager: dict[str, Any] = {"channel": "pagerduty", "group": "alert/r/i/o1"}
    trigger = message("pagerduty:rota", receiver="rota", **pager)
    again = message("pagerduty:rota", NOON + timedelta(hours=1), receiver="rota", **pager)
    alone = message("pagerduty:pager", NOON, receiver="pager", **pager)
    beside = message("pagerduty:rota", NOON, receiver="rota", channel="pagerduty", group="alert/r/i/o2")
    mail = message("cruz@example.org", NOON - timedelta(days=1), receiver="on-call", group="run/r1")
    with_mail = message(
        "pagerduty:rota", NOON - timedelta(days=1), receiver="rota", channel="pagerduty", group="alert/x"
    )
    assert [("cruz", 3), ("pager", 1)] == [
        (p["Person"], p["Pages"]) for p in of(trigger, again, alone, beside, mail, with_mail)["People"]
    ]


def test_an_address_that_is_nobody_s_is_called_by_itself() -> None:
    assert ["head@example.org"] == [p["Person"] for p in of(message("head@example.org"))["People"]]


@pytest.mark.parametrize(
    ("hour", "minute", "nights"),
    [(5, 59, ["anna"]), (6, 0, ["cruz"]), (14, 59, ["cruz"]), (15, 0, []), (21, 0, ["anna"])],
)
def test_it_is_night_by_each_person_s_clock(hour: int, minute: int, nights: list[str]) -> None:
    """Budapest is an hour ahead of UTC, Los Angeles eight behind."""
    at = NOON.replace(hour=hour, minute=minute)
    found = of(message("anna@example.org", at), message("cruz@example.org", at))
    assert nights == [p["Person"] for p in found["People"] if p["NightPages"]]
    assert len(nights) == found["NightPages"]


def test_a_night_ends_by_the_clock_also_on_the_day_on_which_clocks_change() -> None:
    """25 October 2026: at 3 o'clock it is 2 o'clock again in Budapest."""
    zone = ZONES["anna"]
    assert [True, False] == [is_night(datetime(2026, 10, 25, h, 30, tzinfo=UTC), zone) for h in (5, 6)]


def test_times_to_acknowledge_and_resolve_are_of_alerts_that_were() -> None:
    """Median and 90th percentile by nearest rank. What was closed by time, or overtaken, was not resolved."""
    alerts = tuple(life(f"a{n}", timedelta(minutes=10 * n)) for n in range(1, 11))
    odd = (life("b", timedelta(days=1), "auto-closed"), life("c", timedelta(days=2), "superseded"), life("d"))
    actions = (*(took(f"a{n}", n) for n in range(1, 11)), took("a1", 30, "cruz"), took("d", 1, kind="comment"))
    found = of(alerts=(*alerts, *odd), actions=actions)
    assert {"Median": 300.0, "P90": 540.0} == found["TimeToAcknowledge"]
    assert {"Median": 3000.0, "P90": 5400.0} == found["TimeToResolve"]
    (anna,) = found["People"]
    assert ("anna", 10, 0) == (anna["Person"], anna["Acknowledged"], anna["Pages"])
    nothing = of()
    assert {"Median": None, "P90": None} == nothing["TimeToAcknowledge"] == nothing["TimeToResolve"]


def test_noise_is_what_ended_without_anybody_doing_anything() -> None:
    minute = timedelta(minutes=1)
    alerts = (life("a", minute), life("b", minute), life("c"), life("d", minute, rule="calm"))
    found = of(
        message("anna@example.org"), message("leads@example.org", receiver="leads", group="g", rule="calm"),
        alerts=alerts, actions=(took("b", 0.5), took("d", 0.5, kind="comment")),
    )  # fmt: skip
    noisy, calm = found["Rules"]
    assert ("r", 3, 1, 1, 1, 0.5) == tuple(
        noisy[key] for key in ("Rule", "Alerts", "Pages", "Messages", "Acknowledged", "Noise")
    )
    assert ("calm", 1, 0, 1, 0.0) == tuple(calm[key] for key in ("Rule", "Alerts", "Pages", "Messages", "Noise"))


def test_what_came_after_the_end_is_left_out() -> None:
    assert 0 == of(message("anna@example.org", UNTIL))["Pages"]
