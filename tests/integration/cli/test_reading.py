"""query, alerts, mails, runs, dead-letters, send: the same whether a tocsin runs on the project directory or not."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import ODD_RUN, live
from tests.pages import shown_on
from tests.servers.eventually import eventually

READS = [
    ["query", "print a = 9m + 50s, b = 1d/4 + 2d"],
    ["query", "RunStatusChanged | project RunId, TimeGenerated, IngestedAt, Tags, Progress, DurationMs | order by RunId asc, TimeGenerated asc"],
    ["alerts", "list"],
    ["alerts", "show", "r1"],
    ["notifications", "list"],
    ["notifications", "show", "last"],
    ["runs", "list"],
    ["runs", "show", ODD_RUN],
    ["dead-letters", "list"],
    ["rules", "status"],
    ["rules", "list"],
    ["rules", "explain", "run-failed"],
]  # fmt: skip


@pytest.fixture(scope="module")
def asleep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tocsin, list[Any]]]:
    """A project directory on which nobody runs any more, and what each of READS answered while somebody did."""
    tocsin = live(tmp_path_factory.mktemp("asleep") / "home")
    answers = [json.loads(tocsin.run(*command, "--json").stdout) for command in READS]
    assert 0 == tocsin.stop()
    yield tocsin, answers


@pytest.mark.parametrize("number", range(len(READS)), ids=lambda n: " ".join(READS[n][:2]))
def test_a_resting_home_answers_as_a_running_one(run: Run, asleep: tuple[Tocsin, list[Any]], number: int) -> None:
    tocsin, answers = asleep
    done = run(*READS[number], "--json", "--home", tocsin.home)
    assert 0 == done.returncode, done.stderr
    assert answers[number]
    assert answers[number] == json.loads(done.stdout)


def test_timespans_are_kqls_in_json_and_words_for_people(
    run: Run, lived: Tocsin, asleep: tuple[Tocsin, list[Any]]
) -> None:
    """Whether a tocsin runs or not."""
    for home in (lived.home, asleep[0].home):
        answer = json.loads(run(*READS[0], "--json", "--home", home).stdout)
        assert [{"a": "00:09:50", "b": "2.06:00:00"}] == answer["rows"]
        assert "9 min 50 s  2 d 6 h" in run(*READS[0], "--home", home).stdout


@pytest.mark.parametrize("command", READS, ids=lambda c: " ".join(c[:2]))
def test_tables_for_people_drive_no_terminal(run: Run, lived: Tocsin, command: list[str]) -> None:
    """A message may hold escape sequences and controls that turn text around; a pipe gets whole lines."""
    done = run(*command, "--home", lived.home)
    assert 0 == done.returncode, done.stderr
    assert done.stdout.strip()
    assert not set("\x1b\u202e") & set(done.stdout)


@pytest.mark.parametrize(
    ("kql", "said"),
    [("Runs\n| where Nothing == 1", "line 2, column 9"), ("NoTable", "NoTable"), ("", "")],
)
def test_a_wrong_query_says_where(
    run: Run, lived: Tocsin, asleep: tuple[Tocsin, list[Any]], kql: str, said: str
) -> None:
    for tocsin in (lived, asleep[0]):
        done = run("query", kql, "--home", tocsin.home)
        assert (1, "") == (done.returncode, done.stdout)
        assert done.stderr.startswith("error: ") and said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_query_comes_from_stdin_too(run: Run, lived: Tocsin) -> None:
    done = run("query", "-", "--json", "--home", lived.home, stdin="Runs | where RunId == 'r3' | project Status")
    assert {"columns": [{"name": "Status", "type": "string"}], "rows": [{"Status": "Completed"}]} == json.loads(
        done.stdout
    )


def test_filters_narrow(run: Run, lived: Tocsin) -> None:
    def column(name: str, *command: str) -> list[Any]:
        return [row[name] for row in json.loads(run(*command, "--json", "--home", lived.home).stdout)]

    assert ["r3"] == column("RunId", "runs", "list", "--status", "Completed")
    assert {"r1", "r3"} == set(column("RunId", "runs", "list", "--experiment", "churn"))
    assert ["r1"] == column("RunId", "alerts", "list", "--run", "r1")
    assert [] == column("RunId", "alerts", "list", "--rule", "nothing")
    assert ["anna@example.org"] == column("Address", "notifications", "list", "--to", "anna@example.org")
    assert [] == column("Id", "dead-letters", "list", "--consumer", "event-grid")


def test_a_query_works_on_received_runs_too(run: Run, lived: Tocsin) -> None:
    """It was ignored outside a workspace, positional or not."""
    assert ["r3"] == json.loads(run("runs", "list", "[?Status=='Completed'].RunId", "--home", lived.home).stdout)
    shown = run("runs", "show", "r1", "--query", "Run.RunId || run.RunId", "--home", lived.home)
    assert (0, "r1") == (shown.returncode, json.loads(shown.stdout))
    assert (
        "r3\n"
        == run("runs", "list", "--query", "[?Status=='Completed'].RunId", "-o", "tsv", "--home", lived.home).stdout
    )


def test_nothing_found_is_said_beside_the_data(run: Run, lived: Tocsin) -> None:
    done = run("notifications", "list", "--state", "failed", "--home", lived.home)
    assert (0, "", "No messages.\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "command", [["notifications", "show", "nothing"], ["runs", "show", "nothing"], ["alerts", "show", "nothing"]]
)
def test_what_is_not_there_is_a_problem_with_a_hint(run: Run, lived: Tocsin, command: list[str]) -> None:
    done = run(*command, "--home", lived.home)
    assert (1, "") == (done.returncode, done.stdout)
    assert "hint: tocsin " in done.stderr


def test_a_mail_is_shown_by_the_beginning_of_its_name(run: Run, lived: Tocsin) -> None:
    names = [m["Delivery"] for m in json.loads(run("notifications", "list", "--json", "--home", lived.home).stdout)]
    done = run("notifications", "show", names[0][:12], "--home", lived.home)
    assert 0 == done.returncode, done.stderr
    assert "Message-ID: " in done.stdout
    assert "\ufffd" not in done.stdout, "no carriage returns"
    assert 2 == run("notifications", "show", "", "--home", lived.home).returncode


def test_the_html_of_a_mail_is_a_file(run: Run, lived: Tocsin) -> None:
    path = Path(run("notifications", "show", "last", "--html", "--home", lived.home).stdout.strip())
    try:
        assert "<html" in path.read_text()
    finally:
        path.unlink()


def test_a_template_is_shown_with_a_stored_run(lived: Tocsin, run: Run) -> None:
    real = json.loads(run("templates", "preview", "--run", "r1", "--json", "--home", lived.home).stdout)
    assert "churn" in real["Subject"] + real["Text"] and "" == real["Problem"]
    assert "<html" in real["Html"] and "<script>alert" not in real["Html"]
    example = run("templates", "preview")
    assert 0 == example.returncode, example.stderr
    assert "CUDA out of memory" in example.stdout and "this is an example" in example.stderr
    assert 1 == run("templates", "preview", "nothing").returncode
    with shown_on("docs/notify.md", "tocsin templates preview --gallery") as commands:
        for command in commands:
            *arguments, into, _ = command.arguments
            assert ">" == into
            gallery = run(*arguments, "--home", lived.home)
            assert 0 == gallery.returncode, gallery.stderr
            assert 4 == gallery.stdout.count("<iframe sandbox") and "<script>alert" not in gallery.stdout
            assert "role=alert" not in gallery.stdout and "<h2>A digest</h2>" in gallery.stdout


# -- sending -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin to send things to."""
    home = tmp_path_factory.mktemp("open") / "home"
    home.mkdir()
    yield (tocsin := Here(program=PROGRAM, home=home).start(within=60))
    tocsin.kill()


