"""Jinja2 in rules: checked when loaded, compiled once when first used, run in a sandbox over a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import ChainableUndefined, Template, TemplateError, nodes

from tocsin.errors import TocsinError
from tocsin.model.text.sandbox import Sandbox, render

LONGEST = 1024
"""Characters of a label; what is longer is cut."""

_ENVIRONMENT = Sandbox(undefined=ChainableUndefined, autoescape=False, keep_trailing_newline=False, cache_size=0)
_MARKS = ("{{", "{%", "{#")


class TemplateFault(TocsinError):
    """A template is wrong; ``line`` is 1-based within it, 0 where unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        self.message, self.line = message, line
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class TemplateText:
    """A template's source. Equal sources share one compiled template."""

    source: str

    @property
    def constant(self) -> bool:
        """Whether it is plain text."""
        return not any(mark in self.source for mark in _MARKS)

    @property
    def names(self) -> frozenset[str]:
        """What it takes from its context."""
        return checked(self.source)[1]

    def render(self, row: Mapping[str, object]) -> str:
        """Its text over ``row``, stripped and cut at LONGEST. Raises TemplateFault where it fails."""
        if self.constant:
            return self.source.strip()[:LONGEST]
        try:
            return render(_compiled(self.source), row).strip()[:LONGEST]
        except Exception as e:  # a template may raise whatever a filter or a method that it calls raises
            raise TemplateFault(f"{type(e).__name__}: {e}") from e


@lru_cache(maxsize=20_000)
def checked(source: str) -> tuple[TemplateText, frozenset[str]]:
    """The template and the names that it takes from its context. Raises TemplateFault for bad syntax or unknown
    filters.
    """
    text = TemplateText(source)
    if text.constant:
        return text, frozenset()
    try:
        tree = _ENVIRONMENT.parse(source)
        used: set[str] = set()
        bound: set[str] = set(_ENVIRONMENT.globals)
        for node in tree.find_all((nodes.Name, nodes.Filter, nodes.Test)):
            if isinstance(node, nodes.Name):
                (used if node.ctx == "load" else bound).add(node.name)
            elif isinstance(node, nodes.Filter) and node.name not in _ENVIRONMENT.filters:
                raise TemplateFault(f"no filter is called '{node.name}'", node.lineno)
            elif isinstance(node, nodes.Test) and node.name not in _ENVIRONMENT.tests:
                raise TemplateFault(f"no test is called '{node.name}'", node.lineno)
        return text, frozenset(used - bound)
    except TemplateError as e:
        raise TemplateFault(str(e.message or e), getattr(e, "lineno", 0) or 0) from e


@lru_cache(maxsize=4096)
def _compiled(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)
