"""From intents to mails through the stages: routes, groups, suppression, acknowledgement, escalation, restarts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.notify.conftest import House, Make, Wire, text_of
from tests.unit.notify.make import INFO, NOW, intent, oncall
from tocsin.model.active import Action, ActionKind, StoredSilence, alert_id
from tocsin.model.alert import Phase, Transition, Why, instance_key
from tocsin.model.delivery import Delivery, DeliveryState
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.state.interface import Outcome

CONDITION = replace(INFO, condition=True)
MINUTE = timedelta(minutes=1)

ROUTES = """
people:
  - {name: anna, email: anna@example.org}
  - {name: bela, email: bela@example.org}
receivers:
  - {name: leads, email: leads@example.org}
route:
  receiver: leads
  repeat_interval: 4h
"""
PAGE = (
    ROUTES
    + """
  routes: [{match: {severity: ">= critical"}, escalation: page}]
escalations:
  - name: page
    resume: 15m
    steps: [{notify: anna}, {after: 15m, notify: [bela, leads]}]
"""
)


def id_of(one: Intent) -> str:
    return alert_id(one.rule, instance_key(one.instance), one.occurrence)


def act(here: House, one: Intent, kind: ActionKind, by: str = "anna", **more: object) -> bool:
    done = here.state.act(Action(alert=id_of(one), kind=kind, by=by, at=here.clock.now(), **more))  # type: ignore[arg-type]
    assert done is not None
    return done.done


def resolve(here: House, one: Intent) -> Intent:
    """The condition resolves: its intent and its transition in one outcome."""
    over = replace(one, kind=IntentKind.RESOLVED, why=Why.RECOVERED, at=here.clock.now())
    row = Transition(
        rule=one.rule, instance=one.instance, occurrence="", before=Phase.FIRING, after=Phase.RESOLVED,
        reason=Why.RECOVERED, severity=one.severity, commit_seq=9, at=here.clock.now(),
    )  # fmt: skip
    here.state.commit(Outcome(intents=(over,), transitions=(row,)), here.clock.now())
    return over


def after(here: House, wait: timedelta) -> list[Delivery]:
    """Mails that go out when so much time has passed, in the order of their making."""
    before = {d.id for d in here.mails()}
    here.clock.advance(wait)
    here.drain()
    return [d for d in here.mails() if d.id not in before]


def to(mails: Sequence[Delivery]) -> list[str]:
    return [d.address for d in mails if d.state is DeliveryState.SENT]


def critical(run: str = "r1") -> Intent:
    return intent(run=run, severity=Severity.CRITICAL)


# -- groups


def test_a_group_sends_the_first_at_once_and_the_next_together(house: Make) -> None:
    """`group_interval` after the first; a list says how many."""
    here = house(Wire(), oncall=oncall("route: {receiver: leads@example.org, group_by: [rule], group_interval: 5m}"))
    here.notify(intent(run="r1"))
    assert ["leads@example.org"] == to(after(here, timedelta(0)))
    here.clock.advance(MINUTE)
    here.notify(intent(run="r2"), intent(run="r3"))
    assert [] == after(here, timedelta(0))
    (one,) = after(here, 4 * MINUTE)
    assert "2 alerts" in one.subject and "new alerts in its group" in text_of(one)


def test_a_condition_is_repeated_as_its_route_says_and_not_after_its_end(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1")
    here.notify(one, infos=(CONDITION,))
    assert ["leads@example.org"] == to(after(here, timedelta(0)))
    assert [] == after(here, timedelta(hours=3, minutes=59))
    assert ["leads@example.org"] == to(after(here, MINUTE))
    resolve(here, one)
    (over,) = after(here, MINUTE)
    assert over.subject.startswith("recovered: ")
    assert [] == after(here, timedelta(hours=9))
    assert [] == here.state.alerts()


def test_what_fired_and_resolved_before_anybody_could_be_notified_is_one_message(house: Make) -> None:
    """As after an outage: one message says both, and no pager is paged."""
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1")
    here.notify(one, infos=(CONDITION,))
    here.clock.advance(7 * MINUTE)
    resolve(here, one)
    (only,) = after(here, timedelta(0))
    assert only.subject.startswith("was firing 07:15-07:22, resolved: churn failed")
    assert [] == after(here, timedelta(hours=9))
    assert [] == here.state.alerts() and [] == here.state.alerts_ended()


def test_an_escalation_that_was_over_before_it_began_is_one_message_to_its_first_step(house: Make) -> None:
    here = house(Wire(), oncall=oncall(PAGE))
    one = critical()
    here.notify(one, infos=(CONDITION,))
    here.clock.advance(7 * MINUTE)
    resolve(here, one)
    (only,) = after(here, timedelta(0))
    assert ("anna@example.org", True) == (
        only.address,
        only.subject.startswith("was firing 07:15-07:22 UTC, resolved: "),
    )
    assert [] == after(here, timedelta(hours=9))


def test_an_event_alert_that_was_superseded_before_anybody_was_notified_is_notified_all_the_same(house: Make) -> None:
    """As after an outage in which the run was tried again: an occurrence is notified once, whatever came after it."""
    from tests.unit.notify.no_facts import NoFacts
    from tocsin.notify.stages.people import RunChange

    class Facts(NoFacts):
        def changes(self, after: int | None) -> tuple[int, Sequence[RunChange]]:
            found = RunChange(run_id="r2", job_key="job", attempt=2, status="Running", time_us=2**62)
            return 7, [found]

    here = house(Wire(), oncall=oncall(ROUTES), facts=Facts())
    here.notify(intent(run="r1", JobKey="job", Attempt=1))
    assert ["leads@example.org"] == to(after(here, timedelta(0)))
    assert [] == here.state.alerts() and [] == here.state.alerts_ended()


def test_an_event_alert_is_not_repeated_and_closes_after_a_day(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    here.notify(intent(run="r1"))
    here.drain()
    (active,) = here.state.alerts()
    assert [] == after(here, timedelta(hours=23))
    assert active.id == here.state.alerts()[0].id
    assert [] == after(here, timedelta(hours=1))
    assert [] == here.state.alerts()
    ended = here.state.alert(active.id)
    assert ended is not None and "auto-closed" == ended.ended_why


def test_active_event_alerts_are_counted_also_after_a_restart(house: Make) -> None:
    """Those that notify closes: an alert of a rule with `resolve` is counted where rules are evaluated."""

    def active(here: House) -> float:
        return here.count("tocsin_alerts_active", rule=one.rule, severity=one.severity.word, kind="event")

    one = intent(run="r1")
    here = house(Wire(), oncall=oncall(ROUTES))
    for run in ("r1", "r2"):
        here.notify(intent(run=run))
    here.drain()
    assert 2 == active(here)
    here = house(Wire(), oncall=oncall(ROUTES), state=here.state, clock=here.clock)
    here.drain()
    assert 2 == active(here)
    act(here, one, ActionKind.CLOSE)
    here.drain()
    assert 1 == active(here)
    here.clock.advance(timedelta(days=1))
    here.drain()
    assert 0 == active(here)
    here.notify(intent(run="r3"), infos=(replace(INFO, auto_close=0.0),))
    here.drain()
    assert 0 == active(here)


# -- suppression


def silence(here: House, matchers: str, wait: timedelta = timedelta(hours=2)) -> None:
    now = here.clock.now()
    here.state.put_silence(
        StoredSilence(id="s1", matchers=matchers, start=now, end=now + wait, by="bela", comment="known", created_at=now)
    )


def test_under_a_silence_nobody_is_notified_and_its_author_gets_the_list_at_its_end(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    silence(here, 'rule="run-failed"')
    here.notify(intent(run="r1"), intent(run="r2"))
    assert [] == to(after(here, MINUTE))
    sent = [d for d in after(here, timedelta(hours=2)) if d.state is DeliveryState.SENT]
    assert ["bela@example.org"] == [d.address for d in sent]
    assert "2 alerts" in sent[0].subject


def test_a_condition_that_still_fires_when_its_silence_ends_is_notified_once(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    silence(here, 'rule="run-failed"')
    here.notify(intent(run="r1"), intent(run="r2"), infos=(CONDITION,))
    assert [] == after(here, MINUTE)
    (one,) = after(here, timedelta(hours=2))
    assert ("leads@example.org", True) == (one.address, "2 alerts" in one.subject)
    assert "still firing after it was suppressed" in text_of(one)


INHIBIT = (
    ROUTES
    + """
