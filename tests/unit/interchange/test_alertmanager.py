"""Alertmanager's configurations: the on-call file is right, routes as theirs did, and says what it could not keep."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Run, run
from tests.unit.interchange.test_samples import SAMPLES
from tocsin.config.yaml.document import load, resolved
from tocsin.errors import ConfigurationError
from tocsin.interchange.alertmanager.read import NOBODY, OnCallImported, file_text, import_configuration
from tocsin.notify.routing.files import read_oncall_files
from tocsin.notify.routing.oncall_file import Context, OnCallRules, read_files
from tocsin.notify.routing.tree import RuleNames
from tocsin.notify.routing.tree import route as take

__all__ = ["run"]

WHOLE = r"""
global: {resolve_timeout: 5m, slack_api_url_file: /etc/am/slack.url}
route:
  receiver: leads
  group_by: [alertname, team]
  group_wait: 10s
  repeat_interval: 1d12h
  routes:
    - matchers: [severity="page", 'team=~"ranking|search"']
      receiver: pager
      continue: true
      group_by: ['...']
    - match: {team: ranking}
      receiver: "chat room"
      mute_time_intervals: [weekends]
      routes:
        - {match_re: {alertname: "Run.*"}, active_time_intervals: [office]}
        - {match: {team: ranking, severity: info}, receiver: blackhole}
    - {matchers: ['{env!="prod"}'], receiver: blackhole}
inhibit_rules:
  - {source_match: {alertname: ClusterDown}, target_match_re: {alertname: "Run.*"}, equal: [cluster]}
time_intervals:
  - name: weekends
    time_intervals: [{weekdays: ['saturday:sunday'], location: Europe/Budapest}]
  - name: office
    time_intervals:
      - {times: [{start_time: "08:00", end_time: "17:00"}], weekdays: ['monday:friday'], months: ['1:11']}
      - {days_of_month: ['1:5', '-3:-1'], years: ['2026:2028'], location: Local}
receivers:
  - name: leads
    email_configs: [{to: 'a@example.org, Bela <b@example.org>', send_resolved: false, html: '{{ x }}'}]
  - name: pager
    pagerduty_configs: [{routing_key: s3cret-one}, {routing_key_file: /etc/am/pd.key}]
  - name: chat room
    slack_configs: [{channel: '#training'}]
    webhook_configs: [{url: "https://example.org/hook", max_alerts: 5}]
  - name: blackhole
