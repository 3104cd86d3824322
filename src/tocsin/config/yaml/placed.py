"""Something that a file says, with the place where it stands, so that a fault found later still has its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tocsin.config.yaml.document import Document, KeyPath
from tocsin.errors import Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(Generic[T]):
    """A model where it is written."""

    model: T
    document: Document
    path: KeyPath

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.document.file}:{self.document.line(self.path)}"

    def problem(self, path: KeyPath, message: str, hint: str = "", *, warning: bool = False) -> Problem:
        """A problem of it, ``path`` from it on."""
        return self.document.problem((*self.path, *path), message, hint, warning=warning)
