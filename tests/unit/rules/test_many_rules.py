"""Many rules in many files: each broken one is named at its place, and the others are not to blame."""

from pathlib import Path

import pytest

from tocsin.errors import ConfigurationError
from tocsin.kql.schema import Schema
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.window.kind import KIND

FILES, EACH = 10, 30
ROW = "{{name: row-{n}, when: {{status: Failed, where: \"ExperimentName == 'e{n}' and Attempt > {m}\"}}}}"
WINDOW = (
    "{{name: window-{n}, over: 1h, by: [Target], query: RunStatusChanged | where ExperimentName == 'e{n}'"
    " | summarize n = count() by Target | where n > {m}}}"
)
WAITING = "{{name: waiting-{n}, when: {{status: Queued, in_status_for: {m}h}}}}"

BROKEN = {
    "{name: broken, when: {status: Faild}}": ("when.status", "Failed"),
    "{name: broken, when: {status: Failed, where: \"Experiment == 'a'\"}}": ("when.where", "ExperimentName"),
    "{name: broken, when: {status: Failed, where: \"Message has ('a'\"}}": ("when.where", "brackets"),
    "{name: broken, when: {status: Failed}, severity: eror}": ("severity", "error"),
    "{name: broken, when: {status: Failed}, fields: [OwnrEmail]}": ("fields", "OwnerEmail"),
    "{name: broken, when: {status: Running, silent_for: soon}}": ("silent_for", "soon"),
    "{name: broken, query: RunStatusChanged | summarize n = count() by Target | where n > 1, by: [Target]}": (
        "",
        "over",
    ),
    '{name: broken, when: {status: Failed}, summary: "{{ RunId "}': ("summary", ""),
    "{name: broken, when: {status: Failed}, serverity: error}": ("serverity", "severity"),
    "{name: broken, over: 1h, query: RunStatusChanged | summarize n = count() by Target | where m > 1, by: [Target]}": (
        "query",
        "m",
    ),
}
"""A broken rule → the key that its fault names, and what it says."""


def entry(n: int) -> str:
    return (ROW, WINDOW, WAITING)[n % 3].format(n=n, m=n % 7 + 1)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = []
    for number in range(FILES):
        path = tmp_path / f"rules-{number}.yaml"
        entries = [f"  - {entry(number * EACH + n)}" for n in range(EACH)]
        path.write_text("\n".join(["rules:", *entries, ""]))
        made.append(path)
    return made


def test_ten_broken_rules_among_many_are_all_named_and_nothing_else_is(files: list[Path], schema: Schema) -> None:
    places = {}
    for number, (path, (text, said)) in enumerate(zip(files, BROKEN.items(), strict=True)):
        lines = path.read_text().splitlines()
        at = 2 + number * 3
        lines.insert(at - 1, f"  - {text.replace('name: broken', f'name: broken-{number}')}")
        path.write_text("\n".join(lines) + "\n")
        places[(path.name, at)] = said
    with pytest.raises(ConfigurationError) as caught:
        load_rules(files, schema, names={path: path.name for path in files})
    found = {(p.file, p.line): p for p in caught.value.problems}
    assert places.keys() == found.keys()
    for place, (key, says) in places.items():
        notified = f"{found[place]}"
        assert key in found[place].key
        assert says in notified


def test_without_them_all_are_loaded(files: list[Path], schema: Schema) -> None:
    rules = load_rules(files, schema)
    assert FILES * EACH == len(rules.rules)
    assert 1 == sum(len(groups) for groups in rules.of(KIND).groups.values())
