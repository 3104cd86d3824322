"""`check`: every fault of every file at once, with file, line, key and what would be right."""

from pathlib import Path
from typing import get_args

import pytest

from tests.unit.rules.conftest import Load
from tocsin.errors import ConfigurationError, Problem
from tocsin.kql.schema import Schema
from tocsin.model.statuses import Severity
from tocsin.rules.compile.load import load_rules
from tocsin.rules.inspect.explain import explain
from tocsin.rules.kinds.event.kind import KIND as EVENT
from tocsin.rules.kinds.registry import rule_model, rules_json_schema


def faults(load: Load, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load(text)
    return [str(p) for p in raised.value.problems]


def test_defaults_are_merged(load: Load) -> None:
    """A rule's original status wins; labels and annotations are merged."""
    rules = load("""
        defaults:
          severity: error
          labels: {team: ranking, tier: "1"}
          annotations: {hint: look}
          fields: [Target]
          notify: {to: ops}
          runbook: "https://wiki.example.org"
        rules:
          - {name: a, when: {status: Failed}}
          - {name: b, when: {status: Failed}, severity: warning, labels: {tier: "2"}, fields: Url, notify: {to: [x], only: true}}
        """).rules
    a, b = rules["a"], rules["b"]
    assert (Severity.ERROR, Severity.WARNING) == (a.severity, b.severity)
    assert {"team": "ranking", "tier": "2"} == {name: text.source for name, text in b.labels.items()}
    assert (("Target",), ("Url",)) == (a.fields, b.fields)
    assert (("ops",), False, ("x",), True) == (
        a.info.notify_to, a.info.notify_only, b.info.notify_to, b.info.notify_only,
    )  # fmt: skip
    assert {"hint": "look"} == b.info.annotations and "https://wiki.example.org" == b.info.runbook
    assert a.info.version != b.info.version


def test_by_contains_run_id(load: Load) -> None:
    rules = load(
        "rules: [{name: a, when: {status: Failed}}, {name: b, when: {status: Failed}, by: [Target, RunId]}]"
    ).rules
    assert (("RunId",), ("RunId", "Target")) == (rules["a"].by, rules["b"].by)
    assert "event" == rules["a"].kind


def test_every_fault_at_once(load: Load) -> None:
    assert [
        "rules.yaml:4: rules[0].severity: 'eror' is none of critical, error, warning, informational, verbose;"
        " did you mean 'error'?",
        "rules.yaml:7: rules[0].tests[0].events[0].Status: is missing",
        "rules.yaml:7: rules[0].tests[0].events[0].Stauts: is no column that a test event has; did you mean 'Status'?",
        "rules.yaml:10:36: rules[1].when.where: there is no column 'Resaon' here; did you mean Reason?",
        "rules.yaml:11: rules[1].fields: 'Targt' is no field that the query gives; did you mean 'Target'?",
        "rules.yaml:12: rules[1].labels.team: uses 'Tgs', which the query does not give; did you mean 'Tags'?",
        "rules.yaml:13: rules[1].notify.to[1]: 'a b' is neither a receiver's name nor an address",
        "rules.yaml:14: rules[2].name: 'b' is also the name of the rule at rules.yaml:9",
        "rules.yaml:14: rules[2].when.status: 'Faild' is none of NotStarted, Starting, Provisioning, Preparing, Queued,"
        " Running, Paused, NotResponding, Finalizing, CancelRequested, Completed, Failed, Canceled, Unknown;"
        " did you mean 'Failed'?",
        "rules.yaml:15: rules[3].fields: 'Targt' is no field that the query gives; did you mean 'Target'?",
        "rules.yaml:15: rules[3].when.wher: is not a key that is known here; did you mean 'where'?",
        "rules.yaml:17: rles: is not a key that is known here; did you mean 'rules'?",
    ] == _by_place(
        faults(load, """
        rules:
          - name: a
            severity: eror
            when: {status: Failed}
            tests:
              - {name: t, events: [{at: 0s, RunId: r, Stauts: Failed}], expect: [{at: 0s, notifications: 1}]}

          - name: b
            when: {status: Failed, where: "Resaon == 'x'"}
            fields: [Targt]
            labels: {team: "{{ Tgs.team }}"}
            notify: {to: [owner, a b]}
          - {name: b, when: {status: Faild}}
          - {name: c, when: {status: Failed, wher: x}, fields: [Targt]}
        # beyond
        rles: []
        """)
    )  # fmt: skip


def _by_place(found: list[str]) -> list[str]:
    return sorted(found, key=lambda p: (int(p.split(":")[1]), p))


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("{name: a}", "rules[0]: says neither `when:` nor `query:`; a rule has one of them"),
        ("{name: a, when: {final: true}}", "rules[0].when: would match every event; say which `status:` or `where:`"),
        ("{name: a, when: {status: []}}", "rules[0].when.status: "),
        ("{name: a b, when: {status: Failed}}", "rules[0].name: "),
        ("{name: a, when: {status: Failed}, query: x}", "rules[0].query: has when and query; a rule has one of them"),
        ("{name: a, when: {status: Failed}, kind: window}", "rules[0].kind: is 'window', but what the rule says makes it"),
        ("{name: a, when: {status: Failed}, fields: [Raw]}", "rules[0].fields: 'Raw' is too large to be carried"),
        ("{name: a, when: {status: Failed}, labels: {x-y: z}}", "rules[0].labels.x-y: is no name for a label"),
        ("{name: a, when: {status: Failed}, fields: [Url], labels: {Url: z}}", "rules[0].labels.Url: is also a field under fields"),
        ("{name: a, when: {status: Failed}, summary: '{{ x'}", "rules[0].summary: is no template: "),
        ("{name: a, when: {status: Failed}, summary: '{{ x | nope }}'}", "rules[0].summary: is no template: no filter is"),
        ("{name: a, when: {status: Failed}, max_event_age: 1 day}", "rules[0].max_event_age: '1 day' is not a duration"),
        ("{name: a, when: {where: \"Status == 'x' and\"}}", "rules[0].when.where: is no whole KQL predicate; are all its brackets"),
        ("{name: a, when: {where: \"Status == 'x'\\n | take 5\"}}", "rules[0].when.where: "),
        ("{name: a, when: {status: Failed}, notify: {to: []}}", "rules[0].notify.to: names nobody"),
        ("{name: a, renamed_from: b, when: {status: Failed}}\n  - {name: b, when: {status: Failed}}", "renamed_from: 'b' is still the name of"),
        ("{name: a, query: Nope}", "rules[0].query: "),
        ("5", "rules[0]: "),
    ],
)  # fmt: skip
def test_what_is_refused(load: Load, rule: str, fault: str) -> None:
    found = faults(load, f"rules:\n  - {rule}\n")
    assert any(f": {fault}" in f for f in found), found


