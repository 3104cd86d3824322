"""Slips: misspelt operators, and in a ``where`` what other languages write, and the parser reads as something else
or stops far from.

    where Status = 'Failed'     a name for a value: the condition would be the text 'Failed'
    where Status is null        a path into Status, as in Status.is.null

Of a ``where`` the tokens are looked at, those of pipelines inside it apart.

``place_of_expression`` says where an expression of the tree stands in the text: the tree of upstream knows no places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin.errors import QueryError
from tocsin.kql.sandbox import upstream
from tocsin.kql.sandbox.upstream import ir
from tocsin.kql.schema import did_you_mean
from tocsin.kql.tokens import Token, TokenKind, place

_BLANK = frozenset("()[],.~!")
"""Punctuation that the tree does not hold."""


def place_of_expression(text: str, tokens: Sequence[Token], node: Any) -> tuple[int, int]:
    """1-based line and column of the first place that reads as ``node``, or as much of it as the text holds; else
    (0, 0).
    """
    written = [(word, token.start) for token in tokens for word in _of_token(token)]
    wanted = list(_words(node))
    spans = [(0, end) for end in range(len(wanted), 0, -1)] + [(start, len(wanted)) for start in range(1, len(wanted))]
    for start, end in spans:
        part = wanted[start:end]
        for at in range(len(written) - len(part) + 1):
            if all(written[at + i][0] == word for i, word in enumerate(part)):
                return place(text, written[at][1])
    return 0, 0


def _of_token(token: Token) -> Iterator[str]:
    if token.kind is TokenKind.STRING:
        try:
            yield f"'{upstream.plain_string(token.text)}"
        except ValueError:
            yield token.text
    elif token.kind is TokenKind.NUMBER:
        yield _number(token.text)
    elif not (token.kind is TokenKind.PUNCT and token.text in _BLANK):
        yield token.text


def _number(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text


def _words(node: Any) -> Iterator[str]:
    """What the tokens of ``node`` are, as ``_of_token`` says them."""
    for part in _literal(node) if isinstance(node, ir.Literal) else _parts(node):
        if isinstance(part, str):
            yield part
        else:
            yield from _words(part)


def _literal(node: ir.Literal) -> Sequence[str]:
    value = node.value
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, int | float):
        return [*("-" if value < 0 else ""), repr(float(abs(value)))]
    if isinstance(value, str) and node.kind == "string":
        return [f"'{value}"]
    return [str(value) if node.kind == "timespan" else str(node.kind)]


def _parts(node: Any) -> Sequence[Any]:
    """Words of its own and the expressions below, in the order of the text."""
    match node:
        case ir.ColumnRef(name=name) | ir.Parameter(name=name):
            return [str(name)]
        case ir.UnaryOp(op=op, operand=operand):
            return [str(op), operand]
        case ir.BinaryOp(op=op, left=left, right=right):
            return [left, *str(op).removeprefix("!" if op != "!=" and op != "!~" else " ").split(), right]
        case ir.InList(value=value, items=items):
            return [value, "in", *items]
        case ir.Between(value=value, low=low, high=high):
            return [value, "between", low, "..", high]
        case ir.PathAccess(base=base, steps=steps):
            return [base, *(str(step.name) if step.index is None else step.index for step in steps)]
        case ir.FunctionCall(name=name, args=args):
            return [str(name), *args]
        case ir.NamedExpr(expr=expr):
            return [expr]
    return []


_TEXT = ("contains", "has", "hasprefix", "hassuffix", "startswith", "endswith")
_WORDS = frozenset(
    ["and", "or", "in", "between", "matches", "regex", "has_any", "has_all", "notcontains", "notcontainscs"]
    + [word + case for word in _TEXT for case in ("", "_cs", "cs")]
)
"""Words that stand between two operands."""
_NEGATED = _WORDS - {"and", "or", "matches", "regex", "has_any", "has_all"}
_OPAQUE = frozenset(("datetime", "date", "time", "timespan", "dynamic", "guid", "typeof"))
"""Literals whose insides are no expressions."""
_SOURCES = frozenset(("print", "union", "range", "datatable", "externaldata", "find", "search"))
_WHERE = frozenset(("where", "filter"))
_HINTS = {
    "is": "write isnull(…), isnotnull(…), isempty(…) or isnotempty(…)",
    "like": "write contains, startswith, endswith or matches regex",
    "equals": "write ==",
    "eq": "write ==",
    "ne": "write !=",
}
_OTHERS = {"===": "==", "!==": "!=", "=>": ">=", "=<": "<=", "~=": "=~", "&&": "and", "||": "or", ":=": "=="}


_LISTED = """
    as assert-schema consume count distinct evaluate extend external_data facet filter find fork getschema graph-mark-components
    graph-match graph-shortest-paths graph-to-table graph-where-edges graph-where-nodes invoke join limit lookup macro-expand
    make-graph make-series mv-apply mv-expand mvapply mvexpand order parse parse-kv parse-where partition project project-away
    project-by-names project-keep project-rename project-reorder range reduce render sample sample-distinct scan search
    serialize sort summarize take top top-hitters top-nested union where
