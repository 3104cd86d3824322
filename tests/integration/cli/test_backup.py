"""tocsin backup while events flow, and restore: the pair belongs together, nothing is notified a second time."""

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.harness import RUN_FAILED, Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.integration.lived import event
from tests.servers.eventually import eventually


def failed(number: int) -> bytes:
    return json.dumps(event(str(number % 25), RunId=f"r{number}", Status="Failed") | {"id": f"e{number}"}).encode()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    (made / "rules" / "alerts").mkdir(parents=True)
    (made / "rules" / "alerts" / "ours.yaml").write_text(RUN_FAILED)
    return made


@pytest.fixture
def tocsin(home: Path) -> Iterator[Tocsin]:
    made = Here(program=PROGRAM, home=home).start()
    yield made
    made.kill()


def test_a_backup_made_under_load_comes_up_and_goes_on(tocsin: Tocsin, home: Path, tmp_path: Path) -> None:
    """Events come all the while. The copy has what was committed before it, its stores pair, and it takes events."""
    stop = threading.Event()

    def pour() -> None:
        client = Here(program=PROGRAM, home=home, port=tocsin.port)
        number = 0
        while not stop.is_set():
            assert 202 == client.send(failed(number)).status
            number += 1

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        eventually(lambda: tocsin.count("RunStatusChanged") >= 20, within=30)
        done = tocsin.run("backup", str(tmp_path / "copy"), "--json")
    finally:
        stop.set()
        pouring.join()
    assert 0 == done.returncode, done.stderr
    made = json.loads(done.stdout)
    assert made["CommitSeq"] >= 1
    tocsin.kill()
    shutil.rmtree(home / "data")
    back = tocsin.run("restore", str(tmp_path / "copy"))
    assert 0 == back.returncode, back.stderr
    tocsin.start()
    assert made["CommitSeq"] == tocsin.query("RunStatusChanged | summarize n = max(CommitSeq)")[0]["n"]
    assert 202 == tocsin.send(failed(99_999)).status
    tocsin.idle()
    assert "r99999" in tocsin.notified()


def test_what_was_notified_before_the_loss_is_not_notified_again(tocsin: Tocsin, home: Path, tmp_path: Path) -> None:
    """The backup knows nothing of r2, whose event comes again, as Kafka's do; r3 happened after the loss."""
    assert 202 == tocsin.send(failed(1)).status
    tocsin.idle()
    assert 0 == tocsin.run("backup", str(tmp_path / "copy")).returncode
    second = failed(2)
    assert 202 == tocsin.send(second).status
    tocsin.idle()
    assert ["r1", "r2"] == sorted(tocsin.notified())
    tocsin.kill()
    shutil.rmtree(home / "data")
    lost = datetime.now(UTC)
    back = tocsin.run("restore", str(tmp_path / "copy"), "--notified-until", lost.isoformat())
    assert 0 == back.returncode, back.stderr
    assert "0\n" == back.stdout
    tocsin.start()
    third = event("3", RunId="r3", Status="Failed") | {"time": (lost + timedelta(seconds=1)).isoformat()}
    assert 202 == tocsin.send(second).status
    assert 202 == tocsin.send(json.dumps(third).encode()).status
    tocsin.idle()
    assert ["r1", "r3"] == sorted(tocsin.notified())
    assert ["r2"] == tocsin.expired()


def test_what_waited_in_the_backup_is_expired_and_counted(tocsin: Tocsin, home: Path, tmp_path: Path) -> None:
    """A message that waited for its mail server when the backup was made left after it."""
    tocsin.stop()
    tocsin.write(
        "tocsin.yaml", "smtp: {host: 127.0.0.1, port: 9, sender: tocsin@example.org}\nadmin_email: [ops@example.org]\n"
    )
    tocsin.start()
    assert 202 == tocsin.send(failed(1)).status
    eventually(lambda: tocsin.metrics()["tocsin_notify_outbox_mails"] == 1, within=30)
    tocsin.kill()
    assert 0 == tocsin.run("backup", str(tmp_path / "copy")).returncode
    shutil.rmtree(home / "data")
    back = tocsin.run("restore", str(tmp_path / "copy"), "--notified-until", "0s")
    assert (0, "1\n") == (back.returncode, back.stdout)
    tocsin.start()
    assert ["dropped"] == [mail["State"] for mail in tocsin.get("/api/v1/notifications").body["notifications"]]


def test_a_restore_never_overwrites_and_a_backup_neither(tocsin: Tocsin, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert 0 == tocsin.run("backup", str(copy)).returncode
    again = tocsin.run("backup", str(copy))
    assert (1, True) == (again.returncode, "is not empty" in again.stderr)
    nowhere = tocsin.run("backup", "/proc/nowhere")
    assert 1 == nowhere.returncode and "/proc/nowhere cannot be made" in nowhere.stderr
    running = tocsin.run("restore", str(copy))
    assert (1, True) == (running.returncode, "stop it first" in running.stderr)
    tocsin.stop()
    there = tocsin.run("restore", str(copy))
    assert (1, True) == (there.returncode, "exists; move it away first" in there.stderr)
    nothing = tocsin.run("restore", str(tmp_path))
    assert (1, True) == (nothing.returncode, "holds no whole backup" in nothing.stderr)


def test_only_a_command_on_the_machine_makes_a_backup(tocsin: Tocsin, tmp_path: Path) -> None:
    """A directory of the server is named: a client of the API may not."""
    answer = tocsin._ask("POST", "/api/v1/backup", json={"directory": str(tmp_path / "copy")})
    assert 403 == answer.status
    assert not (tmp_path / "copy").exists()
