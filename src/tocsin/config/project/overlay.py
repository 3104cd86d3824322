"""What a project directory's files do to the shipped ones: they add, and they override by name.

An entry (a rule, a receiver, a person …) of a project replaces the shipped one of the same name. An entry that says only
which keys change (``partial``) is laid over the shipped one, so that ``{name: run-failed, severity: critical}`` keeps the
rest, and an upgrade still brings its fixes. ``whole`` keys (the route) are the project's as soon as one of its files has
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tocsin.config.yaml.document import Document, KeyPath, suggest
from tocsin.errors import Problem

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """How one kind of file is laid over the shipped ones.

    ``lists`` are keys whose entries have a ``name``, ``mappings`` keys whose entries are named by their key, ``whole``
    keys that are replaced as a whole. ``partial`` says whether an entry of a list only changes keys of a shipped one.
    """

    lists: Sequence[str]
    mappings: Sequence[str] = ()
    whole: Sequence[str] = ()
    partial: Callable[[Entry], bool] = lambda entry: False
    wanted: str = ""
    """What a partial entry lacks, for one that no shipped entry has the name of."""

    def apply(self, shipped: Sequence[Document], own: Sequence[Document], problems: list[Problem]) -> list[Document]:
        """The documents in force, shipped ones first; what is wrong is added to ``problems``."""
        for key in self.lists:
            shipped, own = self._list(key, shipped, own, problems)
        for key in self.mappings:
            taken = {name for document in own for name in _mapping(document, key)}
            shipped = [_without(d, key, [n for n in _mapping(d, key) if n in taken]) for d in shipped]
        for key in self.whole:
            if any(key in _top(document) for document in own):
                shipped = [_without(d, "", [key]) if key in _top(d) else d for d in shipped]
        return [*shipped, *own]

    def _list(
        self, key: str, shipped: Sequence[Document], own: Sequence[Document], problems: list[Problem]
    ) -> tuple[Sequence[Document], Sequence[Document]]:
        known = {entry["name"]: entry for document in shipped for entry in _named(document, key).values()}
        taken: set[str] = set()
        out = []
        for document in own:
            changed: dict[int, Entry | None] = {}
            for index, entry in _named(document, key).items():
                name = entry["name"]
                if known and self.partial(entry):
                    if name in known:
                        changed[index] = {**known[name], **entry}
                    else:
                        changed[index] = None
                        problems.append(self._nothing(document, (key, index, "name"), name, known))
                taken.add(name)
            out.append(_changed(document, key, changed))
        left = [
            _changed(d, key, {i: None for i, entry in _named(d, key).items() if entry["name"] in taken})
            for d in shipped
        ]
        return left, out

    def _nothing(self, document: Document, path: KeyPath, name: str, known: Mapping[str, Entry]) -> Problem:
        message = f"'{name}' has {self.wanted}, and nothing that ships has this name"
        return document.problem(path, message, suggest(name, known))


RULES = Overlay(
    lists=("rules",),
    partial=lambda entry: not any(key in entry for key in ("when", "query", "sql")),
    wanted="neither when, query nor sql",
)
ONCALL = Overlay(
    lists=("people", "receivers", "schedules", "escalations", "time_intervals"),
    mappings=("calendars",),
    whole=("route",),
)


def lay_file(shipped: Document, own: Document, needs: str) -> Document:
    """One file that is one thing (a consumer): without the key ``needs`` it only changes keys of the shipped one."""
    if not isinstance(own.data, Mapping) or needs in own.data or not isinstance(shipped.data, Mapping):
        return own
    return replace(own, data={**shipped.data, **own.data}, lines={**shipped.lines, **own.lines})


def _top(document: Document) -> Mapping[str, Any]:
    return document.data if isinstance(document.data, Mapping) else {}


def _named(document: Document, key: str) -> dict[int, Entry]:
    entries = _top(document).get(key)
    if not isinstance(entries, list):
        return {}
    return {i: e for i, e in enumerate(entries) if isinstance(e, Mapping) and isinstance(e.get("name"), str)}


def _mapping(document: Document, key: str) -> Mapping[str, Any]:
    found = _top(document).get(key)
    return found if isinstance(found, Mapping) else {}


def _without(document: Document, key: str, names: Sequence[str]) -> Document:
    if not names:
        return document
    top = dict(_top(document))
    holder = {k: v for k, v in (top[key] if key else top).items() if k not in names}
    return replace(document, data={**top, key: holder} if key else holder)


def _changed(document: Document, key: str, changed: Mapping[int, Entry | None]) -> Document:
    """``document`` with entries of the list ``key`` replaced, or left out (None); lines follow their entries."""
    if not changed:
        return document
    entries: list[Any] = []
    moved: dict[int, int] = {}
    for index, entry in enumerate(document.data[key]):
        kept = changed.get(index, entry)
        if index in changed and kept is None:
            continue
        moved[index] = len(entries)
        entries.append(kept)
    lines: dict[KeyPath, int] = {}
    for path, line in document.lines.items():
        if len(path) > 1 and path[0] == key and isinstance(path[1], int):
            if path[1] in moved:
                lines[(key, moved[path[1]], *path[2:])] = line
        else:
            lines[path] = line
    return replace(document, data={**document.data, key: entries}, lines=lines)