"""
_OPERATORS = frozenset(_LISTED.split())
"""What may follow a ``|``."""


_INSTEAD = {
    "select": "write project",
    "group": "write summarize count() by …",
    "having": "write where behind summarize",
}
_TYPOGRAPHIC = frozenset("“”„‘’«»")
_NAMING = frozenset(("project", "extend", "summarize", "distinct", "print"))
_ALONE = frozenset(("consume", "count", "getschema", "serialize"))
"""Of these, what needs nothing after it."""


@dataclass(slots=True)
class _Level:
    """Within one pair of brackets: the operator whose part this is, and whether it is a literal's inside."""

    operator: str
    opaque: bool = False


def _check_by(text: str, words: Sequence[Token]) -> None:
    """``order TimeGenerated`` and ``top 5 TimeGenerated`` lack their ``by``."""
    at = {"order": 1, "sort": 1, "top": 2}.get(words[0].text if words else "", len(words))
    if at < len(words) and words[at].text != "by" and words[at].kind is TokenKind.NAME:
        before = " ".join(word.text for word in words[:at])
        raise _slip(text, words[at], f"'{words[0].text}' needs by", f"write {before} by {words[at].text}")


def _check_as(text: str, tokens: Sequence[Token], index: int) -> None:
    """``project RunId as id``: in KQL the name comes first."""
    before, following = tokens[index - 1], tokens[index + 1 : index + 2]
    ends = before.kind is TokenKind.NAME or before.text in (")", "]")
    if ends and before.text not in _NAMING and following and following[0].kind is TokenKind.NAME:
        of = before.text if before.kind is TokenKind.NAME else "…"
        raise _slip(text, tokens[index], "a name stands before its value", f"write {following[0].text} = {of}")


def _check_whole(text: str, tokens: Sequence[Token]) -> None:
    """SQL, a let without its end, and a query that breaks off: the parser stops at another place, or reads a name."""
    first, last = tokens[0], tokens[-1]
    if quote := next((token for token in tokens if token.text in _TYPOGRAPHIC), None):
        raise _slip(text, quote, f"{quote.text} quotes nothing in KQL", "write plain quotes: 'Failed'")
    if first.text.lower() == "select" and len(tokens) > 1 and tokens[1].text != "|":
        raise _slip(text, first, "this is SQL; queries are KQL", "Runs | where Status == 'Failed' | project RunId")
    if first.text == "let" and all(token.text != ";" for token in tokens):
        raise _slip(text, first, "a let ends with ';', and a query follows it", "let most = 5; Runs | take most")
    piped = len(tokens) > 1 and tokens[-2].text == "|" and last.text in _OPERATORS - _ALONE
    if piped or (last.text == "|" and last.kind is TokenKind.PUNCT):
        raise _slip(text, last, f"the query ends after '{last.text}'", "")


