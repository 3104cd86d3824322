"""``partition by Key (…)`` in operators that the translator has: the key goes through each stage under a hidden name.

``partition by k (where n > 1 | top 2 by n)`` is ``extend __key = k | where n > 1 | … the first two of each __key … |
project-away __key``, so the rows are those of all partitions together, as the KQL reference says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tocsin.kql.parse.stages import Stage, find, written
from tocsin.kql.schema import HIDDEN
from tocsin.kql.tokens import Token

HINT = "summarize by the key, or top-nested"
_KEY, _ONE = f"{HIDDEN}key", f"{HIDDEN}one"
_OPEN, _CLOSE = "([{", ")]}"


def partition(query: str, stage: Stage) -> str:
    """The stages in place of ``stage``. Raises ``QueryError`` for one that is not done within each key."""
    words = stage.words
    by = find(words, "by")
    opening = by + 2
    if by < 0 or opening >= len(words) or words[opening].text not in "({" or words[-1].text not in ")}":
        raise stage.error(
            query, "partition needs a column and a query in brackets", "partition by RunId (top 1 by Attempt)"
        )
    made = [f"extend {_KEY} = {words[by + 1].text}"]
    for inner in _stages(words[opening + 1 : -1]):
        within = _WITHIN.get(inner[0].text) if inner else None
        stages = within(query, inner) if within is not None else None
        if stages is None:
            name = inner[0].text if inner else "nothing"
            raise stage.error(query, f"partition with {name} inside is not supported", HINT)
        made += stages
    return "".join(f" | {each}" for each in [*made, f"project-away {_KEY}"]).lstrip()


def _stages(words: Sequence[Token]) -> list[Sequence[Token]]:
    found, depth, at = [], 0, 0
    for i, word in enumerate(words):
        depth += (word.text in _OPEN) - (word.text in _CLOSE)
        if word.text == "|" and not depth:
            found.append(words[at:i])
            at = i + 1
    return [*found, words[at:]]


def _same(query: str, words: Sequence[Token]) -> list[str] | None:
    return [written(query, words)]


def _listed(query: str, words: Sequence[Token]) -> list[str] | None:
    """project and distinct keep what they list."""
    return [f"{written(query, words)}, {_KEY}"]


def _summarize(query: str, words: Sequence[Token]) -> list[str] | None:
    return [f"{written(query, words)}{', ' if find(words, 'by') >= 0 else ' by '}{_KEY}"]


def _count(query: str, words: Sequence[Token]) -> list[str] | None:
    return [f"summarize Count = count() by {_KEY}"] if len(words) == 1 else None


def _first(number: str, order: str, value: str) -> list[str]:
    rank = f"extend {_ONE} = {HIDDEN}rank_{order}({_KEY}, {value})"
    return [rank, f"where {_ONE} <= {number}", f"project-away {_ONE}"]


def _take(query: str, words: Sequence[Token]) -> list[str] | None:
    return _first(words[1].text, "asc", _KEY) if len(words) == 2 else None


def _top(query: str, words: Sequence[Token]) -> list[str] | None:
    if len(words) < 4 or words[2].text != "by" or any(word.text in (",", "nulls") for word in words):
        return None
    order = words[-1].text if words[-1].text in ("asc", "desc") else ""
    return _first(words[1].text, order or "desc", written(query, words[3 : -1 if order else None]))


_WITHIN: dict[str, Callable[[str, Sequence[Token]], list[str] | None]] = {
    "count": _count,
    "distinct": _listed,
    "extend": _same,
    "limit": _take,
    "project": _listed,
    "project-away": _same,
    "project-rename": _same,
    "summarize": _summarize,
    "take": _take,
    "top": _top,
    "where": _same,
}
