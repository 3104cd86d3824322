"""Functions of tables under ``let``, written as the tables that they give: text in, text out, before parsing.

``let f = (s: string) { T | where Status == s }; f('Failed') | count`` becomes ``let __tocsin_f1 = T | where Status ==
'Failed'; __tocsin_f1 | count``. Functions of values stay as they are: the translator knows them.

Spellings that mean the same as another one: old names, `.[n]`, `count(x)`, double brackets, other workspaces.

Each is replaced in the text before it is parsed; the meaning is the KQL reference's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tocsin.errors import QueryError
from tocsin.kql.parse.stages import find_mark, split, stages, written
from tocsin.kql.schema import HIDDEN
from tocsin.kql.tokens import Token, TokenKind, place, tokenize

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


MAX_CALLS = 40
_SOURCES = frozenset({"union", "range", "datatable", "search", "materialize", "externaldata", "print", "find"})
"""What a table begins with, besides a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Function:
    """One as it was written; a parameter of a table has no default."""

    name: str
    parameters: Mapping[str, str]  # name -> default, '' for none
    tables: frozenset[str]  # parameters that are tables
    body: tuple[tuple[Token, ...], ...]  # its statements, the last one its value


def inlined(query: str) -> str:
    """``query`` without functions of tables; the same text where it has none. Raises ``QueryError``."""
    for number in range(1, MAX_CALLS + 1):
        tokens = tokenize(query)
        if not any(token.text == "{" and token.kind is TokenKind.PUNCT for token in tokens):
            return query
        statements = split(tokens, ";")
        functions = _functions(query, statements)
        if not functions:
            return query
        called = next(
            (i for i in range(len(tokens)) if _calls(tokens, i, functions) and not _defines(statements, tokens[i])), -1
        )
        if called < 0:
            return "; ".join(written(query, words) for words in statements if not _is(words, functions))
        query = _expanded(query, tokens, called, functions[tokens[called].text], number)
    raise QueryError("functions of tables are called too often", hint="write what they do to a table")


def _functions(query: str, statements: Sequence[tuple[Token, ...]]) -> dict[str, _Function]:
    """Those of tables, by name."""
    found: dict[str, _Function] = {}
    tabular: dict[str, bool] = {}  # names bound so far: whether they are tables
    for words in statements:
        if len(words) < 4 or words[0].text != "let" or words[2].text != "=":
            continue
        name, function = words[1].text, _read(query, words)
        if function is None:
            tabular[name] = _is_table(words[3:], tabular, found)
            continue
        scope = {**tabular, **{p: p in function.tables for p in function.parameters}}
        for inner in function.body[:-1]:
            if len(inner) > 3 and inner[0].text == "let":
                scope[inner[1].text] = _is_table(inner[3:], scope, found)
        if function.tables or _is_table(function.body[-1], scope, found):
            found[name] = function
    return found


def _read(query: str, words: Sequence[Token]) -> _Function | None:
    """``let NAME = [view] (parameters) { body }``."""
    at = 4 if words[3].text == "view" else 3
    if at >= len(words) or words[at].text != "(":
        return None
    close = closing(words, at)
    if close is None or close + 1 >= len(words) or words[close + 1].text != "{" or words[-1].text != "}":
        return None
    parameters, tables = {}, set()
    for part in split(words[at + 1 : close]):
        if not part:
            continue
        equals = find_mark(part, "=")
        parameters[part[0].text] = written(query, part[equals + 1 :]) if equals > 0 else ""
        if len(part) > 2 and part[2].text == "(":
            tables.add(part[0].text)
    body = tuple(each for each in split(words[close + 2 : -1], ";") if each)
    if not body:
        return None
    return _Function(name=words[1].text, parameters=parameters, tables=frozenset(tables), body=body)


def _is_table(words: Sequence[Token], names: Mapping[str, bool], functions: Mapping[str, _Function]) -> bool:
    """Whether what is bound, or given back, is a table."""
    if len(split(words, "|")) > 1:
        return True
    first = words[0].text if words else ""
    if first == "(":
        return _is_table(words[1:-1], names, functions)
    if len(words) == 1 and words[0].kind is TokenKind.NAME:
        return names.get(first, first not in ("true", "false"))
    return first in _SOURCES or first in functions


