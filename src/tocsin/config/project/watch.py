"""Says which files of a project directory changed. Polled: works on network mounts, in containers and with Kubernetes' symlinks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from tocsin.config.content import files_in
from tocsin.config.load import FILE
from tocsin.config.project.home import Home

Mark = tuple[int, int, int, int]
"""What notifies that a file is another: mtime and ctime in ns, size, inode. ctime sees a copy that keeps its mtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Files that came, went or changed since the last one. False where there are none."""

    consumers: frozenset[Path] = frozenset()
    alerts: frozenset[Path] = frozenset()
    oncall: frozenset[Path] = frozenset()
    templates: frozenset[Path] = frozenset()
    tables: frozenset[Path] = frozenset()
    calendars: frozenset[Path] = frozenset()
    settings: frozenset[Path] = frozenset()
    tokens: frozenset[Path] = frozenset()

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


class Watch:
    """Watches one home. ``poll`` from one thread, each second or so."""

    def __init__(self, home: Home, tokens_file: Path | None = None) -> None:
        """What is there now counts as known."""
        self._home, self._tokens = home, tokens_file
        self._known = self._stamps()
        self._seen = self._known

    @property
    def mark(self) -> str:
        """``mark_of`` the home as it is known."""
        return _digest(self._known)

    def poll(self) -> ChangeSet:
        """What changed since the last non-empty answer, once it has stood still from one poll to the next.

        An editor that empties a file and then writes it, or a copy of many files, is seen when it is done.
        """
        now = self._stamps()
        settled, self._seen = now == self._seen, now
        if not settled or now == self._known:
            return ChangeSet()
        changed: dict[str, frozenset[Path]] = {}
        for area, marks in now.items():
            before = self._known[area]
            names = {p for p in (*marks, *before) if marks.get(p) != before.get(p)}
            changed[area] = frozenset(names)
        self._known = now
        return ChangeSet(**changed)

    def _stamps(self) -> Mapping[str, Mapping[Path, Mark]]:
        return {
            **_content(self._home),
            "settings": _marks([self._home.path / FILE]),
            "tokens": _marks([self._tokens] if self._tokens is not None else []),
        }


def mark_of(home: Home) -> str:
    """A digest that is another once a file of ``home`` changed that a running tocsin reads again."""
    return _digest(_content(home))


def _content(home: Home) -> Mapping[str, Mapping[Path, Mark]]:
    templates = [p for d in home.template_dirs() for p in files_in(d, (".j2", ".css"))]
    return {
        "consumers": _marks(home.consumer_files()),
        "alerts": _marks(home.alert_files()),
        "oncall": _marks(home.oncall_files()),
        "templates": _marks(templates),
        "tables": _marks(home.table_files()),
        "calendars": _marks(home.calendar_files()),
    }


def _digest(found: Mapping[str, Mapping[Path, Mark]]) -> str:
    content = [
        (area, sorted((path.name, mark) for path, mark in marks.items()))
        for area, marks in sorted(found.items())
        if area not in ("settings", "tokens")
    ]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _marks(paths: list[Path]) -> Mapping[Path, Mark]:
    out: dict[Path, Mark] = {}
    for path in paths:
        try:
            s = path.stat()
        except OSError:
            continue  # gone between listing and looking: not there
        out[path] = (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino)
    return out
