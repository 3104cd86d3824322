"""rules: list, test, explain, schema."""

import json
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tests.integration.commands import PROGRAM, Here
from tests.pages import shown_on

RULES = """
rules:
  - name: one
    when: {status: Failed, where: "ExperimentName == 'churn'"}
    tests:
      - name: notified once
        events: [{at: 0s, RunId: r1, Status: Failed, ExperimentName: churn}]
        expect: [{at: 1m, notifications: %s}]
"""


def write(tmp_path: Path, notified: str = "1") -> None:
    (tmp_path / "rules/alerts").mkdir(parents=True, exist_ok=True)
    (tmp_path / "rules/alerts/mine.yaml").write_text(RULES % notified)


def test_rules_are_listed_with_their_place(run: Run, tmp_path: Path) -> None:
    write(tmp_path)
    assert [
        {
            "Rule": "one",
            "Kind": "event",
            "Severity": "warning",
            "Enabled": True,
            "Tests": 1,
            "File": "rules/alerts/mine.yaml",
            "Line": 3,
            "Fault": "",
        }
    ] == [r for r in json.loads(run("rules", "list", "--json").stdout) if not r["File"].startswith("(packaged) ")]


def test_a_failing_test_says_what_happened(run: Run, tmp_path: Path) -> None:
    write(tmp_path, notified="2")
    done = run("rules", "test")
    assert 1 == done.returncode
    assert "FAIL one: notified once" in done.stdout
    assert "r1" in done.stdout
    assert "0 passed, 1 failed" in done.stderr
    (result,) = json.loads(run("rules", "test", "rules/alerts/mine.yaml", "--json").stdout)
    assert ("one", "notified once", False) == (result["Rule"], result["Test"], result["Passed"])


def test_a_rule_is_explained(run: Run, tmp_path: Path) -> None:
    write(tmp_path)
    facts = json.loads(run("rules", "explain", "one", "--json").stdout)
    assert ("event", "rules/alerts/mine.yaml:3") == (facts["Kind"], facts["Place"])
    assert {"Status == 'Failed'", "ExperimentName == 'churn'"} == set(facts["Prefilter"])
    assert "SELECT" in facts["Sql"]
    assert facts["Seen"] is None
    said = run("rules", "explain", "one").stdout
    assert "prefilter:" in said and "no tocsin has run here" in said
    assert not (tmp_path / "data").exists(), "an explanation makes no store"


def test_it_says_when_something_is_expected_and_who_is_notified(run: Run, tmp_path: Path) -> None:
    """Also while another file is broken, which is said and hides no rule."""
    (tmp_path / "rules/alerts").mkdir(parents=True)
    (tmp_path / "rules/alerts/mine.yaml").write_text(
        "rules:\n  - {name: nightly-completed, enabled: true}\n"
        "  - {name: mine, when: {status: Failed}, notify: {to: [ops@example.org], only: true}}\n"
    )
    (tmp_path / "rules/alerts/broken.yaml").write_text("rules:\n  - {name: odd, wen: {status: Failed}}\n")
    nightly = run("rules", "explain", "nightly-completed", "--json")
    first, *_ = json.loads(nightly.stdout)["Expects"]
    assert first[14:] == " 02:00, deadline " + first[31:34] + " 06:00 (Budapest)"
    assert 0 == nightly.returncode and "not loaded: rules/alerts/broken.yaml:2" in nightly.stderr
    assert ["ops@example.org: ops@example.org; the rule names it"] == json.loads(
        run("rules", "explain", "mine", "--json").stdout
    )["Notifies"]
    listed = run("rules", "list", "--json")
    assert {"mine", "run-failed"} <= {rule["Rule"] for rule in json.loads(listed.stdout)}


