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
from tests.servers.recording import Asked, RecordingServer, Said
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


CONSUMER = """
connector: http
mapping: {RunId: id, Status: state, Description: about}
cancel: {url: "%s/runs/{RunId}/stop?in={ExperimentName}", body: {id: "{RunId}", why: "by {Consumer}"}, token_file: fleet.token, allow_private: true}
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[RecordingServer]:
    """Another system: it cancels what it is asked to, but not the run `stuck`."""

    def answer(asked: Asked, _: int) -> Said:
        return Said(status=409, body="it is stuck") if "stuck" in asked.path else Said(status=202)

    with RecordingServer(answer) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, fleet: RecordingServer) -> Iterator[Tocsin]:
    tocsin = Here(program=PROGRAM, home=tmp_path_factory.mktemp("remote"))
    tocsin.write("consumers/fleet.yaml", CONSUMER % fleet.url)
    tocsin.write("fleet.token", "s3cret\n")
    yield tocsin.start(within=60)
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


def test_a_run_of_another_system_is_canceled_as_its_consumer_says(
    server: Tocsin, fleet: RecordingServer, tmp_path: Path
) -> None:
    """By the SDK and the command; a refusal is passed on, and then the run is what it was."""
    here = Endpoint(url=f"http://127.0.0.1:{server.port}")
    runs = [{"id": id_, "state": "Running", "about": "*nightly* load"} for id_ in ("41", "a/b", "stuck")]
    assert 202 == server.send(json.dumps(runs).encode(), "fleet").status
    assert "cancel requested" == get_run("41", here).cancel()
    assert ("CancelRequested", "*nightly* load") == (get_run("41", here).status, get_run("41", here).description)
    asked = fleet.asked[-1]
    assert ("/runs/41/stop?in=", {"id": 41, "why": "by fleet"}, "Bearer s3cret") == (
        asked.path,
        asked.json,
        asked.headers["authorization"],
    )
    with pytest.raises(ServiceException, match="409 it is stuck"):
        get_run("stuck", here).cancel()
    assert "Running" == get_run("stuck", here).status
    done = subprocess.run(
        [PROGRAM, "run", "cancel", "a/b"], cwd=tmp_path, capture_output=True, text=True,
        env={"TOCSIN_URL": here.url, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (0, "/runs/a%2Fb/stop?in=") == (done.returncode, fleet.asked[-1].path), done.stderr
    server.send(json.dumps(event("20", RunId="over", Status="Completed")).encode())
    with pytest.raises(ServiceException, match="over is Completed already"):
        get_run("over", here).cancel()
    assert {"41", "a/b", "stuck"} == {run.id for run in get_runs(search="NIGHTLY* load", endpoint=here)}
    listed = subprocess.run(
        [PROGRAM, "run", "list", "--search", "nightly", "--status", "Running", "--json"], cwd=tmp_path, capture_output=True, text=True,
        env={"TOCSIN_URL": here.url, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert ["stuck"] == [row["RunId"] for row in json.loads(listed.stdout)], listed.stderr


def test_a_run_that_nobody_knows_is_said_so(server: Tocsin) -> None:
    with pytest.raises(ServiceException, match="no run 'nope'"):
        get_run("nope", Endpoint(url=f"http://127.0.0.1:{server.port}"))
    with pytest.raises(ServiceException, match="cannot be asked"):
        get_runs(endpoint=Endpoint(url="http://127.0.0.1:9"))
