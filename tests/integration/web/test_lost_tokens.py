"""Once tokens were in force no loss of their file opens the door: not while tocsin runs, and not at the next start."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.commands import PROGRAM, Here
from tests.servers.eventually import eventually

WORD = "a-token-for-everything"
GOOD = f"tokens: [{{name: all, token: {WORD}, roles: [admin]}}]\n"
BEARER = {"Authorization": f"Bearer {WORD}"}


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (Path.unlink, "is gone"),
    "an empty list": (lambda path: path.write_text("tokens: []\n"), "holds no token"),
    "half written": (lambda path: path.write_text(GOOD[:30]), "not valid YAML"),
    "a directory": (_directory, "is no file"),
}


def restore(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    fresh = path.with_name("fresh")
    fresh.write_text(GOOD)
    os.replace(fresh, path)


def metric(client: httpx.Client, name: str) -> float:
    text = client.get("/metrics", headers=BEARER).text
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tocsin]:
    """A tocsin on loopback whose tokens are in force."""
    home = tmp_path_factory.mktemp("locked") / "home"
    home.mkdir()
    tocsin = Here(program=PROGRAM, home=home)
    tocsin.write("tocsin.yaml", "admin_email: [admin@example.org]")
    tocsin.write("tokens.yaml", GOOD)
    yield tocsin.start()
    tocsin.kill()


@pytest.fixture(scope="module")
def client(locked: Tocsin) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=30, trust_env=False) as made:
        yield made


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_tokens_file_keeps_the_door_locked(locked: Tocsin, client: httpx.Client, loss: str) -> None:
    """The last good set stays in force; log, metric, admin mail and /readyz say so; the file's return ends it."""
    lose, said = LOSSES[loss]
    path = locked.home / "tokens.yaml"
    assert eventually(lambda: 1 == metric(client, "tocsin_config_last_reload_successful"), 20, every=0.1)
    mails = len(client.get("/api/v1/notifications?address=admin@example.org", headers=BEARER).json()["notifications"])
    begun = metric(client, "tocsin_config_last_reload_success_timestamp_seconds")
    lose(path)
    try:
        eventually(lambda: 0 == metric(client, "tocsin_config_last_reload_successful"), 20, every=0.1)
        assert [401, 401, 401] == [client.get(p).status_code for p in ("/api/v1/runs", "/metrics", "/notifications")]
        assert 401 == client.post("/intake/events", json={}).status_code
        assert 200 == client.get("/api/v1/runs", headers=BEARER).status_code
        (problem,) = client.get("/readyz", headers=BEARER).json()["files"]
        assert problem.startswith("tokens.yaml") and said in problem
        assert begun == metric(client, "tocsin_config_last_reload_success_timestamp_seconds")
        assert said in locked.said(5)

        def notified() -> bool:
            found = client.get("/api/v1/notifications?address=admin@example.org", headers=BEARER).json()[
                "notifications"
            ]
            return len(found) == mails + 1

        assert eventually(notified, 20, every=0.1)
    finally:
        restore(path)
    assert eventually(lambda: 1 == metric(client, "tocsin_config_last_reload_successful"), 20, every=0.1)
    assert metric(client, "tocsin_config_last_reload_success_timestamp_seconds") > begun
    assert "ok" == client.get("/readyz", headers=BEARER).json()["files"]


def test_a_start_without_the_tokens_of_before_is_refused(tmp_path: Path) -> None:
    """A volume that is not mounted must not open the door. `tokens: []`, written by a person, does."""
    tocsin = Here(program=PROGRAM, home=tmp_path)
    path = tocsin.write("tokens.yaml", GOOD)
    tocsin.start().stop()
    path.unlink()
    tocsin.begin()
    try:
        assert 1 == tocsin.ended(60)
        assert "is gone" in tocsin.said() and "tokens: []" in tocsin.said() and "tocsin tokens new" in tocsin.said()
        path.write_text("")
        checked = tocsin.run("check")
        assert 1 == checked.returncode and "holds no token" in checked.stdout
        path.write_text("tokens: []\n")
        assert 0 == tocsin.run("check").returncode
        assert 200 == tocsin.start().get("/api/v1/runs").status
        path.unlink()
        assert 0 == tocsin.run("check").returncode  # it was opened on purpose
    finally:
        tocsin.kill()


def _answered(tocsin: Tocsin, word: str) -> int:
    """The exit code of `tocsin tokens new` at a terminal where a person answers ``word``."""
    ours, theirs = os.openpty()
    os.write(ours, f"{word}\n".encode())
    try:
        command = [str(PROGRAM), "tokens", "new", "me", "--home", str(tocsin.home)]
        return subprocess.run(command, stdin=theirs, capture_output=True, timeout=60, check=False).returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_the_first_token_locks_a_running_project_and_its_loss_does_not_open_it(tmp_path: Path) -> None:
    tocsin = Here(program=PROGRAM, home=tmp_path).start()
    try:
        asked = tocsin.run("tokens", "new", "me")
        assert (2, "") == (asked.returncode, asked.stdout)
        assert "--yes" in asked.stderr and not (tmp_path / "tokens.yaml").exists()
        assert (1, False) == (_answered(tocsin, "n"), (tmp_path / "tokens.yaml").exists())
        made = tocsin.run("tokens", "new", "me", "--yes")
        assert 0 == made.returncode, made.stderr
        assert eventually(lambda: 401 == tocsin.get("/api/v1/runs").status, 20, every=0.1)
        second = tocsin.run("tokens", "new", "you")  # the door is locked already: nothing to ask
        assert 0 == second.returncode, second.stderr
        (tmp_path / "tokens.yaml").unlink()
        tocsin.stop()
        tocsin.begin()
        assert 1 == tocsin.ended(60)
    finally:
        tocsin.kill()
