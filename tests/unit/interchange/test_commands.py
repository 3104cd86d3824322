"""rules import and rules export, as a person calls them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.interchange.helpers import query_rule, template
from tocsin.cli.common import Stop
from tocsin.cli.rules.commands import rules
from tocsin.config.yaml.document import load_file, parse
from tocsin.rules.kinds.registry import rule_file

RULES = """
rules:
  - {name: run-failed, when: {status: Failed}, severity: error, fields: [OwnerEmail], tests: [{name: t, expect: [{at: 1m, notifications: 0}]}]}
  - {name: failed-or-canceled, when: {status: [Failed, Canceled]}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "tocsin.yaml").write_text("{}\n")
    (tmp_path / "rules" / "alerts").mkdir(parents=True)
    (tmp_path / "rules" / "alerts" / "mine.yaml").write_text(RULES)
    return tmp_path


def call(home: Path, *args: str | Path) -> tuple[int, Result]:
    done = CliRunner().invoke(rules, [str(a) for a in (*args, "--home", home)])
    if isinstance(done.exception, Stop):
        return done.exception.code, done
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done


def test_a_template_becomes_a_file_of_rules(home: Path) -> None:
    """Rules go to stdout or the file, what is said of them to stderr; a terminal is not driven by what they say."""
    path = home / "azure.json"
    path.write_text(json.dumps(template(
        query_rule("Perf", name="x", scopes=["/x"]) | {"name": "[parameters('n')]"}, parameters={"n": {"type": "string"}},
    )))  # fmt: skip
    parameters = home / "parameters.json"
    parameters.write_text('{"parameters": {"n": {"value": "disk\\u001b[31m"}}}')
    code, done = call(
        home, "import", path, "--parameters", parameters, "--output", home / "rules" / "alerts" / "azure.yaml"
    )
    assert (0, "") == (code, done.stdout)
    assert "imported: disk-31m" in done.stderr
    assert "not kept: scopes: tocsin's queries read its own store" in done.stderr
    assert "1 imported (1 of them off), 0 not imported" in done.stderr
    assert "\x1b" not in done.stderr
    [rule] = parse(rule_file(), load_file(home / "rules" / "alerts" / "azure.yaml")).rules
    assert ("disk-31m", False) == (rule.name, rule.enabled)
    code, done = call(home, "import", path, "--output", home / "rules" / "alerts" / "azure.yaml")
    assert (2, True) == (code, "is there already" in done.stderr)


def test_what_is_not_imported_makes_the_code_1(home: Path) -> None:
    path = home / "prometheus.yaml"
    path.write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]")
    code, done = call(home, "import", path)
    assert (1, True) == (code, "# Not imported:" in done.stdout)
    code, done = call(home, "import", path, "--json")
    [one] = json.loads(done.stdout)
    assert (1, None, "A") == (code, one["Rule"], one["Name"])
    assert "which Prometheus scrapes" in one["WhyNot"]


def test_what_is_exported_is_imported_again(home: Path) -> None:
    code, done = call(home, "export", "--azure")
    assert 0 == code
    assert "exported: run-failed" in done.stderr
    assert "not in Azure: fields: Azure's alerts link to the query's rows" in done.stderr
    (home / "exported.json").write_text(done.stdout)
    code, done = call(home, "import", home / "exported.json", "--output", home / "again.yaml")
    assert 0 == code
    before = parse(rule_file(), load_file(home / "rules" / "alerts" / "mine.yaml")).rules
    assert before == parse(rule_file(), load_file(home / "again.yaml")).rules


def test_one_rule_by_its_name(home: Path) -> None:
    code, done = call(home, "export", "--azure", "failed-or-canceled", "--json")
    out = json.loads(done.stdout)
    assert (0, ["failed-or-canceled"]) == (code, [r["name"] for r in out["Template"]["resources"]])
    code, done = call(home, "export", "--azure", "run-faild")
    assert (1, True) == (code, "did you mean 'run-failed'?" in done.stderr)
    code, done = call(home, "export")
    assert (2, True) == (code, "tocsin rules export --azure" in done.stderr)