def test_an_event_is_sent_from_options(run: Run, open_one: Tocsin) -> None:
    done = run(        "send", "--run", "s1", "--status", "Failed", "--message", "it broke", "--tag", "team=a=b", "--set", "Attempt=2",
        "--time", "2026-01-05T12:00:00Z", "--json", "--home", open_one.home,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert 1 == json.loads(done.stdout)["accepted"]
    (row,) = open_one.query(
        "RunStatusChanged | where RunId == 's1' | project Status, Message, Tags, Attempt, TimeGenerated"
    )
    assert {
        "Status": "Failed", "Message": "it broke", "Tags": {"team": "a=b"}, "Attempt": 2, "TimeGenerated": "2026-01-05T12:00:00Z",
    } == row  # fmt: skip


def test_events_are_sent_from_a_file_or_stdin(open_one: Tocsin, run: Run, tmp_path: Path) -> None:
    event = {
        "specversion": "1.0",
        "type": "tocsin.run.status",
        "source": "x",
        "id": "1",
        "time": "2026-01-05T12:00:00Z",
    }
    events = [{**event, "data": {"RunId": "f1", "Status": "Running"}}]
    (tmp_path / "events.json").write_text(json.dumps(events))
    assert "1 accepted" in run("send", "events.json", "--home", open_one.home).stderr
    assert "1 duplicate" in run("send", "-", "--home", open_one.home, stdin=json.dumps(events)).stderr


def test_a_column_that_is_none_is_warned_of(run: Run, open_one: Tocsin) -> None:
    """With what is near; the event is stored all the same."""
    done = run(
        "send",
        "--run",
        "u1",
        "--status",
        "Running",
        "--set",
        "Experiment=churn",
        "--set",
        "X=1",
        "--home",
        open_one.home,
    )
    assert 0 == done.returncode
    assert "warning: 'Experiment' is no column: it is kept in Raw only; did you mean 'ExperimentName'?" in done.stderr
    assert "warning: 'X' is no column: it is kept in Raw only; put what is yours into Tags or Properties" in done.stderr
    assert 1 <= open_one.metrics()['tocsin_intake_unknown_columns_total{consumer="events"}']


def test_a_dead_letter_is_a_problem_and_can_be_sent_again(open_one: Tocsin, run: Run) -> None:
    """It says where to look; once the consumer file is mended, replay brings it in."""
    open_one.write(
        "consumers/odd.yaml", "connector: http\nmapping: {RunId: job, Status: state}\nstatus_map: {broken: Failed}\n"
    )
    eventually(lambda: 404 != open_one.send(b"[]", "odd").status, within=20)
    sent = run("send", "-", "--consumer", "odd", "--home", open_one.home, stdin='{"name": "d1", "state": "broken"}')
    assert 1 == sent.returncode
    assert "tocsin dead-letters list" in sent.stderr
    (letter,) = json.loads(run("dead-letters", "list", "--consumer", "odd", "--json", "--home", open_one.home).stdout)
    open_one.write(
        "consumers/odd.yaml", "connector: http\nmapping: {RunId: name, Status: state}\nstatus_map: {broken: Failed}\n"
    )

    def replayed() -> bool:
        done = run("dead-letters", "replay", str(letter["Id"]), "--json", "--home", open_one.home)
        return bool(json.loads(done.stdout)["accepted"])

    eventually(replayed, within=20, every=0.5)
    assert ["Failed"] == [
        r["Status"] for r in open_one.query("RunStatusChanged | where RunId == 'd1' | project Status")
    ]


def test_sending_needs_a_running_tocsin(run: Run, tmp_path: Path) -> None:
    done = run("send", "--run", "r", "--status", "Failed")
    assert 1 == done.returncode
    assert f"hint: start one with: tocsin up --home {tmp_path}" in done.stderr


def test_an_unknown_consumer_is_said(run: Run, open_one: Tocsin) -> None:
    done = run("send", "--run", "r", "--status", "Failed", "--consumer", "nothing", "--home", open_one.home)
    assert 1 == done.returncode
    assert "nothing" in done.stderr


def test_a_reader_that_goes_away_is_no_crash(lived: Tocsin) -> None:
    """`tocsin runs list | head -1`."""
    command = f"{shlex.quote(str(PROGRAM))} query 'range n from 1 to 9000 step 1' --json --home {shlex.quote(str(lived.home))} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)
    assert "{" == done.stdout.strip()
    assert "" == done.stderr


def test_another_tocsin_is_asked_by_its_address(run: Run, open_one: Tocsin, tmp_path: Path) -> None:
    done = run("query", "Runs | summarize n = count()", "--json", TOCSIN_URL=open_one.url)
    assert 0 == done.returncode, done.stderr
    gone = run("query", "Runs", TOCSIN_URL="http://127.0.0.1:9")
    assert 1 == gone.returncode
    assert "does not answer" in gone.stderr and "Traceback" not in gone.stderr


OPEN = frozenset({"Labels", "Fields", "Instance", "Tags", "Properties", "ByKind", "Window", "Waits", "LastRows"})
"""What stands in these has the names that users, or rule files, gave."""
PRINTED = [
    *(command for command in READS if command[0] != "query"),
    ["alerts", "list", "--open"],
    ["check"],
    ["doctor"],
    ["notify", "test", "ops@example.org"],
    ["oncall", "now"],
    ["oncall", "report"],
    ["route", "show"],
    ["route", "test", "--alert", "rule=run-failed"],
    ["rules", "backtest", "run-failed"],
    ["rules", "lint"],
    ["rules", "test"],
    ["silence", "list"],
    ["subscriptions"],
    ["templates", "list"],
    ["templates", "preview"],
    ["tokens", "list"],
]


def names(value: Any) -> set[str]:
    """Every name in JSON but those that users gave."""
    if isinstance(value, list):
        return {name for each in value for name in names(each)}
    if not isinstance(value, dict):
        return set()
    return set(value) | {name for key, each in value.items() if key not in OPEN for name in names(each)}


def test_json_has_one_case(run: Run, lived: Tocsin) -> None:
    """Names are written as KQL's columns are, and an id has the same name everywhere."""
    for command in PRINTED:
        found = names(json.loads(run(*command, "--json", "--home", lived.home).stdout))
        assert [] == sorted(name for name in found if not name[:1].isupper() or "_" in name), command
