"""alerts ack and silence, on files and on a running tocsin: what is done by one is seen by the other."""

import json
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tests.servers.eventually import eventually


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    (path / "tocsin.yaml").write_text("{}\n")
    return path


def test_a_silence_is_set_listed_and_expired_on_files(run: Run, home: Path) -> None:
    """While no tocsin runs."""
    made = run(
        "silence", "add", "rule=run-failed", "ExperimentName=~churn.*", "--for", "2h", "--comment", "known", "--by",
        "anna", "--json", "--home", home,
    )  # fmt: skip
    assert "it hides nothing now" in made.stderr
    (row,) = json.loads(made.stdout)
    assert ('rule="run-failed", ExperimentName=~"churn.*"', "active") == (row["Matchers"], row["State"])
    assert row["SilenceId"] in run("silence", "list", "--home", home).stdout
    assert 0 == run("silence", "expire", row["SilenceId"][:6], "--home", home).returncode
    assert "No silences." in run("silence", "list", "--home", home).stderr
    assert "expired" in run("silence", "list", "--expired", "--home", home).stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["silence", "add", "run-failed", "--for", "2h", "--comment", "x", "--by", "a"], "'run-failed' is no matcher"),
        (["silence", "add", "rule=~.*", "--for", "2h", "--comment", "x", "--by", "a"], "must match something"),
        (["silence", "add", "severity=page", "--for", "2h", "--comment", "x", "--by", "a"], "'page' is no severity"),
        (
            ["subscribe", "a@example.org", "--rule", "x", "--on", "Faild"],
            "'Faild' is no status; did you mean 'Failed'?",
        ),
        (["silence", "add", "rule=x", "--for", "soon", "--comment", "x", "--by", "a"], "2h"),
        (["silence", "add", "rule=x", "--for", "2h", "--comment", "x"], "it is not said who sets it"),
        (["silence", "expire", "nothing"], "no silence in force is called 'nothing'"),
        (["alerts", "ack", "nothing", "--by", "anna"], "there is no alert 'nothing'"),
    ],
)
def test_what_is_wrong_is_said(run: Run, home: Path, arguments: list[str], says: str) -> None:
    done = run(*arguments, "--home", home)
    assert done.returncode in (1, 2) and says in done.stderr, done.stderr


def test_an_alert_is_acknowledged_once(run: Run, lived: Tocsin) -> None:
    """The second sees who was first."""
    rows = json.loads(run("alerts", "list", "--open", "--json", "--home", lived.home).stdout)
    counted = [n for name, n in lived.metrics().items() if name.startswith("tocsin_alerts_active{")]
    assert len(rows) == sum(counted)
    free = [row for row in rows if row["AcknowledgedBy"] is None]
    id_ = free[0]["AlertId"]
    assert "acknowledged by anna" in run("alerts", "ack", id_, "--by", "anna", "--home", lived.home).stderr
    several = run("alerts", "ack", id_, rows[-1]["AlertId"], "--by", "bela", "--home", lived.home).stderr
    assert "anna has it already" in several and f"{rows[-1]['AlertId']}: " in several
    shown = run("alerts", "show", id_, "--home", lived.home).stdout
    assert "acknowledge by anna" in shown and "notifies" in shown
    assert "noted" in run("alerts", "comment", id_, "disk", "--by", "bela", "--home", lived.home).stderr
    found = json.loads(run("silence", "preview", f"rule={free[0]['Rule']}", "--json", "--home", lived.home).stdout)
    assert id_ in [row["AlertId"] for row in found["Now"]]


