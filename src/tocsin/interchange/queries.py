"""Queries between two systems: made readable, with a condition after them, distinguished from it again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tocsin.errors import QueryError
from tocsin.interchange.words import column
from tocsin.kql.bind.translate import translate
from tocsin.kql.plan.classify import Classified, classify
from tocsin.kql.schema import Schema as KqlSchema
from tocsin.kql.tokens import TokenKind, tokenize
from tocsin.model.statuses import Kind

Schema = Mapping[str, Mapping[str, str]]

LONG = 100
"""A query of one line that is longer is put on several."""
_TAIL = re.compile(
    r"\A(?P<base>.+)\n\| summarize (?P<value>\w+) = (?P<f>avg|min|max|sum|count)\((?P<measure>[^\n]*?)\)(?: by [^\n]+)?"
    r"\n\| where (?P=value) (?P<op>==|>=|<=|>|<) (?P<threshold>-?[0-9.e+-]+)\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Azure's criteria: an aggregate of the query's rows, for each of some columns, against a threshold."""

    f: str  # avg, min, max, sum, count
    measure: str  # the column as KQL writes it, '' for count
    by: tuple[str, ...]  # names of columns
    op: str
    threshold: str

    @property
    def any_row(self) -> bool:
        """Whether one row is enough."""
        return self.f == "count" and (self.op, self.threshold) in ((">", "0"), (">=", "1"))

    def value(self) -> str:
        """A name for the aggregate that no column of ``by`` has."""
        return next(n for n in ("value", "aggregate", "value_", "value__") if n not in self.by)

    def measured(self, query: str) -> str:
        """``query`` and the aggregate: one row for each instance."""
        by = ", ".join(column(c) for c in self.by)
        return f"{query}\n| summarize {self.value()} = {self.f}({self.measure}){f' by {by}' if by else ''}"

    @property
    def text(self) -> str:
        """When such a row fires."""
        return f"{self.value()} {self.op} {self.threshold}"

    def after(self, query: str) -> str:
        """``query`` and the condition in one: each row that is left fires."""
        return f"{self.measured(query)}\n| where {self.text}"


def split_condition(query: str, by: Sequence[str]) -> tuple[str, Condition] | None:
    """What ``Condition.after`` put together; None for a query that it did not make."""
    match = _TAIL.match(query)
    if match is None:
        return None
    condition = Condition(
        f=match["f"], measure=match["measure"], by=tuple(by), op=match["op"], threshold=match["threshold"]
    )
    return (match["base"], condition) if condition.after(match["base"]) == query else None


def readable(query: str) -> str:
    """The query with line breaks where its author put none: before each ``|`` and after each ``;`` outside brackets."""
    text = query.replace("\r\n", "\n").replace("\r", "\n").strip()
    try:
        tokens = tokenize(text)
    except QueryError:
        return text
    if any("\n" in token.text for token in tokens):
        return text  # in a string, a line's end counts
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    if any(len(line) > LONG for line in text.split("\n")):
        text = "\n".join(piece for piece in _pieces(text) if piece)
    tokens = tokenize(text)
    while tokens and tokens[-1].text == ";":
        text = (text[: tokens[-1].start].rstrip() + text[tokens[-1].end :]).strip()
        tokens = tokens[:-1]
    return text


def _pieces(text: str) -> Iterator[str]:
    """The stages and statements of a query."""
    depth, done = 0, 0
    for token in tokenize(text):
        if token.kind is not TokenKind.PUNCT:
            continue
        depth += (token.text in "([{") - (token.text in ")]}")
        if depth == 0 and token.text in "|;":
            at = token.start if token.text == "|" else token.end
            yield text[done:at].strip()
            done = at
    yield text[done:].strip()


def without_render(query: str) -> tuple[str, bool]:
    """The query without a ``render`` at its end, which only a chart needs; whether there was one."""
    tokens = tokenize(query)
    for i in range(len(tokens) - 2, -1, -1):
        if tokens[i].text == "|" and tokens[i].kind is TokenKind.PUNCT:
            if tokens[i + 1].text == "render":
                return query[: tokens[i].start].rstrip(), True
            break
    return query, False


def kind_of(query: str, schema: Schema) -> Kind | None:
    """Row or window; None for a query that tocsin cannot read."""
    found = classified(query, schema)
    return None if found is None else found.kind


def classified(query: str, schema: Schema) -> Classified | None:
    """What a query is, and the tables that it reads; None for one that tocsin cannot read."""
    return _classified(query, KqlSchema.of(schema))


@lru_cache(maxsize=512)
def _classified(query: str, schema: KqlSchema) -> Classified | None:
    try:
        return classify(query, schema)
    except QueryError:
        return None


def lacks_tables(query: str, schema: Schema) -> bool:
    """Whether a query reads a table that is not here."""
    return fault_of(query, (), schema).partition(": ")[2].startswith(("there is no table", "there are no tables"))


def fault_of(query: str, by: Sequence[str], schema: Schema) -> str:
    """Why a query does not run here, '' where it does."""
    try:
        columns = translate(query, schema).columns
    except QueryError as e:
        return str(e)
    missing = [name for name in by if name not in columns]
    return f"the query gives no column {missing[0]}" if missing else ""
