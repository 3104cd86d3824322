"""Schedules and escalations out of YAML: read whole, or refused with file, line and what would be right."""

from datetime import datetime, timedelta
from textwrap import dedent

import pytest

from tests.oracle.oncall import utc
from tocsin.config.yaml.document import Placed, load, parse
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.notify.oncall.escalation import Escalation, Step
from tocsin.notify.oncall.models import EscalationModel, PersonModel, ScheduleModel
from tocsin.notify.oncall.read import Known, check_schedule, read_escalation, read_schedule
from tocsin.notify.oncall.schedule import Rotation, Schedule, on_call_at

KNOWN = Known(
    people={"anna": "anna@example.org", "bela": "bela@example.org", "cruz": "cruz@example.org"},
    calendars={"hu-holidays": Calendar(country="HU")},
)
NOW = utc("2026-11-29T12:00")

EXAMPLE = """\
name: primary
timezone: Europe/Budapest
layers:
  - {name: eu, hours: "08:00-20:00", timezone: Europe/Budapest, except: hu-holidays,
     rotation: {every: 1w, handoff: mon 09:00, starting: 2026-01-05, members: [anna, bela]}}
  - {name: us, hours: "08:00-20:00", timezone: America/Los_Angeles,
     rotation: {every: 1d, handoff: "08:00", starting: 2026-01-05, members: [cruz]}}
uncovered: cruz
overrides: [{from: 2026-12-24T09:00, to: 2026-12-27T09:00, who: bela, reason: swap}]
tests: [{at: 2026-12-24T10:00Z, on_call: [bela]}, {at: 2026-12-24T03:00Z, on_call: [cruz]}]
"""


def placed(text: str) -> Placed[ScheduleModel]:
    document = load(dedent(text), "oncall.yaml")
    return Placed(model=parse(ScheduleModel, document), document=document, path=())


def read(text: str) -> tuple[Schedule | None, list[str]]:
    problems: list[Problem] = []
    try:
        found = read_schedule(placed(text), KNOWN, problems)
    except ConfigurationError as e:
        return None, [str(p) for p in e.problems]
    return found, [str(p) for p in problems]


def test_the_example_of_the_language_is_read_and_its_tests_pass() -> None:
    found, problems = read(EXAMPLE)
    assert [] == problems and found is not None
    assert ["eu", "us"] == [layer.name for layer in found.layers]
    assert Rotation(members=("anna", "bela"), start=datetime(2026, 1, 5, 9)) == found.layers[0].rotation
    assert (utc("2026-12-24T08:00"), "swap") == (found.overrides[0].start, found.overrides[0].reason)
    said = [str(p) for p in check_schedule(placed(EXAMPLE), found, NOW)]
    assert [
        "oncall.yaml:1: warning: nothing covers mon 2026-11-30 05:00 to 08:00 Europe/Budapest and 24 more in 4 weeks;"
        " cruz takes them",
        "oncall.yaml:1: warning: eu and us both cover sun 2026-11-29 17:00 to 20:00 Europe/Budapest and 24 more in"
        " 4 weeks; us wins",
    ] == said


def test_a_failing_inline_test_says_who_is_on_call_instead_and_why() -> None:
    text = EXAMPLE.replace("on_call: [bela]", "on_call: [anna]")
    found, _ = read(text)
    assert found is not None
    failed = [str(p) for p in check_schedule(placed(text), found, NOW) if not p.warning]
    expected = "at 2026-12-24T10:00Z anna should be on call, but bela is on call by override swap"
    assert [f"oncall.yaml:10: tests[0]: {expected}"] == failed


