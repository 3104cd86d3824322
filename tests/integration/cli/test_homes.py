"""init, check, doctor, tokens, and what every command has in common."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run

HEAVY = ("pydantic", "duckdb", "httpx", "rich", "jinja2", "sqlalchemy", "pyarrow", "starlette", "ruamel.yaml", "kafka")


def test_help_imports_nothing_heavy() -> None:
    """So that it, and every wrong command, answers at once."""
    code = "import sys, tocsin.cli.main, tocsin.cli.reference as r; list(r.commands()); print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()


def test_the_module_is_the_command() -> None:
    """``python -m tocsin`` where scripts are not on the path; its exit code too."""
    done = subprocess.run([sys.executable, "-m", "tocsin", "nothing"], capture_output=True, text=True, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    assert "No such command 'nothing'" in done.stderr


@pytest.mark.parametrize("command", ["up", "query Runs", "alerts list", "rules status"])
def test_what_lies_in_the_way_is_said_in_one_line(run: Run, tmp_path: Path, command: str) -> None:
    """A file where a directory is needed, a directory where the lock lies, or no right to write."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "data").write_text("no directory")
    done = run(*command.split())
    assert 1 == done.returncode
    assert f"error: {tmp_path / 'data'}: File exists" == done.stderr.strip()


@pytest.mark.parametrize("arguments", [["--help"], ["rules", "-h"], ["query", "--help"], ["--version"]])
def test_help_is_data(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["query"], ["query", "Runs", "--no-such"], ["notifications", "list", "--limit", "0"], ["notifications", "list", "--state", "lost", "--home", "."],
     ["send", "--run", "r"], ["send"], ["rules", "explain"], ["tokens", "new", "x", "--role", "root"], ["up", "--port", "99999"]],
)  # fmt: skip
def test_misuse_ends_with_2_and_prints_no_data(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    ["check", "query Runs", "doctor", "rules list", "rules status", "rules test", "alerts list", "notifications list", "runs list",
     "dead-letters list", "templates list", "tokens list", "up"],
)  # fmt: skip
def test_a_missing_home_says_what_to_do(run: Run, tmp_path: Path, command: str) -> None:
    done = run(*command.split(), "--home", tmp_path / "nowhere")
    assert (1, "") == (done.returncode, done.stdout)
    assert (
        f"there is no project directory at {tmp_path}/nowhere; make one with: tocsin init {tmp_path}/nowhere"
        in done.stderr
    )
    assert not (tmp_path / "nowhere").exists()


def test_init_makes_a_home_that_is_right(run: Run, tmp_path: Path) -> None:
    """`check --tests` finds nothing; the files are listed; doing it again changes nothing."""
    done = run("init", "home")
    assert 0 == done.returncode, done.stderr
    assert "home/rules/alerts/example.yaml" in done.stdout.splitlines()
    assert "Next: tocsin up --home home" in done.stderr
    again = run("init", "home", "--json")
    assert {"Home": str(tmp_path / "home"), "Files": []} == json.loads(again.stdout)
    checked = run("check", "--tests", "--home", "home")
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert "Everything is right." in checked.stderr


def test_copy_brings_a_shipped_file(run: Run, tmp_path: Path) -> None:
    """Edited, it is what `rules list` shows; without a path all that can be copied are listed."""
    assert 0 == run("init", "home").returncode
    assert "rules/alerts/too-slow.yaml" in run("copy", "--home", "home").stdout.splitlines()
    assert 0 == run("copy", "rules/alerts/too-slow.yaml", "consumers/argo.yaml", "--home", "home").returncode
    rules = {r["Rule"]: r for r in json.loads(run("rules", "list", "--home", "home", "--json").stdout)}
    assert "rules/alerts/too-slow.yaml" == rules["too-slow"]["File"]
    assert rules["run-failed"]["Enabled"]
    again = run("copy", "rules/alerts/too-slow.yaml", "--home", "home")
    assert (1, True) == (again.returncode, "is there already" in again.stderr)


def test_check_says_where_there_is_no_project(run: Run, tmp_path: Path) -> None:
    """A mistyped directory is not "Everything is right.\""""
    (tmp_path / "elsewhere").mkdir()
    done = run("check", "--home", tmp_path / "elsewhere")
    assert 1 == done.returncode
    assert f"{tmp_path}/elsewhere is no project directory" in done.stdout
    assert f"make one with: tocsin init {tmp_path}/elsewhere" in done.stdout


