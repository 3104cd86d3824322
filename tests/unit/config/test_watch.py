"""Changed files are seen once, when they stand still, whatever way they changed."""

import os
from pathlib import Path

import pytest

from tocsin.config.project.home import Home
from tocsin.config.project.watch import ChangeSet, Watch, mark_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name in ("consumers", "rules/alerts", "rules/oncall", "templates", "tables"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "rules/alerts/a.yaml").write_text("rules: []")
    return Home(tmp_path)


def seen(watch: Watch) -> ChangeSet:
    """What two polls notify: the second finds that nothing moved meanwhile."""
    first = watch.poll()
    assert not first
    return watch.poll()


def test_nothing_changed_notifies_nothing(home: Home) -> None:
    watch = Watch(home)
    assert not seen(watch)


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("consumers/mine.yaml", "consumers"),
        ("rules/alerts/b.yaml", "alerts"),
        ("rules/oncall/mine.yaml", "oncall"),
        ("templates/run.txt.j2", "templates"),
        ("templates/mail.css", "templates"),
        ("tables/owners.csv", "tables"),
        ("tocsin.yaml", "settings"),
        ("tokens.yaml", "tokens"),
    ],
)
def test_each_kind_of_file_is_watched(home: Home, name: str, area: str) -> None:
    """The mark is another after each change of what is read again; settings wait for the next start."""
    watch = Watch(home, home.path / "tokens.yaml")
    before = watch.mark
    (home.path / name).write_text("x")
    changes = seen(watch)
    assert (area in ("settings", "tokens")) == (before == watch.mark)
    assert watch.mark == mark_of(home)
    assert home.path / name in getattr(changes, area)
    assert not seen(watch)


def test_a_file_that_goes_brings_the_packaged_ones_back(home: Home) -> None:
    watch = Watch(home)
    (home.path / "rules/alerts/a.yaml").unlink()
    changes = seen(watch)
    assert home.path / "rules/alerts/a.yaml" in changes.alerts
    assert not changes.consumers


def test_a_file_still_being_written_is_waited_for(home: Home) -> None:
    """An editor that empties a file first never causes a reload of the empty one."""
    watch = Watch(home)
    path = home.path / "rules/alerts/a.yaml"
    for text in ("", "rules:", "rules: [1]", "rules: [1, 2]"):
        path.write_text(text)
        assert not watch.poll()
    assert frozenset({path}) == watch.poll().alerts


def test_a_copy_that_keeps_size_and_mtime_is_seen(home: Home) -> None:
    """`cp -p` and rsync keep the mtime; the inode or the ctime differ."""
    path = home.path / "rules/alerts/a.yaml"
    before = path.stat()
    watch = Watch(home)
    other = home.path / "other"
    other.write_text("rules: {}")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert before.st_mtime_ns == path.stat().st_mtime_ns
    assert frozenset({path}) == seen(watch).alerts


def test_a_symlinked_directory_swapped_as_kubernetes_does_is_seen(tmp_path: Path) -> None:
    """A ConfigMap's files are links through `..data`, which is replaced as a whole."""
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.yaml").write_text(f"rules: [{version}]")
    (tmp_path / "rules/alerts").mkdir(parents=True)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "rules/alerts/a.yaml").symlink_to("../../..data/a.yaml")
    watch = Watch(Home(tmp_path))
    (tmp_path / "new").symlink_to("..2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert frozenset({tmp_path / "rules/alerts/a.yaml"}) == seen(watch).alerts


def test_a_change_undone_before_it_was_notified_notifies_nothing(home: Home) -> None:
    watch = Watch(home)
    path = home.path / "consumers/mine.yaml"
    path.write_text("x")
    assert not watch.poll()
    path.unlink()
    assert not watch.poll()
    assert not watch.poll()
