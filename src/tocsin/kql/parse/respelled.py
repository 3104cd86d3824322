"""Spellings that mean the same as another one: old names, `.[n]`, `count(x)`, double brackets, other workspaces.

Each is replaced in the text before it is parsed; the meaning is the KQL reference's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tocsin.kql.tokens import Token, TokenKind

RENAMED = {
    "notempty": "isnotempty",
    "makelist": "make_list",
    "makeset": "make_set",
    "argmax": "arg_max",
    "argmin": "arg_min",
    "columnifexists": "column_ifexists",
    "strcat_array_delim": "strcat_array",
    "array_strcat": "strcat_array",
    "parseurl": "parse_url",
}
"""Old names of functions -> the ones of today."""
OPERATORS = {"notcontains": "!contains", "notcontainscs": "!contains_cs"}
"""Old names of operators."""
ELSEWHERE = frozenset({"workspace", "app", "resource"})
"""What names another store in front of a table: ``workspace('x').T``. There is one store here."""
_EXTRACTS = frozenset({"extract", "extract_json", "extractjson"})
_CONVERTS = {
    "string": "", "long": "tolong", "int": "toint", "real": "todouble", "double": "todouble", "datetime": "todatetime",
    "timespan": "totimespan", "bool": "tobool",
}  # fmt: skip
"""What an extract ends in, ``typeof(long)`` -> the function that converts."""
_STEP = re.compile(r"""\.([A-Za-z_]\w*)|\[(\d+)\]|\[['"]([^'"\\\]]+)['"]\]""")
_PATH = re.compile(rf"\$(?P<steps>(?:{_STEP.pattern.replace('(', '(?:')})+)")
_BEFORE_SOURCE = frozenset({"", "|", ";", "=", "("})

Change = tuple[int, int, str]


def respelled(query: str, tokens: Sequence[Token]) -> str:
    """``query`` in today's spelling; the same text where it is so already."""
    parts, at = [], 0
    for start, end, text in _sorted(query, tokens):
        if start >= at:
            parts += [query[at:start], text]
            at = end
    return "".join([*parts, query[at:]]) if parts else query


def _sorted(query: str, tokens: Sequence[Token]) -> list[Change]:
    return sorted(_changes(query, tokens), key=lambda change: change[0])


def _extracted(query: str, tokens: Sequence[Token], i: int) -> Iterator[Change]:
    """``extract(…, typeof(long))`` is ``tolong(extract(…))``; ``extract_json('$.a', x)`` is ``tostring(parse_json(x)['a'])``."""
    close = closing(tokens, i + 1)
    if close is None:
        return
    tail = tokens[close - 5 : close]
    kind = tail[3].text if [t.text for t in (*tail[:3], tail[4])] == [",", "typeof", "(", ")"] else ""
    convert = _CONVERTS.get(kind)
    if kind and convert is None:
        return
    cut = tail[0].start if kind else tokens[close].start
    if tokens[i].text == "extract":
        if convert is not None:
            yield tokens[i].start, tokens[i].end, f"{convert}(extract" if convert else "extract"
            yield cut, tokens[close].end, "))" if convert else ")"
        return
    path = tokens[i + 2]
    steps = _PATH.fullmatch(path.text[1:-1]) if path.kind is TokenKind.STRING and tokens[i + 3].text == "," else None
    if steps is not None:
        taken = "".join(
            f"[{number}]" if number else f"['{name or key}']" for name, number, key in _STEP.findall(steps["steps"])
        )
        yield tokens[i].start, tokens[i + 3].end, f"{convert or 'tostring'}(parse_json("
        yield cut, tokens[close].end, f"){taken})"


def closing(tokens: Sequence[Token], opening: int) -> int | None:
    """Where the bracket at ``opening`` ends."""
    depth = 0
    for i in range(opening, len(tokens)):
        if tokens[i].kind is TokenKind.PUNCT:
            depth += (tokens[i].text in "([{") - (tokens[i].text in ")]}")
            if not depth:
                return i
    return None


