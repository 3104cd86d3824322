"""Commands on pages run as they are written, on a project directory with a little history."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tests.integration.commands import PROGRAM
from tests.pages import Shown, blocks, shown_on


def each_succeeds(commands: Shown, run: Run, **env: str) -> None:
    for command in commands:
        done = run(*command.arguments, **env)
        assert 0 == done.returncode, (command, done.stdout, done.stderr)


def test_the_commands_of_the_troubleshooting_page_run(run: Run, lived: Tocsin) -> None:
    with shown_on("docs/troubleshooting.md") as commands:
        each_succeeds(commands, run, TOCSIN_HOME=str(lived.home))


def test_the_page_on_grafana_oncall_is_right(run: Run, tmp_path: Path) -> None:
    """Its file is one that `check` takes, and its commands answer on it; nothing is sent here."""
    (file,) = [b.text for b in blocks("docs/leaving-grafana-oncall.md") if b.kind == "yaml"]
    (tmp_path / "rules" / "oncall").mkdir(parents=True)
    (tmp_path / "rules" / "oncall" / "team.yaml").write_text(file)
    assert 0 == run("check").returncode
    with shown_on("docs/leaving-grafana-oncall.md") as commands:
        each_succeeds(commands, run)


def test_the_page_on_operations_backs_up_and_restores(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    """Its lines with a directory of the test in place of /backups."""
    with shown_on("docs/operations.md", "tocsin doctor", "tocsin backup", "tocsin restore") as commands:
        for command in commands:
            home = tmp_path / "new" if {"restore", "--compact"} & set(command.arguments) else lived.home
            Path(home).mkdir(exist_ok=True)
            arguments = [a.replace("/backups", str(tmp_path / "backups")) for a in command.arguments]
            done = run(*arguments, TOCSIN_HOME=str(home))
            assert 0 == done.returncode, (command, done.stderr)
    with shown_on("docs/measurements.md", "tocsin doctor") as commands:
        each_succeeds(commands, run, TOCSIN_HOME=str(tmp_path / "new"))


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
    with shown_on("docs/consumers.md", "curl") as commands:
        for command in commands:
            answer = json.loads(shell(command.text.replace("http://127.0.0.1:8700", sender_to.url), tmp_path))
            assert (1, 0) == (answer["accepted"], answer["dead"])
    assert 2 == sender_to.count("RunMetrics")


def test_the_cron_job_of_the_page_on_systems_is_a_run(sender_to: Tocsin, tmp_path: Path) -> None:
    (job,) = [b for b in blocks("docs/connect.md") if b.kind == "sh"]
    executable(tmp_path / "backup.sh", "#!/bin/sh\necho 3 files\n")
    with shown_on("docs/connect.md", "curl", "backup.sh") as commands:
        shell(job.text.replace("https://tocsin.example.org", sender_to.url), tmp_path)
        commands.ran(job)
    (run,) = sender_to.query("Runs | where ExperimentName == 'backup' | project Status, LogTail")
    assert ("Completed", "3 files") == (run["Status"], run["LogTail"].strip())


def test_the_callback_of_the_page_on_systems_posts_a_retry_as_one(sender_to: Tocsin, tmp_path: Path) -> None:
    """Airflow itself does not run here: a context has the attributes that the callback reads."""
    task = SimpleNamespace(
        dag_id="etl", run_id="manual", task_id="load", map_index=-1, try_number=1, state="up_for_retry", operator="PythonOperator",
        hostname="w1", log_url="https://airflow.example.org/log", start_date="2026-01-05T12:00:00+00:00", end_date="2026-01-05T12:05:00+00:00",
    )  # fmt: skip
    given = f"from types import SimpleNamespace as N\ntask = N(**{vars(task)!r})\n"
    call = (
        "tocsin({'task_instance': task, 'dag_run': N(run_id='manual'), 'task': N(owner='anna'), 'exception': 'boom'})\n"
    )
    script = tmp_path / "callback.py"
    with shown_on("docs/connect.md", "import json") as commands:
        for callback in commands:
            script.write_text(f"{callback.text}\n{given}{call}")
            own = {**os.environ, "TOCSIN_URL": sender_to.url}
            subprocess.run([sys.executable, script], env=own, check=True, timeout=60)
    (run,) = sender_to.query("Runs | where Consumer == 'airflow' | project Status, WillRetry, Message")
    assert ("Failed", True, "boom") == (run["Status"], run["WillRetry"], run["Message"])


def test_the_commands_of_the_page_on_backtests_run(run: Run, lived: Tocsin, tmp_path: Path) -> None:
    """`mine.yaml` is the project's own file of rules."""
    (rules := tmp_path / "rules" / "alerts").mkdir(parents=True)
    mine = next(b.text for b in blocks("docs/rules.md") if "one for a failed run, none for a duplicate" in b.text)
    (rules / "mine.yaml").write_text(mine)
    with shown_on("docs/backtest.md") as commands:
        for command in commands:
            home = lived.home if "backtest" in command.arguments else tmp_path
            done = run(*command.arguments, TOCSIN_HOME=str(home))
            survived = int("mutate" in command.arguments)  # of the page's rules one mutant does, which ends with 1
            assert survived == done.returncode, (command, done.stdout, done.stderr)
    assert (tmp_path / "report.xml").exists()


