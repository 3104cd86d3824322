"""Homes: what overrides what, making one, and that only one tocsin runs on each."""

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.servers.eventually import eventually
from tocsin.config.content import packaged
from tocsin.config.project.home import Home, copy_shipped, init_home, open_home, throwaway_home
from tocsin.config.project.instance import HomeBusy
from tocsin.errors import TocsinError


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def put(home: Home, name: str, text: str = "") -> Path:
    path = home.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_empty_home_uses_what_is_packaged(home: Home) -> None:
    assert all(p.is_relative_to(packaged()) for p in home.consumer_files())
    assert [packaged() / "templates"] == home.template_dirs()
    assert "events" in [p.stem for p in home.consumer_files()]


def test_a_consumer_file_replaces_the_packaged_one_of_its_name(home: Home) -> None:
    """The others stay; the suffix does not matter."""
    before = {p.stem for p in home.consumer_files()}
    mine, other = put(home, "consumers/events.yml"), put(home, "consumers/airflow.yaml")
    found = {p.stem: p for p in home.consumer_files()}
    assert before | {"airflow"} == set(found)
    assert (mine, other) == (found["events"], found["airflow"])


def test_rule_and_oncall_files_are_the_projects(home: Home) -> None:
    """What ships is laid beneath them by name (see test_overlay)."""
    assert ([], []) == (home.alert_files(), home.oncall_files())
    mine = put(home, "rules/alerts/mine.yaml")
    assert ([mine], []) == (home.alert_files(), home.oncall_files())


def test_what_ships_can_be_left_out(home: Home) -> None:
    """Consumers and templates, each as a whole."""
    mine = put(home, "consumers/mine.yaml")
    assert [mine] == home.consumer_files(shipped=False)
    assert [] == home.template_dirs(shipped=False)


def test_an_empty_directory_is_no_project(home: Home) -> None:
    """Any file of a project makes it one."""
    put(home, "notes.txt")
    assert home.empty
    put(home, "rules/alerts/mine.yaml")
    assert not home.empty


def test_hidden_files_backups_and_other_suffixes_are_no_content(home: Home) -> None:
    for name in (".hidden.yaml", "rule.yaml~", "#rule.yaml#", "notes.txt", ".mine.yaml.swp"):
        put(home, f"rules/alerts/{name}")
    (home.path / "rules/alerts/directory.yaml").mkdir()
    assert [] == home.alert_files()


def test_the_homes_templates_come_first(home: Home) -> None:
    put(home, "templates/run.txt.j2")
    assert [home.path / "templates", packaged() / "templates"] == home.template_dirs()


def test_paths_are_shown_as_people_know_them(home: Home) -> None:
    assert "rules/alerts/mine.yaml" == home.shown(home.path / "rules/alerts/mine.yaml")
    assert "(packaged) consumers/events.yaml" == home.shown(packaged() / "consumers/events.yaml")
    assert "/elsewhere/x" == home.shown(Path("/elsewhere/x"))


def test_init_writes_little(tmp_path: Path) -> None:
    """Settings, an example, who is notified: what ships stays where an upgrade can mend it."""
    made = init_home(tmp_path / "new" / "home")
    assert ["tocsin.yaml", ".gitignore", "rules/alerts/example.yaml", "rules/oncall/team.yaml"] == [
        str(p) for p in made
    ]
    assert {"data/", "tokens.yaml"} <= set((tmp_path / "new/home/.gitignore").read_text().splitlines())


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    """A second `init` changes nothing, and does not bring back a file that was renamed."""
    home = Home(tmp_path)
    init_home(tmp_path)
    put(home, "tocsin.yaml", "http: {port: 1}")
    (tmp_path / "rules/alerts/example.yaml").rename(tmp_path / "rules/alerts/mine.yaml")
    assert [] == init_home(tmp_path)
    assert "http: {port: 1}" == (tmp_path / "tocsin.yaml").read_text()
    assert ["mine.yaml"] == [p.name for p in home.alert_files()]


def test_copy_brings_a_shipped_file_once(home: Home) -> None:
    """Also by the name that `rules list` shows; never over a file that is there."""
    assert Path("rules/alerts/too-slow.yaml") == copy_shipped(home, "(packaged) rules/alerts/too-slow.yaml")
    shipped = packaged() / "rules/alerts/too-slow.yaml"
    assert shipped.read_bytes() == (home.path / "rules/alerts/too-slow.yaml").read_bytes()
    with pytest.raises(TocsinError, match="is there already"):
        copy_shipped(home, "rules/alerts/too-slow.yaml")
    for wrong in ("rules/alerts/too-slw.yaml", "../rules/alerts/too-slow.yaml", "/etc/passwd", "pyproject.toml"):
        with pytest.raises(TocsinError, match="nothing ships as"):
            copy_shipped(home, wrong)


def test_init_on_a_file_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TocsinError, match="cannot be made a project directory"):
        init_home(tmp_path / "file")


def test_a_missing_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TocsinError, match=r"make one with: tocsin init .*/nowhere"):
        open_home(tmp_path / "nowhere")
    assert tmp_path == open_home(tmp_path).path


def test_a_throwaway_home_is_gone_afterwards() -> None:
    with throwaway_home() as home:
        put(home, "data/events.duckdb")
        assert home.path.is_dir()
    assert not home.path.exists()


# -- one tocsin a project directory -------------------------------------------------------------------------------------------------


def test_a_home_is_held_by_one(home: Home) -> None:
    with home.lock() as lock:
        assert home.held()
        assert home.running() is None  # it does not answer yet
        lock.announce("http://127.0.0.1:8700/")
        found = home.running()
        assert found is not None
        assert ("http://127.0.0.1:8700", os.getpid(), lock.token) == (found.url, found.pid, found.token)
        with pytest.raises(HomeBusy, match=r"http://127.0.0.1:8700 \(process \d+\)") as caught, home.lock():
            pass
        assert found == caught.value.running
    assert not home.held()
    assert home.running() is None


def test_the_token_of_an_instance_is_for_its_owner_only(home: Home) -> None:
    """Nobody else may read it; it does not show in repr; the next instance has another."""
    with home.lock() as first:
        first.announce("http://x")
        assert 0o600 == (home.data / "running.json").stat().st_mode & 0o777
        assert first.token not in repr(home.running())
    with home.lock() as second:
        assert first.token != second.token


def test_asking_whether_a_home_is_held_makes_nothing(home: Home) -> None:
    assert not home.held()
    assert not home.data.exists()


def _hold(path: Path, ready: Connection) -> None:
    with Home(path).lock() as lock:
        lock.announce("http://127.0.0.1:1")
        ready.send("held")
        signal.pause()


def test_a_killed_instance_lets_go(home: Home) -> None:
    """kill -9 leaves running.json behind; nobody believes it, and the project directory can be taken."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(home.path, there))
    process.start()
    assert here.poll(20)
    assert home.running() is not None
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (home.data / "running.json").exists()
    assert home.running() is None
    with home.lock():
        assert not (home.data / "running.json").exists()
    assert eventually(lambda: not home.held())
