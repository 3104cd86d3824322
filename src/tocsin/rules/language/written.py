"""A rule as a file has it: what every compiler of rules is given."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.config.yaml.document import Document, KeyPath
from tocsin.errors import Problem
from tocsin.rules.language.checks import Faults, Said, Schema
from tocsin.rules.language.schema import Defaults, RuleModel
from tocsin.rules.spec.rule import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A rule, where it stands, and what it is checked against. Compilers give None for one that is wrong; then
    ``problems`` has grown.
    """

    model: RuleModel
    defaults: Defaults  # of its file
    schema: Schema
    document: Document
    base: KeyPath  # where it stands in it
    problems: list[Problem]

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