def test_a_query_that_aggregates_needs_over(load: Load) -> None:
    text = "rules:\n  - name: a\n{}    query: RunStatusChanged | summarize count() by RunId\n"
    (fault,) = faults(load, text.format(""))
    assert "rules.yaml:3: rules[0].query: this is a window rule, and it needs `over:`: summarize puts" in fault
    (fault,) = faults(load, text.format("    kind: event\n"))
    assert "rules.yaml:3: rules[0].kind: is 'event', but the query is no event query: summarize puts" in fault


def test_faults_of_a_query_name_the_line_in_the_file(load: Load) -> None:
    assert ["rules.yaml:6:23: rules[0].query: there is no column 'Resaon' here; did you mean Reason?"] == faults(
        load, """
        rules:
          - name: a
            query: |
              RunStatusChanged
              | where Status == 'Failed'
              | where Resaon == 'x'
        """.replace("\n        rules", "rules", 1)
    )  # fmt: skip


SETTINGS = {
    "sql": "x", "over": "1h", "every": "1m", "value": "x", "condition": "x", "for": "5m", "keep_firing_for": "1m",
    "lateness": "1m", "no_data": "ok", "repeat_every": "1h", "limit": "{per: RunId, max: 1, window: 1d}", "max_instances": "5",
    "export": "{metric: x}",
    "severity": '{warning: "> 5"}',
}  # fmt: skip
WHENS = {
    "cron": "x", "grace": "x", "timezone": "UTC", "except": "x", "consumer": "x", "within": "6h", "by": "[RunId]",
    "look_back": "30d",
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(SETTINGS.keys() - {"sql", "repeat_every", "limit"}))
def test_keys_of_window_rules_are_refused_in_an_event_rule(load: Load, key: str) -> None:
    found = faults(load, f"rules:\n  - name: a\n    when: {{status: Failed}}\n    {key}: {SETTINGS[key]}\n")
    assert f"rules.yaml:4: rules[0].{key}: belongs to a window rule; one with `query:` and `over:`" in found


