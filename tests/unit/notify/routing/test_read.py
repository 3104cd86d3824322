"""Routes, inhibition, intervals and silences out of YAML: read whole, or refused with file, line and what would be
right.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import pytest
from pydantic import BaseModel

from tests.oracle.oncall import utc
from tocsin.config.yaml.document import Document, KeyPath, Placed, load, parse
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.notify.oncall import models as oncall_models
from tocsin.notify.oncall.models import PersonModel
from tocsin.notify.routing import models, oncall_file
from tocsin.notify.routing.groups import GroupTiming
from tocsin.notify.routing.inhibit import InhibitRule
from tocsin.notify.routing.mute import Silence, TimeInterval
from tocsin.notify.routing.read import (
    Known,
    quiet_hours,
    read_inhibit,
    read_interval,
    read_route,
    read_silence,
    run_route_test,
)
from tocsin.notify.routing.tree import Route, Taken, route

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
KNOWN = Known(
    receivers=["ml-leads", "chat", "owner"],
    escalations=["page"],
    intervals={"weekends": TimeInterval(name="weekends", any_of=())},
    fields=["rule", "severity", "team", "Target", "ExperimentName"],
)


def read(model: type[M], text: str, how: Callable[[Placed[M], list[Problem]], T]) -> tuple[T | None, list[str]]:
    document = load(text, "o.yaml")
    try:
        placed = Placed(model=parse(model, document), document=document, path=())
    except ConfigurationError as e:
        return None, [str(p) for p in e.problems]
    problems: list[Problem] = []
    return how(placed, problems), [str(p) for p in problems]


def tree(text: str) -> tuple[tuple[Route, tuple[str, ...]] | None, list[str]]:
    return read(models.RootModel, text, lambda placed, problems: read_route(placed, KNOWN, problems))


EXAMPLE = """\
always: [owner]
receiver: ml-leads
group_by: [rule, ExperimentName]
group_wait: 0s
group_interval: 5m
repeat_interval: 4h
routes:
  - {match: {severity: ">= critical"}, escalation: page, continue: true}
  - {match: {team: ranking}, receiver: chat, mute: {during: weekends, then: digest}}
"""


def test_the_route_of_the_language_is_read() -> None:
    found, problems = tree(EXAMPLE)
    assert [] == problems and found is not None
    root, always = found
    assert (("owner",), ("ml-leads",)) == (always, root.receivers)
    page, chat = root.routes
    assert ((), "page", True) == (page.receivers, page.escalation, page.goes_on)
    assert (("chat",), "", "o.yaml:9") == (chat.receivers, chat.escalation, chat.place)
    assert chat.mute is not None and ["weekends"] == [each.name for each in chat.mute.during]
    assert ("rule", "ExperimentName") == chat.group_by
    said = {
        "at": "2026-12-24T03:00Z",
        "alert": {"rule": "run-failed", "severity": "critical", "team": "ranking"},
        "notifies": ["cruz", "chat", "owner"],
    }
    test = models.RouteTestModel.model_validate(said)

    def reached(taken: Taken) -> Sequence[str]:
        return ["cruz"] if taken.escalation else [taken.receiver]

    assert "" == run_route_test(test, root, always, reached)
    wrong = test.model_copy(update={"notifies": ("anna", "chat", "owner")})
    assert (
        "does not notify anna, but notifies cruz (page: its route matches severity: >= critical (o.yaml:8))"
        == run_route_test(wrong, root, always, reached)
    )


def test_a_child_has_what_it_does_not_say_from_its_parent_but_for_matchers_and_mutes() -> None:
    found, problems = tree("""\
receiver: ml-leads
group_by: ["..."]
group_wait: 30s
repeat_interval: 2h
repeat_backoff: 2
repeat_max: 24h
routes:
  - match: {team: a}
    mute: {during: weekends}
    routes:
      - {matchers: 'Target=~"x.*"', repeat_interval: none, group_by: []}
