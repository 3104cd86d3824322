"""Commands on pages run as they are written, on a project directory with a little history."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tests.integration.commands import PROGRAM
from tests.pages import blocks

DOCS = Path(__file__).parents[3] / "docs"
COMMANDS = re.findall(r"^(?:\$ )?tocsin (.*)$", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_troubleshooting_page_runs(run: Run, lived: Tocsin, command: str) -> None:
    done = run(*shlex.split(command), TOCSIN_HOME=str(lived.home))
    assert 0 == done.returncode, done.stderr


def test_the_page_on_grafana_oncall_is_right(run: Run, tmp_path: Path) -> None:
    """Its file is one that `check` takes, and its commands answer on it; nothing is sent here."""
    page = (DOCS / "leaving-grafana-oncall.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"^   ```yaml\n(.*?)^   ```$", page, re.M | re.S)
    (tmp_path / "rules" / "oncall").mkdir(parents=True)
    (tmp_path / "rules" / "oncall" / "team.yaml").write_text(dedent(file))
    commands = [
        command
        for command in re.findall(r"`tocsin ([^`]+)`", page)
        if command.split()[0] in ("check", "oncall", "route")
    ]
    assert 3 == len(commands)
    for command in commands:
        done = run(*shlex.split(command))
        assert 0 == done.returncode, (command, done.stderr)


def test_the_page_on_operations_backs_up_and_restores(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    """Its lines with a directory of the test in place of /backups."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8").replace("/backups", str(tmp_path / "backups"))
    (doctor,) = re.findall(r"^\$ tocsin (doctor)$", page, re.M)
    (backup,) = re.findall(r"^\$ tocsin (backup .*)$", page, re.M)
    (restore,) = re.findall(r"^\$ tocsin (restore .*)$", page, re.M)
    for command, home in ((doctor, lived.home), (backup, lived.home), (restore, tmp_path / "new")):
        Path(home).mkdir(exist_ok=True)
        done = run(*shlex.split(command), TOCSIN_HOME=str(home))
        assert 0 == done.returncode, (command, done.stderr)