def test_a_rule_that_is_off_and_faulty_is_listed_and_says_why(run: Run, tmp_path: Path) -> None:
    """As what was imported and does not translate, also while another file is broken."""
    (tmp_path / "rules/alerts").mkdir(parents=True)
    (tmp_path / "rules/alerts/mine.yaml").write_text(
        "rules:\n  - name: xml\n    enabled: false\n    query: RunStatusChanged | extend x = parse_xml(Message)\n"
    )
    assert 0 == run("check").returncode
    (line,) = [line for line in run("rules", "status").stdout.splitlines() if line.startswith("xml ")]
    assert "off, faulty" in line and "parse_xml" in line
    (tmp_path / "rules/alerts/broken.yaml").write_text("rules:\n  - {name: odd, wen: {status: Failed}}\n")
    (listed,) = [r for r in json.loads(run("rules", "list", "--json").stdout) if r["Rule"] == "xml"]
    assert (False, "rules/alerts/mine.yaml", 2) == (listed["Enabled"], listed["File"], listed["Line"])
    assert "parse_xml" in listed["Fault"]
    (line,) = [line for line in run("rules", "list").stdout.splitlines() if line.startswith("xml ")]
    assert "false" in line and "parse_xml" in line
    explained = run("rules", "explain", "xml")
    assert (0, True) == (explained.returncode, "cannot be switched on before" in explained.stdout)
    assert "rules/alerts/mine.yaml:4" in explained.stdout and "parse_xml" in explained.stdout
    facts = json.loads(run("rules", "explain", "xml", "--json").stdout)
    assert ("xml", False) == (facts["Name"], facts["Enabled"]) and "parse_xml" in facts["Faults"][0]


def test_an_unknown_rule_has_a_neighbour(run: Run, tmp_path: Path) -> None:
    write(tmp_path)
    done = run("rules", "explain", "onee")
    assert 1 == done.returncode
    assert "did you mean 'one'?" in done.stderr


@pytest.mark.parametrize(("command", "code"), [("rules list", 0), ("rules test", 1), ("rules explain one", 1)])
def test_broken_rules_are_faults_with_places(run: Run, tmp_path: Path, command: str, code: int) -> None:
    """Those that are right are listed all the same."""
    write(tmp_path)
    path = tmp_path / "rules/alerts/mine.yaml"
    path.write_text(path.read_text().replace("Failed,", "Faild,"))
    done = run(*command.split())
    assert (code, code == 0) == (done.returncode, "run-failed" in done.stdout)
    assert ": rules/alerts/mine.yaml:4: " in done.stderr
    assert "did you mean 'Failed'?" in done.stderr


def test_the_schema_is_json_schema(run: Run) -> None:
    schema = json.loads(run("rules", "schema").stdout)
    assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
    assert "rules" in schema["properties"]


TWO = """
rules:
  - name: one
    when: {status: Failed}
    tests:
      - {name: notified once, events: [{at: 0s, RunId: r1, Status: Failed}], expect: [{at: 1m, notifications: 1}]}
      - {name: notified twice, events: [{at: 0s, RunId: r1, Status: Failed}], expect: [{at: 1m, notifications: 2}]}
  - name: other
    when: {status: Completed}
    tests:
      - {name: notified once, events: [{at: 0s, RunId: "r\\e1", Status: Completed}], expect: [{at: 1m, notifications: 1}]}
"""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    (tmp_path / "rules/alerts").mkdir(parents=True)
    path = tmp_path / "rules/alerts/mine.yaml"
    path.write_text(TWO)
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "ran"),
    [
        ([], 1, ["one: notified once", "one: notified twice", "other: notified once"]),
        (["other"], 0, ["other: notified once"]),
        (["rules/alerts/mine.yaml", "other"], 0, ["other: notified once"]),
        (["-k", "ONCE one"], 0, ["one: notified once"]),
        (["one", "-k", "twice"], 1, ["one: notified twice"]),
        (["-k", "nothing"], 2, []),
        (["oter"], 1, []),
    ],
)
def test_tests_are_chosen_by_file_name_and_words(
    run: Run, two: Path, arguments: list[str], code: int, ran: list[str]
) -> None:
    done = run("rules", "test", *arguments)
    assert code == done.returncode, done.stderr
    assert ran == [line[5:] for line in done.stdout.splitlines() if line[:5] in ("ok   ", "FAIL ")]


