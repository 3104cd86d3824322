"""rules/oncall/*.yaml from disk: first as they are written, then, with what the rules carry, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tocsin.config.calendars.maintenance import Announced
from tocsin.config.calendars.named import Declared
from tocsin.config.content import packaged
from tocsin.config.project.home import SHIPPED
from tocsin.config.project.overlay import ONCALL
from tocsin.config.yaml.document import Document, load_file, parse, parse_known
from tocsin.errors import ConfigurationError, Problem
from tocsin.notify.routing.oncall_file import OnCallFile


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCallFiles:
    """On-call files as they are written: rules need their calendars before anybody knows what alerts carry."""

    files: tuple[tuple[Document, OnCallFile], ...] = ()

    @property
    def calendars(self) -> Mapping[str, Declared]:
        """Calendars by name; of two with one name the first."""
        found: dict[str, Declared] = {}
        for document, file in self.files:
            for name, model in file.calendars.items():
                found.setdefault(name, Declared(model=model, document=document, path=("calendars", name)))
        return found

    @property
    def maintenance(self) -> tuple[Announced, ...]:
        """Times in which work is known to stand still."""
        return tuple(
            Announced(model=model, document=document, path=("maintenance", i))
            for document, file in self.files
            for i, model in enumerate(file.maintenance)
        )


def read_oncall_files(
    paths: Iterable[Path],
    root: Path | None = None,
    shipped: Iterable[Path] = (),
    unknown: list[Problem] | None = None,
) -> OnCallFiles:
    """Parse all files, laid over ``shipped`` (config.project.overlay). Problems name them relative to ``root``.

    Raises ConfigurationError with every fault of every file that can be found in one file alone, and names of
    calendars that two declare. Where only keys are unknown these go to ``unknown``, if given, so that what the files say
    together can be checked in the same run.
    """
    problems: list[Problem] = []
    strange: list[Problem] = []
    ships = list(shipped)

    def load(paths: Iterable[Path]) -> list[Document]:
        documents = []
        for path in paths:
            name = str(path.relative_to(root)) if root is not None and path.is_relative_to(root) else str(path)
            if path in ships:
                name = f"{SHIPPED}{path.relative_to(packaged())}"
            try:
                documents.append(load_file(path, name))
            except ConfigurationError as e:
                problems.extend(e.problems)
        return documents

    read: list[tuple[Document, OnCallFile]] = []
    places: dict[str, str] = {}
    for document in ONCALL.apply(load(ships), load(paths), problems):
        if document.data is None or (file := _parsed(document, problems, strange)) is None:
            continue
        read.append((document, file))
        for word in file.calendars:
            here = f"{document.file}:{document.line(('calendars', word))}"
            if (first := places.setdefault(word, here)) != here:
                problems.append(document.problem(("calendars", word), f"'{word}' is taken", f"it stands in {first}"))
    if problems or (strange and unknown is None):
        raise ConfigurationError([*strange, *problems])
    if unknown is not None:
        unknown += strange
    return OnCallFiles(files=tuple(read))


def _parsed(document: Document, problems: list[Problem], strange: list[Problem]) -> OnCallFile | None:
    """The file; where only keys are unknown, without them, and they are added to ``strange``."""
    try:
        return parse(OnCallFile, document)
    except ConfigurationError as e:
        known = parse_known(OnCallFile, document)
        (problems if known is None else strange).extend(e.problems)
        return known
