"""docs/oncall.md: its file is right, and its commands print what it shows; what is wrong is said where it is."""

import json
import re
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Run
from tests.pages import shown_on

PAGE = (Path(__file__).parents[3] / "docs" / "oncall.md").read_text(encoding="utf-8")
FILE = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.S | re.M)[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    (path / "rules" / "oncall").mkdir(parents=True)
    (path / "tocsin.yaml").write_text("{}\n")
    (path / "rules" / "oncall" / "team.yaml").write_text(FILE)
    return path


def test_the_file_of_the_page_is_right(run: Run, home: Path) -> None:
    """With its tests; hours that no layer covers are warnings."""
    done = run("check", "--home", home)
    assert (0, "0 problems") == (done.returncode, done.stderr.partition(",")[0].strip()), done.stdout
    assert "nothing covers" in done.stdout


def test_commands_print_what_the_page_shows(run: Run, home: Path) -> None:
    """… stands for more."""
    with shown_on("docs/oncall.md", "tocsin oncall", "tocsin route", "tocsin silence", "tocsin alerts") as commands:
        for command in commands:
            done = run(*command.arguments, "--home", home)
            assert 0 == done.returncode, (command, done.stderr)
            printed = [line for line in (done.stdout + done.stderr).splitlines() if "warning: " not in line]
            wanted = command.output.splitlines() or printed
            if "…" in wanted[-1]:
                wanted[-1] = wanted[-1].partition("…")[0]
                last = printed[len(wanted) - 1][: len(wanted[-1])] if wanted[-1] else ""
                printed = [*printed[: len(wanted) - 1], last]
            assert wanted == printed, command


def test_people_subscribe_as_the_page_says(run: Run, home: Path) -> None:
    """ID is one that `subscriptions` prints."""
    (home / "tocsin.yaml").write_text("smtp: {allowed_recipients: [example.org]}\n")
    with shown_on(
        "docs/oncall.md", "tocsin subscribe", "tocsin mute", "tocsin subscriptions", "tocsin unsubscribe"
    ) as commands:
        for command in commands:
            ids = [row["Id"] for row in json.loads(run("subscriptions", "--json", "--home", home).stdout)]
            arguments = [ids[0] if a == "ID" else a for a in command.arguments]
            done = run(*arguments, "--home", home)
            assert 0 == done.returncode, (command, done.stderr)


def test_programs_get_json(run: Run, home: Path) -> None:
    (row,) = json.loads(run("oncall", "now", "--at", "2026-12-24T03:00:00+01:00", "--json", "--home", home).stdout)
    assert (["cruz"], "2026-12-24T04:00:00Z") == (row["OnCall"], row["Until"])
    ical = run("oncall", "schedule", "primary", "--weeks", "1", "--at", "2026-12-24T10:00Z", "--ical", "--home", home)
    assert ical.stdout.startswith("BEGIN:VCALENDAR\r\n") and "SUMMARY:bela on call (primary)\r\n" in ical.stdout


def test_a_failing_test_says_who_is_on_call_instead(run: Run, home: Path) -> None:
    path = home / "rules" / "oncall" / "team.yaml"
    path.write_text(FILE.replace("on_call: [bela]", "on_call: [anna]"))
    done = run("oncall", "test", "--home", home)
    assert (1, "2 passed, 1 failed\n") == (done.returncode, done.stderr)
    assert (
        "rules/oncall/team.yaml:43: schedules[0].tests[0]: at 2026-12-24T10:00Z anna should be on call, but bela"
        in (done.stdout)
    ), done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["oncall", "now", "--at", "tomorrow"], "'tomorrow' is no time"),
        (["oncall", "now", "--at", "2026-12-24T03:00"], "says no zone"),
        (["oncall", "schedule", "primry"], "'primry' is no schedule; known are primary"),
        (["route", "test", "--alert", "run-failed"], "'run-failed' is no field of an alert"),
        (["route", "test", "--alert", "rule=run-failed,severity=page"], "'page' is no severity"),
    ],
)
def test_what_is_wrong_is_said(run: Run, home: Path, arguments: list[str], says: str) -> None:
    done = run(*arguments, "--home", home)
    assert done.returncode in (1, 2) and says in done.stderr


def test_who_is_on_call_is_answered_while_rules_are_broken(run: Run, home: Path) -> None:
    """At three in the morning nobody repairs a rule first."""
    (home / "rules" / "alerts").mkdir()
    (home / "rules" / "alerts" / "mine.yaml").write_text("rules: [{name: x, whn: {status: Failed}}]\n")
    assert 0 == run("oncall", "now", "--home", home).returncode
    done = run("route", "test", "--alert", "rule=run-failed", "--home", home)
    assert 0 == done.returncode and "what rules say of receivers is left out" in done.stderr
