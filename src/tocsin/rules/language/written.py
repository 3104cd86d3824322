"""A rule as a file has it: what it is compiled from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.config.yaml.document import Document, KeyPath
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar
from tocsin.rules.language.checks import Faults, Head, Said, Schema
from tocsin.rules.language.literals import extension
from tocsin.rules.language.schema import Defaults, RuleModel
from tocsin.rules.spec.rule import Place

TableRow = Mapping[str, object]
__all__ = ["Head", "TableRow", "Written"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A rule, where it stands, and what it is checked against. What is wrong with it is added to ``problems``."""

    model: RuleModel
    defaults: Defaults  # of its file
    schema: Schema
    document: Document
    base: KeyPath  # where it stands in it
    problems: list[Problem]
    rows: Callable[[str], Sequence[TableRow]] = lambda _: ()  # of a reference table
    calendars: Mapping[str, Calendar] | None = None  # by name; None: not known
    timezone: str = ""  # of tocsin.yaml, where that says one
    row: TableRow | None = None  # of the table that it is one for each row of
    columns: Mapping[str, str] = field(default_factory=dict)  # of that table
    naming: tuple[str, ...] = ()  # those of them that name a row
    lengths_differ: bool = False  # whether each row gives lengths of its own

    @property
    def faults(self) -> Faults:
        """Where what is wrong with it goes."""
        return Faults(document=self.document, base=self.base, problems=self.problems)

    @property
    def said(self) -> Said:
        """What it says, else its file."""
        return Said(self.model, self.defaults)

    @property
    def place(self) -> Place:
        """Where people find it."""
        return Place(file=self.document.file, line=self.document.line((*self.base, "name")))

    def extension(self, *without: str) -> str:
        """KQL that gives rows the columns of its table, but for those that the query makes itself."""
        return extension({name: value for name, value in (self.row or {}).items() if name not in without})