def _changes(query: str, tokens: Sequence[Token]) -> Iterator[Change]:
    around = _around_source(tokens)
    for i, token in enumerate(tokens):
        if i in around:
            yield token.start, token.end, ""
            continue
        texts = [t.text for t in tokens[i : i + 5]]
        follows = texts[1] if len(texts) > 1 else ""
        if token.kind is TokenKind.PUNCT:
            change = _punctuation(tokens, i, texts)
        elif token.kind is not TokenKind.NAME:
            continue
        elif token.text in RENAMED and follows == "(":
            change = (token.start, token.end, RENAMED[token.text])
        elif token.text in _EXTRACTS and follows == "(":
            yield from _extracted(query, tokens, i)
            continue
        elif token.text in OPERATORS:
            change = (token.start, token.end, OPERATORS[token.text])
        else:
            change = _call(tokens, i, texts)
        if change is not None:
            yield change


def _around_source(tokens: Sequence[Token]) -> frozenset[int]:
    """Brackets that a statement begins with, around a table and what is done with it: ``(T | where …) | count``."""
    found: set[int] = set()
    opened: list[int] = []
    piped: set[int] = set()  # of those open, that have a pipe directly inside
    for i, token in enumerate(tokens):
        if token.kind is not TokenKind.PUNCT:
            continue
        if token.text in "([{":
            opened.append(i)
        elif token.text in ")]}" and opened:
            first = opened.pop()
            before = tokens[first - 1].text if first else ""
            after = tokens[i + 1].text if i + 1 < len(tokens) else ""
            if first in piped and tokens[first].text == "(" and before in ("", ";") and after in ("", ";", "|"):
                found |= {first, i}
        elif token.text == "|" and opened:
            piped.add(opened[-1])
    return frozenset(found)


def _punctuation(tokens: Sequence[Token], i: int, texts: Sequence[str]) -> Change | None:
    token = tokens[i]
    if texts[:2] == [".", "["]:  # a.[0]
        return token.start, token.end, ""
    before = tokens[i - 1].text if i else ""
    if texts[:2] == ["(", "("] and texts[3:5] == [")", ")"] and before in _BEFORE_SOURCE:  # ((T))
        return token.start, tokens[i + 4].end, texts[2] if before in ("", ";") else f"({texts[2]})"
    if texts[:1] == ["("] and texts[2:3] == [")"] and before in ("", ";") and tokens[i + 1].kind is TokenKind.NAME:
        return token.start, tokens[i + 2].end, texts[1]  # (T) | …
    return None


def _hint_end(tokens: Sequence[Token], value: int) -> int:
    """Where the value of a hint ends: a word, a text, a number, or a list of columns in brackets."""
    close = closing(tokens, value) if tokens[value].text == "(" else value
    return tokens[value if close is None else close].end


def _call(tokens: Sequence[Token], i: int, texts: Sequence[str]) -> Change | None:
    token = tokens[i]
    if token.text == "hint" and texts[1:2] == ["."] and texts[3:4] == ["="] and len(tokens) > i + 4:
        return token.start, _hint_end(tokens, i + 4), ""  # how a cluster shares the work out
    named = len(texts) > 3 and texts[1] == "(" and tokens[i + 2].kind is TokenKind.STRING and texts[3] == ")"
    if token.text in ELSEWHERE and named and texts[4:5] == ["."]:
        return token.start, tokens[i + 4].end, ""
    if token.text == "table" and named and (name := texts[2][1:-1]).isidentifier():
        return token.start, tokens[i + 3].end, name
    if (
        token.text == "set"
        and texts[2:3] in (["="], [";"])
        and texts[1] != "query_now"
        and (not i or tokens[i - 1].text == ";")
    ):  # of Azure's service
        end = next((each.end for each in tokens[i:] if each.text == ";"), token.end)
        return token.start, end, ""
    if token.text == "count" and texts[1:2] == ["("] and texts[2:3] != [")"] and texts[3:4] == [")"]:  # it counts rows
        return tokens[i + 1].start, tokens[i + 3].end, "()"
    return None