"""


def imported(text: str) -> OnCallImported:
    return import_configuration(load(text, "am.yaml"))


def rules_of(found: OnCallImported, tmp_path: Path) -> OnCallRules:
    path = tmp_path / "team.yaml"
    path.write_text(file_text(found, "am.yaml"))
    problems: list[Any] = []
    files = read_oncall_files([path])
    rules = read_files(files.files, Context(), problems)
    assert rules is not None, "\n".join(map(str, problems))
    return rules


def theirs(node: Mapping[str, Any], labels: Mapping[str, str], above: str = "") -> list[str]:
    """Receivers by Alertmanager's documentation of `route`: depth first, the first child that matches unless it
    continues, the node itself where no child does.
    """
    receiver = node.get("receiver", above)

    def matches(each: Mapping[str, Any]) -> bool:
        equal = all(labels.get(k, "") == str(v) for k, v in each.get("match", {}).items())
        like = all(re.fullmatch(str(v), labels.get(k, "")) for k, v in each.get("match_re", {}).items())
        texts = (re.fullmatch(r'\{?(\w+)(=~|!=|=)"(.*)"\}?', text) for text in each.get("matchers", ()))
        return equal and like and all(holds(m[2], labels.get(m[1], ""), m[3]) for m in texts if m)

    def holds(op: str, label: str, value: str) -> bool:
        return bool(re.fullmatch(value, label)) if op == "=~" else (label == value) is (op == "=")

    found: list[str] = []
    for child in node.get("routes", ()):
        if matches(child):
            found += theirs(child, labels, receiver)
            if not child.get("continue"):
                break
    return found or [receiver]


def test_alerts_go_where_alertmanager_sent_them(tmp_path: Path) -> None:
    """Every combination of labels; what went to nobody is muted for good, and dropped."""
    found = imported(WHOLE)
    rules, root = rules_of(found, tmp_path), resolved(load(WHOLE, "am.yaml").data)["route"]
    names = {"leads": {"leads"}, "pager": {"pager", "pager-2"}, "chat room": {"chat-room"}, "blackhole": set()}
    words = {"page": "critical", "info": "informational", "": ""}
    for team, severity, alertname, env in itertools.product(
        ("ranking", "search", "x"), words, ("RunFailed", "Other"), ("prod", "")
    ):
        labels = {"team": team, "severity": severity, "alertname": alertname, "env": env}
        expected = set[str]().union(*(names[each] for each in theirs(root, labels)))
        fields = {"team": team, "severity": words[severity], "rule": alertname, "env": env}
        taken = take(rules.root, rules.always, fields, RuleNames())
        reached = {
            each.receiver
            for each in taken
            if each.route is None or each.route.mute is None or NOBODY not in [i.name for i in each.route.mute.during]
        }
        assert expected == reached, labels


def test_grouping_times_and_inhibition_are_kept(tmp_path: Path) -> None:
    """At the root what Alertmanager takes without being said, since ours differs."""
    data = imported(WHOLE).data
    route = data["route"]
    assert (["rule", "team"], "10s", "5m", "1d12h") == tuple(
        route[key] for key in ("group_by", "group_wait", "group_interval", "repeat_interval")
    )
    assert ["..."] == route["routes"][0]["group_by"]
    assert {"name": "weekends", "weekdays": ["sat-sun"],
            "timezone": "Europe/Budapest"} == data["time_intervals"][0]  # fmt: skip
    office = data["time_intervals"][1]["any_of"]
    assert [["08:00-17:00"], ["mon-fri"], ["1:11"]] == [office[0][key] for key in ("times", "weekdays", "months")]
    assert [["1:5", "-3:-1"], ["2026:2028"]] == [office[1][key] for key in ("days_of_month", "years")]
    (inhibit,) = data["inhibit"]
    assert (['rule="ClusterDown"'], ['rule=~"Run.*"'], ["cluster"]) == (
        inhibit["source"]["matchers"], inhibit["target"]["matchers"], inhibit["equal"],
    )  # fmt: skip
    assert 4 == len(rules_of(imported(WHOLE), tmp_path).receivers)


def test_what_cannot_be_kept_is_said_with_its_line_and_no_secret_is_copied() -> None:
    found = imported(WHOLE)
    text = file_text(found, "am.yaml")
    assert "s3cret-one" not in text and "pagerduty: {routing_key_file: secrets/pager.pagerduty.key}" in text
    said = {each.key: each.why for each in found.lost}
    line = 1 + next(n for n, each in enumerate(WHOLE.splitlines()) if "name: pager" in each)
    assert (
        "write it into secrets/pager.pagerduty.key"
        in said[f"line {line}, receivers[1].pagerduty_configs[0].routing_key"]
    )
    for key, why in (
        ("send_resolved", "a rule says it"), ("html", "template of Go"), ("channel", "token_file"), ("max_alerts", "not known"),
        ("receivers[2].name", "'chat-room'"), ("resolve_timeout", "end by their rules"), ("equal", "equals nothing"),
        ("matchers[0]", "'page' is critical"), ("severity", "'info' is informational"), ("location", "UTC is taken"),
    ):  # fmt: skip
        assert any(key in name and why in text for name, text in said.items()), (key, said)
    assert {"team", "env", "cluster"} == set(found.fields)
    assert "/etc/am/slack.url" in text and "/etc/am/pd.key" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("groups: []", "is no configuration of Alertmanager"),
        ("route: {receiver: x}\nreceivers: [{name: y}]", "'x' is no receiver"),
        ("route: {receiver: y, group_wait: soon}\nreceivers: [{name: y}]", "'soon' is no duration"),
        ("route: {receiver: y, routes: [{matchers: ['a']}]}\nreceivers: [{name: y}]", "am.yaml:1"),
        ("route: {receiver: y, routes: [{match_re: {a: '('}}]}\nreceivers: [{name: y}]", "am.yaml:1"),
    ],
)
def test_what_alertmanager_would_refuse_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        imported(text)


def test_a_root_that_notifies_nobody_mutes_what_is_left(tmp_path: Path) -> None:
    """The root itself is never muted, so a last route takes the rest."""
    found = imported("route: {receiver: none, routes: [{match: {a: b}, receiver: x}]}\n"
                     "receivers: [{name: none}, {name: x, email_configs: [{to: x@example.org}]}]")  # fmt: skip
    rules = rules_of(found, tmp_path)
    for fields, expected in (({"a": "b"}, None), ({"a": "c"}, NOBODY)):
        (taken,) = take(rules.root, rules.always, fields, RuleNames())
        assert taken.route is not None
        mute = taken.route.mute
        assert expected == (mute.during[0].name if mute is not None else None)


def test_labels_of_the_mirror_are_columns_and_odd_ones_stand_in_quotes(tmp_path: Path) -> None:
    found = imported("""