def test_the_simple_form_is_one_rotation_around_the_clock() -> None:
    found, problems = read("""\
        name: p
        timezone: Europe/Budapest
        rotation: {members: [anna, bela], starting: 2026-01-05, handoff: "09:00"}
        """)
    assert [] == problems and found is not None
    assert ["anna"] == [each.who for each in on_call_at(found, utc("2026-01-12T07:59"))]
    assert ["bela"] == [each.who for each in on_call_at(found, utc("2026-01-12T08:00"))]
    assert found.zone is not None and "Europe/Budapest" == found.zone.key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: p", ["oncall.yaml:1: says nobody; write layers:, or rotation:, or ical: with the URL of a feed"]),
        (
            "name: p\nrotation: {members: anna}",
            ["oncall.yaml:2: rotation: says no zone; write timezone: Europe/Budapest in the schedule"],
        ),
        (
            "name: p\ntimezone: UTC\nrotation: {members: anna}\nical: oncall.ics",
            [
                "oncall.yaml:1: has rotation: and ical:; write layers:, or rotation:, or ical: with the URL of a feed",
                "oncall.yaml:4: ical: 'oncall.ics' is no URL; write https://…",
            ],
        ),
        (
            "name: p\ntimezone: UTC\nrotation: {members: [anna, belu]}",
            [
                "oncall.yaml:3: rotation.members[1]: 'belu' is no person or address; did you mean 'bela'?",
                "oncall.yaml:3: rotation.starting: is missing; write the day on which anna begins, as starting: 2026-01-05",
            ],
        ),
        (
            "name: p\ntimezone: UTC\nrotation: {members: [anna, bela], starting: 2026-01-06, handoff: mon 09:00}",
            [
                "oncall.yaml:3: rotation.starting: 2026-01-06 is a tue, but handoff: says mon;"
                " write 2026-01-05 or 2026-01-12"
            ],
        ),
        (
            "name: p\ntimezone: UTC\nrotation: {members: [anna, bela], starting: 2026-01-05, every: 36h}",
            [
                "oncall.yaml:3: rotation.every: is no whole number of days and no part of a day;"
                " write so many days (1d, 1w), or hours that divide a day (12h, 8h)"
            ],
        ),
        (
            "name: p\ntimezone: UTC\nrotation: {members: [anna, bela], starting: 2026-01-05, every: 2d, handoff: mon 09:00}",
            [
                "oncall.yaml:3: rotation.handoff: names a day of the week, but turns do not last weeks;"
                " write every: 1w, or handoff: with a time only"
            ],
        ),
        (
            "name: p\nlayers:\n  - {name: a, rotation: {members: anna}}\n  - {name: a, timezone: UTC, except: hu-holiday, rotation: {members: anna}}",
            [
                "oncall.yaml:4: layers[1].name: 'a' is taken; name each layer differently",
                "oncall.yaml:3: layers[0]: says no zone; write timezone: Europe/Budapest in it or in the schedule",
                "oncall.yaml:4: layers[1].except: 'hu-holiday' is no calendar; did you mean 'hu-holidays'?",
            ],
        ),
        (
            "name: p\nlayers: [{name: a, timezone: UTC, rotation: {members: anna}}]\n"
            "overrides:\n  - {from: 2026-12-24T09:00, to: 2026-12-24T08:00, who: dora@, instead_of: ana}",
            [
                "oncall.yaml:4: overrides[0].from: '2026-12-24T09:00' says no zone; write timezone: Europe/Budapest in the schedule",
                "oncall.yaml:4: overrides[0].to: '2026-12-24T08:00' says no zone; write timezone: Europe/Budapest in the schedule",
                "oncall.yaml:4: overrides[0].to: does not come after `from`",
                "oncall.yaml:4: overrides[0].who: 'dora@' has a domain that is none; write anna@example.org",
                "oncall.yaml:4: overrides[0].instead_of: 'ana' is no person or address; did you mean 'anna'?",
            ],
        ),
        (
            "name: p\ntimezone: Europe/Budapes\nrotation: {members: anna, handoff: noon}",
            [
                "oncall.yaml:2: timezone: 'Europe/Budapes' is not a time zone; did you mean 'Europe/Budapest'?",
                "oncall.yaml:3: rotation.handoff: 'noon' is not a time of the day; write 08:00, in quotes",
            ],
        ),
    ],
)
def test_faults_come_at_once_with_line_and_what_would_be_right(text: str, said: list[str]) -> None:
    assert (None, said) == read(text)


def test_a_feed_needs_somebody_for_the_time_before_it_was_read() -> None:
    text = "name: p\nical: https://example.org/x.ics\n"
    found, problems = read(text)
    assert [] == problems and found is not None
    assert [
        "oncall.yaml:2: warning: ical: is the only source: before it has been read once, nobody is on call;"
        " write uncovered: with a person"
    ] == [str(p) for p in check_schedule(placed(text), found, NOW)]


def test_what_a_person_says_is_read_and_a_page_without_an_address_refused() -> None:
    document = load(
        "name: anna\nemail: anna@Example.org\nhow: {critical: [page, email], default: email}\nquiet: {hours: '22:00-07:00'}",
        "p.yaml",
    )
    with pytest.raises(ConfigurationError, match=r"names page, but there is no page: address; write page: ntfy://…"):
        parse(PersonModel, document)
    document = load(
        "name: anna\nemail: anna@Example.org\npage: ntfy://h/t\nhow: {critical: [page, email], default: email}",
        "p.yaml",
    )
    person = parse(PersonModel, document)
    assert ("anna@example.org", ("ntfy://h/t",), ("page", "email")) == (
        person.email,
        person.page,
        person.how["critical"],
    )


def escalation(text: str) -> tuple[Escalation | None, list[str]]:
    problems: list[Problem] = []
    document = load(dedent(text), "oncall.yaml")
    try:
        model = parse(EscalationModel, document)
    except ConfigurationError as e:
        return None, [str(p) for p in e.problems]
    placed_ = Placed(model=model, document=document, path=())
    return read_escalation(placed_, ["on-call", "ml-leads"], problems), [str(p) for p in problems]


def test_the_escalation_of_the_language_is_read() -> None:
    found, problems = escalation("""\
        name: page
        ack_timeout: 4h
        resume: 15m
        steps:
          - {notify: on-call}
          - {after: 15m, notify: ml-leads}
          - {after: 30m, notify: head-of-ml@example.org, repeat: 3, every: 10m}
        """)
    assert [] == problems
    minute = timedelta(minutes=1)
    steps = (
        Step(notify=("on-call",)),
        Step(notify=("ml-leads",), after=15 * minute),
        Step(notify=("head-of-ml@example.org",), after=30 * minute, repeat=3, every=10 * minute),
    )
    assert Escalation(name="page", steps=steps, resume=15 * minute) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: p\nsteps: []", ["oncall.yaml:2: steps: names nobody; write steps: [{notify: on-call}]"]),
        (
            "name: p\nsteps:\n  - {notify: on-call, after: 5m}\n  - {notify: [ml-lead, x@example.org], after: 1m}",
            [
                "oncall.yaml:4: steps[1].notify[0]: 'ml-lead' is no receiver, person or address; did you mean 'ml-leads'?",
                "oncall.yaml:4: steps[1].after: comes before the step above; `after` counts from the escalation's start",
            ],
        ),
        (
            "name: p\nsteps:\n  - {notify: on-call, repeat: 3}",
            ["oncall.yaml:3: steps[0]: repeat: stands without every:; write repeat: 3, every: 10m"],
        ),
    ],
)
def test_faults_of_escalations(text: str, said: list[str]) -> None:
    assert (None, said) == escalation(text)


def test_an_acknowledgement_may_hold_for_good() -> None:
    found, problems = escalation("name: p\nack_timeout: none\nsteps: [{notify: on-call}]")
    assert [] == problems and found is not None and found.ack_timeout is None