def test_the_home_comes_from_the_environment_or_is_here(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tocsin.yaml").write_text("htp: {}")
    assert "tocsin.yaml:1: htp" in run("check").stdout
    assert "tocsin.yaml:1: htp" in run("check", TOCSIN_HOME=str(tmp_path)).stdout


def test_check_finds_everything_at_once(run: Run, tmp_path: Path) -> None:
    """Settings, rules, consumers, tables, tokens, templates: each fault with its line, in one run; names across
    files beside unknown keys.
    """
    files = {
        "tocsin.yaml": "http:\n  prot: 1\n",
        "rules/alerts/mine.yaml": "rules:\n  - name: a\n    when: {status: Faild}\n",
        "rules/oncall/mine.yaml": "route: {receiver: nobody, gruop_wait: 1s}\n",
        "consumers/mine.yaml": "connector: htpp\n",
        "tables/owners.csv": "a,b\n1\n",
        "templates/run.txt.j2": "{% if %}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = run("check", "--json")
    assert 1 == done.returncode
    found = {p["File"]: p for p in json.loads(done.stdout)}
    assert set(files) <= set(found), done.stdout
    assert (2, "http.prot", "error") == tuple(found["tocsin.yaml"][k] for k in ("Line", "Key", "Severity"))
    assert "did you mean" in found["rules/alerts/mine.yaml"]["Hint"]
    oncall = [p["Message"] for p in json.loads(done.stdout) if p["File"] == "rules/oncall/mine.yaml"]
    assert "is not a key that is known here" in oncall and any("'nobody'" in message for message in oncall), oncall
    shown = run("check")
    assert len(found) <= len(shown.stdout.splitlines())
    assert "problems" in shown.stderr


def test_warnings_alone_are_fine(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tocsin.yaml").write_text("smtp: {host: h}\nadmin_email: a@b.example")
    (tmp_path / "consumers").mkdir()
    (tmp_path / "consumers/mine.yaml").write_text(
        "connector: kafka\nkafka: {topics: [t]}\nmapping: {RunId: id, Status: status}\n"
    )
    done = run("check")
    assert 0 == done.returncode
    assert "warning: http.base_url" in done.stdout
    assert (
        "consumers/mine.yaml:1: warning: connector: reads nothing: tocsin.yaml does not say where Kafka is"
        in done.stdout
    )
    assert "0 problems, 3 warnings" in done.stderr


def test_a_token_is_shown_once(run: Run, tmp_path: Path) -> None:
    done = run("tokens", "new", "prometheus", "--role", "metrics", "--expires", "2027-01-31")
    word = done.stdout.strip()
    assert len(word) >= 32
    assert word not in (tmp_path / "tokens.yaml").read_text()
    listed = run("tokens", "list", "--json")
    (row,) = json.loads(listed.stdout)
    wanted = {"Token": "prometheus", "Roles": ["metrics"], "Expires": "2027-01-31T00:00:00Z", "LastUsed": None}
    assert {**wanted, "Consumers": [], "Sources": [], "Runs": [], "Signature": None} == row
    assert 2 == run("tokens", "new", "other", "--expires", "soon").returncode
    taken = run("tokens", "new", "prometheus")
    assert (1, "") == (taken.returncode, taken.stdout)
    assert "is the last token" in run("tokens", "revoke", "prometheus").stderr
    assert 0 == run("tokens", "new", "grid", "--role", "producer", "--source", "grid", "--source", 'a "b"').returncode
    assert "there is no token 'gird'" in run("tokens", "revoke", "gird").stderr
    assert 0 == run("tokens", "revoke", "prometheus").returncode
    assert 0 == run("tokens", "new", "more").returncode
    row, _ = json.loads(run("tokens", "list", "--json").stdout)
    assert ("grid", ["grid", 'a "b"']) == (row["Token"], row["Sources"])
    assert 0o600 == (tmp_path / "tokens.yaml").stat().st_mode & 0o777


def test_compact_needs_the_file_for_itself(run: Run, lived: Tocsin) -> None:
    done = run("doctor", "--compact", "--home", lived.home)
    assert 1 == done.returncode
    assert "stop it first" in done.stderr


def test_a_second_up_says_who_runs(spawn: Run, lived: Tocsin) -> None:
    done = spawn("up", "--home", lived.home, "--port", "0")
    assert 1 == done.returncode
    assert f"another tocsin runs on {lived.home} at {lived.url}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_says_which_and_how_to_take_another(spawn: Run, lived: Tocsin, tmp_path: Path) -> None:
    done = spawn("up", "--home", tmp_path, "--port", lived.port)
    assert 1 == done.returncode
    assert f"port {lived.port}" in done.stderr and "--port" in done.stderr
    assert "Traceback" not in done.stderr
