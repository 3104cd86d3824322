"""The stages: who is notified, in which mails, and how many."""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.notify.make import HAPPENED, INFO, NOW, draft, intent
from tests.unit.notify.make import oncall as make_oncall
from tocsin.model.delivery import Notified
from tocsin.model.details import Details, Expired
from tocsin.model.intent import Intent, IntentKind, RuleInfo
from tocsin.model.statuses import Severity
from tocsin.notify.routing.oncall_file import OnCallRules
from tocsin.notify.routing.pipeline import RecipientResolver, cap, group, route
from tocsin.notify.values import CapRule, Routed

LEADS = "receivers:\n- {name: leads, email: ml-leads@example.org}\n"
OWNER = """- name: owner
  email: {first_of: ["{{ Tags['tocsin.mail'] }}", "{{ OwnerEmail }}"]}
  fallback: {receiver: leads}
"""
ALWAYS = "route: {always: owner}\n"


def nobody(_: Intent) -> Sequence[Notified]:
    return ()


def inside(address: str) -> bool:
    return address.endswith("@example.org")


def resolver(oncall: OnCallRules | None = None) -> RecipientResolver:
    return RecipientResolver(
        oncall=oncall or OnCallRules(),
        default=("ops@example.org",),
        admins=("admin@example.org",),
        allows=inside,
        at=NOW,
    )


def notified(one: Intent, info: RuleInfo = INFO, oncall: OnCallRules | None = None) -> Routed:
    return route([(one, info)], resolver(oncall), nobody)[0]


def addresses(routed: Routed) -> list[tuple[str, str]]:
    return [(r.address, r.receiver) for r in routed.recipients]


# -- route


def test_the_owner_is_notified() -> None:
    routed = notified(intent())
    assert addresses(routed) == [("agnes@example.org", "owner")]
    assert routed.recipients[0].because == "notifies the run’s owner"


def test_a_tag_goes_before_the_owner() -> None:
    assert addresses(notified(intent(Tags={"tocsin.mail": "bela@example.org"}))) == [("bela@example.org", "owner")]


def test_nobody_known_notifies_the_default_receiver() -> None:
    assert addresses(notified(intent(OwnerEmail=""))) == [("ops@example.org", "default_receiver")]


def test_an_owner_beyond_the_allowed_goes_to_the_default_receiver_and_says_why() -> None:
    """Otherwise anybody who can post an event could mail the world."""
    routed = notified(intent(OwnerEmail="eve@evil.example"))
    assert addresses(routed) == [("ops@example.org", "default_receiver")]
    assert "'eve@evil.example', whom smtp.allowed_recipients does not allow" in routed.recipients[0].note


def test_an_owner_beyond_the_allowed_goes_to_its_fallback_where_it_has_one() -> None:
    oncall = make_oncall(LEADS + OWNER + ALWAYS)
    routed = notified(intent(OwnerEmail="eve@evil.example"), oncall=oncall)
    assert addresses(routed) == [("ml-leads@example.org", "leads")]
    assert "eve@evil.example" in routed.recipients[0].note
    assert routed.recipients[0].because == "would notify the run’s owner"


def test_a_refused_tag_leaves_the_owner() -> None:
    routed = notified(intent(Tags={"tocsin.mail": "eve@evil.example"}))
    assert addresses(routed) == [("agnes@example.org", "owner")]
    assert "eve@evil.example" in routed.recipients[0].note


def test_several_addresses_in_one_field_are_refused() -> None:
    routed = notified(intent(OwnerEmail="agnes@example.org, eve@evil.example"))
    assert addresses(routed) == [("ops@example.org", "default_receiver")]
    assert "is more than one address" in routed.recipients[0].note


def test_a_header_in_an_address_is_refused() -> None:
    routed = notified(intent(OwnerEmail="agnes@example.org\r\nBcc: eve@evil.example"))
    assert addresses(routed) == [("ops@example.org", "default_receiver")]
    assert "\n" not in routed.recipients[0].note