def test_a_failure_says_what_was_expected_and_what_happened(run: Run, two: Path) -> None:
    lines = [line.strip() for line in run("rules", "test", "-k", "twice").stdout.splitlines()]
    assert [
        "FAIL one: notified twice",
        "rules/alerts/mine.yaml:3",
        "what was expected and is not so:",
        "at 1m: notifications should be 2, is 1",
        "what happened:",
    ] == lines[:5]
    assert "fired RunId=r1: first occurrence" in lines[6]


def test_junit_is_read_by_others(run: Run, two: Path, tmp_path: Path) -> None:
    """Suites by rule, counts that add up, the story of a failure, no character that XML cannot hold."""
    run("rules", "test", "--junit", tmp_path / "out.xml")
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert ("3", "1", "0") == (root.get("tests"), root.get("failures"), root.get("errors"))
    assert [("one", "2", "1"), ("other", "1", "0")] == [
        (s.get("name"), s.get("tests"), s.get("failures")) for s in root.iter("testsuite")
    ]
    (failure,) = root.iter("failure")
    assert "at 1m: notifications should be 2, is 1" == failure.get("message")
    assert "fired RunId=r1: first occurrence" in (failure.text or "")
    assert {("one", "rules/alerts/mine.yaml", "3")} == {
        (c.get("classname"), c.get("file"), c.get("line")) for c in root.iter("testcase") if c.get("classname") == "one"
    }
    assert 2 == run("rules", "test", "--junit", tmp_path / "no/such/dir.xml").returncode


def test_lint_warns_and_only_strict_ends_with_one(run: Run, two: Path) -> None:
    two.write_text("rules:\n  - {name: a, when: {status: Failed, where: \"Message == 'x'\"}}\n")
    done = run("rules", "lint")
    assert (0, "1 warning\n") == (done.returncode, done.stderr)
    assert done.stdout.startswith("rules/alerts/mine.yaml:2: warning: a: compares Message")
    assert 1 == run("rules", "lint", "--strict").returncode
    (found,) = json.loads(run("rules", "lint", "rules/alerts/mine.yaml", "--json").stdout)
    assert ("rules/alerts/mine.yaml", 2, "write Message has 'x'") == (found["File"], found["Line"], found["Hint"])


def test_lint_has_nothing_to_say_of_the_shipped_rules(run: Run) -> None:
    assert (0, "") == ((done := run("rules", "lint", "--strict")).returncode, done.stdout)


def test_lint_knows_who_reaches_nobody(run: Run, two: Path, tmp_path: Path) -> None:
    """With SMTP, an owner whom nobody has allowed to be mailed."""
    two.write_text("rules:\n  - {name: a, when: {status: Failed, where: \"Target == 'x'\"}, notify: {to: owner}}\n")
    assert "" == run("rules", "lint").stdout
    (tmp_path / "tocsin.yaml").write_text("smtp: {host: localhost}\nadmin_email: [a@example.org]\n")
    assert "a: notify.to: nobody behind 'owner' may be mailed" in run("rules", "lint").stdout
    (tmp_path / "tocsin.yaml").write_text(
        "smtp: {host: localhost, allowed_recipients: [example.org]}\nadmin_email: [a@example.org]\n"
    )
    assert "" == run("rules", "lint").stdout


def test_the_status_of_rules(run: Run, lived: Tocsin) -> None:
    """The same rows of a running project and of its page."""
    rows = {r["Rule"]: r for r in json.loads(run("rules", "status", "--json", "--home", lived.home).stdout)}
    failed = rows["run-failed"]
    assert (2, True, "", None) == (failed["Fired"], failed["Enabled"], failed["Error"], failed["BehindSince"])
    assert failed["LastFired"] and (2, 0) == (failed["Notified"], failed["Resolved"])
    table = run("rules", "status", "--home", lived.home).stdout.splitlines()
    assert ["Rule", "Kind", "Severity", "State", "Fired"] == table[0].split()[:5]
    assert any(line.split()[:5] == ["run-failed", "event", "error", "on", "2"] for line in table)


