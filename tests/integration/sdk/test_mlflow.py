"""MLflow itself on a workspace, by its entry point for tracking stores."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pages import shown_on
from tocsin import Experiment, Run, Workspace

pytestmark = pytest.mark.integrations


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TOCSIN_URL", "http://127.0.0.1:9")
    return Workspace.create("lab", path=tmp_path)


@pytest.fixture
def mlflow(ws: Workspace) -> Any:
    import mlflow

    mlflow.set_tracking_uri(f"tocsin://{ws.folder}")
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()


def test_the_program_of_the_page_makes_a_run(mlflow: Any, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tocsin://` is the workspace of the present folder."""
    monkeypatch.chdir(ws.folder)
    with shown_on("docs/sdk.md", "import mlflow") as programs:
        for program in programs:
            exec(program.text, {})
    (run,) = Experiment(ws, "Default").get_runs()
    assert 0.5 == run.get_metrics()["loss"]


def test_what_mlflow_logs_is_a_run_of_the_workspace(mlflow: Any, ws: Workspace, tmp_path: Path) -> None:
    mlflow.set_experiment("churn")
    with mlflow.start_run(run_name="first", description="a **note**", tags={"team": "ranking"}) as run:
        mlflow.log_params({"lr": 0.1, "depth": 3})
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("odd", math.nan)
        mlflow.log_text("hello", "notes/hello.txt")
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("x", 1)
    ours = Run.get(ws, run.info.run_id)
    assert ("Completed", "churn", "first", "a **note**") == (
        ours.status,
        ours.experiment.name,
        ours.display_name,
        ours.description,
    )
    assert [1.0, 0.5, 1 / 3, 0.25, 0.2] == ours.get_metrics()["loss"] and math.isnan(ours.get_metrics()["odd"])
    assert {"param.lr": "0.1", "param.depth": "3"} == ours.get_properties() and "ranking" == ours.get_tags()["team"]
    assert ["notes/hello.txt"] == ours.get_file_names()
    assert [child.info.run_id] == [one.id for one in ours.get_children()]
    waiting = ws._session.store.database.read(
        "SELECT event FROM outbox WHERE run_id = ? AND event LIKE '%tocsin.run.status%'", [ours.id]
    )
    assert ["Running", "Completed"] == [row[0].split('"Status":"')[1].split('"')[0] for row in waiting]


def test_runs_are_read_and_found_as_mlflow_asks(mlflow: Any, ws: Workspace) -> None:
    """Also those that the SDK made."""
    with Experiment(ws, "both").start_logging(snapshot_directory=None, tags={"by": "sdk"}) as ours:
        ours.log("loss", 0.5, step=7)
        ours.log_params({"lr": 1})
    mlflow.set_experiment("both")
    with mlflow.start_run() as theirs:
        mlflow.log_metric("loss", 0.7)
        mlflow.log_param("lr", 2)
    client = mlflow.MlflowClient()
    found = client.get_run(ours.id)
    assert ({"loss": 0.5}, {"lr": "1"}, "FINISHED") == (found.data.metrics, found.data.params, found.info.status)
    assert [(0.5, 7)] == [(m.value, m.step) for m in client.get_metric_history(ours.id, "loss")]
    ids = [client.get_experiment_by_name("both").experiment_id]
    assert [ours.id] == [run.info.run_id for run in client.search_runs(ids, "metrics.loss < 0.6")]
    assert [theirs.info.run_id] == [run.info.run_id for run in client.search_runs(ids, "params.lr = '2'")]
    assert [ours.id] == [run.info.run_id for run in client.search_runs(ids, "tags.by = 'sdk'")]
    client.delete_run(ours.id)
    assert [theirs.info.run_id] == [run.info.run_id for run in client.search_runs(ids)]
    client.restore_run(ours.id)
    client.set_terminated(theirs.info.run_id, "FAILED")
    assert "Failed" == Run.get(ws, theirs.info.run_id).status
    client.set_tag(ours.id, "a", "b")
    client.delete_tag(ours.id, "a")
    assert "a" not in Run.get(ws, ours.id).get_tags()


def test_what_cannot_be_is_said_in_mlflows_errors(mlflow: Any, ws: Workspace, tmp_path: Path) -> None:
    client = mlflow.MlflowClient()
    mlflow.set_experiment(experiment_id="0")  # that of runs which name none
    with mlflow.start_run():
        mlflow.log_param("lr", 1)
        with pytest.raises(mlflow.exceptions.MlflowException, match="cannot become '2'"):
            mlflow.log_param("lr", 2)
    assert ["Default"] == [one.name for one in client.search_experiments()]
    for call, wrong in ((client.get_run, "0" * 32), (client.get_run, "../x"), (client.get_experiment, "77")):
        with pytest.raises(mlflow.exceptions.MlflowException, match=r"no |Invalid value"):
            call(wrong)
    with pytest.raises(mlflow.exceptions.MlflowException, match="no workspace"):
        mlflow.MlflowClient(tracking_uri=f"tocsin://{Path('/')}").search_experiments()
    with pytest.raises(mlflow.exceptions.MlflowException, match="exists already"):
        client.create_experiment("Default")


def test_a_killed_process_leaves_a_failed_run_and_its_metrics(ws: Workspace, tmp_path: Path) -> None:
    script = (
        "import mlflow, os, signal; mlflow.set_tracking_uri('tocsin://'); run = mlflow.start_run(); mlflow.log_metric('x', 1);"
        "mlflow.MlflowClient().get_run(run.info.run_id); print(run.info.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}  # of tests before this
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=env, check=False
    )  # fmt: skip
    assert done.stdout, done.stderr
    run = Run.get(ws, done.stdout.strip())
    assert ("Failed", {"x": 1.0}) == (run.status, run.get_metrics())
