"""Cutting a query's tokens into stages: the parts between pipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.errors import QueryError
from tocsin.kql.tokens import Token, TokenKind, place

_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage and what stands around it, as offsets in the text."""

    words: tuple[Token, ...]  # without the pipe
    statement: int  # where its statement begins
    pipeline: int  # where its pipeline begins
    start: int  # its pipe; its first word where it leads the pipeline
    end: int  # the next pipe, or the end of its pipeline
    leads: bool

    def text(self, query: str, first: int = 1, last: int | None = None) -> str:
        """The query's text from word ``first`` up to word ``last``, that one excluded."""
        words = self.words[first:last]
        return query[words[0].start : words[-1].end] if words else ""

    def error(self, query: str, message: str, hint: str = "") -> QueryError:
        """An error at this stage."""
        line, column = place(query, self.words[0].start)
        return QueryError(message, line=line, column=column, hint=hint)


def stages(tokens: Sequence[Token]) -> list[Stage]:
    """All stages, those of nested pipelines too, in the order of their first words."""
    found: list[Stage] = []
    _pipelines(tokens, 0, len(tokens), tokens[0].start if tokens else 0, found)
    return sorted(found, key=lambda stage: stage.words[0].start)


def _pipelines(tokens: Sequence[Token], first: int, last: int, statement: int, found: list[Stage]) -> None:
    """Pipelines between two tokens: they are parted by semicolons."""
    begin = first
    depth = 0
    top = first == 0
    for index in range(first, last + 1):
        token = tokens[index] if index < last else None
        if token is not None and token.kind is TokenKind.PUNCT:
            depth += token.text in _OPEN
            depth -= token.text in _CLOSE
        if token is None or (depth == 0 and token.kind is TokenKind.PUNCT and token.text == ";"):
            where = tokens[begin].start if top and begin < last else statement
            _pipeline(tokens, _after_let(tokens, begin, index), index, where, found)
            begin = index + 1


def _after_let(tokens: Sequence[Token], begin: int, end: int) -> int:
    """Past ``let name =``, or the ``name =`` of an argument."""
    if begin + 2 < end and tokens[begin].text == "let" and tokens[begin + 2].text == "=":
        return begin + 3
    return begin


def _pipeline(tokens: Sequence[Token], begin: int, end: int, statement: int, found: list[Stage]) -> None:
    if begin >= end:
        return
    depth, at, pipe = 0, begin, begin
    for index in range(begin, end + 1):
        token = tokens[index] if index < end else None
        if token is not None and token.kind is TokenKind.PUNCT:
            if token.text in _OPEN:
                if depth == 0:
                    closing = _closing(tokens, index, end)
                    _pipelines(tokens, index + 1, closing, statement, found)
                depth += 1
            elif token.text in _CLOSE:
                depth -= 1
        if token is None or (depth == 0 and token.text == "|" and token.kind is TokenKind.PUNCT):
            if at < index:
                found.append(
                    Stage(
                        words=tuple(tokens[at:index]),
                        statement=statement,
                        pipeline=tokens[begin].start,
                        start=tokens[pipe].start,
                        end=tokens[index].start if token is not None else tokens[index - 1].end,
                        leads=at == begin,
                    )
                )
            at, pipe = index + 1, index


def replaced(query: str, stage: Stage, made: str) -> str:
    """The query with ``made`` in place of a stage and its pipe."""
    return f"{query[: stage.start]}{made} {query[stage.end :]}"


def _closing(tokens: Sequence[Token], opening: int, end: int) -> int:
    depth = 0
    for index in range(opening, end):
        if tokens[index].kind is TokenKind.PUNCT:
            depth += tokens[index].text in _OPEN
            depth -= tokens[index].text in _CLOSE
            if depth == 0:
                return index
    return end


def split(words: Sequence[Token], separator: str = ",") -> list[tuple[Token, ...]]:
    """Words parted by ``separator`` outside brackets."""
    parts: list[tuple[Token, ...]] = []
    depth, at = 0, 0
    for index, word in enumerate(words):
        if word.kind is TokenKind.PUNCT:
            depth += word.text in _OPEN
            depth -= word.text in _CLOSE
        if depth == 0 and word.text == separator and word.kind is not TokenKind.STRING:
            parts.append(tuple(words[at:index]))
            at = index + 1
    return [*parts, tuple(words[at:])]


def find(words: Sequence[Token], name: str) -> int:
    """Index of the word ``name`` outside brackets, -1 where it is not there."""
    depth = 0
    for index, word in enumerate(words):
        if word.kind is TokenKind.PUNCT:
            depth += word.text in _OPEN
            depth -= word.text in _CLOSE
        elif depth == 0 and word.kind is TokenKind.NAME and word.text == name:
            return index
    return -1


def find_mark(words: Sequence[Token], mark: str) -> int:
    """Index of the first punctuation ``mark``, also inside brackets, -1 where there is none."""
    return next((i for i, word in enumerate(words) if word.kind is TokenKind.PUNCT and word.text == mark), -1)


def written(query: str, words: Sequence[Token]) -> str:
    """The text of words as it stands in the query."""
    return query[words[0].start : words[-1].end] if words else ""
