"""Files and snapshots: hostile names, links and folders lead nowhere."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from tocsin import Experiment
from tocsin.sdk.errors import ServiceException, SnapshotException, UserErrorException
from tocsin.sdk.running import snapshot


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "", ".", "..", "a\\..\\..\\x", "C:/x", "a\0b", "x" * 300, "a/" * 2000 + "b"],
)
def test_names_that_lead_out_are_refused(exp: Experiment, tmp_path: Path, name: str) -> None:
    run = exp.start_logging(snapshot_directory=None)
    (tmp_path / "data").write_text("x")
    with pytest.raises(UserErrorException):
        run.upload_file(name, tmp_path / "data")
    with pytest.raises(UserErrorException):
        run.download_file(name)
    assert [] == run.get_file_names()


def test_a_link_among_the_files_leads_nowhere(exp: Experiment, tmp_path: Path) -> None:
    """A script may write links below ./outputs."""
    run = exp.start_logging(snapshot_directory=None)
    run.upload_file("outputs/a.txt", io.BytesIO(b"a"))
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    (run._files / "outputs" / "link").symlink_to(secret)
    (run._files / "outputs" / "key").symlink_to(secret / "key")
    assert ["outputs/a.txt"] == run.get_file_names()
    for name in ("outputs/link/key", "outputs/key"):
        with pytest.raises(UserErrorException, match="leads out"):
            run.download_file(name)
    with pytest.raises(UserErrorException, match="leads out"):
        run.upload_file("outputs/link/new", io.StringIO("x"))
    assert ["key"] == os.listdir(secret)


def test_files_go_in_and_come_out(exp: Experiment, tmp_path: Path) -> None:
    run = exp.start_logging(snapshot_directory=None)
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "w.bin").write_bytes(b"\x00\x01")
    (folder / "out").symlink_to("/etc")
    (folder / ".tocsin").mkdir()
    (folder / ".tocsin" / "runs.sqlite").touch()
    run.upload_folder("model", folder)
    run.upload_files(["logs/a.log", "ünïcode/ß.txt"], [folder / "deep" / "w.bin"] * 2)
    assert ["logs/a.log", "model/deep/w.bin", "ünïcode/ß.txt"] == run.get_file_names()
    run.download_files(prefix="model/", output_directory=tmp_path / "got")
    assert b"\x00\x01" == (tmp_path / "got/model/deep/w.bin").read_bytes()
    run.download_file("logs/a.log", f"{tmp_path}/there/")
    assert (tmp_path / "there" / "a.log").is_file()
    assert [str(tmp_path / "all/logs/a.log")] == run.get_all_logs(tmp_path / "all")
    with pytest.raises(ServiceException, match=r"has no file 'nope'; it has logs/a\.log"):
        run.download_file("nope")
    with pytest.raises(UserErrorException, match="folder of the run"):
        run.upload_file("model", folder / "deep" / "w.bin")
    with pytest.raises(UserErrorException, match="is a file of the run"):
        run.upload_file("logs/a.log/b", folder / "deep" / "w.bin")


def source(root: Path) -> Path:
    folder = root / "source"
    (folder / "pkg").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (folder / "pkg" / "m.py").write_text("x = 1\n")
    (folder / "data.bin").write_bytes(b"0" * 100)
    (folder / ".amlignore").write_text("*.bin\nsecret/\n")
    (folder / ".gitignore").write_text("train.py\n")
    (folder / "secret").mkdir()
    (folder / "secret" / "key").write_text("key")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("")
    (folder / "inside").symlink_to("pkg/m.py")
    (folder / "outside").symlink_to("../elsewhere")
    (folder / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo")
    return folder


def test_a_snapshot_holds_files_and_links_that_stay_inside(tmp_path: Path) -> None:
    """By .amlignore where there is one, never .git; no fifo, no link that leads out."""
    folder = source(tmp_path)
    found = snapshot.listing(folder, unlimited=False)
    assert (".amlignore", ".gitignore", "pkg/m.py", "train.py") == found.files
    assert (("inside", "pkg/m.py"),) == found.links
    id = snapshot.take(folder, tmp_path / "snapshots", found)
    assert id == snapshot.take(folder, tmp_path / "snapshots", found)
    assert [id] == os.listdir(tmp_path / "snapshots")
    snapshot.restore(tmp_path / "snapshots", id, tmp_path / "restored")
    assert "x = 1\n" == (tmp_path / "restored" / "inside").read_text()
    (folder / "train.py").write_text("print(2)\n")
    assert id != snapshot.take(folder, tmp_path / "snapshots", snapshot.listing(folder, unlimited=False))


@pytest.mark.parametrize("id", ["../snapshots", "", "/etc", "nope"])
def test_a_snapshot_is_asked_for_by_its_id_alone(tmp_path: Path, id: str) -> None:
    with pytest.raises(SnapshotException):
        snapshot.restore(tmp_path, id, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_a_folder_past_the_limits_is_not_copied_beside_training(
    exp: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody means a home directory; counting ends at the limit."""
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "sparse").open("wb") as file:
        file.truncate(snapshot.MOST_BYTES + 1)
    run = exp.start_logging(snapshot_directory=folder)
    with pytest.raises(ServiceException, match="has no snapshot"):
        run.get_snapshot_id()
    assert "amlignore" in caplog.text


def test_the_snapshot_of_an_interactive_run_is_restored(exp: Experiment, tmp_path: Path) -> None:
    folder = source(tmp_path)
    run = exp.start_logging(snapshot_directory=folder)
    assert run.get_snapshot_id()
    path = run.restore_snapshot(path=str(tmp_path / "restored"))
    assert "print(1)\n" == (Path(path) / "train.py").read_text()


def test_an_image_is_kept_among_the_files(exp: Experiment, tmp_path: Path) -> None:
    (tmp_path / "plot.png").write_bytes(b"png")
    run = exp.start_logging(snapshot_directory=None)
    run.log_image("../a plot", path=str(tmp_path / "plot.png"))
    assert [run.get_metrics()["../a plot"]] == run.get_file_names()
