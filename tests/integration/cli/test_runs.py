"""run, ml, experiment, folder, login: az's words, flags and keys on runs of a workspace folder."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.integration.cli.conftest import Run
from tests.integration.commands import Done

TRAIN = "import sys\nfrom tocsin import Run\nRun.get_context().log('loss', 0.5)\nprint('training', *sys.argv[1:])\n"


@pytest.fixture
def tocsin(run: Run, tmp_path: Path) -> Callable[..., Done]:
    """A command in a workspace, with nobody to send events to; it has to end with 0 unless the test says otherwise."""

    def call(*arguments: object, code: int = 0, **env: str) -> Done:
        done = run(*arguments, **{"TOCSIN_URL": "", "TOCSIN_SPOOL": str(tmp_path / "spool"), **env})
        assert code == done.returncode, done.stderr
        return done

    call("ml", "folder", "attach", "-w", "myworkspace", "-g", "myresourcegroup")
    (tmp_path / "train.py").write_text(TRAIN)
    return call


@pytest.fixture
def run_id(tocsin: Callable[..., Done]) -> str:
    """A run of `tocsin run start`."""
    return tocsin("run", "start", "-e", "experiment").stdout.strip()


def test_the_articles_commands_as_they_stand(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    """az replaced by tocsin: attach, submit-script, list, show, update, cancel; the three queries, quoted."""
    tocsin("login")
    assert {"config.json", "local.runconfig", "sklearn.runconfig"} <= {p.name for p in (tmp_path / ".tocsin").iterdir()}
    done = tocsin("ml", "run", "submit-script", "-c", "sklearn", "-e", "experiment", "train.py", "--alpha", "1")
    assert done.stdout.startswith("training --alpha 1\n{")
    shown = json.loads(done.stdout.split("\n", 1)[1])
    id = shown["run_id"]
    assert ("Completed", "experiment") == (shown["status"], shown["experiment_name"])
    assert [id] == [
        r["run_id"] for r in json.loads(tocsin("ml", "run", "list", "--experiment-name", "experiment").stdout)
    ]
    assert id == json.loads(tocsin("ml", "run", "show", "-r", id).stdout)["run_id"]
    tocsin("ml", "run", "update", "-r", id, "--add-tag", "quality=fantastic run", "--add-tag", "worth another look")
    tocsin("run", "update", id, "--add-property", "author=azureml-user")
    tocsin("run", "start", "-e", "experiment")
    for query in (
        "[?properties.author=='azureml-user']",
        "[?tags.keys(@)[?starts_with(@, 'worth another look')]]",
        "[?properties.author=='azureml-user' && tags.quality=='fantastic run']",
    ):
        for words in ([query], ["--query", query]):
            done = tocsin("ml", "run", "list", "--experiment-name", "experiment", *words)
            assert [id] == [r["run_id"] for r in json.loads(done.stdout)], query
    tocsin("ml", "run", "cancel", "-r", id, "-w", "myworkspace", "-e", "experiment")
    tocsin("ml", "run", "cancel", "-r", id, "-w", "other", code=1)
    tocsin("ml", "run", "cancel", "-r", id, "-e", "other", code=1)
    assert ["experiment"] == [e["name"] for e in json.loads(tocsin("ml", "experiment", "list").stdout)]
    tocsin("ml", "run", "download-logs", "-r", id, "-d", tmp_path / "logs")
    assert "training --alpha 1\n" == (tmp_path / "logs" / "user_logs" / "std_log.txt").read_text()
    assert "training --alpha 1\n" in tocsin("ml", "run", "monitor-logs", "-r", id).stdout


def test_a_run_from_a_shell(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    """start, log, update, complete, show; TOCSIN_RUN_ID says which run."""
    id = tocsin("run", "start", "-e", "churn", "--tag", "team=ranking", "--description", "*first*").stdout.strip()
    tocsin("run", "log", "loss=0.5", "n=3", "word=x", "bad=nan", "--step", 2, TOCSIN_RUN_ID=id)
    tocsin("run", "log", "loss=0.25", "-r", id)
    child = tocsin("run", "start", "--parent", id).stdout.strip()
    tocsin("run", "fail", child, "-m", "disk full")
    tocsin("run", "complete", TOCSIN_RUN_ID=id)
    shown = json.loads(tocsin("run", "show", id, "--json").stdout)
    assert {"loss": [0.5, 0.25], "n": 3, "word": "x", "bad": None} == shown["Metrics"]
    assert ("Completed", "*first*", {"team": "ranking"}) == (shown["Status"], shown["Description"], shown["Tags"])
    assert [child] == [r["RunId"] for r in json.loads(tocsin("run", "children", id, "-o", "json").stdout)]
    tocsin("run", "watch", child, code=1)
    tocsin("run", "watch", id)
    tocsin("run", "start", "--run-id", id, code=1)


def test_lists_are_filtered_and_searched(tocsin: Callable[..., Done]) -> None:
    """By tag, status, target, text; children only of a parent; the last ten unless asked."""
    ids = [
        tocsin("run", "start", "-e", "churn", "--tag", f"n={i}", "--display-name", f"Name{i}").stdout.strip()
        for i in range(12)
    ]
    tocsin("run", "complete", ids[3])

    def found(*words: object) -> list[str]:
        return [r["RunId"] for r in json.loads(tocsin("run", "list", "--json", *words).stdout)]

    assert ids[:1:-1] == found()
    assert ids[::-1] == found("--last", 100)
    assert [ids[3]] == found("--status", "completed")
    wrong = tocsin("run", "list", "--status", "Fail", code=2)
    assert "Failed, " in wrong.stderr
    assert [ids[5]] == found("--tag", "n=5")
    assert 10 == len(found("--tags", "n"))
    assert [ids[4]] == found("--search", "nAmE4")
    assert [] == found("--target", "gpu")
    assert [] == found("-e", "other")
    assert {"run_id", "run_number", "experiment_name", "status", "start_time_utc", "end_time_utc"} == set(
        json.loads(tocsin("ml", "run", "list", "--minimal", "--last", 1).stdout)[0]
    )


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("json", json.loads),
        ("jsonc", json.loads),
        ("yaml", yaml.safe_load),
        ("yamlc", yaml.safe_load),
        ("tsv", lambda text: [dict(zip(("run_id", "status"), line.split("\t"), strict=True)) for line in text.splitlines()]),
        ("none", lambda text: None if text == "" else text),
        ("table", lambda text: [dict(zip(("run_id", "status"), line.split(), strict=True)) for line in text.splitlines()[1:]]),
    ],
)  # fmt: skip
def test_every_format(tocsin: Callable[..., Done], run_id: str, form: str, read: Callable[[str], Any]) -> None:
    done = tocsin("ml", "run", "list", "--query", "[].{run_id: run_id, status: status}", "-o", form)
    assert read(done.stdout) == (None if form == "none" else [{"run_id": run_id, "status": "Running"}])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "list", "-o", "xml"], 2, "json, jsonc, none, table, tsv, yaml, yamlc"),
        (["run", "list", "--query", "[?"], 2, "quote it for the shell"),
        (["run", "list", "--query", "keys(`null`)"], 2, "--query"),
        (["run", "list", "[0]", "--query", "[1]"], 2, "[JMESPATH] '[0]' and --query '[1]'"),
        (["ml", "run", "list", "[0]", "--query", "[0]"], 2, "give one of them"),
        (["run", "show"], 2, "TOCSIN_RUN_ID"),
        (["run", "show", "nope"], 1, "has no run 'nope'"),
        (["run", "log", "loss"], 2, "is not NAME=VALUE"),
        (["run", "submit-script"], 1, "either script or command"),
        (["run", "submit-script", "absent.py"], 1, "is not in source_directory"),
        (["run", "submit-script", "-c", "nope", "train.py"], 1, "no nope.runconfig"),
        (["run", "submit-script", "-d", "env.yml", "train.py"], 2, "makes no environment"),
        (["run", "submit-script", "-t", "train.py", "train.py"], 2, "is there already"),
        (["run", "submit-script", "--ct", "moon", "train.py"], 1, "'moon' is none of local"),
        (["run", "list", "-w", "other"], 1, "called 'myworkspace', not 'other'"),
    ],
)
def test_what_is_wrong_is_said(tocsin: Callable[..., Done], words: list[str], code: int, said: str) -> None:
    assert said in tocsin(*words, code=code).stderr


def test_where_there_are_no_runs_it_is_said_what_to_do(run: Run, tmp_path: Path) -> None:
    """Neither a workspace nor a project directory is here, and none is made."""
    done = run("run", "list", TOCSIN_URL="")
    assert (1, "") == (done.returncode, done.stdout)
    assert "tocsin folder attach" in done.stderr
    assert [] == list(tmp_path.iterdir())
    (tmp_path / "tocsin.yaml").write_text("")
    assert "No runs." in run("run", "list", TOCSIN_URL="").stderr


def test_a_script_that_fails_ends_the_command_with_1(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("raise ValueError('no data')\n")
    done = tocsin("run", "submit-script", "-t", "meta.json", "bad.py", code=1)
    assert "Failed: User program failed with ValueError: no data" in done.stderr
    assert "Failed" == json.loads((tmp_path / "meta.json").read_text())["Status"]


def test_a_run_submitted_without_waiting_is_canceled_from_outside(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    id = json.loads(tocsin("ml", "run", "submit-script", "--async", "slow.py").stdout)["run_id"]
    tocsin("run", "cancel", id)
    tocsin("run", "watch", id, code=1)
    assert "Canceled" == json.loads(tocsin("ml", "run", "show", "-r", id).stdout)["status"]


def test_a_token_is_kept_for_its_owner_alone(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    """It is never printed, and the folder's own .gitignore leaves it out."""
    done = tocsin("login", "--url", "https://tocsin.example.org", "--token", "s3cret")
    assert "s3cret" not in done.stdout + done.stderr
    file = tmp_path / ".tocsin" / "token"
    assert ("s3cret\n", 0o600) == (file.read_text(), stat.S_IMODE(file.stat().st_mode))
    assert "s3cret" not in (tmp_path / ".tocsin" / "config.json").read_text()
    assert "*" in (tmp_path / ".tocsin" / ".gitignore").read_text().splitlines()