""")
    assert [] == problems and found is not None
    inner = found[0].routes[0].routes[0]
    half, hour = timedelta(seconds=30), timedelta(hours=1)
    assert (("ml-leads",), (), None) == (inner.receivers, inner.group_by, inner.mute)
    assert GroupTiming(wait=half, repeat=None, backoff=2, repeat_max=24 * hour) == inner.timing
    assert ("...",) == found[0].routes[0].group_by
    assert ['Target=~"x.*"'] == [str(each) for each in inner.matchers]


def test_a_child_that_names_an_escalation_alone_does_not_notify_the_parents_receiver() -> None:
    found, _ = tree(EXAMPLE)
    assert found is not None
    taken = route(found[0], (), {"severity": "critical"})
    assert ["page"] == [each.name for each in taken]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "match: {team: a}\nmute: {during: weekends}\ncontinue: true",
            [
                "o.yaml:1: is the root, which takes every alert; write match: in a route under routes:",
                "o.yaml:1: is the root, which is never muted; write mute: in a route under routes:",
                "o.yaml:3: continue: has nothing after it: this is the root; leave it out",
            ],
        ),
        (
            "always: ownr\nreceiver: [ml-leads, x@example.org]\nroutes:\n  - {match: {tem: a}, receiver: chatt, escalation: pag}",
            [
                "o.yaml:1: always: 'ownr' is no receiver, person or address; did you mean 'owner'?",
                "o.yaml:4: routes[0].receiver: 'chatt' is no receiver, person or address; did you mean 'chat'?",
                "o.yaml:4: routes[0].escalation: 'pag' is no escalation; did you mean 'page'?",
                "o.yaml:4: routes[0].match.tem: no rule's alerts have a field 'tem'; did you mean 'team'?",
            ],
        ),
        (
            "group_by: [rule, '...']\ngroup_interval: 0s\nroutes:\n"
            "  - match: {severity: '>= eror'}\n    matchers: ['team=~\"(\"', 'a']\n    mute: {during: weekend}",
            [
                "o.yaml:1: group_by: names '...' beside others; '...' is all fields: write it alone",
                "o.yaml:4: routes[0].match.severity: 'eror' is not a severity;"
                " severities are critical, error, warning, informational, verbose",
                "o.yaml:5: routes[0].matchers[0]: '(' is not a regular expression of RE2: missing ): (",
                "o.yaml:5: routes[0].matchers[1]: 'a' has 'its end' where one of = != =~ !~ belongs",
                "o.yaml:6: routes[0].mute.during: 'weekend' is no time interval; did you mean 'weekends'?",
                "o.yaml:2: group_interval: must be longer than 0s",
            ],
        ),
        ("receivers: x", ["o.yaml:1: receivers: is not a key that is known here; did you mean 'receiver'?"]),
    ],
)
def test_faults_of_routes_come_at_once(text: str, said: list[str]) -> None:
    found, problems = tree(text)
    assert found is None
    assert sorted(said) == sorted(problems)


def inhibit(text: str) -> tuple[InhibitRule | None, list[str]]:
    return read(models.InhibitModel, text, lambda placed, problems: read_inhibit(placed, KNOWN, problems))


def test_the_inhibition_of_the_language_is_read_and_in_alertmanagers_syntax_too() -> None:
    ours, problems = inhibit(
        "{source: {rule: cluster-down}, target: {rule: [run-silent, run-failed]}, equal: [Target], hold: 2m}"
    )
    assert [] == problems and ours is not None
    assert "rule: cluster-down inhibits rule: [run-silent, run-failed] on the same Target" == ours.text
    assert (timedelta(minutes=2), "o.yaml:1") == (ours.hold, ours.place)
    theirs, problems = inhibit(
        "{source: {matchers: ['rule=\"cluster-down\"']}, target: {matchers: ['rule=~\"run-.*\"']}}"
    )
    assert [] == problems and theirs is not None
    assert 'rule="cluster-down" inhibits rule=~"run-.*"' == theirs.text


def test_faults_of_inhibitions() -> None:
    assert (
        None,
        [
            "o.yaml:1: source: matches every alert; write for example {rule: cluster-down}",
            "o.yaml:1: equal: no rule's alerts have a field 'Targe'; did you mean 'Target'?",
        ],
    ) == inhibit("{source: {}, target: {rule: x}, equal: Targe}")


def silence(text: str) -> tuple[Silence | None, list[str]]:
    return read(models.SilenceModel, text, lambda placed, problems: read_silence(placed, KNOWN, problems))


def test_the_silence_of_the_language_is_read_and_has_one_id_in_every_reading() -> None:
    text = "{match: {rule: run-failed, ExperimentName: churn}, from: 2026-12-01T20:00Z, to: 2026-12-02T08:00Z, by: anna, comment: known}"
    found, problems = silence(text)
    assert [] == problems and found is not None
    assert (utc("2026-12-01T20:00"), utc("2026-12-02T08:00"), "anna", "known") == (
        found.start,
        found.end,
        found.by,
        found.comment,
    )
    again, _ = silence(text.replace("comment: known", "comment: other"))
    other, _ = silence(text.replace("churn", "ranking"))
    assert again is not None and other is not None
    assert found.id == again.id != other.id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{from: 2026-12-01T20:00Z, to: 2026-12-01T20:00Z, comment: x}",
            [
                "o.yaml:1: matches every alert; write match: {rule: run-failed}",
                "o.yaml:1: to: does not come after `from`",
            ],
        ),
        (
            "{matchers: 'team!=\"x\"', from: 2026-12-01T20:00, to: 2026-12-02T20:00Z, comment: ''}",
            [
                "o.yaml:1: from: '2026-12-01T20:00' says no zone; write 2026-12-01T20:00Z, or +01:00 at its end",
                "o.yaml:1: comment: must not be empty",
            ],
        ),
    ],
)
def test_faults_of_silences(text: str, said: list[str]) -> None:
    assert (None, said) == silence(text)


def interval(text: str) -> tuple[TimeInterval | None, list[str]]:
    calendars = {"hu": Calendar(country="HU")}
    return read(models.TimeIntervalModel, text, lambda placed, problems: read_interval(placed, calendars, problems))


def test_intervals_are_read_in_our_form_and_with_alertmanagers_fields() -> None:
    found, problems = interval("{name: weekends, weekdays: [sat, sun], timezone: Europe/Budapest}")
    assert [] == problems and found is not None
    assert found.holds(utc("2026-12-04T23:00")) and not found.holds(utc("2026-12-04T22:59"))
    found, problems = interval("""\