@pytest.mark.parametrize("key", sorted(WHENS))
def test_keys_of_another_form_of_when_are_refused(load: Load, key: str) -> None:
    found = faults(load, f"rules:\n  - name: a\n    when:\n      status: Failed\n      {key}: {WHENS[key]}\n")
    kind = (
        "a window rule; one with `after` or `times`"
        if key in ("within", "by", "look_back")
        else "an absence rule; one with `absent` and `cron`"
    )
    assert [f"rules.yaml:5: rules[0].when.{key}: belongs to {kind}"] == found


def test_defaults_are_checked_too(load: Load) -> None:
    text = "defaults: {limit: {per: Nope, max: 1, window: 1d}}\nrules: [{name: a, when: {status: Failed}}]\n"
    assert "'Nope' is no field of the rule's alerts" in "".join(faults(load, text))


def test_ten_broken_of_many_are_named(load: Load) -> None:
    """And nothing is loaded: the last good set stays in force."""
    lines = [
        f"  - {{name: r{n}, when: {{status: Failed, where: \"{'Nope' if n % 30 == 7 else 'Target'} == 'x{n}'\"}}}}"
        for n in range(300)
    ]
    found = faults(load, "rules:\n" + "\n".join(lines))
    assert [f"rules[{n}].when.where" for n in range(300) if n % 30 == 7] == [f.split(": ")[1] for f in found]


def test_names_are_unique_over_files(tmp_path: Path, schema: Schema) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"]
    for path in paths[:2]:
        path.write_text("rules: [{name: same, when: {status: Failed}}]")
    with pytest.raises(ConfigurationError) as raised:
        load_rules(paths, schema, names={p: p.name for p in paths})
    first, second = map(str, raised.value.problems)
    assert "c.yaml: cannot be read" in first
    assert "b.yaml:1: rules[0].name: 'same' is also the name of the rule at a.yaml:1" == second


def test_who_is_notified_and_what_alerts_carry(load: Load) -> None:
    rules = load("""
        rules:
          - {name: a, when: {status: Failed}, notify: {to: [owner, x@example.org]}, fields: Target}
          - {name: b, enabled: false, when: {status: Failed}, labels: {team: x}}
        """)
    assert [("owner", "a", 3), ("x@example.org", "a", 3)] == [
        (t.name, t.rule, t.place.line) for t in rules.notify_targets
    ]
    assert {"RunId", "Target", "team"} == rules.fields
    assert ["a"] == list(rules.enabled) == [r.name for r in rules.of(EVENT).rules]
    assert ["b"] == list(rules.only(["b"]).rules)


def test_meaning_is_what_decides_which_alerts_there_are(load: Load) -> None:
    """Comments, layout and presentation do not count."""

    def meaning(rule: str) -> str:
        return load(f"rules:\n  - name: a\n{rule}").rules["a"].meaning

    first = meaning("    query: RunStatusChanged | where Status == 'Failed'")
    assert first == meaning(
        "    query: |\n      RunStatusChanged // all\n      | where Status  ==  'Failed'\n    severity: error"
    )
    assert first != meaning("    query: RunStatusChanged | where Status == 'Canceled'")
    assert first != meaning("    query: RunStatusChanged | where Status == 'Failed'\n    by: Target")
    final = "    when: {status: Failed, final: true}"
    assert meaning(final) != meaning(final + "\n    final_after: 1h")


def test_explain(load: Load) -> None:
    rule = load(
        "rules: [{name: a, when: {status: [Failed, Canceled], final: true, where: \"Tags.env =~ 'prod'\"}, fields: Url}]"
    )
    found = explain(rule.rules["a"])
    assert ("a", "rules.yaml:1", "event", ("RunId", "Url")) == (found.name, found.place, found.kind, found.carries)
    assert ("Status in ('Failed', 'Canceled')", "Tags.env =~ 'prod'") == found.prefilter
    assert "yes, only the last attempt; where it is not known, after 15m" == found.final
    assert "rule_no" in found.sql and "RunStatusChanged" in found.query


