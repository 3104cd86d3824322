"""Interactive runs: status, labels, children, queries, as azureml's users know them."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.servers.eventually import eventually
from tocsin import Experiment, Run, Workspace
from tocsin.clock import ManualClock, micros
from tocsin.logstore.duck import DuckLogStore
from tocsin.model.event import Batch, RawEvents
from tocsin.sdk.errors import (
    ExperimentExecutionException,
    RunEnvironmentException,
    ServiceException,
    UserErrorException,
)
from tocsin.sdk.running import runner as running_script
from tocsin.sdk.running.process import identify
from tocsin.sdk.running.stopping import kill_left_over
from tocsin.sdk.sending.known import note


def test_a_run_is_running_until_it_is_completed(exp: Experiment) -> None:
    run = exp.start_logging(snapshot_directory=None)
    assert "Running" == run.get_status()
    run.complete()
    details = run.get_details()
    assert ("Completed", run.id) == (details["status"], details["runId"])
    assert details["startTimeUtc"] < details["endTimeUtc"]
    assert [
        "runId", "target", "status", "startTimeUtc", "endTimeUtc", "error", "warnings", "properties", "runDefinition",
        "inputDatasets", "outputDatasets", "logFiles", "submittedBy",
    ] == list(details)  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, "Completed", None),
        (SystemExit(0), "Completed", None),
        (SystemExit(None), "Completed", None),
        (SystemExit(3), "Failed", "User program failed with SystemExit: 3"),
        (KeyboardInterrupt(), "Canceled", None),
        (ValueError("no data"), "Failed", "User program failed with ValueError: no data"),
    ],
)
def test_the_end_of_a_with_block_is_the_end_of_the_run(
    exp: Experiment, error: BaseException | None, status: str, message: str | None
) -> None:
    """What the block raised passes on, unlike azureml's, which swallows SystemExit."""
    raised: BaseException | None = None
    try:
        with exp.start_logging(snapshot_directory=None) as run:
            if error is not None:
                raise error
    except (ValueError, SystemExit, KeyboardInterrupt) as e:
        raised = e
    assert error is raised
    details = run.get_details()
    assert status == details["status"]
    assert message == (details["error"] and details["error"]["error"]["message"])


def test_an_exception_brings_its_traceback(exp: Experiment) -> None:
    with pytest.raises(ZeroDivisionError), exp.start_logging(snapshot_directory=None) as run:
        1 / 0  # noqa: B018
    error = run.get_details()["error"]["error"]
    assert "UserError" == error["code"]
    assert "ZeroDivisionError: division by zero" in error["debug_stack_trace"]


