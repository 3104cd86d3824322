"""A rule that is exported and imported again is the same; what was edited in Azure in between is taken over."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.unit.interchange.helpers import SCHEMA, lost, whole_query
from tocsin.config.yaml.document import load
from tocsin.interchange.azure.write import export_rule, template_of
from tocsin.interchange.data import rules_of_document, rules_of_files
from tocsin.interchange.emit import file_of
from tocsin.interchange.importing import import_text
from tocsin.interchange.report import Imported
from tocsin.rules.kinds.registry import rule_model
from tocsin.rules.language.schema import SEVERITIES

PHASES = (Phase.explicit, Phase.generate)
SHIPPED = sorted((Path(__file__).parents[3] / "rules" / "alerts").glob("*.yaml"))

FAILURE_RATE = """RunStatusChanged
| where Status in ('Completed', 'Failed')
| summarize failed = countif(Status == 'Failed'), finished = count() by WorkspaceName
| extend rate = todouble(failed) / finished
| where finished >= 5 and rate > 0.2"""


def again(template: Any) -> Imported:
    """What an import makes of a template with one rule."""
    [rule] = import_text(json.dumps(template), "exported.json", SCHEMA)
    return rule


def assert_written_the_same(rule: dict[str, Any], back: Imported) -> None:
    """The file that is written of ``back`` says ``rule``. What stands in tests has no type of its own: it is
    compared as data.
    """
    text = file_of([back])
    [written] = rules_of_document(load(text, "imported.yaml"))
    assert rule.get("tests") == written.pop("tests", None)
    assert rule_model().model_validate({k: v for k, v in rule.items() if k != "tests"}) == rule_model().model_validate(
        written
    )


def texts() -> st.SearchStrategy[str]:
    """Any text, with what YAML, templates and Azure's expressions could stumble over."""
    hostile = st.sampled_from([
        "[concat('a')]", "[[x]", "[x", "{{ RunId }}", "{% raw %}", "${x}", "yes", "null", "1e5", "007", "- x", "a: b",
        "a #b", "'", '"', "\\", "\t", " x ", "x\ny", "x\r\ny", "\x85", "\u2028", "é", "!tag", "&a", "*a", "%",
    ])  # fmt: skip
    return st.one_of(hostile, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,20}", fullmatch=True)
DURATIONS = st.sampled_from(["30s", "90s", "1m", "5m", "7m", "1h", "2h30m", "36h", "2d"])
BY = st.lists(st.sampled_from(["WorkspaceName", "Status", "RunType"]), unique=True, max_size=3)
WINDOWED = st.sampled_from([
    FAILURE_RATE,
    "AmlRunStatusChangedEvent | where Status == 'Failed' | summarize n = count() by WorkspaceName | where n > 3",
    "RunStatusChanged | summarize n = count() // how many\n| where n == 0",
    "RunStatusChanged\n| summarize value = avg(DurationMs) by WorkspaceName\n| where value > 3.5",
    "RunStatusChanged\n| summarize value = count()\n| where value >= 10",
    "let few = 3;\nRunStatusChanged | summarize n = dcount(RunId) by WorkspaceName | where n < few",
    "RunStatusChanged | extend long_name_that_goes_on = strcat(RunId, '/', WorkspaceName, '|', ';') | summarize n = count() by long_name_that_goes_on, WorkspaceName | where n > 1",
    "Heartbeat | summarize n = count() by Computer | where n > 3",
])  # fmt: skip
ROWS = st.sampled_from([
    "RunStatusChanged | where Status == 'Failed'",
    "AmlRunStatusChangedEvent | where Status == 'Failed' and Message has 'CUDA'",
    "RunStatusChanged | where Status == 'Failed' | extend Tries = Attempt + 1",
])  # fmt: skip
COMMON = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "enabled": st.booleans(),
        "description": texts(),
        "severity": st.sampled_from(SEVERITIES),
        "summary": texts(),
        "owner": texts(),
        "runbook": texts(),
        "labels": st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True), texts(), max_size=3),
        "annotations": st.dictionaries(texts(), texts(), max_size=3),
        "notify": st.builds(lambda to: {"to": to}, st.lists(st.text("abc@.", min_size=1), min_size=1, max_size=2)),
        "fields": st.just(["RunId"]),
        "max_event_age": DURATIONS,
        "renamed_from": NAMES,
        "tests": st.just([{
            "name": "t",
            "events": [{"at": "5m", "RunId": "007", "Attempt": 2, "Status": "Failed", "WillRetry": None}],
            "expect": [{"at": "1h", "notifications": "1"}],
        }]),
    },
)  # fmt: skip
WINDOW_RULES = st.builds(
    lambda common, query, keys, more: {**common, "query": query, **keys, **more},
    COMMON,
    WINDOWED,
    st.fixed_dictionaries({"over": DURATIONS, "by": BY}),
    st.fixed_dictionaries(
        {},
        optional={
            "every": st.sampled_from(["30s", "1m", "7m", "1h"]),
            "value": st.sampled_from(["rate", "value", "n"]),
            "condition": st.sampled_from(["rate > 1", "n > 2 and rate < 5"]),
            "for": st.sampled_from(["2 of 3", "1 of 1", "6 of 6", "5m", "90s"]),
            "keep_firing_for": DURATIONS,
            "lateness": DURATIONS,
            "no_data": st.sampled_from(["keep", "ok", "alert"]),
            "resolve": st.just({"when": "rate < 0.1"}),
            "send_resolved": st.booleans(),
            "auto_close": DURATIONS,
            "repeat_every": DURATIONS,
            "severity": st.just({"warning": "> 1", "critical": "> 9"}),
        },
    ),
)
ROW_RULES = st.one_of(
    st.builds(lambda c, q, by: {**c, "query": q, "by": by}, COMMON, ROWS, BY),
    st.builds(
        lambda c, status, where, final: {**c, "when": {"status": status, "where": where, "final": final}},
        COMMON,
        st.sampled_from(["Failed", ["Failed", "Canceled"]]),
        st.sampled_from(["", "WorkspaceName == 'prod'", "Tags.env =~ 'prod'"]),
        st.booleans(),
    ),
)