name: odd
any_of:
  - {times: "17:00-24:00", weekdays: ["monday:wednesday"], months: ["1:3", "may:august", December], years: [2026, "2030:2031"]}
  - {days_of_month: ["1:2", -1], days_of: hu}
""")
    assert [] == problems and found is not None
    inside = ["2026-12-01T17:00", "2031-05-05T23:59", "2027-01-01T00:00"]
    outside = ["2026-12-03T17:00", "2026-11-30T17:00", "2027-12-06T17:00", "2026-12-31T00:00"]
    assert [True] * 3 + [False] * 4 == [found.holds(utc(t)) for t in inside + outside]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x", ["o.yaml:1: says no time; write weekdays: [sat, sun], or times:"]),
        ("{name: x, months: [5], any_of: [{years: [2026]}]}", ["o.yaml:1: says times beside any_of:; write them within any_of: too"]),
        (
            "{name: x, days_of_month: ['0', '5:1', '-1:1'], months: [mai], years: [26], days_of: hr}",
            [
                "o.yaml:1: days_of: 'hr' is no calendar; known are hu",
                "o.yaml:1: months: 'mai' is no month; write may, 5 or may:august",
                "o.yaml:1: days_of_month: '0' is no day of a month; write 1 to 31, or -1 for the last",
                "o.yaml:1: days_of_month: '5:1' ends before it begins",
                "o.yaml:1: days_of_month: '-1:1' counts from the end and ends counted from the start; write both alike",
                "o.yaml:1: years: '26' is no year; write 2026 or 2026:2028",
            ],
        ),
        (
            "{name: x, times: ['9-17'], weekdays: caturday}",
            [
                "o.yaml:1: times[0]: '9' is not a time of the day; write 08:00, in quotes",
                "o.yaml:1: weekdays: 'caturday' is not a day of the week; write one of mon, tue, wed, thu, fri, sat, sun",
            ],
        ),
    ],
)  # fmt: skip
def test_faults_of_intervals(text: str, said: list[str]) -> None:
    found, problems = interval(text)
    assert found is None
    assert said == [p.replace("weekdays[0]", "weekdays") for p in problems]


def test_quiet_hours_are_in_the_persons_zone() -> None:
    text = "{name: anna, email: a@example.org, timezone: Europe/Budapest, quiet: {hours: '22:00-07:00', except: {severity: '>= critical'}}}"
    found, problems = read(PersonModel, text, quiet_hours)
    assert [] == problems and found is not None
    assert found.holds({"severity": "error"}, utc("2026-12-01T21:00")) and not found.holds({}, utc("2026-12-01T20:59"))
    assert not found.holds({"severity": "critical"}, utc("2026-12-01T21:00"))
    _, problems = read(PersonModel, text.replace(" timezone: Europe/Budapest,", ""), quiet_hours)
    assert [
        "o.yaml:1: quiet: has hours, but the person has no zone; write timezone: Europe/Budapest beside name:"
    ] == problems


# -- receivers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{name: r, email: [ml-leads@example.org]}",
        "{name: r, email: {first_of: ['{{ OwnerEmail }}', owners.csv(ExperimentName)]}, fallback: {receiver: x, digest: daily, at: '09:00'}}",
        "{name: r, webhook: {url: 'https://e.org', format: common-alert-schema, secret_file: chat.secret, allow_private: false}}",
        "{name: r, alertmanager: {urls: ['http://127.0.0.1:9093']}}",
        "{name: r, pagerduty: {routing_key_file: pd.key}}",
        "{name: r, slack: {token_file: t, channel: '#x'}}",
        "{name: r, teams: {url_file: t}}",
        "{name: r, ntfy: {topic: x}}",
        "{name: r, apprise: 'gotify://host/token'}",
        "{name: r, schedule: primary, how: [email, page]}",
    ],
)
def test_receivers_of_the_language_are_read(text: str) -> None:
    assert [] == read(models.ReceiverModel, text, lambda placed, problems: placed.model)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: r}", "o.yaml:1: has no way to notify anybody; add email: [ops@example.org]"),
        ("{name: r, email: a@b.org, how: page}", "o.yaml:1: how: stands without schedule:; people say theirs themselves"),
        ("{name: r, slack: {token_file: t}}", "o.yaml:1: slack: token_file: stands without channel:; write channel: '#training' beside it"),
        ("{name: r, slack: {}}", "o.yaml:1: slack: needs token_file: with channel:, or url_file:; write one of them"),
        ("{name: r, ntfy: {}}", "o.yaml:1: ntfy: needs topic: or topic_file:; write one of them"),
        ("{name: r, webhook: {url: ftp://x}}", "o.yaml:1: webhook.url: 'ftp://x' is no URL; write https://…"),
        ("{name: r, email: a@b.org, fallback: {receiver: x, at: '09:00'}}", "o.yaml:1: fallback: at: stands without digest:; write digest: daily beside it"),
    ],
)  # fmt: skip
def test_faults_of_receivers(text: str, said: str) -> None:
    assert [said] == read(models.ReceiverModel, text, lambda placed, problems: placed.model)[1]


def every_model() -> list[type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for module in (models, oncall_models, oncall_file):
        for name, each in vars(module).items():
            if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module.__name__:
                found[name] = each
    return list(found.values())


@pytest.mark.parametrize("model", every_model(), ids=lambda model: model.__name__)
def test_every_key_has_a_description_and_an_example(model: type[BaseModel]) -> None:
    """They feed the schema and the reference pages."""
    assert [] == [name for name, key in model.model_fields.items() if not (key.description and key.examples)]
    assert model.model_config.get("extra") == "forbid" and model.model_config.get("frozen")


def test_the_place_of_a_model_is_file_and_line() -> None:
    document: Document = load("a:\n  - b: 1\n", "x.yaml")
    path: KeyPath = ("a", 0)
    assert "x.yaml:2" == Placed(model=None, document=document, path=path).place