inhibit: [{source: {rule: cluster-down}, target: {rule: run-failed}, hold: 2m}]
"""
)


def test_a_source_overtakes_its_consequences_and_what_is_still_wrong_comes_as_one_list(house: Make) -> None:
    """`hold: 2m`: the consequences wait for a source that may yet come."""
    here = house(Wire(), oncall=oncall(INHIBIT))
    here.notify(*(intent(run=f"r{n}") for n in range(5)), infos=(CONDITION,))
    assert [] == after(here, MINUTE)
    down = intent("cluster-down", run="")
    here.notify(down, infos=(CONDITION, replace(CONDITION, name="cluster-down")))
    (first,) = after(here, timedelta(0))
    assert ("cluster-down",) == first.rules
    assert [] == after(here, 10 * MINUTE)
    resolve(here, down)
    ended, still = sorted(after(here, MINUTE), key=lambda d: d.rules)
    assert (("cluster-down",), ("run-failed",)) == (ended.rules, still.rules)
    assert "5 alerts" in still.subject


def test_without_a_source_the_hold_only_delays(house: Make) -> None:
    here = house(Wire(), oncall=oncall(INHIBIT))
    here.notify(intent(run="r1"))
    assert [] == after(here, MINUTE)
    assert ["leads@example.org"] == to(after(here, MINUTE))


def test_what_maintenance_mutes_is_listed_at_its_end_and_critical_is_not_muted(house: Make) -> None:
    here = house(
        Wire(),
        oncall=oncall(
            ROUTES + "maintenance: [{from: 2026-11-24T07:00Z, to: 2026-11-24T08:00Z, match: {Target: aks-eu},"
            " except: {severity: '>= critical'}}]"
        ),
    )
    here.notify(intent(run="r1"), critical("r2"))
    assert [("r2",)] == [(d.run_id,) for d in after(here, MINUTE) if d.state is DeliveryState.SENT]
    (digest,) = [d for d in after(here, timedelta(hours=1)) if d.state is DeliveryState.SENT]
    assert "held back: under maintenance (oncall.yaml:" in text_of(digest)


def test_quiet_hours_hold_all_but_what_they_except(house: Make) -> None:
    """07:15 UTC is 08:15 in Budapest."""
    here = house(
        Wire(),
        oncall=oncall(
            "people: [{name: anna, email: anna@example.org, timezone: Europe/Budapest,"
            " quiet: {hours: '22:00-09:00', except: {severity: '>= critical'}}}]\nroute: {receiver: anna}"
        ),
    )
    here.notify(intent(run="r1"), critical("r2"))
    assert ["r2"] == [d.run_id for d in after(here, timedelta(0)) if d.state is DeliveryState.SENT]
    (digest,) = [d for d in after(here, timedelta(hours=1)) if d.state is DeliveryState.SENT]
    assert "1 alert" in text_of(digest)


# -- people


def test_an_acknowledgement_stops_repeats_and_the_second_sees_who_was_first(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1")
    here.notify(one, infos=(CONDITION,))
    here.drain()
    assert act(here, one, ActionKind.ACKNOWLEDGE)
    assert not act(here, one, ActionKind.ACKNOWLEDGE, by="bela")
    assert [] == after(here, timedelta(hours=9))
    (shown,) = here.state.alerts()
    assert shown.acknowledged is not None and "anna" == shown.acknowledged.by
    rows = [m.row for m in here.state.mirror_after(0) if m.table == "Alerts"]
    assert ["by a person, acknowledge by anna"] == [row["Reason"] for row in rows]


def test_a_newer_attempt_supersedes_the_alert_of_the_old_one(house: Make) -> None:
    from tests.unit.notify.no_facts import NoFacts
    from tocsin.notify.stages.people import RunChange

    class Facts(NoFacts):
        def changes(self, after: int | None) -> tuple[int, Sequence[RunChange]]:
            found = RunChange(run_id="r2", job_key="job", attempt=2, status="Running", time_us=2**62)
            return (7, [found]) if after is not None and here.clock.now() > NOW else (5, ())

    here = house(Wire(), oncall=oncall(ROUTES), facts=Facts())
    here.notify(intent(run="r1", JobKey="job", Attempt=1))
    here.drain()
    assert 1 == len(here.state.alerts())
    assert [] == after(here, MINUTE)
    assert [] == here.state.alerts()


# -- escalations


def test_an_escalation_goes_on_until_somebody_acknowledges_and_whom_it_reached_is_notified(house: Make) -> None:
    here = house(Wire(), oncall=oncall(PAGE))
    one = critical()
    here.notify(one)
    (first,) = after(here, timedelta(0))
    assert "anna@example.org" == first.address
    assert "by escalation page, step 1" in text_of(first)
    assert [] == after(here, 14 * MINUTE)
    assert ["bela@example.org", "leads@example.org"] == sorted(to(after(here, MINUTE)))
    assert act(here, one, ActionKind.ACKNOWLEDGE, by="bela")
    last = after(here, MINUTE)
    assert ["anna@example.org", "bela@example.org", "leads@example.org"] == sorted(to(last))
    assert all("acknowledged by bela" in text_of(d) for d in last)
    assert all(d.subject.startswith("acknowledged by bela: ") for d in last)
    assert [] == after(here, timedelta(hours=9))


def test_an_escalation_outlives_a_restart(house: Make) -> None:
    """What was due meanwhile goes out once."""
    here = house(Wire(), oncall=oncall(PAGE))
    here.notify(critical())
    here.drain()
    wire = Wire()
    there = house(wire, oncall=oncall(PAGE), state=here.state, clock=here.clock)
    here.clock.advance(15 * MINUTE)
    there.drain()
    assert ["bela@example.org", "leads@example.org"] == sorted(d.address for d in wire.sent)
    there.drain()
    assert 2 == len(wire.sent)


def test_a_step_whose_mails_all_fail_is_followed_by_the_next_at_once(house: Make) -> None:
    from tests.unit.notify.conftest import NEVER, OK

    wire = Wire(lambda d: NEVER if d.address == "anna@example.org" else OK)
    here = house(wire, oncall=oncall(PAGE))
    here.notify(critical())
    here.drain()
    here.drain()
    assert {"bela@example.org", "leads@example.org"} <= {d.address for d in wire.sent}


def test_the_end_of_a_condition_ends_its_escalation(house: Make) -> None:
    here = house(Wire(), oncall=oncall(PAGE))
    one = critical()
    here.notify(one, infos=(CONDITION,))
    here.drain()
    resolve(here, one)
    assert "anna@example.org" in to(after(here, MINUTE))
    assert [] == after(here, timedelta(hours=1))


# -- bounds


def test_of_fifty_critical_alerts_ten_go_alone_and_the_rest_together(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    here.notify(*(critical(f"r{n}") for n in range(50)))
    mails = after(here, timedelta(0))
    assert 11 == len(mails)
    assert 1 == sum("40 alerts" in d.subject for d in mails)


@pytest.mark.parametrize("info", [INFO, CONDITION], ids=["event", "condition"])
def test_a_restart_between_firing_and_sending_notifies_once(house: Make, info: RuleInfo) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    here.notify(intent(run="r1"), infos=(info,))
    here.drain()
    wire = Wire()
    there = house(wire, oncall=oncall(ROUTES), state=here.state, clock=here.clock)
    there.drain()
    assert [] == wire.sent


# -- sentences of SEMANTICS.md's "Notifications" that nothing above holds

RULES = (CONDITION, replace(CONDITION, name="cluster-down"))


@pytest.mark.parametrize("what", ["acknowledged", "silenced"])
def test_a_source_still_inhibits_when_somebody_has_it_or_silences_it(house: Make, what: str) -> None:
    here = house(Wire(), oncall=oncall(INHIBIT))
    down = intent("cluster-down", run="")
    here.notify(down, infos=RULES)
    assert ["leads@example.org"] == to(after(here, timedelta(0)))
    if what == "acknowledged":
        act(here, down, ActionKind.ACKNOWLEDGE)
    else:
        silence(here, 'rule="cluster-down"', timedelta(days=1))
    here.drain()
    here.notify(intent(run="r1", at=here.clock.now()), infos=(CONDITION,))
    assert [] == to(after(here, 30 * MINUTE))
    assert ["inhibited"] == [a.suppressed for a in here.state.alerts() if a.rule == "run-failed"]


def test_the_route_is_fixed_at_firing(house: Make) -> None:
    """A resolved mail goes to those who got the firing one, also when routes changed meanwhile."""
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1")
    here.notify(one, infos=(CONDITION,))
    assert ["leads@example.org"] == to(after(here, timedelta(0)))
    here.oncall = oncall(ROUTES.replace("  receiver: leads\n", "  receiver: anna\n"))
    assert ["leads@example.org"] == to(after(here, timedelta(hours=4)))
    resolve(here, one)
    assert [("leads@example.org", True)] == [
        (d.address, d.subject.startswith("recovered: ")) for d in after(here, MINUTE)
    ]


def test_reordering_routes_sends_nothing_again_and_keeps_timers(house: Make) -> None:
    """Groups are keyed by receiver and group values."""
    routes = ["{match: {team: a}, receiver: anna}", "{match: {team: b}, receiver: bela}"]
    text = ROUTES + "  group_by: [team]\n  group_interval: 5m\n  routes: [{}, {}]\n"
    here = house(Wire(), oncall=oncall(text.replace("{}, {}", ", ".join(routes))))
    here.notify(*(intent(run=f"r{n}", labels={"team": n}) for n in "ab"), infos=(CONDITION,))
    assert 2 == len(after(here, timedelta(0)))
    here.oncall = oncall(text.replace("{}, {}", ", ".join(reversed(routes))))
    here.clock.advance(2 * MINUTE)
    here.notify(intent(run="r9", labels={"team": "a"}, at=here.clock.now()), infos=(CONDITION,))
    assert [] == after(here, timedelta(0))
    assert ["anna@example.org"] == to(after(here, 3 * MINUTE))
    assert ["anna@example.org", "bela@example.org"] == sorted(to(after(here, 4 * timedelta(hours=1))))


def test_a_condition_whose_snooze_ends_is_notified_once_and_then_as_its_route_says(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1")
    here.notify(one, infos=(CONDITION,))
    here.drain()
    before = {d.id for d in here.mails()}
    act(here, one, ActionKind.SNOOZE, until=here.clock.now() + timedelta(hours=6))
    assert [] == after(here, timedelta(hours=5, minutes=59))
    (again,) = after(here, MINUTE)
    assert "churn failed" in again.subject and again.id not in before
    assert [] == after(here, timedelta(hours=3, minutes=59))
    assert ["leads@example.org"] == to(after(here, MINUTE))


@pytest.mark.parametrize("what", ["silenced", "let go"])
def test_a_condition_that_was_notified_before_it_was_suppressed_is_notified_once_when_that_ends(
    house: Make, what: str
) -> None:
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1")
    here.notify(one, infos=(CONDITION,))
    assert ["leads@example.org"] == to(after(here, timedelta(0)))
    if what == "silenced":
        silence(here, 'rule="run-failed"', timedelta(hours=2))
    else:
        act(here, one, ActionKind.ACKNOWLEDGE)
    assert [] == after(here, timedelta(hours=1, minutes=59))
    if what == "let go":
        act(here, one, ActionKind.UNACKNOWLEDGE)
    assert ["leads@example.org"] == to(after(here, MINUTE))
    assert [] == after(here, timedelta(hours=3, minutes=59))


def test_an_acknowledged_alert_that_gets_worse_is_notified(house: Make) -> None:
    """An acknowledgement ends when the severity rises."""
    here = house(Wire(), oncall=oncall(ROUTES))
    one = intent(run="r1", severity=Severity.WARNING)
    here.notify(one, infos=(CONDITION,))
    here.drain()
    act(here, one, ActionKind.ACKNOWLEDGE)
    assert [] == after(here, timedelta(hours=1))
    worse = replace(one, kind=IntentKind.ESCALATED, ordinal=1, severity=Severity.ERROR, at=here.clock.now())
    here.notify(worse, infos=(CONDITION,))
    assert ["leads@example.org"] == to(after(here, MINUTE))
    assert here.state.alerts()[0].acknowledged is None


def test_resolved_notifications_are_grouped_as_the_firing_ones_were(house: Make) -> None:
    here = house(Wire(), oncall=oncall(ROUTES + "  group_by: [rule]\n  group_interval: 5m\n"))
    both = [intent(run=f"r{n}") for n in range(3)]
    here.notify(*both, infos=(CONDITION,))
    assert 1 == len(after(here, timedelta(0)))
    here.clock.advance(MINUTE)
    for each in both:
        resolve(here, each)
    (over,) = after(here, 4 * MINUTE)
    assert "3 recovered" in over.subject


def test_what_a_mute_drops_is_recorded_and_never_sent(house: Make) -> None:
    """`then: drop`, where the author says so. 2026-11-24 is a Tuesday."""
    muted = "  routes: [{match: {rule: run-failed}, receiver: anna, mute: {during: days, then: drop}}]\n"
    days = "time_intervals: [{name: days, weekdays: [tue], timezone: UTC}]\n"
    here = house(Wire(), oncall=oncall(ROUTES + muted + days))
    here.notify(intent(run="r1"))
    dropped = after(here, MINUTE)
    assert [DeliveryState.DROPPED] == [d.state for d in dropped]
    assert [] == to(after(here, timedelta(days=1)))


def test_an_alert_that_no_route_takes_goes_to_the_default_receiver_and_is_counted(house: Make) -> None:
    here = house(Wire(), oncall=oncall("route: {receiver: owner}"))
    here.notify(intent(run="r1", OwnerEmail="somebody@elsewhere.example"))
    assert ["ops@example.org"] == to(after(here, timedelta(0)))
    assert 1 == here.count("tocsin_alerts_unrouted_total")


def test_an_address_reached_by_several_ways_gets_one_message_and_the_escalations_wins(house: Make) -> None:
    also = PAGE.replace(
        "escalation: page}]", "escalation: page, continue: true}, {match: {rule: run-failed}, receiver: anna}]"
    )
    here = house(Wire(), oncall=oncall(also))
    here.notify(critical())
    (one,) = after(here, timedelta(0))
    assert ("anna@example.org", True) == (one.address, "by escalation page, step 1" in text_of(one))