def test_every_key_has_a_description_and_is_in_the_schema() -> None:
    """Editors complete from it."""
    schema = rules_json_schema()
    assert set(schema["properties"]) == {"defaults", "rules"}
    model = rule_model()
    when = next(t for t in get_args(model.model_fields["when"].annotation) if t is not type(None))
    for keys, name in ((model, "RuleModel"), (when, "When")):
        properties = schema["$defs"][name]["properties"]
        assert {info.alias or field for field, info in keys.model_fields.items()} == set(properties)
        assert [] == [key for key, value in properties.items() if not value.get("description")]
    event = schema["$defs"]["TestEvent"]
    assert not event["additionalProperties"] and {"at", "RunId", "Status", "Tags"} <= set(event["properties"])
    assert "Raw" not in event["properties"] and "CommitSeq" not in event["properties"]


@pytest.mark.parametrize(
    "query",
    ["query: RunStatusChanged | lookup Perf on RunId", "over: 1h\n    query: Perf | summarize count() by Computer"],
)
def test_a_rule_that_is_off_may_wait_for_its_table(tmp_path: Path, schema: Schema, query: str) -> None:
    """As what was imported does: a warning, and the others are loaded. Switched on, it is a fault."""
    path, warnings = tmp_path / "rules.yaml", list[Problem]()
    text = f"rules:\n  - name: a\n    enabled: false\n    {query}\n  - {{name: b, when: {{status: Failed}}}}\n"
    path.write_text(text)
    rules = load_rules([path], schema, names={path: "rules.yaml"}, warnings=warnings)
    assert (["b"], [True]) == (list(rules.rules), [p.warning for p in warnings])
    assert "there is no table 'Perf'" in str(warnings[0]) and "rules.yaml:" in str(warnings[0])
    path.write_text(text.replace("enabled: false", "enabled: true"))
    with pytest.raises(ConfigurationError):
        load_rules([path], schema)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("when: {status: Failed, where: \"Status = 'x'\"}", "4:43: rules[0].when.where: '=' gives a name"),
        ("when: {where: 'Status == ''a'' and Attempt'}", "4:20: rules[0].when.where: a side of 'and'"),
        ("when: {absent: {status: Completed, where: \"Attempt == 'x'\"}, cron: '0 2 * * *', grace: 1h}", "4:48: rules[0].when.absent.where: '==' compares"),
        ("when: {status: Running, silent_for: 10m, where: Attempt}", "4:53: rules[0].when.where: the condition is neither"),
        ("when: {status: Queued, after: Running, times: 3, within: 6h, where: \"Status && true\"}", "4:81: rules[0].when.where: '&&' is no operator"),
        ("over: 1h\n    query: |\n      Runs\n        | where Attempt == 'x'", "7:17: rules[0].query: '==' compares values"),
        ("over: 1h\n    query: Runs | summarize n = count() by RunId\n    condition: n > 3\n    resolve: {when: n = 3}", "7:23: rules[0].resolve.when: is no condition: '=' gives a name"),
        ("over: 1h\n    query: Runs | summarize n = count() by RunId\n    condition: n > 3\n    resolve: {when: n}", "7:21: rules[0].resolve.when: is no condition: the condition is neither"),
        ("over: 1h\n    query: Runs | summarize n = count() by RunId\n    condition: n = 3", "6:18: rules[0].condition: is no condition: '=' gives"),
        ("over: 1h\n    query: Runs | summarize n = count() by RunId\n    value: n\n    severity: {warning: \"> 'x'\"}", "7:26: rules[0].severity.warning: is no condition: '>' compares"),
        ("over: 1h\n    sql: |\n      SELECT RunId FROM Runs\n      WHERE Status > 3", "7:20: rules[0].sql: a string cannot be compared with a long"),
    ],
)  # fmt: skip
def test_a_condition_that_never_works_is_found_at_its_place(
    load: Load, tmp_path: Path, schema: Schema, rule: str, fault: str
) -> None:
    """Whatever key it stands in, however YAML quotes it: file, line, column. Of a rule that is off it is a warning."""
    text = f"rules:\n  - name: a\n    enabled: true\n    {rule}\n"
    found = faults(load, text)
    assert any(f.startswith(f"rules.yaml:{fault}") for f in found), found
    path, warnings = tmp_path / "rules.yaml", list[Problem]()
    path.write_text(text.replace("enabled: true", "enabled: false"))
    assert {} == load_rules([path], schema, warnings=warnings).rules
    assert warnings and all(p.warning for p in warnings)
