"""Files of causes: ``rules/causes/*.yaml``, the shipped ones and those of a project directory, which override by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import re2
from pydantic import BeforeValidator, Field

from tocsin.causes.engine import Cause, Causes, groups_of
from tocsin.config.content import files_in, shipped_files
from tocsin.config.project.overlay import Overlay
from tocsin.config.yaml.document import Document, YamlModel, load_file, parse
from tocsin.errors import ConfigurationError, Problem

Texts = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else tuple(value or ()))
]
FIELDS = ("Message", "ErrorCode", "LogTail", "OriginalStatus")
DIRECTORY = "rules/causes"
OVERLAY = Overlay(lists=("causes",), partial=lambda entry: "pattern" not in entry, wanted="no pattern")


class CauseTests(YamlModel):
    """Texts that are this cause, and texts that are not."""

    hits: tuple[str, ...] = Field(default=(), description="Log tails that have this cause.")
    misses: tuple[str, ...] = Field(default=(), description="Log tails that have another cause, or none.")


class CauseModel(YamlModel):
    """One entry of ``causes:``."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="What it is called.", examples=["cuda-out-of-memory"]
    )
    enabled: bool = Field(default=True, description="false switches it off.")
    reason: Literal[
        "preempted", "out_of_memory", "timeout", "user_canceled", "quota", "infrastructure", "code_error", "unknown"
    ] = Field(default="unknown", description="The reason that its runs get.", examples=["out_of_memory"])
    pattern: Texts = Field(default=(), description="Regular expressions (RE2) that a line matches, any of them.")
    unless: Texts = Field(default=(), description="A line that one of these matches too is about something else.")
    fields: tuple[Literal["Message", "ErrorCode", "LogTail", "OriginalStatus"], ...] = Field(
        default=(), alias="in", description="Texts that are read; all where absent."
    )
    exit_code: tuple[int, ...] = Field(default=(), description="Exit codes of which the run has to have one.")
    key: Texts = Field(default=(), description="Named groups that tell one failure of this cause from another.")
    consequence: bool = Field(
        default=False, description="It follows from another failure, and gives way to any other cause."
    )
    general: bool = Field(default=False, description="It names little, and gives way to what a line near it says.")
    certain: bool = Field(default=False, description="It counts in lines of any level, and in lines that hedge.")
    advice: str = Field(default="", description="What to do, in one line.", examples=["Lower the batch size."])
    retry: Literal["helps", "never", "unknown"] = Field(default="unknown", description="Whether trying again helps.")
    tests: CauseTests = Field(default=CauseTests(), description="Texts that it is tested with.")


class CausesFile(YamlModel):
    """A file of causes."""

    causes: tuple[CauseModel, ...] = Field(description="Its causes.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The causes of files, enabled or not, with where they stand."""

    models: Sequence[tuple[CauseModel, str]]  # and FILE:LINE

    @property
    def causes(self) -> Causes:
        """Those in force."""
        return Causes([cause_of(model) for model, _ in self.models if model.enabled])


def cause_of(model: CauseModel) -> Cause:
    """What the engine knows of an entry."""
    return Cause(
        name=model.name, reason=model.reason, patterns=model.pattern, unless=model.unless, fields=frozenset(model.fields),
        exit_codes=frozenset(model.exit_code), keys=frozenset(model.key), consequence=model.consequence, general=model.general,
        certain=model.certain, advice=model.advice, retry=model.retry,
    )  # fmt: skip


def read_causes(home: Path | None, *, shipped: bool = True, only: Path | None = None) -> Read:
    """The shipped causes and those of a project directory over them; ``only`` reads that file alone.
    Raises ConfigurationError with all that is wrong.
    """
    problems: list[Problem] = []
    if only is not None:
        documents = _documents([only], problems)
    else:
        own = _documents(files_in(home / DIRECTORY) if home is not None else [], problems, home)
        documents = OVERLAY.apply(_documents(shipped_files(DIRECTORY) if shipped else [], problems), own, problems)
    found: dict[str, tuple[CauseModel, str]] = {}
    for document in documents:
        for index, model in _entries(document, problems):
            where = f"{document.file}:{document.line(('causes', index))}"
            if model.name in found:
                problems.append(
                    document.problem(
                        ("causes", index, "name"), f"'{model.name}' is also the name of {found[model.name][1]}"
                    )
                )
            found.setdefault(model.name, (model, where))
    if problems:
        raise ConfigurationError(problems)
    return Read(models=list(found.values()))


def check_causes(home: Path) -> list[Problem]:
    """What is wrong in the causes of a project directory; nothing is read where it has none of its own."""
    if not files_in(home / DIRECTORY):
        return []
    try:
        read_causes(home)
    except ConfigurationError as e:
        return list(e.problems)
    return []


def _documents(paths: Sequence[Path], problems: list[Problem], home: Path | None = None) -> list[Document]:
    """The files, called by their place in the project directory ``home``."""
    found = []
    for path in paths:
        try:
            found.append(load_file(path, None if home is None else path.relative_to(home).as_posix()))
        except ConfigurationError as e:
            problems += e.problems
    return found


def _entries(document: Document, problems: list[Problem]) -> Iterator[tuple[int, CauseModel]]:
    try:
        file = parse(CausesFile, document)
    except ConfigurationError as e:
        problems += e.problems
        return
    for index, model in enumerate(file.causes):
        place = ("causes", index)
        if not model.pattern:
            problems.append(document.problem(place, f"'{model.name}' has no pattern", "pattern: 'CUDA out of memory'"))
        for key in ("pattern", "unless"):
            for pattern in getattr(model, key):
                try:
                    groups = groups_of(pattern)
                except re2.error as e:
                    problems.append(
                        document.problem((*place, key), f"{pattern!r} is no regular expression of RE2: {_words(e)}")
                    )
                    continue
                if key == "pattern" and (missing := set(model.key) - groups):
                    problems.append(
                        document.problem(
                            (*place, "key"), f"{pattern!r} has no group {sorted(missing)[0]!r}", "(?P<name>…)"
                        )
                    )
        yield index, model


def _words(error: Exception) -> str:
    said = error.args[0] if error.args else error
    return said.decode() if isinstance(said, bytes) else str(said)


def failures(read: Read) -> list[str]:
    """What the inline tests of the causes say is wrong, each as FILE:LINE: words."""
    causes, wrong = read.causes, []
    for model, where in read.models:
        if not model.enabled:
            continue
        for text in model.tests.hits:
            found = causes.find({"LogTail": text})
            if found.cause != model.name:
                wrong.append(f"{where}: {model.name} should be the cause of {text!r}, and {found.cause or 'none'} is")
        for text in model.tests.misses:
            if causes.find({"LogTail": text}).cause == model.name:
                wrong.append(f"{where}: {model.name} should not be the cause of {text!r}")
        if not model.tests.hits:
            wrong.append(f"{where}: {model.name} has no test that it is found by")
    return wrong
