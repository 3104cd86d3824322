"""rules/oncall/*.yaml whole: the language's example is read, its tests pass; faults of all files come at once."""

import pytest

from tests.oracle.oncall import utc
from tocsin.config.yaml.document import Document, load, parse
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.notify.oncall.escalation import advance, start
from tocsin.notify.routing.oncall_file import Context, OnCallFile, OnCallRules, check_files, read_files
from tocsin.notify.routing.tree import RuleNames, Why, route

NOW = utc("2026-12-01T12:00")

EXAMPLE = """\
people:
  - {name: anna, email: anna@example.org, timezone: Europe/Budapest, page: "ntfy://ntfy.example.org/anna",
     quiet: {hours: "22:00-07:00", except: {severity: ">= critical"}}, how: {critical: [page, email], default: [email]}}
  - {name: bela, email: bela@example.org}
  - {name: cruz, email: cruz@example.org, timezone: America/Los_Angeles}

receivers:
  - {name: ml-leads, email: [ml-leads@example.org]}
  - name: owner
    email: {first_of: ["{{ Tags['tocsin.mail'] }}", "{{ OwnerEmail }}", owners.csv(ExperimentName)]}
    fallback: {receiver: ml-leads, digest: daily, at: "09:00"}
  - {name: chat, webhook: {url: "https://example.org/hook", format: common-alert-schema, secret_file: chat.secret}}
  - {name: am, alertmanager: {urls: ["http://127.0.0.1:9093"]}}
  - {name: pager, pagerduty: {routing_key_file: pd.key}}
  - {name: on-call, schedule: primary, how: [email, page]}

route:
  always: [owner]
  receiver: ml-leads
  group_by: [rule, ExperimentName]
  group_wait: 0s
  group_interval: 5m
  repeat_interval: 4h
  routes:
    - {match: {severity: ">= critical"}, escalation: page, continue: true}
    - {match: {team: ranking}, receiver: chat, mute: {during: weekends, then: digest}}

inhibit:
  - {source: {rule: cluster-down}, target: {rule: [run-silent, run-failed]}, equal: [Target], hold: 2m, then: digest}

calendars:
  hu-holidays: {country: HU}
time_intervals:
  - {name: weekends, weekdays: [sat, sun], timezone: Europe/Budapest}
silences:
  - {match: {rule: run-failed, ExperimentName: churn}, from: 2026-12-01T20:00Z, to: 2026-12-02T08:00Z, by: anna, comment: known}

schedules:
  - name: primary
    timezone: Europe/Budapest
    layers:
      - {name: eu, hours: "08:00-20:00", timezone: Europe/Budapest, except: hu-holidays,
         rotation: {every: 1w, handoff: mon 09:00, starting: 2026-01-05, members: [anna, bela]}}
      - {name: us, hours: "08:00-20:00", timezone: America/Los_Angeles,
         rotation: {every: 1d, handoff: "08:00", starting: 2026-01-05, members: [cruz]}}
    uncovered: cruz
    overrides: [{from: 2026-12-24T09:00, to: 2026-12-27T09:00, who: bela, reason: swap}]
    tests: [{at: 2026-12-24T10:00Z, on_call: [bela]}, {at: 2026-12-24T03:00Z, on_call: [cruz]}]

escalations:
  - name: page
    ack_timeout: 4h
    resume: 15m
    steps:
      - {notify: on-call}
      - {after: 15m, notify: ml-leads}
      - {after: 30m, notify: head-of-ml@example.org, repeat: 3, every: 10m}

tests:
  - {at: 2026-12-24T03:00Z, alert: {rule: run-failed, severity: critical, team: ranking}, notifies: [cruz, chat, owner]}
"""
CONTEXT = Context(
    calendars={"hu-holidays": Calendar(country="HU")},
    fields=["rule", "severity", "team", "ExperimentName", "Target"],
)
Files = list[tuple[Document, OnCallFile]]


def read(*texts: str, context: Context = CONTEXT) -> tuple[OnCallRules | None, list[str], Files]:
    documents = [load(text, f"{n}.yaml") for n, text in enumerate(texts)]
    files = [(document, parse(OnCallFile, document)) for document in documents]
    problems: list[Problem] = []
    return read_files(files, context, problems), [str(p) for p in problems], files


def rules(text: str = EXAMPLE) -> OnCallRules:
    found, problems, _ = read(text)
    assert [] == problems and found is not None
    return found


