"""Operators that are short for a longer query: make-series, mv-apply, series_fit_line, evaluate and partition.

``evaluate bag_unpack`` and ``evaluate pivot``: which columns come out, where the query does not say it.

``partition by Key (…)`` in operators that the translator has: the key goes through each stage under a hidden name.

``partition by k (where n > 1 | top 2 by n)`` is ``extend __key = k | where n > 1 | … the first two of each __key … |
project-away __key``, so the rows are those of all partitions together, as the KQL reference says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tocsin.kql.parse.stages import Stage, find, find_mark, replaced, split, stages, written
from tocsin.kql.schema import HIDDEN
from tocsin.kql.tokens import NO_NAMES, Token, TokenKind, tokenize
from tocsin.model.statuses import Reason, Severity, Status

_TIME, _ONE, _ROW = f"{HIDDEN}time", f"{HIDDEN}one", f"{HIDDEN}row"


def make_series(query: str, stage: Stage, source: str) -> tuple[list[tuple[str, str]], str]:
    """Lets, and the pipeline over them, of ``make-series a = agg default = d, … on T from F to U step S by k, …``.

    what came before, binned at F    every bin from F to U, beside every key
                 \\______ left outer join, defaults ______/
                                  |
                    one row a key, lists in the order of time
    """
    words = stage.words[1:]
    if len(words) > 2 and words[0].text == "kind":
        words = words[3:]
    on = find(words, "on")
    tail = words[on + 1 :] if on > 0 else ()
    at = {name: find(tail, name) for name in ("from", "to", "step", "by")}
    if on < 1 or at["step"] < 1:
        hint = "make-series n = count() on TimeGenerated from ago(1d) to now() step 1h by Target"
        raise stage.error(query, "make-series needs on and step", hint)
    by, ends = at["by"], (at["from"], at["to"])
    axis = written(query, tail[: min(i for i in (*ends, at["step"]) if i > 0)])
    step = written(query, tail[at["step"] + 1 : by if by >= 0 else None])
    lets: list[tuple[str, str]] = []
    if at["from"] > 0:
        begin = written(query, tail[at["from"] + 1 : at["to"] if at["to"] > 0 else at["step"]])
    else:  # the first step that holds something
        begin = f"{source}f"
        lets.append((begin, f"toscalar({source} | summarize {_ONE} = min({axis}) | project bin({_ONE}, {step}))"))
    if at["to"] > 0:
        until = written(query, tail[at["to"] + 1 : at["step"]])
    else:  # the end of the last one
        until = f"{source}u"
        last = f"toscalar({source} | summarize {_ONE} = max({axis}) | project bin_at({_ONE}, {step}, {begin}) + {step})"
        lets.append((until, last))
    keys = [_named(query, stage, key) for key in split(tail[by + 1 :])] if by >= 0 else []
    values = [_series(query, stage, part) for part in split(words[:on])]
    names = [name for name, _ in keys]
    binned = f"{_TIME} = bin_at({axis}, {step}, {begin})"
    wanted = ", ".join(f"{name} = {value}" for name, value, _ in values)
    base = f"{source} | where {axis} >= ({begin}) and {axis} < ({until}) | summarize {wanted} by {_by(keys, binned)}"
    every = f"range {_TIME} from ({begin}) to ({until}) step {step} | where {_TIME} < ({until})"
    grid = every
    if names:
        columns = ", ".join(names)
        beside = f"join kind=inner ({every} | extend {_ONE} = 1) on {_ONE}"
        grid = f"{source}b | distinct {columns} | extend {_ONE} = 1 | {beside} | project {columns}, {_TIME}"
    joined = ", ".join([*names, _TIME])
    filled = ", ".join(f"{name} = {HIDDEN}default({name}, {default})" for name, _, default in values)
    lists = ", ".join(
        [*(f"{n} = {HIDDEN}list({n}, {_TIME})" for n, _, _ in values), f"{axis} = {HIDDEN}list({_TIME}, {_TIME})"]
    )
    grouped = f" by {', '.join(names)}" if names else ""
    made = f"{source}g | join kind=leftouter {source}b on {joined} | extend {filled} | summarize {lists}{grouped}"
    return [*lets, (f"{source}b", base), (f"{source}g", grid)], made


FIT = ("rsquare", "slope", "variance", "rvariance", "interception", "line_fit")
"""What ``series_fit_line`` gives, in its order. Source: the reference of series_fit_line()."""


def fit_line(query: str, stage: Stage, number: int) -> str | None:
    """``extend (a, b, …) = series_fit_line(y)``, or without names, as columns of ``series_fit_line_dynamic(y)``."""
    parts = split(stage.words[1:])
    for at, part in enumerate(parts):
        equals = find_mark(part, "=")
        call = part[equals + 1 :]
        if not call or call[0].text != "series_fit_line":
            continue
        of = call[2:-1]
        if len(call) < 4 or call[1].text != "(" or call[-1].text != ")":
            raise stage.error(query, "series_fit_line stands alone", "extend (r, slope) = series_fit_line(y)")
        given = part[1 : equals - 1] if equals > 0 and part[0].text == "(" else part[: max(equals, 0)]
        prefix = f"series_fit_line_{of[0].text}_" if len(of) == 1 else "series_fit_line_"
        names = [written(query, name) for name in split(given)] if given else [prefix + name for name in FIT]
        bag = f"{HIDDEN}fit{number}"
        columns = [
            f"{name} = {bag}.{field}" if field == "line_fit" else f"{name} = toreal({bag}.{field})"
            for name, field in zip(names, FIT, strict=False)
        ]
        before = [written(query, other) for other in parts[:at]]
        after = [written(query, other) for other in parts[at + 1 :]]
        made = [*before, f"{bag} = series_fit_line_dynamic({written(query, of)})"]
        rest = f" | extend {', '.join(after)}" if after else ""
        return f"| extend {', '.join(made)} | extend {', '.join(columns)} | project-away {bag}{rest}"
    return None


def _by(keys: Sequence[tuple[str, str]], binned: str) -> str:
    return ", ".join([*(name if name == value else f"{name} = {value}" for name, value in keys), binned])


def _named(query: str, stage: Stage, words: Sequence[Token]) -> tuple[str, str]:
    """The name and the expression of a key or a value."""
    if len(words) > 2 and words[1].text == "=":
        return words[0].text, written(query, words[2:])
    if len(words) == 1 and words[0].kind is TokenKind.NAME:
        return words[0].text, words[0].text
    if len(words) > 2 and words[1].text == "(" and words[-1].text == ")":
        inner = [word.text for word in words[2:-1]]
        if len(inner) <= 1:
            return f"{words[0].text}_{''.join(inner)}", written(query, words)
    raise stage.error(query, f"{written(query, words)} needs a name here", "write name = expression")


def _series(query: str, stage: Stage, words: Sequence[Token]) -> tuple[str, str, str]:
    """Name, aggregate and default of one series."""
    at = find(words, "default")
    default = written(query, words[at + 2 :]) if at > 0 else "0"
    name, value = _named(query, stage, words[: at if at > 0 else None])
    return name, value, default


def mv_apply(query: str, stage: Stage, source: str) -> tuple[list[tuple[str, str]], str]:
    """Lets, and the pipeline over them, of ``mv-apply x = array on ( … )``.

    The rows are numbered and expanded; the inner query runs over all of them at once, its summarize by the row's
    number.
    """
    words = stage.words[1:]
    on = find(words, "on")
    if on < 1 or words[-1].text != ")":
        raise stage.error(query, "mv-apply needs on (…)", "mv-apply x = Tags.list on (where x > 1)")
    expanded = f"{source}r | mv-expand {written(query, words[:on])}"
    inner = [part for part in split(words[on + 2 : -1], "|") if part]
    names = [part[0].text for part in inner]
    allowed = {"where", "extend", "summarize", "project-away", "top"}
    others = [name for name in names if name not in allowed]
    if others or names.count("summarize") > 1:
        message = f"{others[0]} does not work inside mv-apply" if others else "one summarize works inside mv-apply"
        raise stage.error(
            query,
            message,
            "where, extend, top, project-away and one summarize do; or mv-expand and summarize by the row",
        )
    numbered = (f"{source}r", f"{source} | extend {_ROW} = {HIDDEN}number()")
    if "summarize" not in names:
        made = " | ".join([expanded, *(_by_row(query, part) for part in inner), f"project-away {_ROW}"])
        return [numbered], made
    inside = " | ".join([expanded, *(_by_row(query, part) for part in inner)])
    return [numbered], f"{source}r | join kind=inner ({inside}) on {_ROW} | project-away {_ROW}, {_ROW}1"


def _by_row(query: str, words: Sequence[Token]) -> str:
    """A stage of the inner query, made to keep each outer row's part apart."""
    by = find(words, "by")
    if words[0].text == "top" and by > 0:
        key = words[by + 1 :]
        order = key[-1].text if key[-1].text in ("asc", "desc") else "desc"
        value = written(query, key[:-1] if key[-1].text in ("asc", "desc") else key)
        ranked = f"extend {_ONE} = {HIDDEN}rank_{order}({_ROW}, {value})"
        return f"{ranked} | where {_ONE} <= {written(query, words[1:by])} | project-away {_ONE}"
    if words[0].text != "summarize":
        return written(query, words)
    if by < 0:
        return f"{written(query, words)} by {_ROW}"
    return f"{written(query, words[:by])} by {_ROW}, {written(query, words[by + 1 :])}"


