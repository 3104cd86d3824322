"""What a workspace sends reaches a running tocsin, and runs that came from anywhere are found and tagged over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.servers.eventually import eventually
from tocsin.sdk.errors import ServiceException
from tocsin.sdk.remote import get_run, get_runs
from tocsin.sdk.sending.endpoint import Endpoint

SCRIPT = """
from tocsin import Experiment, Workspace
with Experiment(Workspace.create("lab"), "churn").start_logging(tags={"team": "ranking"}, snapshot_directory=None) as run:
    run.log("loss", 0.5, step=1)
    run.log("loss", float("nan"), step=2)
    run.tag("checked", "yes")
    run.description = "# a walk"
print(run.id)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    tocsin = Here(program=PROGRAM, home=tmp_path_factory.mktemp("remote")).start()
    yield tocsin
    tocsin.kill()


def test_a_workspace_s_metrics_tags_and_description_reach_the_store(
    server: Tocsin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_URL", f"http://127.0.0.1:{server.port}")
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True)
    run_id = done.stdout.strip()

    def arrived() -> bool:
        values = server.query(
            f"RunMetrics | where RunId == '{run_id}' | order by Step asc | project Value, ExperimentName"
        )
        assert [(0.5, "churn"), (None, "churn")] == [(row["Value"], row["ExperimentName"]) for row in values]
        assert "Completed" == get_run(run_id).status
        return True

    eventually(arrived, within=20)
    run = get_run(run_id)
    assert ({"team": "ranking", "checked": "yes"}, "# a walk") == (run.tags, run.description)
    assert 1 == server.count(f"RunMetrics | where RunId == '{run_id}' and isnan(Value)")


def test_runs_of_others_are_found_tagged_and_described(server: Tocsin, tmp_path: Path) -> None:
    """By the SDK and by the command, with names that need quoting; what was set stays when the run goes on."""
    here = Endpoint(url=f"http://127.0.0.1:{server.port}")
    tags = {"te'am": 'a "b" \\ c'}
    server.send(json.dumps([
        event("11", RunId="k1", Status="Running", ExperimentName="x'y", Tags=tags),
        event("12", RunId="k2", Status="Running", ExperimentName="x'y"),
    ]).encode())  # fmt: skip
    assert {"k1", "k2"} == {run.id for run in get_runs("x'y", endpoint=here)}
    assert ["k1"] == [run.id for run in get_runs(tags=tags, endpoint=here)]
    assert ["k1"] == [run.id for run in get_runs("x'y", tags="te'am", endpoint=here)]
    (run,) = get_runs(status="Running", tags=tags, endpoint=here)
    run.tag("seen")
    run.description = "by hand"
    done = subprocess.run(
        [PROGRAM, "run", "update", "k1", "--add-tag", "owner=anna", "--remove-tag", "te'am", "--json"],
        cwd=tmp_path, capture_output=True, text=True, env={"TOCSIN_URL": here.url, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert {"seen": "", "owner": "anna"} == json.loads(done.stdout)["Tags"]
    server.send(json.dumps([event("13", RunId="k1", Status="Completed", Tags=tags)]).encode())
    after = run.refresh()
    assert ("Completed", {"seen": "", "owner": "anna"}, "by hand") == (after.status, after.tags, after.description)


def test_a_run_that_nobody_knows_is_said_so(server: Tocsin) -> None:
    with pytest.raises(ServiceException, match="no run 'nope'"):
        get_run("nope", Endpoint(url=f"http://127.0.0.1:{server.port}"))
    with pytest.raises(ServiceException, match="cannot be asked"):
        get_runs(endpoint=Endpoint(url="http://127.0.0.1:9"))