def test_status_of_a_resting_home_knows_the_next_evaluation(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules/alerts").mkdir(parents=True)
    (tmp_path / "rules/alerts/mine.yaml").write_text(
        "rules:\n  - name: many\n    over: 1h\n    every: 5m\n    by: [ExperimentName]\n"
        "    query: RunStatusChanged | summarize n = count() by ExperimentName | where n > 3\n"
    )
    (tmp_path / "tocsin.yaml").write_text("shipped: {rules: false}\n")
    (row,) = json.loads(run("rules", "status", "--json").stdout)
    assert (0, 0, None) == (row["Firing"], row["Pending"], row["NextEvaluation"])
    tocsin = Here(program=PROGRAM, home=tmp_path).start(within=60)
    try:
        (row,) = json.loads(run("rules", "status", "--json").stdout)
        assert "on" in run("rules", "status").stdout
        lists_what_is_in_force(run, tmp_path)
    finally:
        tocsin.kill()
    assert row["NextEvaluation"][14:19] in {f"{m:02}:00" for m in range(0, 60, 5)}


def lists_what_is_in_force(run: Run, home: Path) -> None:
    """By the tocsin that runs on ``home`` with one rule; by the files where it has not read them as they are."""
    in_force = run("rules", "list", "--json").stdout
    assert [("many", 2, 0)] == [(r["Rule"], r["Line"], r["Tests"]) for r in json.loads(in_force)]
    (home / "tocsin.yaml").write_text("shipped: {rules: true}\n")  # for the next start
    assert in_force == run("rules", "list", "--json").stdout
    broken = home / "rules/alerts/broken.yaml"
    broken.write_text("rules:\n  - {name: odd, wen: {status: Failed}}\n")
    done = run("rules", "list")
    assert (0, True) == (done.returncode, "many" in done.stdout)
    assert "not loaded: rules/alerts/broken.yaml:2" in done.stderr
    broken.unlink()
    assert in_force == run("rules", "list", "--json").stdout


def test_a_test_may_expect_a_subject_and_receivers(run: Run, tmp_path: Path) -> None:
    """Those of the last notification, by the project's own routes."""
    (tmp_path / "rules/alerts").mkdir(parents=True)
    path = tmp_path / "rules/alerts/mine.yaml"
    text = (
        "rules:\n  - name: mine\n    when: {status: Failed}\n    summary: '{{ ExperimentName }} failed: {{ Message }}'\n"
        "    notify: {to: [ops@example.org]}\n    tests:\n      - name: t\n"
        "        events: [{at: 1m, RunId: r, Status: Failed, ExperimentName: churn, Message: boom}]\n"
        "        expect: [{at: 2m, subject: 'churn failed: boom', receivers: [ops@example.org, owner]}]\n"
    )
    path.write_text(text)
    assert 0 == run("rules", "test").returncode
    path.write_text(text.replace("boom', receivers: [ops@example.org, owner]", "doom', receivers: [owner]"))
    failed = run("rules", "test").stdout
    assert "at 2m: subject should be 'churn failed: doom', is 'churn failed: boom'" in failed
    assert "at 2m: receivers should be owner, are ops@example.org, owner" in failed
    assert 1 == run("check", "--tests").returncode


def test_what_tests_do_not_notice_is_listed(run: Run, tmp_path: Path) -> None:
    """As the page shows it: the weak test lets mutants live, each with its line and a test."""
    write(tmp_path)
    with shown_on("docs/backtest.md", "tocsin rules mutate") as commands:
        for command in commands:
            done = run(*shlex.split(command.text)[1:])
            assert 1 == done.returncode, done.stderr
            if "json" in command.text:
                found = json.loads(done.stdout)
                assert found["mutants"] == sum(len(found[fate]) for fate in ("killed", "survived", "equivalent"))
                assert {("Failed", 4)} <= {(m["Change"].split()[1], m["Line"]) for m in found["killed"]}
                assert all(m["Line"] == 4 and m["Change"] for m in found["survived"])
            else:
                assert "rules/alerts/mine.yaml:4: one: filter: where: ExperimentName == 'churn' dropped" in done.stdout
                assert "      - name: " in done.stdout and "survived" in done.stderr
    assert 2 == run("rules", "mutate", "rules/alerts/mine.yaml", "--output", "xml").returncode