def test_an_address_in_a_file_is_always_allowed() -> None:
    info = RuleInfo(name="r", version="v", summary="", notify_to=("boss@elsewhere.example",))
    assert addresses(notified(intent(OwnerEmail=""), info)) == [("boss@elsewhere.example", "boss@elsewhere.example")]


def test_a_rules_receivers_come_besides_the_routes() -> None:
    info = RuleInfo(name="r", version="v", summary="", notify_to=("leads", "anna"))
    people = "people: [{name: anna, email: anna@example.org}]\n"
    oncall = make_oncall(LEADS + people + "route: {always: owner, receiver: bela@example.org}")
    assert [a for a, _ in addresses(notified(intent(), info, oncall))] == [
        "ml-leads@example.org", "anna@example.org", "agnes@example.org", "bela@example.org",
    ]  # fmt: skip


def test_only_leaves_the_route_out() -> None:
    info = RuleInfo(name="r", version="v", summary="", notify_to=("leads",), notify_only=True)
    oncall = make_oncall(LEADS + "route: {always: owner, receiver: bela@example.org}")
    assert addresses(notified(intent(), info, oncall)) == [("ml-leads@example.org", "leads")]


def test_an_address_is_notified_once_however_it_is_found() -> None:
    info = RuleInfo(name="r", version="v", summary="", notify_to=("Agnes@example.org", "owner"))
    assert [a for a, _ in addresses(notified(intent(), info))] == ["Agnes@example.org"]


def test_a_receiver_that_is_gone_notifies_the_default_receiver_and_says_so() -> None:
    """A rule of an older version may name what the files no longer declare."""
    info = RuleInfo(name="r", version="v", summary="", notify_to=("gone",), notify_only=True)
    routed = notified(intent(), info)
    assert addresses(routed) == [("ops@example.org", "default_receiver")]
    assert "'gone', which does not exist" in routed.recipients[0].note


def test_a_catch_ups_summary_leaves_the_owner_out() -> None:
    summary = intent(
        kind=IntentKind.SUMMARY, run="", details=Details(expired=Expired(count=7, oldest=NOW, newest=NOW, consumer="a"))
    )
    assert addresses(notified(summary)) == [("ops@example.org", "default_receiver")]
    info = RuleInfo(name="r", version="v", summary="", notify_to=("leads", "owner"))
    assert [a for a, _ in addresses(notified(summary, info, make_oncall(LEADS)))] == ["ml-leads@example.org"]


def test_a_backfills_summary_wakes_nobody_on_call() -> None:
    """What it lists is over."""
    summary = intent(kind=IntentKind.SUMMARY, run="", data={"expired": 7})
    rules = make_oncall(
        "people: [{name: anna, email: anna@example.org}]\n"
        "schedules: [{name: s, timezone: UTC, rotation: {every: 1w, handoff: mon 09:00, starting: 2026-01-05, members: [anna]}}]\n"
        "receivers: [{name: call, schedule: s}, {name: leads, email: leads@example.org}]\n"
        "escalations: [{name: page, steps: [{notify: call}]}]\n"
        "route: {receiver: leads, routes: [{receiver: call, escalation: page, continue: true}, {receiver: leads}]}\n"
    )
    assert {"anna@example.org", "leads@example.org"} == {a for a, _ in addresses(notified(intent(), oncall=rules))}
    assert {"leads@example.org"} == {a for a, _ in addresses(notified(summary, oncall=rules))}


def test_own_health_goes_to_the_admins() -> None:
    assert addresses(notified(intent("tocsin", kind=IntentKind.ADMIN, run=""))) == [
        ("admin@example.org", "admin_email")
    ]


def test_a_resolved_mail_goes_to_those_who_got_the_firing_one() -> None:
    resolved = intent(kind=IntentKind.RESOLVED, OwnerEmail="new@example.org")
    routed = route([(resolved, INFO)], resolver(), lambda _: [Notified("old@example.org", "owner", "<m@x>", "s", "r")])
    assert addresses(routed[0]) == [("old@example.org", "owner")]


