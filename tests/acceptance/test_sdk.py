"""Runs of the SDK and of `tocsin exec` reach a real tocsin: in order, each once, none lost while it is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.acceptance.conftest import MakeTocsin
from tests.acceptance.harness import Tocsin
from tests.pages import blocks, shown_on
from tests.servers.eventually import eventually
from tests.servers.smtp import SmtpServer

RUNS = """
import sys
from tocsin import Experiment, Workspace
exp = Experiment(Workspace.from_config(), "churn")
for n in range(int(sys.argv[1])):
    run = exp.start_logging(snapshot_directory=None, tags={"n": str(n)})
    child = run.child_run()
    child.complete()
    run.complete() if n % 2 else run.fail("disk full")
"""
KILLED = """
import os, signal
from tocsin import Experiment, Workspace
Experiment(Workspace.from_config(), "churn").start_logging(snapshot_directory=None).flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def variables(tocsin: Tocsin) -> dict[str, str]:
    return {**os.environ, "TOCSIN_URL": tocsin.url, "TOCSIN_SPOOL": str(tocsin.home / "spool")}


def in_workspace(tocsin: Tocsin, tmp_path: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    folder = tmp_path / "ws"
    (folder / ".tocsin").mkdir(parents=True, exist_ok=True)
    (folder / ".tocsin" / "config.json").write_text('{"workspace_name": "lab"}')
    env = {**variables(tocsin), **more}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def statuses(tocsin: Tocsin) -> dict[str, list[str]]:
    """The statuses of each run in the order in which they were stored."""
    out = defaultdict(list)
    for row in tocsin.query(
        "RunStatusChanged | project RunId, Status, CommitSeq, TimeGenerated | order by CommitSeq asc, TimeGenerated asc"
    ):
        out[row["RunId"]].append(row["Status"])
    return dict(out)


@pytest.mark.timeout(300)
def test_a_failure_in_training_becomes_a_mail(
    make_tocsin: MakeTocsin, smtp: SmtpServer, tmp_path: Path, wheel: Path
) -> None:
    """From the SDK's run to the mail, and from a wrapped command too."""
    tocsin = make_tocsin(smtp=smtp).start()
    python = str(wheel / "python")
    done = in_workspace(tocsin, tmp_path, python, "-c", RUNS, "1")
    assert 0 == done.returncode, done.stderr
    done = in_workspace(
        tocsin,
        tmp_path,
        str(wheel / "tocsin"),
        "exec",
        "--name",
        "nightly",
        "--",
        "sh",
        "-c",
        "echo no space >&2; exit 2",
    )
    assert 2 == done.returncode
    mails = smtp.wait_for(2)
    text = " ".join(m.subject for m in mails)
    assert "disk full" in text
    assert "exit code 2" in text
    assert [["Running", "Completed"], ["Running", "Failed"], ["Queued", "Running", "Failed"]] == sorted(
        statuses(tocsin).values(), key=lambda s: (len(s), s[-1])
    )


@pytest.mark.timeout(400)
def test_nothing_is_lost_while_tocsin_is_away(make_tocsin: MakeTocsin, tmp_path: Path, wheel: Path) -> None:
    """Events wait in the workspace and beside exec until the server itself takes them: no process is left that could. A kill -9
    of the server in between repeats none; the run of a process that was killed is Failed.
    """
    tocsin = make_tocsin().start()
    python, program = str(wheel / "python"), str(wheel / "tocsin")
    assert 0 == in_workspace(tocsin, tmp_path, python, "-c", RUNS, "20").returncode
    tocsin.kill()
    away = in_workspace(tocsin, tmp_path, python, "-c", RUNS, "20")
    assert (0, 1) == (away.returncode, away.stderr.count("is away")), away.stderr
    for _ in range(2):
        assert 0 == in_workspace(tocsin, tmp_path, program, "exec", "--", "true").returncode
    nowhere = {**variables(tocsin), "TOCSIN_WORKSPACE": str(tmp_path)}
    subprocess.run([program, "exec", "--", "true"], cwd="/", env=nowhere, check=True, timeout=60)
    killed = in_workspace(tocsin, tmp_path, python, "-c", KILLED)
    assert -signal.SIGKILL == killed.returncode
    tocsin.start()
    eventually(lambda: 80 + 3 + 1 == len(statuses(tocsin)), within=30)
    found = statuses(tocsin)
    assert {("Running", "Completed"), ("Running", "Failed"), ("Queued", "Running", "Completed")} == {
        tuple(s) for s in found.values()
    }
    assert 0 == tocsin.count("DeadLetters")
    assert 1 == tocsin.count("Runs | where Status == 'Failed' and ErrorCode == 'ProcessGone'")
    assert 20 == tocsin.count("Runs | where Status == 'Failed' and Tags.n != ''")


@pytest.mark.timeout(300)
def test_a_token_that_is_missing_loses_nothing(make_tocsin: MakeTocsin, tmp_path: Path, wheel: Path) -> None:
    """Refused events wait; with a token they go. The token stands in no message."""
    tocsin = make_tocsin()
    token = tocsin.run("tokens", "new", "trainer", "--role", "producer").stdout.strip()
    assert token
    tocsin.start()
    program, python = str(wheel / "tocsin"), str(wheel / "python")
    spool = str(tmp_path / "another user's")  # else the server itself would take them
    done = in_workspace(tocsin, tmp_path, python, "-c", RUNS, "2", TOCSIN_SPOOL=spool)
    assert 0 == done.returncode
    assert 1 == done.stderr.count("refuses events"), done.stderr
    done = in_workspace(tocsin, tmp_path, program, "run", "sync", TOCSIN_SPOOL=spool)
    assert 1 == done.returncode
    env = {**variables(tocsin), "TOCSIN_SPOOL": spool, "TOCSIN_TOKEN": token}
    sync = [program, "run", "sync"]  # from elsewhere: it knows the workspaces of its user
    done = subprocess.run(sync, cwd="/", env=env, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    assert "8 sent" in done.stderr
    assert token not in done.stderr


LOGGED = """
with Experiment(Workspace.from_config(), "churn").start_logging(snapshot_directory=None, tags={"team": "ranking"}) as run:
    %s
    run.alert("disk is full")
    run.fail()
"""


@pytest.mark.timeout(300)
def test_the_programs_of_the_page_run(make_tocsin: MakeTocsin, smtp: SmtpServer, tmp_path: Path, wheel: Path) -> None:
    """Alerts of docs/sdk.md become mails by its rule, the same title within a minute once; its run is found and tagged."""
    (rule,) = [b.text for b in blocks("docs/sdk.md") if b.kind == "yaml"]
    tocsin = make_tocsin(smtp=smtp, rules=rule).start()
    names, alert = [b for b in blocks("docs/sdk.md") if b.kind == "python"][:2]
    with shown_on("docs/sdk.md", "from tocsin import", "run.alert") as programs:
        script = names.text + LOGGED % f"{alert.text}    {alert.text}"
        done = in_workspace(tocsin, tmp_path, str(wheel / "python"), "-c", script)
        assert 0 == done.returncode, done.stderr
        programs.ran(names)
        programs.ran(alert)
    with shown_on("docs/sdk.md", "from tocsin.sdk.remote") as programs:
        for program in programs:
            done = in_workspace(tocsin, tmp_path, str(wheel / "python"), "-c", program.text)
            assert 0 == done.returncode, done.stderr

    def said() -> bool:
        text = "\n".join(mail.subject + mail.text for mail in smtp.messages())
        assert "disk is full" in text
        assert "loss is NaN: at step 300" in text, text
        return True

    eventually(said, within=90)
    eventually(lambda: 2 == tocsin.count("Alerts | where Rule == 'run-alert' and To == 'firing'"))
    eventually(lambda: 1 == tocsin.count("Runs | where Tags.seen == 'yes' and Description has 'wiki'"))


def test_the_sdk_comes_with_the_wheel(wheel: Path) -> None:
    """Its names are there, and typed."""
    code = "import tocsin.core; from tocsin import Run; print(tocsin.core.VERSION)"
    done = subprocess.run([wheel / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert sys.version_info >= (3, 11)