def test_a_second_attach_changes_what_is_given_and_keeps_the_rest(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    """Files that a person edited stay."""
    (tmp_path / ".tocsin" / "local.runconfig").write_text("script: mine.py\n")
    tocsin("folder", "attach", "-w", "other")
    found = json.loads((tmp_path / ".tocsin" / "config.json").read_text())
    assert ("other", "myresourcegroup") == (found["workspace_name"], found["resource_group"])
    assert "script: mine.py\n" == (tmp_path / ".tocsin" / "local.runconfig").read_text()


def test_the_examples_of_the_docs_run(tocsin: Callable[..., Done], tmp_path: Path) -> None:
    """A file that is there stays."""
    (tmp_path / "hello.py").write_text("# mine\n")
    tocsin("folder", "attach", "--examples")
    assert "# mine\n" == (tmp_path / "hello.py").read_text()
    assert "made 5 children" in tocsin("run", "submit-script", "hello_with_children.py").stdout


def test_events_that_wait_are_sent_by_hand(tocsin: Callable[..., Done]) -> None:
    assert "Nothing waits." in tocsin("run", "sync").stderr
    tocsin("run", "start", TOCSIN_URL="http://127.0.0.1:9")
    done = tocsin("run", "sync", code=1, TOCSIN_URL="http://127.0.0.1:9")
    assert "1 wait: the server is away" in done.stderr
