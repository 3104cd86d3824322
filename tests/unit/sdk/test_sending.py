"""What waits on disk, and who sends it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from tests.conftest import forget_workspaces
from tests.servers.eventually import eventually
from tests.servers.recording import RecordingServer, Said
from tocsin import Experiment, Workspace
from tocsin.sdk.sending.endpoint import Endpoint
from tocsin.sdk.sending.spool import SCHEMA, Drained, Sender
from tocsin.sdk.sending.spool import put as put_event
from tocsin.sdk.storage.database import Database


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_keep_others_from_sending(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was forked while its parent sends, and lives on, holds no lock of the senders."""
    monkeypatch.setenv("TOCSIN_URL", "http://127.0.0.1:9")
    session, lock = Workspace.from_config(ws.folder)._session, ws.folder / "lock"
    sender, other = (Sender(session.store.database, Endpoint(url="http://127.0.0.1:9"), lock) for _ in "ab")
    ours, childs = os.pipe()
    with sender._alone() as mine:
        assert mine
        with other._alone() as too:
            assert not too
        if (pid := os.fork()) == 0:
            os.close(childs)
            os.read(ours, 1)
            os._exit(0)
    os.close(ours)
    with other._alone() as mine:
        assert mine
    os.close(childs)
    os.waitpid(pid, 0)


def test_what_waits_goes_at_once_to_a_tocsin_that_has_moved(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started again on another port: `tocsin run sync` said that it had no time left. Away there too, it says so."""
    monkeypatch.setenv("TOCSIN_URL", "")  # the workspace's own sender sends nothing
    database = Database(ws.folder / "spool.sqlite", SCHEMA)
    with database.write() as tx:
        put_event(tx, "r", 1, "{}")
    gone, moved = Endpoint(url="http://127.0.0.1:9", named=True), Endpoint(url="http://127.0.0.1:19", named=True)
    sender = Sender(database, gone, ws.folder / "lock", find=lambda: moved)
    assert (Drained.AWAY, moved) == (sender.drain(60), sender.endpoint)
    with RecordingServer(lambda _, __: Said(status=202)) as far:
        again = Sender(database, gone, ws.folder / "lock", find=lambda: Endpoint(url=far.url))
        assert (Drained.EMPTY, 1) == (again.drain(60), len(far.asked))


def test_a_test_finds_no_runs_of_another_on_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in a workspace of this process went to whatever tocsin the variables of a later test named."""
    names = ("tocsin-recorder", "tocsin-sender")

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name in names]

    before = set(threads())
    with RecordingServer(lambda _, __: Said(status=202)) as later:
        (tmp_path / "home" / "data").mkdir(parents=True)
        (tmp_path / "home" / "data" / "running.json").write_text(json.dumps({"url": later.url}))
        for forgets in (True, False):
            monkeypatch.setenv("TOCSIN_URL", "http://127.0.0.1:9")
            folder = tmp_path / f"lab-{forgets}"
            Experiment(Workspace.create("lab", path=folder), "e").start_logging(snapshot_directory=None).complete()
            mine = set(threads()) - before
            assert {*names} == {thread.name for thread in mine}
            if forgets:
                forget_workspaces()
            monkeypatch.delenv("TOCSIN_URL")
            monkeypatch.setenv("TOCSIN_HOME", str(tmp_path / "home"))
            if forgets:
                for thread in mine:
                    thread.join(10)
                assert not any(thread.is_alive() for thread in mine)
                assert [] == later.asked
            else:  # what would be if it did not
                eventually(lambda: later.asked)
            monkeypatch.delenv("TOCSIN_HOME")