def test_an_undeliverable_mail_goes_to_the_fallback_never_back() -> None:
    oncall = make_oncall(LEADS + OWNER + ALWAYS)
    asked = [("owner", "agnes@example.org"), ("owner", "ml-leads@example.org"), ("x", "ops@example.org")]
    assert [[r.address for r in resolver(oncall).instead_of(*a)] for a in asked] == [
        ["ml-leads@example.org"], ["ops@example.org"], [],
    ]  # fmt: skip


# -- group


def test_rules_of_one_run_and_evaluation_make_one_letter_of_the_severest() -> None:
    mild, severe = intent("mild", severity=Severity.WARNING), intent("severe", severity=Severity.CRITICAL)
    drafts = group(route([(mild, INFO), (severe, INFO)], resolver(), nobody))
    assert [[i.rule for i, _ in made.notified] for made in drafts] == [["severe", "mild"]]


def test_other_runs_evaluations_and_addresses_are_letters_of_their_own() -> None:
    both = intent("r", run="a", OwnerEmail="x@example.org")
    others = [
        intent("r", run="b", OwnerEmail="x@example.org"),
        intent("s", run="a", OwnerEmail="x@example.org", at=NOW + timedelta(seconds=1), seq=5),
        intent("t", run="a", OwnerEmail="y@example.org"),
    ]
    drafts = group(route([(i, INFO) for i in (both, *others)], resolver(), nobody))
    assert len(drafts) == len({made.id for made in drafts}) == 4


def test_resolved_and_summaries_stand_alone() -> None:
    kinds = [IntentKind.FIRED, IntentKind.RESOLVED, IntentKind.SUMMARY, IntentKind.ADMIN]
    drafts = group(route([(intent(f"r{n}", kind=k), INFO) for n, k in enumerate(kinds)], resolver(), nobody))
    assert len(drafts) == 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 4)), max_size=12))
def test_grouping_loses_and_repeats_nothing(drawn: list[tuple[str, str, int]]) -> None:
    """Every intent is in exactly one letter an address, whatever comes together."""
    intents = {
        (run, rule): intent(rule, run=run, severity=Severity(severity), OwnerEmail=f"{run}@example.org")
        for run, rule, severity in drawn
    }
    drafts = group(route([(i, INFO) for i in intents.values()], resolver(), nobody))
    assert sorted(i.id for made in drafts for i, _ in made.notified) == sorted(i.id for i in intents.values())
    for made in drafts:
        assert [i.severity for i, _ in made.notified] == sorted(i.severity for i, _ in made.notified)


# -- cap

RULE = CapRule(mails=3, window=timedelta(minutes=10))
UNTIL = HAPPENED + timedelta(minutes=10)


def test_what_is_beyond_the_cap_is_held_until_the_windows_end() -> None:
    drafts = [draft(intent(run=f"r{n}")) for n in range(5)]
    made = cap(drafts, RULE, {"agnes@example.org": 1}, {}, lambda _: UNTIL)
    assert made.through == tuple(drafts[:2])
    assert made.held == tuple((held, UNTIL) for held in drafts[2:])


def test_an_address_that_is_held_stays_held() -> None:
    """None overtakes those that wait, even where the window has room again."""
    made = cap([draft()], RULE, {}, {"agnes@example.org": UNTIL}, lambda _: NOW)
    assert [until for _, until in made.held] == [UNTIL]


def test_addresses_do_not_share_a_cap() -> None:
    drafts = [draft(intent(run=f"r{n}"), to=f"{n % 3}@example.org") for n in range(9)]
    assert len(cap(drafts, RULE, {}, {}, lambda _: UNTIL).through) == 9


def test_none_caps_nothing() -> None:
    drafts = [draft(intent(run=f"r{n}")) for n in range(50)]
    assert len(cap(drafts, None, {}, {}, lambda _: UNTIL).through) == 50
