"""What `summary`, `annotations` and `template` name is found by loading, with its place."""

from pathlib import Path

import pytest

from tests.unit.rules.conftest import Load, Loaded
from tocsin.errors import ConfigurationError, Problem
from tocsin.kql.schema import Schema
from tocsin.rules.compile.load import Known, load_rules, read_rules

WINDOW = """
    over: 1h
    query: RunStatusChanged | where Status == 'Failed' | summarize failed = count() by ExperimentName
    condition: failed > 3
    by: [ExperimentName]
"""


def found(load: Load, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "rule",
    [
        "when: {status: Failed}\n    labels: {team: '{{ Tags.team }}'}\n    summary: '{{ ExperimentName }} {{ Duration }} {{ team }} {{ Cause }} {{ Message }}'",
        "query: RunStatusChanged | where Status == 'Failed' | extend h = 1 | project RunId, h\n    summary: '{{ h }} {{ Message }}'",
        "when: {status: Running, silent_for: 10m}\n    summary: '{{ ExperimentName }} {{ Waited }} {{ LastSeen }}'",
        "when: {absent: {status: Completed}, cron: '0 2 * * *', grace: 1h, timezone: UTC}\n    summary: '{{ Scheduled }} {{ Due }}'",
        f"{WINDOW.strip()}\n    summary: '{{{{ failed }}}} of {{{{ ExperimentName }}}}'\n    annotations: {{a: '{{% for x in Rule %}}{{{{ x }}}}{{% endfor %}}'}}",
    ],
)
def test_a_mail_may_name_what_it_knows(load: Load, rule: str) -> None:
    assert load(f"rules:\n  - name: a\n    {rule}\n").rules["a"].name == "a"


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("when: {status: Failed}\n    summary: '{{ Mesage }}'", 4),
        ("when: {status: Failed}\n    annotations: {b: '{{ Mesage }}'}", 4),
        ("when: {status: Running, silent_for: 10m}\n    summary: '{{ Mesage }}'", 4),
        ("when: {absent: {status: Completed}, cron: '0 2 * * *', grace: 1h, timezone: UTC}\n    summary: '{{ Mesage }}'", 4),
        (f"{WINDOW.strip()}\n    summary: '{{{{ Mesage }}}}'", 7),
    ],
)  # fmt: skip
def test_an_unknown_name_is_found_at_its_place(load: Load, rule: str, line: int) -> None:
    """Else the first mail says so, at night."""
    (fault,) = found(load, f"rules:\n  - name: a\n    {rule}\n")
    assert fault.startswith(f"rules.yaml:{line}: rules[0].") and "uses 'Mesage', which no mail of this" in fault


def test_all_unknown_names_come_at_once_with_what_is_near(load: Load) -> None:
    rule = f"rules:\n  - name: a\n    {WINDOW.strip()}\n    labels: {{l: '{{{{ x }}}}{{{{ y }}}}'}}\n    summary: '{{{{ faild }}}} {{{{ q }}}}'\n"
    faults = found(load, rule)
    assert 4 == len(faults)
    assert any("uses 'faild'" in fault and "did you mean 'failed'?" in fault for fault in faults)


def test_a_row_of_a_table_gives_names(table: Loaded) -> None:
    text = """
    rules:
      - name: slow
        for_each: {table: limits}
        when: {status: Failed, where: ExperimentName == experiment}
        summary: "{{ team }} {{ experiment }}"
    """
    assert ["slow"] == list(table(text).rules)


def test_an_unknown_template_and_a_file_without_rules(tmp_path: Path, schema: Schema) -> None:
    """Together with all else; a rule that is right is still there."""
    mine, empty = tmp_path / "rules.yaml", tmp_path / "empty.yaml"
    mine.write_text(
        "rules:\n  - {name: a, when: {status: Failed}, template: mne, summary: '{{ x }}'}\n  - {name: b, when: {status: Failed}}\n"
    )
    empty.write_text("rules:\n")
    problems: list[Problem] = []
    names = {mine: "rules.yaml", empty: "empty.yaml"}
    rules = read_rules([empty, mine], Known(schema=schema, templates=["run", "mine"]), problems, names=names)
    assert ["b"] == list(rules.rules)
    assert [
        "empty.yaml:1: warning: rules: no rule stands in this file; each begins with `- name:`",
        "rules.yaml:2: rules[0].template: no template is called 'mne'; did you mean 'mine'?",
    ] == [str(p) for p in problems][:2]
    assert 3 == len(problems)
    assert {} == load_rules([empty], schema).rules