@pytest.mark.parametrize("rule", rules_of_files(SHIPPED, {}), ids=lambda r: r["name"])
def test_a_shipped_rule_comes_back_or_says_why_it_cannot_go(rule: dict[str, Any]) -> None:
    exported = export_rule(rule, SCHEMA)
    if exported.resource is None:
        assert exported.why_not
        return
    back = again(template_of([exported]))
    assert rule == back.rule
    assert_written_the_same(rule, back)


@settings(max_examples=examples(60), phases=PHASES)
@given(rule=st.one_of(WINDOW_RULES, ROW_RULES))
@example(rule={"name": "a:b", "over": "1h", "query": FAILURE_RATE, "by": ["WorkspaceName"], "value": "rate"})
def test_exported_and_imported_again_a_rule_is_the_same(rule: dict[str, Any]) -> None:
    """Also as the file that is written of it reads."""
    exported = export_rule(rule, SCHEMA)
    assert exported.resource is not None, exported.why_not
    back = again(template_of([exported]))
    assert rule == back.rule
    assert () == back.lost
    assert_written_the_same(rule, back)


@settings(max_examples=examples(40), phases=PHASES)
@given(rule=WINDOW_RULES)
@example(rule={"name": "ends-with:", "over": "1h", "query": FAILURE_RATE, "by": ["WorkspaceName"]})
def test_what_azure_has_a_key_for_comes_back_without_our_notes(rule: dict[str, Any]) -> None:
    """The template's metadata is lost where it goes through Azure; name, query, window, severity and description are
    not.
    """
    exported = export_rule(rule, SCHEMA)
    assert exported.resource is not None, exported.why_not
    rounded = {entry.key for entry in exported.lost}
    back = again({k: v for k, v in template_of([exported]).items() if k != "metadata"}).rule
    assert back is not None
    expected: dict[str, Any] = {"name": rule["name"], "severity": "warning", "query": rule["query"], **rule}
    for key in ("name", "severity", "over", "every", "by", "description", "for"):
        if key in rounded or key not in rule or (key == "for" and rule[key] == "1 of 1"):
            continue
        model, given_back = rule_model().model_validate(expected), rule_model().model_validate(back)
        field = {"for": "for_"}.get(key, key)
        assert getattr(model, field) == getattr(given_back, field), key
    assert re.sub(r"\s", "", whole_query(rule)) == re.sub(r"\s", "", whole_query(back))


def edited(rule: dict[str, Any], **properties: Any) -> Imported:
    """The rule's template, with properties that somebody changed in Azure."""
    template = template_of([export_rule(rule, SCHEMA)])
    template = json.loads(json.dumps(template))
    template["resources"][0]["properties"] |= properties
    return again(template)


WHOLE = {
    "name": "failure-rate", "over": "1h", "every": "1m", "query": FAILURE_RATE, "by": ["WorkspaceName"], "value": "rate",
    "resolve": {"when": "rate < 0.1"}, "for": "2 of 3", "keep_firing_for": "10m", "lateness": "2m", "severity": "error",
}  # fmt: skip


def test_what_was_changed_in_azure_is_taken_and_the_rest_stays() -> None:
    back = edited(WHOLE, severity=0, windowSize="PT2H", description="louder")
    assert {**WHOLE, "severity": "critical", "over": "2h", "description": "louder"} == back.rule
    assert {"severity", "over", "description"} == set(lost(back))


def test_a_query_that_was_changed_in_azure_takes_the_place_of_when() -> None:
    rule = {"name": "run-failed", "when": {"status": "Failed", "final": True}, "summary": "{{ RunId }} failed"}
    template = json.loads(json.dumps(template_of([export_rule(rule, SCHEMA)])))
    template["resources"][0]["properties"]["criteria"]["allOf"][0]["query"] = (
        "AmlRunStatusChangedEvent | where Status == 'Canceled'"
    )
    assert {
        "name": "run-failed",
        "query": "AmlRunStatusChangedEvent | where Status == 'Canceled'",
        "summary": "{{ RunId }} failed",
    } == again(template).rule


def test_notes_that_are_no_rule_any_more_are_passed_over() -> None:
    template = json.loads(json.dumps(template_of([export_rule(WHOLE, SCHEMA)])))
    template["metadata"]["tocsin"]["rules"]["failure-rate"] = {"name": "failure-rate", "evil": True}
    back = again(template)
    assert back.rule is not None
    assert "evil" not in back.rule
    assert "what tocsin kept there is no rule any more" == lost(back)["metadata"]