route:
  receiver: x
  group_by: [experiment_name]
  routes:
    - matchers: ['"my label"="ü"', 'run_id!=""', 'severity=~"critical|page"']
      recever: y
      continu: true
receivers: [{name: x, email_configs: [{to: x@example.org}]}]
inhibit_rules: [{source_matchers: [a=b], target_matcher: [c=d]}]
""")
    assert ["ExperimentName"] == found.data["route"]["group_by"]
    (below,) = found.data["route"]["routes"]
    assert ['"my label"="ü"', 'RunId!=""', 'severity=~"critical"'] == below["matchers"]
    assert rules_of(found, tmp_path).root.routes
    said = "\n".join(map(str, found.lost))
    for key in ("recever", "continu", "target_matcher"):
        assert f"{key}: is not known here" in said
    assert "label experiment_name: is ExperimentName here" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("route: {receiver: x, matchers: [a=b]}\nreceivers: [{name: x}]", "the root route matches every alert"),
        (
            "route: {receiver: x, routes: [{mute_time_intervals: [t]}]}\nreceivers: [{name: x}]",
            "'t' is no time interval",
        ),
        ("kind: AlertmanagerConfig\nspec: {route: {receiver: x}}", "is an object of Kubernetes (AlertmanagerConfig)"),
    ],
)
def test_what_alertmanager_refuses_or_is_none_says_so(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        imported(text)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not in this checkout's neighbourhood")
def test_public_samples_become_files_that_are_right(tmp_path: Path) -> None:
    for path in sorted(SAMPLES.glob("alertmanager-*.yaml")):
        rules = rules_of(import_configuration(load(path.read_text(), path.name)), tmp_path)
        assert rules.root.timing.wait is not None


def test_the_command_writes_a_file_that_check_takes(run: Run, tmp_path: Path) -> None:
    """It names the fields that rules must carry; with them, and the secret written, the file is right."""
    home = tmp_path / "project"
    (home / "rules" / "oncall").mkdir(parents=True)
    (home / "rules" / "alerts").mkdir()
    (home / "secrets").mkdir()
    (home / "tocsin.yaml").write_text("{}\n")
    (tmp_path / "am.yaml").write_text(WHOLE.replace("/etc/am", "secrets"))
    target = home / "rules" / "oncall" / "am.yaml"
    done = run("oncall", "import", "am.yaml", "--output", target, "--home", home)
    assert 0 == done.returncode and "no rule carries cluster, env" in done.stderr, done.stderr
    again = run("oncall", "import", "am.yaml", "--output", target, "--home", home)
    assert 2 == again.returncode and "is there already" in again.stderr
    (home / "rules" / "alerts" / "r.yaml").write_text(
        "rules: [{name: mine, when: {status: Failed}, labels: {team: x, env: x, cluster: x}}]\n"
    )
    for name in ("pager.pagerduty.key", "pd.key", "slack.url"):
        (home / "secrets" / name).write_text("x" * 32)
    checked = run("check", "--home", home)
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert "kept: 4 receivers" in run("oncall", "import", "am.yaml", "--home", home).stderr
