"""KQL text as tokens with places: for naming where an error is, bounding hostile text, and distinguishing literals.

The tokens are read apart from the parser on purpose: they cost microseconds, and they exist for text that the parser
would refuse or choke on.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from tocsin.errors import QueryError

MAX_LENGTH = 64 * 1024
"""Longest query, in characters."""
MAX_TOKENS = 6_000
"""Most tokens of a query: the parser needs about 0.1 ms each."""
MAX_DEPTH = 40
"""Deepest nesting of brackets."""


class TokenKind(StrEnum):
    """What a token is."""

    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    TIMESPAN = "timespan"
    PUNCT = "punct"


class Token(NamedTuple):
    """One token; ``start`` and ``end`` are offsets in the text."""

    kind: TokenKind
    text: str
    start: int
    end: int


_UNITS = (
    "microseconds|microsecond|milliseconds|millisecond|nanoseconds|nanosecond|seconds|second|minutes|minute|hours|hour"
    "|days|day|ticks|tick|milli|micro|nano|sec|min|hrs|hr|ms|d|h|m|s"
)
_TOKEN = re.compile(
    rf"""
      (?P<space>\s+|//[^\n]*)
    | (?P<string>[hH]?(?:```.*?```|~~~.*?~~~|@'(?:[^']|'')*'|@"(?:[^"]|"")*"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    | (?P<timespan>\d+(?:\.\d+)?(?:{_UNITS})(?!\w))
    | (?P<number>0[xX][0-9a-fA-F]+|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+)
    | (?P<name>(?:project-(?:away|keep|rename|reorder)|mv-(?:expand|apply)|make-(?:series|graph)|top-(?:nested|hitters)
        |parse-(?:where|kv)|graph-[a-z-]+|sample-distinct|macro-expand)(?![\w-])|[A-Za-z_$][\w$]*)
    | (?P<punct>==|!=|<>|<=|>=|=~|!~|\.\.|=>|<\||.)
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS = {str(kind): kind for kind in TokenKind}
_SURROGATE = re.compile("[\ud800-\udfff]")
_OPEN, _CLOSE = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


@lru_cache(maxsize=8)  # up to 1 MiB each; a rule's query is read again for its meaning
def tokenize(text: str) -> tuple[Token, ...]:
    """The tokens of a query, comments and blanks left out.

    Raises ``QueryError`` for text that is too long, too finely divided or nested too deep to be parsed in bounded time.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query has {len(text)} characters; at most {MAX_LENGTH} are read")
    if not text.isascii() and _SURROGATE.search(text):
        raise QueryError("the query is no valid text: it holds half a character (a lone surrogate)")
    found: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "space" or kind is None:
            continue
        word, (start, end) = match.group(), match.span()
        found.append(Token(_KINDS[kind], word, start, end))
        if kind == "punct":
            depth += word in _OPEN
            depth -= word in _CLOSE
            if depth > MAX_DEPTH:
                line, column = place(text, match.start())
                raise QueryError(f"brackets are nested deeper than {MAX_DEPTH}", line=line, column=column)
        if len(found) > MAX_TOKENS:
            line, column = place(text, match.start())
            raise QueryError(f"the query has more than {MAX_TOKENS} words", line=line, column=column)
    return tuple(found)


def unclosed(tokens: tuple[Token, ...]) -> Token | None:
    """The first bracket that nothing closes, or that closes nothing."""
    opened: list[Token] = []
    for token in tokens:
        if token.kind is not TokenKind.PUNCT:
            continue
        if token.text in _OPEN:
            opened.append(token)
        elif token.text in _CLOSE:
            if not opened or _OPEN[opened[-1].text] != token.text:
                return token
            opened.pop()
    return opened[-1] if opened else None


def place(text: str, offset: int) -> tuple[int, int]:
    """1-based line and column of an offset."""
    starts = [0, *(m.end() for m in re.finditer("\n", text))]
    line = bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


def occurrences(tokens: tuple[Token, ...], name: str) -> Iterator[Token]:
    """Tokens that name ``name``: as a plain name, or as a bracketed one (``['my column']``)."""
    for token in tokens:
        if (token.kind is TokenKind.NAME and token.text == name) or (
            token.kind is TokenKind.STRING and token.text[1:-1] == name
        ):
            yield token


def place_of(text: str, tokens: tuple[Token, ...], name: str) -> tuple[int, int]:
    """Where ``name`` first stands in the query, or (0, 0)."""
    for token in occurrences(tokens, name):
        return place(text, token.start)
    return 0, 0


KEYWORDS = frozenset(
    """
    3Dchart __contextual_datatable __crossCluster __crossDB __executeAndCache __id __isFuzzy __noWithSource
    __packedColumn __partitionby __projectAway __sourceColumnIndex access accumulate aggregations alias all and
    anomalychart anomalycolumns areachart as asc assert-schema axes bagexpansion barchart base between bin bin_legacy
    bool boolean by card cluster columnchart consume contains contains_cs containscs count database datascope datatable
    date datetime decimal declare decodeblocks default delta desc distinct double dynamic edges endswith endswith_cs
    entity_group evaluate execute expandoutput extend external_data externaldata facet filter find first flags float fork
    from getschema granny-asc granny-desc graph-mark-components graph-match graph-shortest-paths graph-to-table guid has
    has_all has_any has_cs hasprefix hasprefix_cs hassuffix hassuffix_cs hidden hot hotcache hotdata hotindex id in
    int int16 int32 int64 int8 into invoke isfuzzy join kind ladderchart last legend let like likecs limit linear
    linechart list log long lookup macro-expand make-graph make-series map materialize materialized-view-combine
    mv-apply mv-expand mvapply mvexpand nodes none nooptimization notcontains notcontainscs notlike notlikecs null nulls
    of on optional or order others output pack panels parse parse-kv parse-where partition partitioned-by pattern
    piechart pivotchart plugin print project project-away project-keep project-rename project-reorder project-smart
    query_parameters range real reduce regex relaxed render replace restrict sample sample-distinct scan scatterchart
    search serialize series set simple sort stacked stacked100 stackedareachart startswith startswith_cs step string
    summarize table take threshold time timechart timeline timepivot timespan title to top top-hitters top-nested
    toscalar totable treemap typeof uint uint16 uint32 uint64 uint8 ulong union uniqueid unstacked uuid view visible
    where with with_itemindex with_match_id with_node_id with_source with_step_name withsource xaxis xcolumn xmax xmin
    xtitle yaxis ycolumns ymax ymin ysplit ytitle
    """.split()  # noqa: SIM905
)
"""Words of the grammar."""
NO_NAMES = KEYWORDS | frozenset(
    ("assert", "granny", "graph", "hint", "macro", "make", "matches", "materialized", "mv", "partitioned", "stored")
)
"""No names here: some are names in some places, and some begin a longer word. That is upstream's affair."""
ASSIGNED = frozenset(("count", "id", "list", "log", "map", "range", "series", "set", "step", "title", "top"))
"""Words of the grammar that are names left of ``=`` in a list of targets, of those that people use."""