def _calls(tokens: Sequence[Token], i: int, functions: Mapping[str, _Function]) -> bool:
    token = tokens[i]
    function = functions.get(token.text)
    if function is None or token.kind is not TokenKind.NAME or (i and tokens[i - 1].text == "."):
        return False
    follows = tokens[i + 1].text if i + 1 < len(tokens) else ""
    return follows == "(" or (not function.parameters and follows != "=")


def _defines(statements: Sequence[tuple[Token, ...]], token: Token) -> bool:
    """Whether ``token`` stands in a function's definition."""
    words = next(each for each in statements if each and each[0].start <= token.start < each[-1].end)
    return words[0].text == "let" and words[-1].text == "}"


def _is(words: Sequence[Token], functions: Mapping[str, _Function]) -> bool:
    return not words or (len(words) > 3 and words[0].text == "let" and words[1].text in functions)


def _expanded(query: str, tokens: Sequence[Token], i: int, function: _Function, number: int) -> str:
    """The call at token ``i`` as a name bound just before its statement."""
    made = f"{HIDDEN}f{number}"
    called = i + 1 < len(tokens) and tokens[i + 1].text == "("
    close = (closing(tokens, i + 1) or len(tokens) - 1) if called else i
    given = [part for part in split(tokens[i + 2 : close]) if part] if called else []
    arguments = [written(query, part) for part in given]
    start, end, lets = tokens[i].start, tokens[close].end, []
    statement = next(s[0].start for s in split(tokens, ";") if s and s[0].start <= start < s[-1].end)
    if i and tokens[i - 1].text == "invoke":
        stage = next(s for s in stages(tokens) if s.words[0] is tokens[i - 1])
        arguments.insert(0, query[stage.pipeline : stage.start])
        start = stage.pipeline
    values = _bound(query, tokens[i], function, arguments)
    renamed: dict[str, str] = {}
    for name, value in values.items():
        if name not in function.tables and len(tokenize(value)) == 1:
            renamed[name] = value
            continue
        renamed[name] = f"{made}_{name}"
        lets.append(f"let {renamed[name]} = {_bare(value) if name in function.tables else value}; ")
    for words in function.body[:-1]:
        renamed[words[1].text] = f"{made}_{words[1].text}"
    for words in function.body:
        text = _renamed(query, words, renamed)
        lets.append(f"{text}; " if words is not function.body[-1] else f"let {made} = {_bare(text)}; ")
    return f"{query[:statement]}{''.join(lets)}{query[statement:start]}{made}{query[end:]}"


def _bare(text: str) -> str:
    """A table without brackets around the whole of it."""
    words = tokenize(text)
    if len(words) > 2 and words[0].text == "(" and closing(words, 0) == len(words) - 1:
        return _bare(written(text, words[1:-1]))
    return text


def _bound(query: str, at: Token, function: _Function, arguments: Sequence[str]) -> dict[str, str]:
    """The value of each parameter: by place, by ``name = value``, or its default."""
    values: dict[str, str] = {}
    names = list(function.parameters)
    for place_, text in enumerate(arguments):
        words = tokenize(text)
        named = len(words) > 2 and words[1].text == "=" and words[0].text in function.parameters
        name = words[0].text if named else names[place_] if place_ < len(names) else ""
        values[name] = written(text, words[2:]) if named else text
    values = {**{name: default for name, default in function.parameters.items() if default}, **values}
    if "" in values or any(name not in values for name in names):
        line, column = place(query, at.start)
        wanted = f"{function.name}({', '.join(names)})"
        message = f"{function.name}() takes other arguments"
        raise QueryError(message, line=line, column=column, hint=f"call it as {wanted}")
    return {name: values[name] for name in names}


def _renamed(query: str, words: Sequence[Token], names: Mapping[str, str]) -> str:
    """The text of ``words`` with names replaced, but not those of members and of new columns."""
    parts, at = [], words[0].start
    for i, word in enumerate(words):
        before = words[i - 1].text if i else ""
        follows = words[i + 1].text if i + 1 < len(words) else ""
        new_column = follows == "=" and before != "let"
        if word.kind is TokenKind.NAME and word.text in names and before != "." and not new_column:
            parts += [query[at : word.start], names[word.text]]
            at = word.end
    return "".join([*parts, query[at : words[-1].end]])
