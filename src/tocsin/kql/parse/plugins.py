"""``evaluate bag_unpack`` and ``evaluate pivot``: which columns come out, where the query does not say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.kql.parse import series
from tocsin.kql.parse.keywords import NO_NAMES
from tocsin.kql.parse.stages import Stage, replaced, split, stages, written
from tocsin.kql.schema import HIDDEN
from tocsin.kql.tokens import Token, TokenKind, tokenize
from tocsin.model.statuses import Reason, Severity, Status

REFUSAL = ("only evaluate bag_unpack and pivot work", "summarize, extend and mv-expand do most of the others")
"""Of other plugins: why, and what to write instead."""

_OF_OTHERS = frozenset({"join", "lookup", "union", "mv-apply", "in", "evaluate", "toscalar"})
"""What brings names of other tables."""


def _used_later(query: str, stage: Stage) -> list[str]:
    """Names that the stages behind ``stage`` use, which may be columns out of a bag; none where nothing limits what
    comes out, or where names of other tables stand among them.
    """
    found: list[str] = []
    limited, depth = False, 0
    tokens = [token for token in tokenize(query) if token.start >= stage.end]
    for i, token in enumerate(tokens):
        follows = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if token.kind is TokenKind.PUNCT:
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth < 0 or (not depth and token.text == ";"):
                break
        if token.kind is not TokenKind.NAME:
            continue
        if token.text in _OF_OTHERS:
            return []
        limited |= token.text in ("project", "summarize", "distinct", "count")
        if follows not in ("(", "=") and token.text not in NO_NAMES and token.text not in found:
            found.append(token.text)
    return found if limited else []


def evaluate(query: str, stage: Stage, number: int) -> str:
    """The stage ``evaluate …`` as others, or as a marker that ``markers`` resolves once columns are known."""
    words = stage.words[1:]
    if not words or words[0].text not in ("bag_unpack", "pivot"):
        message, hint = REFUSAL
        raise stage.error(query, message, hint)
    colon = next((i for i, w in enumerate(words) if w.text == ":" and w.kind is TokenKind.PUNCT), -1)
    name = words[0].text
    if colon < 0 and name == "bag_unpack" and (used := _used_later(query, stage)):
        arguments = split(words[2:-1])
        prefix = written(query, arguments[1]) if len(arguments) > 1 else "''"
        named = ", ".join(f"'{each}'" for each in used)
        return replaced(query, stage, f"| where {HIDDEN}spread({written(query, arguments[0])}, {prefix}, {named})")
    if colon < 0 and name == "pivot" and (values := _pivoted(query, stage)):
        return replaced(query, stage, series.pivot_of(query, stage, split(words[2:-1]), values))
    if colon < 0:
        example = "(env: string, n: long)" if name == "bag_unpack" else "(Target: string, Failed: long)"
        hint = f"say which columns come out: evaluate {name}(…) : {example}"
        raise stage.error(query, f"the columns of {name} depend on the data", hint)
    arguments = split(words[2 : colon - 1])
    schema = split(words[colon + 2 : -1])
    listed = [
        "'" + written(query, part).replace(" ", "").replace("'", "").replace("[", "").replace("]", "") + "'"
        for part in schema
    ]
    if name == "pivot":
        return replaced(query, stage, series.pivot(query, stage, arguments, schema))
    bag = written(query, arguments[0])
    prefix = written(query, arguments[1]) if len(arguments) > 1 else "''"
    return replaced(query, stage, f"| where {HIDDEN}unpack({bag}, {prefix}, {', '.join(listed)})")


_WORDS: Mapping[str, Sequence[str]] = {
    "Status": tuple(Status), "Reason": tuple(filter(None, Reason)), "Severity": tuple(each.word for each in Severity)
}  # fmt: skip
"""Columns whose values are known."""


def _pivoted(query: str, stage: Stage) -> list[str]:
    """Values that become columns of a pivot: those that an earlier ``where`` lets through, else names that later stages
    use, else all words of the column; none where they depend on the data."""
    key = stage.words[3]
    if key.kind is not TokenKind.NAME or stage.words[4].text not in (",", ")"):
        return []
    for each in stages(tokenize(query)):
        words = each.words
        if each.pipeline != stage.pipeline or each.start >= stage.start or words[0].text not in ("where", "filter"):
            continue
        for condition in split(words[1:], "and"):
            if values := _equals(condition, key.text):
                return values
    return _used_later(query, stage) or list(_WORDS.get(key.text, ()))


def _equals(words: Sequence[Token], name: str) -> list[str]:
    """Texts that ``name == 'a'`` or ``name in ('a', 'b')`` lets through; none of any other condition."""
    texts, values = [word.text for word in words], words[2:]
    if texts[:3] == [name, "in", "("] and texts[-1] == ")":
        values = tuple(word for word in words[3:-1] if word.text != ",")
    elif texts[:2] != [name, "=="]:
        return []
    return [word.text[1:-1] for word in values] if all(w.kind is TokenKind.STRING for w in values) else []