def test_the_example_of_the_language_is_read_and_its_tests_pass() -> None:
    found, problems, files = read(EXAMPLE)
    assert [] == problems and found is not None
    assert [] == [str(p) for p in check_files(files, found, NOW) if not p.warning]
    assert {"anna"} == set(found.quiet)
    assert (1, 1, 1) == (len(found.inhibit), len(found.silences), len(found.intervals))


def test_a_failing_test_says_who_is_notified_and_why() -> None:
    text = EXAMPLE.replace("notifies: [cruz, chat, owner]", "notifies: [anna, chat, owner]")
    found, _, files = read(text)
    assert found is not None
    (fault,) = [str(p) for p in check_files(files, found, NOW) if not p.warning]
    assert fault.endswith(
        "tests[0]: does not notify anna, but notifies cruz (page: its route matches severity: >= critical (0.yaml:25))"
    )


def test_an_escalation_reaches_who_is_on_call_when_a_step_is_due() -> None:
    """At 07:59 in Budapest nothing covers, which is cruz's; at 09:00 it is anna's week."""
    found = rules()
    page, at = found.escalations["page"], utc("2026-12-08T06:59")
    made = advance(page, start(page, at, condition=False).state, at, found.reach)
    assert made.message is not None and ("cruz",) == made.message.to
    at = utc("2026-12-08T08:00")
    made = advance(page, start(page, at, condition=False).state, at, found.reach)
    assert made.message is not None and ("anna",) == made.message.to


def test_a_receiver_with_a_schedule_and_a_chat_comes_to_both() -> None:
    both = rules(
        EXAMPLE.replace(
            "{name: on-call, schedule: primary,", "{name: on-call, schedule: primary, apprise: 'gotify://h/t',"
        )
    )
    assert ("bela", "on-call") == both.reach("on-call", utc("2026-12-24T10:00"))
    assert ("ml-leads",) == both.reach("ml-leads", utc("2026-12-24T10:00"))


def test_no_file_notifies_the_owner() -> None:
    found, problems, _ = read()
    assert [] == problems and found is not None
    (taken,) = [t for t in route(found.root, found.always, {"rule": "x"}, RuleNames()) if t.receiver]
    assert ("owner", Why.ALWAYS) == (taken.receiver, taken.why)


def test_faults_of_all_files_come_at_once() -> None:
    first = """\
people: [{name: anna, email: anna@example.org}]
receivers:
  - {name: leads, email: [ana, x@], fallback: {receiver: chat}}
  - {name: chat, schedule: primry, fallback: {receiver: leads}}
  - {name: list, email: '{{ Owner'}
route: {receiver: leads}
"""
    second = """\
people: [{name: anna, email: anna@example.org}]
route: {receiver: leads}
schedules: [{name: primary, timezone: UTC, rotation: {members: anna}}]
escalations: [{name: page, steps: [{notify: bob}]}]
"""
    context = Context(template_fault=lambda text: "unexpected end" if text.endswith("Owner") else "")
    found, problems, _ = read(first, second, context=context)
    assert found is None
    assert sorted(
        [
            "1.yaml:1: people[0].name: 'anna' is taken; it stands in 0.yaml:1",
            "1.yaml:4: escalations[0].steps[0].notify: 'bob' is no receiver, person or address; known are anna, chat, leads, list, owner",
            "0.yaml:3: receivers[0].email[0]: 'ana' is no person or address; did you mean 'anna'?",
            "0.yaml:3: receivers[0].email[1]: 'x@' has a domain that is none; write ops@example.org",
            "0.yaml:3: receivers[0].fallback: goes in a circle: leads → chat → leads",
            "0.yaml:4: receivers[1].schedule: 'primry' is no schedule; did you mean 'primary'?",
            "0.yaml:4: receivers[1].fallback: goes in a circle: chat → leads → chat",
            "0.yaml:5: receivers[2].email[0]: is no template: unexpected end",
            "1.yaml:2: route: is given twice; it stands in 0.yaml:6",
        ]
    ) == sorted(problems)


def test_a_route_on_a_field_that_no_rule_has_is_refused() -> None:
    _, problems, _ = read("route: {receiver: owner, group_by: [Taget]}")
    assert ["0.yaml:1: route.group_by: no rule's alerts have a field 'Taget'; did you mean 'Target'?"] == problems


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError, match=r"0.yaml:1: shedules: is not a key that is known here; did you mean 'schedules'"
    ):
        read("shedules: []")