def test_the_commands_of_the_page_on_imports_run(run: Run, tmp_path: Path) -> None:
    """In a project directory with a copy of the shipped failure-rate; what it exports is what it imports."""
    (tmp_path / "rules" / "alerts").mkdir(parents=True)
    (tmp_path / "rules" / "oncall").mkdir()
    assert 0 == run("copy", "rules/alerts/failure-rate.yaml").returncode
    (tmp_path / "prod.parameters.json").write_text(json.dumps({"parameters": {"location": {"value": "westeurope"}}}))
    (tmp_path / "alertmanager.yml").write_text(
        "route: {receiver: ops}\nreceivers: [{name: ops, email_configs: [{to: ops@example.org}]}]\n"
    )
    (tmp_path / "alerts.json").write_text(run("rules", "export", "--azure").stdout)
    layer = {"start": "2026-01-05T09:00:00Z", "rotation_virtual_start": "2026-01-05T09:00:00Z",
             "rotation_turn_length_seconds": 604800, "users": [{"user": {"id": "PA"}}]}  # fmt: skip
    entry = {"start": "2026-02-01T00:00:00Z", "end": "2026-05-02T00:00:00Z", "user": {"id": "PA"}}
    schedule = {"id": "PS", "name": "Primary", "time_zone": "Europe/Budapest", "schedule_layers": [layer],
                "final_schedule": {"rendered_schedule_entries": [entry]}}  # fmt: skip
    rule = {"escalation_delay_in_minutes": 15, "targets": [{"id": "PS", "type": "schedule_reference"}]}
    policies = {"escalation_policies": [{"id": "PE", "name": "page", "escalation_rules": [rule]}]}
    users = {"users": [{"id": "PA", "name": "anna", "email": "anna@example.org"}]}
    for name, answer in {"schedule": {"schedule": schedule}, "users": users, "policies": policies}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(answer))
    with shown_on("docs/import.md") as commands:
        for command in commands:
            done = run(*itertools.takewhile(lambda a: a != ">", command.arguments))
            assert 0 == done.returncode, (command, done.stdout, done.stderr)
    assert "failure-rate" in (tmp_path / "rules" / "alerts" / "azure.yaml").read_text()
    assert "ops@example.org" in (tmp_path / "rules" / "oncall" / "alertmanager.yaml").read_text()
    assert "anna@example.org" in (tmp_path / "rules" / "oncall" / "pagerduty.yaml").read_text()


def test_the_tokens_of_the_pages_are_made(run: Run, tmp_path: Path) -> None:
    for claim in shown_on("docs/operations.md", "tocsin tokens"), shown_on("docs/connect.md", "tocsin tokens"):
        with claim as commands:
            each_succeeds(commands, run)
    assert (tmp_path / "tokens.yaml").exists()


def test_commands_in_prose_run(run: Run, tmp_path: Path) -> None:
    """On an empty project directory; `run log` in a workspace, for the run that a wrapped command finds."""
    for claim in (
        shown_on("docs/consumers.md", "tocsin copy", "tocsin check"),
        shown_on("docs/shipped-rules.md"),
    ):
        with claim as commands:
            each_succeeds(commands, run)
    assert (tmp_path / "consumers" / "argo.yaml").exists()
    spool = {"TOCSIN_SPOOL": str(tmp_path / "spool")}
    assert 0 == run("folder", "attach", "-w", "lab", **spool).returncode
    started = run("run", "start", "-e", "prose", **spool)
    with shown_on("docs/exec.md") as commands:
        each_succeeds(commands, run, TOCSIN_RUN_ID=started.stdout.strip(), **spool)


def test_the_line_that_leaves_azureml_replaces_imports(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("from azureml.core import Run\nimport azureml.exceptions\n")
    with shown_on("docs/leaving-azureml.md") as commands:
        for command in commands:
            shell(command.text, tmp_path)
    assert "from tocsin.core import Run\nimport tocsin.exceptions\n" == (tmp_path / "train.py").read_text()


def test_the_runs_of_the_readme_run(tmp_path: Path) -> None:
    """README.md: a wrapped command, and a script with the SDK."""
    executable(tmp_path / "train.sh", "#!/bin/sh\necho trained\n")
    own = {"TOCSIN_SPOOL": str(tmp_path / "spool"), "HOME": str(tmp_path)}
    with shown_on("README.md", "tocsin exec") as commands:
        for command in commands:
            assert "trained\n" == shell(command.text, tmp_path, **own)
    shell("tocsin folder attach -w lab", tmp_path, **own)
    with shown_on("README.md", "from tocsin") as programs:
        for program in programs:
            (tmp_path / "train.py").write_text(program.text)
            shell(f"{sys.executable} train.py", tmp_path, **own)
    assert "churn" in shell("tocsin run list", tmp_path, **own)