def test_get_submitted_run_is_get_context_that_insists(
    exp: Experiment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """azureml-core 1.61: deprecated, and no offline run."""
    with pytest.raises(RunEnvironmentException):
        Run.get_submitted_run()
    assert "get_context" in caplog.text
    run = exp.start_logging(snapshot_directory=None)
    monkeypatch.setenv("TOCSIN_RUN_ID", run.id)
    monkeypatch.setenv("TOCSIN_WORKSPACE", str(exp.workspace.folder))
    assert run.id == Run.get_submitted_run().id


def test_clean_removes_the_copy_that_ran_and_nothing_else(exp: Experiment) -> None:
    """As azureml's: what was removed in words, an error where there is nothing, or while the script may need it."""
    run = exp.start_logging(snapshot_directory=None)
    copy = exp._session.run_folder(run.id) / "code"
    copy.mkdir(parents=True)
    run.upload_file("kept.txt", __file__)
    (copy / "outputs").symlink_to(run._files)
    with pytest.raises(ExperimentExecutionException, match="Running"):
        run.clean()
    run.complete()
    assert [f"Removed temporary run directory {copy}"] == run.clean()
    assert (False, ["kept.txt"]) == (copy.exists(), run.get_file_names())
    with pytest.raises(ExperimentExecutionException, match="cleaned before"):
        run.clean()


def test_a_workspace_has_azures_facts_and_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """location, sku and tags as the file says; list() finds the one here and those that have sent events."""
    monkeypatch.setenv("TOCSIN_SPOOL", str(tmp_path / "state"))
    made = Workspace.create("far", None, "sub", "group", "westeurope", tags={"team": 1}, path=tmp_path / "far")
    assert ("westeurope", "basic", {"team": "1"}) == (made.location, made.sku, made.tags)
    read = Workspace.from_config(tmp_path / "far")
    assert (made.location, made.sku, made.tags) == (read.location, read.sku, read.tags)
    assert ("", "premium", {}) == (lambda w: (w.location, w.sku, w.tags))(Workspace.create("here", sku="premium"))
    assert ["here"] == list(Workspace.list())
    note(made.folder)
    found = Workspace.list("sub")
    assert {"here": [tmp_path], "far": [made.folder]} == {name: [w.folder for w in ws] for name, ws in found.items()}
    assert ["here"] == list(Workspace.list("another"))
    assert ["here"] == list(Workspace.list(resource_group="another"))


def test_experiments_are_listed_by_tag(ws: Workspace, exp: Experiment) -> None:
    exp.tag("stage", "tried")
    Experiment(ws, "plain").set_tags({})
    assert [exp] == Experiment.list(ws, tags={"stage": "tried"}) == Experiment.list(ws, tags="stage")
    assert [] == Experiment.list(ws, tags={"stage": "other"})
    assert 2 == len(Experiment.list(ws))


def deep(depth: int) -> None:
    if depth == 0:
        raise ValueError("bad shape")
    [deep, shallow][depth % 2](depth - 1)


def shallow(depth: int) -> None:
    deep(depth)


def test_the_log_tail_of_a_run_that_raised_is_its_last_frames(exp: Experiment) -> None:
    """An interactive run has no log of its own: its event carries the traceback's end, each frame whole."""
    exp._session.store.sends = True
    with pytest.raises(ValueError, match="bad shape"), exp.start_logging(snapshot_directory=None):
        deep(60)
    run = exp.start_logging(snapshot_directory=None)
    run.fail("no exception")
    exp._session.store.sends = False
    found = [
        json.loads(e)["data"] for (e,) in exp._session.store.database.read("SELECT event FROM outbox ORDER BY seq")
    ]
    tails = [data.get("LogTail", "") for data in found if data["Status"] == "Failed"]
    lines = tails[0].split("\n")
    assert "Traceback (most recent call last):" == lines[0]
    assert "ValueError: bad shape" == lines[-1]
    assert lines[2].startswith('  File "') and 40 < len(lines) <= 50
    assert "" == tails[1]


def test_fail_after_completed_is_a_failure_and_nothing_wakes_a_canceled_run(exp: Experiment) -> None:
    run = exp.start_logging(snapshot_directory=None)
    run.complete()
    run.fail("the wrong script", "Wrong")
    assert ("Failed", "Wrong") == (run.status, run.get_details()["error"]["error"]["code"])
    run.complete()
    assert "Failed" == run.status
    other = exp.start_logging(snapshot_directory=None)
    other.cancel()
    other.complete()
    other.fail()
    assert "Canceled" == other.status


def test_tags_change_and_properties_do_not(exp: Experiment) -> None:
    """As the article has it; the error names key, old and new value."""
    run = exp.start_logging(snapshot_directory=None)
    run.add_properties({"author": "azureml-user"})
    with pytest.raises(UserErrorException) as error:
        run.add_properties({"author": "different-user"})
    assert all(word in str(error.value) for word in ("'author'", "'azureml-user'", "'different-user'"))
    run.add_properties({"author": "azureml-user"})
    run.tag("quality", "great run")
    run.tag("quality", "fantastic run")
    run.tag("worth another look")
    assert {"quality": "fantastic run", "worth another look": None} == run.get_tags()
    run.set_tags({"n": 3})
    run.remove_tags(["quality", "absent"])
    assert {"worth another look": None, "n": "3"} == run.tags


def test_runs_are_found_by_tags_and_properties(exp: Experiment, ws: Workspace) -> None:
    """The article's queries; results can be gone through again, printed, and asked for the next one."""
    run = exp.start_logging(snapshot_directory=None, tags={"quality": "fantastic run", "worth another look": None})
    run.add_properties({"author": "azureml-user"})
    exp.start_logging(snapshot_directory=None, tags={"quality": "poor"})
    Experiment(ws, "other").start_logging(snapshot_directory=None, tags={"quality": "fantastic run"})
    found = exp.get_runs(properties={"author": "azureml-user"}, tags={"quality": "fantastic run"})
    assert [run] == list(found) == list(found)
    assert [run] == list(exp.get_runs(properties={"author": "azureml-user"}, tags="worth another look"))
    assert [] == list(exp.get_runs(tags={"quality": "fantastic run", "worth another look": "x"}))
    assert run.id in repr(found)
    assert run == next(found)
    assert 2 == len(exp.get_runs())
    assert run.id == Run.get(ws, run.id).id


def test_runs_come_newest_first_and_children_only_where_asked(exp: Experiment) -> None:
    first, second = (exp.start_logging(snapshot_directory=None) for _ in range(2))
    child = first.child_run("a child")
    assert [second.id, first.id] == [r.id for r in exp.get_runs()]
    assert [child.id, second.id, first.id] == [r.id for r in exp.get_runs(include_children=True)]


def test_children_and_grandchildren(exp: Experiment) -> None:
    with exp.start_logging(snapshot_directory=None) as parent:
        for c in range(5):
            with parent.child_run() as child:
                child.log(name="Hello from child run", value=c)
        grandchild = child.child_run()
        grandchild.complete()
    assert 5 == len(parent.get_children())
    assert 6 == len(parent.get_children(recursive=True))
    assert {"Completed"} == {c.status for c in parent.get_children(recursive=True)}
    assert child == grandchild.parent
    assert parent == grandchild.root
    assert parent.parent is None
    metrics = parent.get_metrics(recursive=True)
    assert {} == metrics[parent.id]
    assert [0, 1, 2, 3, 4] == sorted(m["Hello from child run"] for m in metrics.values() if m)


def test_many_children_at_once(exp: Experiment) -> None:
    parent = exp.start_logging(snapshot_directory=None)
    assert 100 == len(parent.create_children(100))
    tagged = parent.create_children(tag_key="fruit", tag_values=["Apple", "Banana"])
    assert ["Apple", "Banana"] == [c.tags["fruit"] for c in tagged]
    assert {"Running"} == {c.status for c in tagged}
    assert [tagged[1].id] == [c.id for c in parent.get_children(tags={"fruit": "Banana"})]
    for wrong in (0, 101):
        with pytest.raises(UserErrorException, match="1 to 100"):
            parent.create_children(wrong)
    with pytest.raises(UserErrorException, match="go together"):
        parent.create_children(tag_key="fruit")


def test_metrics_come_back_in_azuremls_shapes(exp: Experiment) -> None:
    """One value bare, several a list; one row a dict, several a dict of lists."""
    run = exp.start_logging(snapshot_directory=None)
    run.log("message", "Hello from run!")
    for i in range(3):
        run.log("loss", 0.5 * i, step=i)
    run.log_list("fib", [1, 1, 2])
    run.log_row("one row", x=1, y="a")
    for i in range(2):
        run.log_row("rows", x=i, y=2.5)
    run.log_table("table", {"a": [1, 2], "b": ["x", "y"]})
    run.log_confusion_matrix("cm", {"data": {"matrix": [[1, 0], [0, 1]]}})
    run.log_metrics({"lr": 0.1}, step=4)
    assert {
        "message": "Hello from run!",
        "loss": [0.0, 0.5, 1.0],
        "fib": [1, 1, 2],
        "one row": {"x": 1, "y": "a"},
        "rows": {"x": [0, 1], "y": [2.5, 2.5]},
        "table": {"a": [1, 2], "b": ["x", "y"]},
        "cm": {"data": {"matrix": [[1, 0], [0, 1]]}},
        "lr": 0.1,
    } == run.get_metrics()
    assert {"loss": [0.0, 0.5, 1.0]} == run.get_metrics("loss")
    assert [0, 1, 2] == [step for step, _, _ in run.get_metric_history("loss")]


class OneItem:
    """What numpy and torch give."""

    def item(self) -> float:
        return 2.5


@pytest.mark.parametrize(
    ("value", "stored"),
    [(1, 1), (True, 1), (2**80, float(2**80)), (math.inf, math.inf), (None, ""), ("\ud800", "?"), (OneItem(), 2.5), ("a\0b", "a\0b")],
)  # fmt: skip
def test_any_number_or_string_can_be_logged(exp: Experiment, value: Any, stored: Any) -> None:
    run = exp.start_logging(snapshot_directory=None)
    run.log("it", value)
    assert {"it": stored} == run.get_metrics()


def test_nan_stays_nan(exp: Experiment) -> None:
    run = exp.start_logging(snapshot_directory=None)
    run.log("loss", math.nan)
    run.log_row("row", loss=math.nan)
    assert math.isnan(run.get_metrics()["loss"])
    assert math.isnan(run.get_metrics()["row"]["loss"])


@pytest.mark.parametrize("value", [[1], {"a": 1}, object()])
def test_lists_are_no_scalars(exp: Experiment, value: Any) -> None:
    run = exp.start_logging(snapshot_directory=None)
    with pytest.raises(UserErrorException, match="log_list"):
        run.log("it", value)
    with pytest.raises(UserErrorException, match="step is a whole number"):
        run.log("it", 1, step=value)


def test_parameters_become_properties(exp: Experiment) -> None:
    run = exp.start_logging(snapshot_directory=None)
    run.log_params({"lr": 0.1})
    assert {"param.lr": "0.1"} == run.properties


def test_a_run_is_resumed_by_its_id(exp: Experiment) -> None:
    run = exp.start_logging(run_id="nightly-1", snapshot_directory=None)
    run.log("x", 1)
    run.complete()
    again = exp.start_logging(run_id="nightly-1", snapshot_directory=None)
    again.log("x", 2)
    assert (["Running"], [1, 2]) == ([run.status], again.get_metrics()["x"])
    again.complete()


@pytest.mark.parametrize("name", ["", "a b", "../up", "x" * 256, "-a", "é", "a/b"])
def test_names_that_azureml_refuses_are_refused(ws: Workspace, name: str) -> None:
    with pytest.raises(UserErrorException):
        Experiment(ws, name)
    with pytest.raises(UserErrorException):
        Experiment(ws, "fine").start_logging(run_id=name or "/")


def test_outside_a_submitted_run_the_context_is_offline(exp: Experiment) -> None:
    """It takes everything and keeps it in memory."""
    run = Run.get_context()
    run.log("x", 1)
    run.tag("a", "b")
    with run.child_run() as child:
        child.log("y", 2)
    assert ({"x": 1}, {"a": "b"}) == (run.get_metrics(), run.tags)
    assert run.id.startswith("OfflineRun_")
    with pytest.raises(RunEnvironmentException):
        Run.get_context(allow_offline=False)


def test_in_distributed_training_only_rank_0_writes(exp: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    run = exp.start_logging()
    run.log("x", 1)
    run.complete()
    assert ("Completed", {"x": 1}) == (run.status, run.get_metrics())
    assert [] == list(exp.get_runs())


def test_a_disk_that_fails_costs_a_warning_and_no_exception(
    exp: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is gone under it, and its folder is a file: runs are kept in memory."""
    store = exp._session.store.database
    store.close()
    store.path = tmp_path / "config.json" / "runs.sqlite"
    (tmp_path / "config.json").write_text("x")
    with exp.start_logging(snapshot_directory=None) as run:
        run.log("x", 1)
        run.tag("a", "b")
    assert ("Completed", {"x": 1}) == (run.status, run.get_metrics())
    assert 1 == len([r for r in caplog.records if "kept in memory" in r.message])


def test_what_cannot_be_written_waits_in_memory(exp: Experiment, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk: points stay until it has room again."""
    run = exp.start_logging(snapshot_directory=None)
    database = run._session.store.database
    with database.write() as tx:
        tx.execute("ALTER TABLE metrics RENAME TO hidden")
    run.log("x", 1)
    run.flush()
    with database.write() as tx:
        tx.execute("ALTER TABLE hidden RENAME TO metrics")
    run.flush()
    assert {"x": 1} == run.get_metrics()


def test_huge_and_hostile_tags_are_kept(exp: Experiment) -> None:
    run = exp.start_logging(snapshot_directory=None)
    tags = {"k" * 10_000: "v" * 1_000_000, "'; DROP TABLE runs; --": "\ud800\x00\n", "": "x"}
    with pytest.raises(UserErrorException, match="needs a key"):
        run.set_tags(tags)
    del tags[""]
    run.set_tags(tags)
    assert {"k" * 10_000: "v" * 1_000_000, "'; DROP TABLE runs; --": "?\x00\n"} == run.tags
    assert [run.id] == [r.id for r in exp.get_runs(tags={"'; DROP TABLE runs; --": "?\x00\n"})]


def test_an_event_of_huge_tags_is_cut_to_what_intake_reads(exp: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intake reads a mebibyte; the run keeps its tags whole."""
    exp._session.store.sends = True
    run = exp.start_logging(snapshot_directory=None, tags={f"k{i}": "\x01" * 50_000 for i in range(500)})
    (event,) = exp._session.store.database.read("SELECT event FROM outbox")
    assert len(event[0]) < 1_000_000
    assert run.id == json.loads(event[0])["data"]["RunId"]
    exp._session.store.sends = False


def test_each_status_change_is_one_event_in_order(exp: Experiment) -> None:
    exp._session.store.sends = True
    run = exp.start_logging(snapshot_directory=None, tags={"team": "ranking"})
    run.display_name = "tuned"
    run.complete()
    run.complete()
    run.fail("wrong")
    run.display_name = "wrong"  # a second Failed would take away the first one's message
    run.alert("loss is NaN", "at step 3", level="error")
    run.alert("loss is NaN", "at step 4", level="error")
    exp._session.store.sends = False
    events = [json.loads(e) for (e,) in exp._session.store.database.read("SELECT event FROM outbox ORDER BY seq")]
    assert ["Running", "Running", "Completed", "Failed", "Failed"] == [e["data"]["Status"] for e in events]
    assert [run.id, *["tuned"] * 3, "wrong"] == [e["data"]["DisplayName"] for e in events]
    assert 5 == len({e["id"] for e in events})
    assert [{"team": "ranking"}] * 5 == [e["data"]["Tags"] for e in events]
    assert "wrong" == events[3]["data"]["Message"]
    assert ("loss is NaN: at step 3", "error") == (
        events[4]["data"]["Message"],
        events[4]["data"]["Properties"]["alert.level"],
    )


def test_logged_values_become_rows_of_RunMetrics(exp: Experiment) -> None:
    """What the spool holds is read by the log store as it was logged; NaN and rows of tables too."""
    session = exp._session
    session.store.sends = True
    run = exp.start_logging(snapshot_directory=None)
    run.log("loss", 0.5, step=1)
    run.log("loss", float("nan"), step=2)
    run.log("loss", float("-inf"), step=3)
    run.log("note", "warm")
    run.log_row("table", a=1, b=float("nan"))
    session.store.log(session.recorder._points, send=True)
    session.recorder._points.clear()
    session.store.sends = False
    events = [text.encode() for (text,) in session.store.database.read("SELECT event FROM outbox ORDER BY seq")]
    now = session.store.clock.now()
    store = DuckLogStore.open(None, clock=session.store.clock)
    raw = RawEvents(consumer="events", payloads=events, times_us=[0] * 2, own_time=False, received_us=micros(now))
    assert 2 == store.append([Batch(raw=(raw,))]).receipts[0].accepted
    rows = store.select("SELECT RunId, ExperimentName, Name, Step, Value, Text, Columns FROM RunMetrics").to_pylist()
    assert {(run.id, exp.name)} == {(row["RunId"], row["ExperimentName"]) for row in rows}
    assert [
        ("loss", 1, "0.5", "", "{}"), ("loss", 2, "nan", "", "{}"), ("loss", 3, "-inf", "", "{}"),
        ("note", None, "None", "warm", "{}"), ("table", None, "None", "", '{"a":1,"b":"NaN"}'),
    ] == [(r["Name"], r["Step"], str(r["Value"]), r["Text"], r["Columns"]) for r in rows]  # fmt: skip
    store.close()


def test_a_change_and_its_event_are_one_transaction(exp: Experiment) -> None:
    """Where the event cannot be kept, the status does not change either."""
    run = exp.start_logging(snapshot_directory=None)
    store = exp._session.store
    store.sends = True
    with store.database.write() as tx:
        tx.execute("ALTER TABLE outbox RENAME TO hidden")
    with pytest.raises(sqlite3.Error):
        store.transition(run.id, "Completed")
    assert "Running" == run.status
    store.sends = False


def test_an_unknown_run_is_said_to_be_unknown(ws: Workspace, exp: Experiment) -> None:
    with pytest.raises(ServiceException, match="no run 'nope'"):
        ws.get_run("nope")
    with pytest.raises(ServiceException):
        Run(exp, "nope")


def test_experiments_are_listed_tagged_and_archived(ws: Workspace, exp: Experiment) -> None:
    exp.tag("a", "b")
    Experiment(ws, "other").start_logging(snapshot_directory=None)
    assert ["explore-runs", "other"] == [e.name for e in Experiment.list(ws)]
    exp.archive()
    assert ["other"] == list(ws.experiments)
    assert ["explore-runs"] == [e.name for e in Experiment.list(ws, view_type="ArchivedOnly")]
    assert {"a": "b"} == exp.tags
    assert ws == exp.workspace


def test_event_types_are_the_models() -> None:
    """They stand in the SDK twice so that a training script need not load the model's other values."""
    from tocsin.model import event
    from tocsin.sdk.sending import events

    assert (event.STATUS_TYPE, event.HEARTBEAT_TYPE) == (events.STATUS_TYPE, events.HEARTBEAT_TYPE)


def test_a_server_that_hangs_holds_up_neither_values_nor_heartbeats(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and never answers; what is logged meanwhile is on disk after a second."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("TOCSIN_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        deaf.settimeout(10)
        run = Experiment(Workspace.from_config(ws.folder), "e").start_logging(snapshot_directory=None)
        recorder = run._session.recorder
        with deaf.accept()[0]:  # the sender waits for an answer
            run.log("x", 1)
            found = "SELECT count(*) FROM metrics"
            eventually(lambda: (1,) == run._session.store.database.one(found), within=3)
        recorder.disown(run.id)
    recorder.close()


def test_where_the_clock_is_set_back_a_run_still_ends_after_its_start(exp: Experiment) -> None:
    """Else its end would be the older event, and the run Running for ever."""
    store = exp._session.store
    store.clock = clock = ManualClock(datetime(2026, 1, 2, tzinfo=UTC))
    run = exp.start_logging(snapshot_directory=None)
    clock.advance(-timedelta(hours=2))
    store.beat([run.id])
    run.complete()
    run.fail("too late")
    row = store.get(run.id)
    assert row is not None and row.start_us is not None and row.end_us is not None
    assert ("Failed", 2) == (row.status, row.end_us - row.start_us)


def test_a_workspace_ends_processes_of_its_own_user_alone() -> None:
    """A tocsin of root reads the workspaces of others, too."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        script = identify(process.pid).dump()
        kill_left_over(script, os.getuid() + 1)
        assert process.poll() is None
        kill_left_over(script, os.getuid())
        assert -signal.SIGKILL == process.wait(10)


def test_the_end_of_a_script_waits_for_a_disk_that_fails(exp: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runner would end otherwise, and the run of a script that ended well be Failed: process gone."""
    monkeypatch.setattr(running_script, "RETRY_EVERY", 0.01)
    store = exp._session.store
    run = exp.start_logging(snapshot_directory=None)
    runner = running_script.Runner(exp._session, run._row())
    with store.database.write() as tx:
        tx.execute("ALTER TABLE runs RENAME TO hidden")
    thread = threading.Thread(target=runner._exited, args=(0,))
    thread.start()
    assert "Running" == runner.status()
    with store.database.write() as tx:
        tx.execute("ALTER TABLE hidden RENAME TO runs")
    thread.join(10)
    assert "Completed" == runner.status()