PIVOTED = {
    "count": "countif", "sum": "sumif", "avg": "avgif", "min": "minif", "max": "maxif", "dcount": "dcountif",
}  # fmt: skip
"""Aggregates of a pivot -> those of one of its columns."""


def _aggregate(query: str, stage: Stage, words: Sequence[Token]) -> tuple[str, str]:
    """Name and argument of a pivot's aggregate."""
    name = words[0].text if words else "count"
    if name not in PIVOTED:
        raise stage.error(query, f"pivot by {name}() does not work", f"use one of {', '.join(sorted(PIVOTED))}")
    return name, written(query, words[2:-1]) if len(words) > 3 else ""


def pivot_of(query: str, stage: Stage, arguments: Sequence[Sequence[Token]], values: Sequence[str]) -> str:
    """``pivot(Key, agg(x), Group, …)`` whose columns are ``values``, as a marker: without groups each other column is one."""
    name, of = _aggregate(query, stage, arguments[1] if len(arguments) > 1 else ())
    listed = [*(f"g{written(query, part)}" for part in arguments[2:]), *(f"v{value}" for value in values)]
    quoted = ", ".join("'" + each.replace("\\", "\\\\").replace("'", "\\'") + "'" for each in listed)
    return f"| where {HIDDEN}pivot('{name}', {written(query, arguments[0])}, {of or 0}, {quoted})"