def test_who_did_what_is_asked_in_kql(run: Run, lived: Tocsin) -> None:
    """Of alerts, silences and subscriptions alike, within a second; who ends a silence may be another."""
    at = ("--home", lived.home)
    (alert,) = json.loads(run("alerts", "list", "--open", "--limit", "1", "--json", *at).stdout)
    run("alerts", "comment", alert["AlertId"], "audited", "--by", "dora", *at)
    (silence,) = json.loads(
        run("silence", "add", "rule=none", "--for", "2h", "--comment", "x", "--by", "dora", "--json", *at).stdout
    )
    run("silence", "expire", silence["SilenceId"], "--by", "emil", *at)
    (wanted,) = json.loads(run("subscribe", "dora@example.org", "--rule", "none", "--json", *at).stdout)
    run("unsubscribe", wanted["Id"], "--by", "emil", *at)
    kql = "Actions | where By in ('dora', 'emil', 'dora@example.org') | order by Time asc | project Kind, By, Via, Rule"

    def done() -> bool:
        rows = json.loads(run("query", kql, "--json", *at).stdout)["rows"]
        assert [
            ("comment", "dora", "api", alert["Rule"]),
            ("silence", "dora", "api", ""),
            ("expire", "emil", "api", ""),
            ("subscribe", "dora@example.org", "api", ""),
            ("unsubscribe", "emil", "api", ""),
        ] == [(row["Kind"], row["By"], row["Via"], row["Rule"]) for row in rows]
        return True

    eventually(done, within=10)


def test_a_message_is_sent_once_more(run: Run, lived: Tocsin) -> None:
    """Under an identity of its own, so that mail clients show it; the rest is the same."""
    rows = json.loads(run("notifications", "list", "--state", "sent", "--json", "--home", lived.home).stdout)
    first = json.loads(run("notifications", "show", rows[0]["Delivery"], "--json", "--home", lived.home).stdout)
    made = json.loads(run("notifications", "resend", rows[0]["Delivery"], "--json", "--home", lived.home).stdout)
    assert (first["Address"], first["Subject"]) == (made["Address"], made["Subject"])
    assert first["Delivery"] != made["Delivery"]

    def sent() -> dict[str, str]:
        again = json.loads(run("notifications", "show", made["Delivery"], "--json", "--home", lived.home).stdout)
        assert again["State"] == "sent", again["State"]
        return dict(again)

    again = eventually(sent, within=15)
    assert first["Text"] == again["Text"]
    assert first["Headers"]["Message-ID"] != again["Headers"]["Message-ID"]  # type: ignore[index]
    done = run("notifications", "resend", "nothing", "--home", lived.home)
    assert 1 == done.returncode and "there is no message 'nothing'" in done.stderr


def test_the_report_is_a_table_and_json(run: Run, lived: Tocsin, home: Path) -> None:
    """Of a tocsin that runs, and of files."""
    shown = run("oncall", "report", "--weeks", "4", "--home", lived.home)
    assert 0 == shown.returncode and "run-failed" in shown.stdout and "pages: " in shown.stdout, shown.stderr
    found = json.loads(run("oncall", "report", "--json", "--home", lived.home).stdout)
    assert {"run-failed"} <= {row["Rule"] for row in found["Rules"]} and found["Alerts"] > 0
    offline = run("oncall", "report", "--home", home)
    assert 0 == offline.returncode and "Nobody was paged." in offline.stderr and "Nothing fired." in offline.stderr


def test_a_subscription_and_a_mute_are_set_listed_and_ended_on_files(run: Run, home: Path) -> None:
    """Also where no tocsin runs; who set them is kept."""
    made = run("subscribe", "Me@Example.org", "--experiment", "churn", "--on", "Failed", "--json", "--home", home)
    (row,) = json.loads(made.stdout)
    assert ("subscribe", "me@example.org", 'ExperimentName="churn", Status="Failed"', "cli") == (
        row["Kind"], row["Address"], row["Matchers"], row["Via"]
    )  # fmt: skip
    muted = json.loads(
        run("mute", "me@example.org", "--rule", "r", "--for", "2h", "--by", "anna", "--json", "--home", home).stdout
    )
    assert ("anna", True) == (muted[0]["By"], muted[0]["To"] is not None)
    assert 2 == len(json.loads(run("subscriptions", "--json", "--home", home).stdout))
    assert 0 == run("unsubscribe", row["Id"], "--home", home).returncode
    assert ["mute"] == [p["Kind"] for p in json.loads(run("subscriptions", "--json", "--home", home).stdout)]
    assert 2 == len(json.loads(run("subscriptions", "--ended", "--json", "--home", home).stdout))
    for wrong, says in ((["subscribe", "me@example.org"], "about what"), (["unsubscribe", "x"], "is called 'x'")):
        done = run(*wrong, "--home", home)
        assert done.returncode in (1, 2) and says in done.stderr