@pytest.fixture(scope="module")
def sender_to(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A running tocsin without history, to which the pages' events are sent."""
    home = tmp_path_factory.mktemp("pages") / "home"
    home.mkdir()
    tocsin = Tocsin(program=PROGRAM, home=home).start(within=60)
    yield tocsin
    tocsin.kill()


def shell(script: str, cwd: Path, **env: str) -> str:
    """What a script prints; it must succeed. `tocsin` and `python` are those of this environment."""
    path = f"{cwd}{os.pathsep}{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=cwd, env={**os.environ, **env, "PATH": path}, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert 0 == done.returncode, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_events_of_the_page_on_consumers_are_accepted(sender_to: Tocsin, tmp_path: Path) -> None:
    sent = [b.text for b in blocks("docs/consumers.md") if b.kind == "sh"]
    assert 2 == len(sent)
    for script in sent:
        answer = json.loads(shell(script.replace("http://127.0.0.1:8700", sender_to.url), tmp_path))
        assert (1, 0) == (answer["accepted"], answer["dead"])
    assert 2 == sender_to.count("RunMetrics")


def test_the_cron_job_of_the_page_on_systems_is_a_run(sender_to: Tocsin, tmp_path: Path) -> None:
    (script,) = [b.text for b in blocks("docs/connect.md") if b.kind == "sh"]
    executable(tmp_path / "backup.sh", "#!/bin/sh\necho 3 files\n")
    shell(script.replace("https://tocsin.example.org", sender_to.url), tmp_path)
    (run,) = sender_to.query("Runs | where ExperimentName == 'backup' | project Status, LogTail")
    assert ("Completed", "3 files") == (run["Status"], run["LogTail"].strip())


def test_the_callback_of_the_page_on_systems_posts_a_retry_as_one(sender_to: Tocsin, tmp_path: Path) -> None:
    """Airflow itself does not run here: a context has the attributes that the callback reads."""
    (callback,) = [b.text for b in blocks("docs/connect.md") if b.kind == "python"]
    task = SimpleNamespace(
        dag_id="etl", run_id="manual", task_id="load", map_index=-1, try_number=1, state="up_for_retry", operator="PythonOperator",
        hostname="w1", log_url="https://airflow.example.org/log", start_date="2026-01-05T12:00:00+00:00", end_date="2026-01-05T12:05:00+00:00",
    )  # fmt: skip
    given = f"from types import SimpleNamespace as N\ntask = N(**{vars(task)!r})\n"
    call = (
        "tocsin({'task_instance': task, 'dag_run': N(run_id='manual'), 'task': N(owner='anna'), 'exception': 'boom'})\n"
    )
    script = tmp_path / "callback.py"
    script.write_text(f"{callback}\n{given}{call}")
    subprocess.run([sys.executable, script], env={**os.environ, "TOCSIN_URL": sender_to.url}, check=True, timeout=60)
    (run,) = sender_to.query("Runs | where Consumer == 'airflow' | project Status, WillRetry, Message")
    assert ("Failed", True, "boom") == (run["Status"], run["WillRetry"], run["Message"])


def test_the_commands_of_the_page_on_backtests_run(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    """`mine.yaml` is the project's own file of rules."""
    (rules := tmp_path / "rules" / "alerts").mkdir(parents=True)
    mine = next(b.text for b in blocks("docs/rules.md") if "one for a failed run, none for a duplicate" in b.text)
    (rules / "mine.yaml").write_text(mine)
    lines = [line for b in blocks("docs/backtest.md") if b.kind == "sh" for line in b.text.splitlines()]
    assert 5 <= len(lines)
    for line in lines:
        home = lived.home if "backtest" in line else tmp_path
        done = run(*shlex.split(line)[1:], TOCSIN_HOME=str(home))
        assert 0 == done.returncode, (line, done.stdout, done.stderr)
    assert (tmp_path / "report.xml").exists()


def test_the_commands_of_the_page_on_imports_run(run: Run, tmp_path: Path) -> None:
    """In a project directory with a copy of the shipped failure-rate; what it exports is what it imports."""
    lines = [line for b in blocks("docs/import.md") if b.kind == "sh" for line in b.text.splitlines()]
    assert 6 == len(lines)
    lines.sort(key=lambda line: "export" not in line)
    (tmp_path / "rules" / "alerts").mkdir(parents=True)
    (tmp_path / "rules" / "oncall").mkdir()
    assert 0 == run("copy", "rules/alerts/failure-rate.yaml").returncode
    (tmp_path / "prod.parameters.json").write_text(json.dumps({"parameters": {"location": {"value": "westeurope"}}}))
    (tmp_path / "alertmanager.yml").write_text(
        "route: {receiver: ops}\nreceivers: [{name: ops, email_configs: [{to: ops@example.org}]}]\n"
    )
    for line in lines:
        command, _, into = line.partition(" > ")
        done = run(*shlex.split(command)[1:])
        assert 0 == done.returncode, (line, done.stdout, done.stderr)
        if into:
            (tmp_path / into).write_text(done.stdout)
            (tmp_path / "alerts.json").write_text(done.stdout)
    assert "failure-rate" in (tmp_path / "rules" / "alerts" / "azure.yaml").read_text()
    assert "ops@example.org" in (tmp_path / "rules" / "oncall" / "alertmanager.yaml").read_text()


def test_the_tokens_of_the_page_on_operations_are_made(run: Run, tmp_path: Path) -> None:
    commands = re.findall(r"^\$ tocsin (tokens .*)$", (DOCS / "operations.md").read_text(encoding="utf-8"), re.M)
    assert 2 <= len(commands)
    for command in commands:
        done = run(*shlex.split(command), TOCSIN_HOME=str(tmp_path))
        assert 0 == done.returncode, (command, done.stderr)
    assert (tmp_path / "tokens.yaml").exists()


def test_the_line_that_leaves_azureml_replaces_imports(tmp_path: Path) -> None:
    (script,) = [b.text for b in blocks("docs/leaving-azureml.md") if b.kind == "sh"]
    (tmp_path / "train.py").write_text("from azureml.core import Run\nimport azureml.exceptions\n")
    shell(script, tmp_path)
    assert "from tocsin.core import Run\nimport tocsin.exceptions\n" == (tmp_path / "train.py").read_text()


def test_the_runs_of_the_readme_run(tmp_path: Path) -> None:
    """README.md: a wrapped command, and a script with the SDK."""
    (wrapped,) = [b.text for b in blocks("README.md") if "tocsin exec" in b.text]
    (script,) = [b.text for b in blocks("README.md") if b.kind == "python"]
    executable(tmp_path / "train.sh", "#!/bin/sh\necho trained\n")
    own = {"TOCSIN_SPOOL": str(tmp_path / "spool"), "HOME": str(tmp_path)}
    assert "trained\n" == shell(wrapped, tmp_path, **own)
    shell("tocsin folder attach -w lab", tmp_path, **own)
    (tmp_path / "train.py").write_text(script)
    shell(f"{sys.executable} train.py", tmp_path, **own)
    assert "churn" in shell("tocsin run list", tmp_path, **own)
