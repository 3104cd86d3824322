"""rules: list, test, explain, schema."""

import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Run

RULES = """
rules:
  - name: one
    when: {status: Failed, where: "ExperimentName == 'churn'"}
    tests:
      - name: told once
        events: [{at: 0s, RunId: r1, Status: Failed, ExperimentName: churn}]
        expect: [{at: 1m, told: %s}]
"""


def write(tmp_path: Path, told: str = "1") -> None:
    (tmp_path / "rules/alerts").mkdir(parents=True, exist_ok=True)
    (tmp_path / "rules/alerts/mine.yaml").write_text(RULES % told)


def test_rules_are_listed_with_their_place(run: Run, tmp_path: Path) -> None:
    write(tmp_path)
    assert [
        {
            "name": "one",
            "kind": "row",
            "severity": "warning",
            "enabled": True,
            "tests": 1,
            "file": "rules/alerts/mine.yaml",
            "line": 3,
        }
    ] == json.loads(run("rules", "list", "--json").stdout)


def test_the_shipped_rules_pass_their_tests(run: Run) -> None:
    done = run("rules", "test")
    assert 0 == done.returncode, done.stdout
    assert " 0 failed" in done.stderr


def test_a_failing_test_tells_what_happened(run: Run, tmp_path: Path) -> None:
    write(tmp_path, told="2")
    done = run("rules", "test")
    assert 1 == done.returncode
    assert "FAIL one: told once" in done.stdout
    assert "r1" in done.stdout
    assert "0 passed, 1 failed" in done.stderr
    (result,) = json.loads(run("rules", "test", "rules/alerts/mine.yaml", "--json").stdout)
    assert ("one", "told once", False) == (result["rule"], result["test"], result["passed"])


def test_a_rule_is_explained(run: Run, tmp_path: Path) -> None:
    write(tmp_path)
    facts = json.loads(run("rules", "explain", "one", "--json").stdout)
    assert ("row", "rules/alerts/mine.yaml:3") == (facts["kind"], facts["place"])
    assert {"Status == 'Failed'", "ExperimentName == 'churn'"} == set(facts["prefilter"])
    assert "SELECT" in facts["sql"]
    assert "prefilter:" in run("rules", "explain", "one").stdout


def test_an_unknown_rule_has_a_neighbour(run: Run, tmp_path: Path) -> None:
    write(tmp_path)
    done = run("rules", "explain", "onee")
    assert 2 == done.returncode
    assert "did you mean 'one'?" in done.stderr


@pytest.mark.parametrize("command", [["rules", "list"], ["rules", "test"], ["rules", "explain", "one"]])
def test_broken_rules_are_faults_with_places(run: Run, tmp_path: Path, command: list[str]) -> None:
    write(tmp_path)
    path = tmp_path / "rules/alerts/mine.yaml"
    path.write_text(path.read_text().replace("Failed,", "Faild,"))
    done = run(*command)
    assert (1, "") == (done.returncode, done.stdout)
    assert "error: rules/alerts/mine.yaml:4: " in done.stderr
    assert "did you mean 'Failed'?" in done.stderr


def test_the_schema_is_json_schema(run: Run) -> None:
    schema = json.loads(run("rules", "schema").stdout)
    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    assert "rules" in schema["properties"]