def check(text: str, tokens: Sequence[Token]) -> None:
    """Raises ``QueryError`` with its place for the first slip."""
    _check_whole(text, tokens)
    levels = [_Level("")]
    for index, token in enumerate(tokens):
        here = levels[-1]
        if here.operator in _WHERE and not here.opaque and tokens[index - 1].text != "|":
            _check(text, tokens, index)
        if token.kind is not TokenKind.PUNCT:
            if token.text == "as" and here.operator in _NAMING:
                _check_as(text, tokens, index)
            continue
        following = tokens[index + 1].text if index + 1 < len(tokens) else ""
        match token.text:
            case "(" | "[":
                before = tokens[index - 1] if index else token
                opaque = here.opaque or (before.kind is TokenKind.NAME and before.text.lower() in _OPAQUE)
                levels.append(_Level(following if following in _SOURCES else here.operator, opaque))
            case "{":
                levels.append(_Level("", here.opaque))
            case ")" | "]" | "}":
                if len(levels) > 1:
                    levels.pop()
            case "|":
                here.operator = following
                if following and tokens[index + 1].kind is TokenKind.NAME and following not in _OPERATORS:
                    hint = _INSTEAD.get(following.lower()) or did_you_mean(following, _OPERATORS)
                    raise _slip(text, tokens[index + 1], f"there is no operator '{following}'", hint)
                _check_by(text, tokens[index + 1 : index + 4])
            case ";":
                here.operator = ""


def _check(text: str, tokens: Sequence[Token], index: int) -> None:
    """Raises where the token, which is part of a ``where``, is a slip."""
    token, before = tokens[index], tokens[index - 1]
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    if token.kind is TokenKind.PUNCT:
        for first, second in ((before, token), (token, after)):
            if second is not None and first.end == second.start and (right := _OTHERS.get(first.text + second.text)):
                raise _slip(text, first, f"'{first.text}{second.text}' is no operator", f"write {right}")
        if token.text in _OTHERS:
            raise _slip(text, token, f"'{token.text}' is no operator", f"write {_OTHERS[token.text]}")
        if token.text == "=":
            left, at = before.text if before.kind is TokenKind.NAME else "", index - 1
            while left and at > 2 and tokens[at - 1].text == "." and tokens[at - 2].kind is TokenKind.NAME:
                at -= 2
                left = f"{tokens[at].text}.{left}"
            message = "'=' gives a name to a value; a comparison is written '=='"
            raise _slip(text, token, message, f"write {left} == …".replace("  ", " "))
        negates = after is not None and (
            after.text == "(" or (after.kind is TokenKind.NAME and after.text not in _NEGATED)
        )
        if token.text == "!" and negates:
            raise _slip(text, token, "'!' negates no expression", "write not(…)")
        return
    if before.kind is TokenKind.NAME and before.text == "not" and token.kind is TokenKind.NAME:
        raise _slip(text, before, "'not' is a function", f"write not({token.text} …)")
    if before.text == "in" and before.kind is TokenKind.NAME and token.kind is not TokenKind.NAME:
        raise _slip(text, token, "'in' takes a list", f"write in ({token.text})")
    if token.kind is TokenKind.NAME and token.text not in _WORDS and _ends_operand(tokens, index - 1):
        if token.text.lower() in _WORDS | {"not"}:
            raise _slip(text, token, f"'{token.text}' is no operator", f"write {token.text.lower()}: case counts")
        hint = _HINTS.get(token.text.lower(), "put and, or, or an operator before it")
        raise _slip(text, token, f"'{token.text}' is no operator", hint)


def _ends_operand(tokens: Sequence[Token], index: int) -> bool:
    """Whether an operand ends with the token."""
    token = tokens[index]
    if token.kind is TokenKind.PUNCT:
        return token.text in (")", "]")
    begins = token.text in _WHERE and tokens[index - 1].text == "|"
    return not begins and not (token.kind is TokenKind.NAME and token.text in _WORDS)


def _slip(text: str, token: Token, message: str, hint: str) -> QueryError:
    line, column = place(text, token.start)
    return QueryError(message, line=line, column=column, hint=hint)