def pivot(query: str, stage: Stage, arguments: Sequence[Sequence[Token]], schema: Sequence[Sequence[Token]]) -> str:
    """``pivot(Key, agg(x), Group, …) : (Group: type, Value: type, …)`` as a summarize with one aggregate a value."""
    key = written(query, arguments[0])
    aggregate = arguments[1] if len(arguments) > 1 else ()
    groups = [written(query, part) for part in arguments[2:]]
    name, value = _aggregate(query, stage, aggregate)
    of = f"{value}, " if value else ""
    made = []
    for column in schema:
        spelled = column[1].text[1:-1] if column[0].text == "[" else column[0].text
        if spelled in groups:
            continue
        quoted = spelled.replace("\\", "\\\\").replace("'", "\\'")
        made.append(f"['{quoted}'] = {PIVOTED[name]}({of}tostring({key}) == '{quoted}')")
    if not made:
        raise stage.error(
            query, "pivot needs the columns that come out", f"evaluate pivot({key}, count()) : (Failed: long)"
        )
    return f"| summarize {', '.join(made)}" + (f" by {', '.join(groups)}" if groups else "")


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
        return replaced(query, stage, pivot_of(query, stage, split(words[2:-1]), values))
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
        return replaced(query, stage, pivot(query, stage, arguments, schema))
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


HINT = "summarize by the key, or top-nested"
_KEY = f"{HIDDEN}key"
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
