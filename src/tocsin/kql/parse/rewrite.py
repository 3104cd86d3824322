"""KQL that the translator lacks, written in KQL that it has: text in, text out, before parsing.

A stage that becomes a query over what came before it is hoisted: ``P | make-series … | R`` becomes ``let __tocsin_1 =
P; … | R``. What depends on the input's columns becomes a marker, ``where __tocsin_…(…)``, that ``markers`` resolves
once the columns are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tocsin.errors import QueryError
from tocsin.kql.parse import plugins
from tocsin.kql.parse.functions import inlined, respelled
from tocsin.kql.parse.plugins import partition
from tocsin.kql.parse.stages import Stage, find, find_mark, replaced, split, stages, written
from tocsin.kql.schema import HIDDEN
from tocsin.kql.tokens import Token, TokenKind, tokenize

MAX_REWRITES = 40

_STAR_OPERATORS = (
    "has",
    "has_cs",
    "contains",
    "contains_cs",
    "startswith",
    "endswith",
    "hasprefix",
    "hassuffix",
    "matches",
)

SEARCHED = ("RunStatusChanged", "Runs", "Alerts", "Notifications")
"""Tables that ``search`` without any reads."""

REFUSED = {
    "externaldata": (
        "externaldata is refused",
        "put the file into tables/ of the project directory and name it as a table",
    ),
    "evaluate": plugins.REFUSAL,
    "reduce": ("reduce is not supported", "extend a pattern with replace_regex() and summarize by it"),
    "scan": ("scan is not supported", "sort, then prev() and row_cumsum(), or a rule with after: and times:"),
    "facet": ("facet is not supported", "write one query for each"),
    "fork": ("fork is not supported", "write one query for each"),
    "find": ("find is not supported", "name the table, then search or where * has"),
    "invoke": ("invoke is not supported", "write the function's body"),
    "top-hitters": ("top-hitters is not supported", "summarize n = count() by x | top 10 by n"),
    "parse-kv": ("parse-kv is not supported", "extract() or parse with"),
    "make-graph": ("graph operators are refused", "use join"),
    "macro-expand": ("macro-expand is refused", "name the tables"),
    "consume": ("consume is not supported", "use count"),
}
"""Operators that are refused: why, and what to write instead."""


def rewritten(query: str, tokens: tuple[Token, ...]) -> str:
    """The query in the translator's KQL; the same text where there is nothing to rewrite."""
    text = inlined(respelled(query, tokens))
    for number in range(1, MAX_REWRITES + 1):
        words = tokens if text is query else tokenize(text)
        change = _first_change(text, words, number)
        if change is None:
            return text
        text = change
    raise QueryError("the query has too many operators that need rewriting")


def _first_change(query: str, tokens: tuple[Token, ...], number: int) -> str | None:
    for stage in stages(tokens):
        word = stage.words[0].text
        if stage.words[0].kind is not TokenKind.NAME:
            continue
        if stage.leads and len(stage.words) > 1 and stage.words[1].text != "(" and word == "search":
            return _leading_search(query, stage)
        if stage.leads and word == "declare":
            return _declared(query, stage)
        rewrite = _STAGES.get(word)
        if rewrite is not None and not stage.leads:
            made = rewrite(query, stage, number)
            if made is not None:
                return made
        elif word in REFUSED and (not stage.leads or word in ("externaldata", "find", "macro-expand")):
            message, hint = REFUSED[word]
            raise stage.error(query, message, hint)
    return _starred(query, tokens)


def _starred(query: str, tokens: Sequence[Token]) -> str | None:
    """``* has 'x'``: the star becomes a column that stands for all string columns."""
    for index, token in enumerate(tokens[:-1]):
        follows = tokens[index + 1]
        if token.text == "*" and follows.kind is TokenKind.NAME and follows.text in _STAR_OPERATORS:
            return f"{query[: token.start]}{HIDDEN}any {query[token.end :]}"
    return None


def hoisted(query: str, stage: Stage, number: int, lets: Sequence[tuple[str, str]], made: str) -> str:
    """The pipeline up to ``stage`` as a let, further ``lets`` after it, and ``made`` in its place."""
    first = (f"{HIDDEN}{number}", query[stage.pipeline : stage.start])
    written_lets = "".join(f"let {name} = {body}; " for name, body in (first, *lets))
    return (
        f"{query[: stage.statement]}{written_lets}{query[stage.statement : stage.pipeline]}{made} {query[stage.end :]}"
    )


def _sample(query: str, stage: Stage, number: int) -> str:
    return replaced(query, stage, f"| take {stage.text(query)}")


def _sample_distinct(query: str, stage: Stage, number: int) -> str:
    of = find(stage.words, "of")
    if of < 0:
        raise stage.error(query, "sample-distinct needs of", "sample-distinct 5 of RunId")
    return replaced(query, stage, f"| distinct {stage.text(query, of + 1)} | take {stage.text(query, 1, of)}")


def _as(query: str, stage: Stage, number: int) -> str:
    name = stage.words[-1].text
    body = query[stage.pipeline : stage.start]
    rest = query[stage.end :]
    return f"{query[: stage.statement]}let {name} = {body}; {query[stage.statement : stage.pipeline]}{name} {rest}"


def _serialize(query: str, stage: Stage, number: int) -> str:
    given = stage.text(query)
    return replaced(query, stage, f"| where {HIDDEN}serialize()" + (f" | extend {given}" if given else ""))


def _columns(marker: str) -> Callable[[str, Stage, int], str]:
    def rewrite(query: str, stage: Stage, number: int) -> str:
        names = [_spelled(query, part) for part in split(stage.words[1:])]
        listed = ", ".join("'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'" for name in names)
        return replaced(query, stage, f"| where {HIDDEN}{marker}({listed})")

    return rewrite


def _spelled(query: str, words: Sequence[Token]) -> str:
    """A column's name or pattern; that in brackets and quotes as it is, its order after it."""
    if words and words[0].text == "[" and len(words) > 2:
        return words[1].text[1:-1] + written(query, words[3:])
    return written(query, words).replace(" ", "")


def _away(query: str, stage: Stage, number: int) -> str | None:
    """With a wildcard, as a marker."""
    return _columns("away")(query, stage, number) if any(word.text == "*" for word in stage.words) else None


def _distinct(query: str, stage: Stage, number: int) -> str | None:
    if [word.text for word in stage.words[1:]] != ["*"]:
        return None
    return replaced(query, stage, f"| where {HIDDEN}distinct()")


def _mv_expand(query: str, stage: Stage, number: int) -> str | None:
    words = stage.words[1:]
    while len(words) > 2 and words[1].text == "=" and words[0].text in ("bagexpansion", "kind", "with_itemindex"):
        words = words[3:]  # parameters keep their place in front
    head = query[stage.words[0].start : words[0].start] if words else ""
    tail = find(words, "limit")
    targets = split(words[: tail if tail >= 0 else None])
    named = [_target(query, target) for target in targets]
    if all(new == written(query, old) for new, old in zip(named, targets, strict=True)):
        return None
    limit = f" {written(query, words[tail:])}" if tail >= 0 else ""
    return replaced(query, stage, f"| {head}{', '.join(named)}{limit}")


def _target(query: str, words: Sequence[Token]) -> str:
    """A target of mv-expand with a name: that of a path is its parts, that of ``parse_json(x)`` is x."""
    text = written(query, words)
    value = words[: find(words, "to")] if find(words, "to") >= 0 else words
    if len(value) < 2 or value[1].text == "=" or (value[0].text == "[" and len(value) == 3):
        return text
    names = [word.text for word in value if word.kind is TokenKind.NAME]
    if value[1].text == "(":
        inner = [word for word in value[2:-1] if word.kind is TokenKind.NAME]
        plain = value[0].text in ("parse_json", "todynamic", "split", "extract_json") and inner
        return f"{inner[0].text if plain else 'Column1'} = {text}"
    if all(word.kind is TokenKind.NAME or word.text == "." for word in value):
        return f"{'_'.join(names)} = {text}"
    keys = [word.text.strip("'\"") if word.kind is TokenKind.STRING else word.text for word in value]
    return f"{'_'.join(key for key in keys if key.isidentifier())} = {text}"


def _search(query: str, stage: Stage, number: int) -> str:
    return replaced(query, stage, f"| where {_searched(query, stage, stage.words[1:])}")


def _leading_search(query: str, stage: Stage) -> str:
    """``search in (A, B) 'x'``; without tables it reads what is about runs and alerts."""
    words = stage.words[1:]
    at = find(words, "in")
    if at < 0 or at + 1 >= len(words) or words[at + 1].text != "(":
        source = f"union {', '.join(SEARCHED)}"
        if [word.text for word in words] == ["*"]:
            return f"{query[: stage.start]}{source} {query[stage.end :]}"
        return f"{query[: stage.start]}{source} | where {_searched(query, stage, words)} {query[stage.end :]}"
    depth, close = 0, at + 1
    for index in range(at + 1, len(words)):
        depth += words[index].text == "("
        depth -= words[index].text == ")"
        if depth == 0:
            close = index
            break
    tables = written(query, words[at + 2 : close])
    source = f"union {tables}" if "," in tables else tables
    return f"{query[: stage.start]}{source} | where {_searched(query, stage, words[close + 1 :])} {query[stage.end :]}"


def _declared(query: str, stage: Stage) -> str:
    """``declare query_parameters(name: type = value, …)`` as lets: a rule is asked for by nobody who could give
    values.
    """
    words = stage.words[1:]
    if len(words) < 4 or words[0].text != "query_parameters" or words[1].text != "(":
        raise stage.error(
            query, "only query_parameters can be declared", "declare query_parameters(status: string = 'Failed')"
        )
    lets = []
    for part in split(words[2:-1]):
        equals = find_mark(part, "=")
        if equals < 0:
            name = part[0].text if part else "a parameter"
            raise stage.error(
                query, f"{name} has no value", f"give it one: declare query_parameters({name}: string = 'x')"
            )
        lets.append(f"let {part[0].text} = {written(query, part[equals + 1 :])}")
    return f"{query[: stage.start]}{'; '.join(lets)}{query[stage.end :]}"


def _searched(query: str, stage: Stage, words: Sequence[Token]) -> str:
    """A search predicate: a bare text is looked for in all string columns, ``column: text`` in one."""
    while len(words) > 2 and words[1].text == "=" and words[0].text in ("kind",):
        words = words[3:]
    made: list[str] = []
    for index, word in enumerate(words):
        before = words[index - 1].text if index else "and"
        if word.text == ":" and word.kind is TokenKind.PUNCT:
            made.append("has")
        elif word.kind is TokenKind.STRING and before in ("and", "or", "(", "not"):
            made.append(f"{HIDDEN}any {_needle(word.text)}")
        else:
            made.append(word.text)
    if not made:
        raise stage.error(query, "search needs a text", "search 'text'")
    return " ".join(made)


def _needle(text: str) -> str:
    inner, quote = text[1:-1], text[0]
    if inner.startswith("*") and inner.endswith("*") and len(inner) > 2:
        return f"contains {quote}{inner[1:-1]}{quote}"
    if inner.endswith("*"):
        return f"hasprefix {quote}{inner[:-1]}{quote}"
    if inner.startswith("*"):
        return f"hassuffix {quote}{inner[1:]}{quote}"
    return f"has {text}"


def _parse(query: str, stage: Stage, number: int) -> str | None:
    """A pattern that begins with a column, or names one in brackets, in the form that the translator has.

    ``parse X with A ':' *`` looks behind a mark in front of X, so that A begins where X begins.
    """
    words = stage.words[1:]
    at = find(words, "with")
    if at < 1 or at + 1 >= len(words):
        return None
    pattern, mark, tail = list(words[at + 1 :]), "", ""
    made, renamed = [], []
    for i, word in enumerate(pattern):
        name = pattern[i + 1].text if word.text == "[" and i + 2 < len(pattern) else ""
        if name and pattern[i + 1].kind is TokenKind.STRING:
            made.append(f"{HIDDEN}c{number}_{i}")
            renamed.append(f"['{name[1:-1]}'] = {made[-1]}")
        elif (i and pattern[i - 1].text == "[" and made and made[-1].startswith(HIDDEN)) or word.text == "]":
            continue
        else:
            made.append(word.text)
    source = written(query, words[:at])
    if pattern[0].text != "*" and pattern[0].kind is not TokenKind.STRING:
        head, text = written(query, words[: at - 1]), written(query, words[at - 1 : at])
        if words[at - 1].text in ")]":
            return None
        mark, source = f"| extend {HIDDEN}text = strcat('\\u0001', {text}) ", f"{head} {HIDDEN}text".strip()
        made, tail = ["*", "'\\u0001'", *made], f" | project-away {HIDDEN}text"
    if not mark and not renamed:
        return None
    spelled = " ".join(made).replace(" : ", ":")
    rename = f" | project-rename {', '.join(renamed)}" if renamed else ""
    return replaced(query, stage, f"{mark}| {stage.words[0].text} {source} with {spelled}{rename}{tail}")


def _partition(query: str, stage: Stage, number: int) -> str:
    return replaced(query, stage, partition(query, stage))


def _top_nested(query: str, stage: Stage, number: int) -> str:
    """Each level by its aggregate within the values of those before it, as KQL's reference has it:

    ``top-nested 3 of A by x, top-nested 2 of B by y`` gives A, aggregated_A, B, aggregated_B.
    """
    levels = [_level(query, stage, part) for part in split(stage.words)]
    source = f"{HIDDEN}{number}"
    lets: list[tuple[str, str]] = []
    for i, level in enumerate(levels):
        keys = [each.key for each in levels[: i + 1]]
        before = "" if not i else f" | join kind=leftsemi ({source}_{i - 1}) on {', '.join(keys[:-1])}"
        made = f"{source}{before} | summarize {level.aggregate} by {', '.join(keys)}"
        if level.count and i:
            within = keys[0] if i == 1 else f"strcat({', '.join(f'tostring({k})' for k in keys[:-1])})"
            rank = f"{HIDDEN}rank_{level.order}({within}, {level.name})"
            made += f" | extend {HIDDEN}one = {rank} | where {HIDDEN}one <= {level.count} | project-away {HIDDEN}one"
        elif level.count:
            made += f" | top {level.count} by {level.name} {level.order}"
        lets.append((f"{source}_{i}", made))
    last = len(levels) - 1
    if not last:
        return hoisted(query, stage, number, (), lets[0][1])
    joined = "".join(
        f" | join kind=inner ({source}_{i} | project {', '.join([*(e.key for e in levels[: i + 1]), levels[i].name])})"
        f" on {', '.join(e.key for e in levels[: i + 1])}"
        for i in range(last)
    )
    columns = ", ".join(f"{each.key}, {each.name}" for each in levels)
    return hoisted(query, stage, number, lets, f"{source}_{last}{joined} | project {columns}")


@dataclass(frozen=True, slots=True)
class _Level:
    """One ``top-nested N of Key by Aggregate``."""

    count: str  # '' for all
    key: str
    name: str  # of the aggregate
    aggregate: str  # with its name
    order: str


def _level(query: str, stage: Stage, part: Sequence[Token]) -> _Level:
    words = part[1:] if part and part[0].text == "top-nested" else ()
    of, by = find(words, "of"), find(words, "by")
    if of < 0 or by < of + 2 or find(words, "with") >= 0:
        hint = "top-nested 3 of Target by count(), top-nested 2 of ExperimentName by count()"
        raise stage.error(query, "only top-nested N of X by A works, without others", hint)
    key, aggregate, order = words[of + 1 : by], words[by + 1 :], "desc"
    if len(key) != 1:
        raise stage.error(query, "top-nested takes a column of each level", "extend it first")
    if aggregate and aggregate[-1].text in ("asc", "desc"):
        order, aggregate = aggregate[-1].text, aggregate[:-1]
    made, named = written(query, aggregate), len(aggregate) > 2 and aggregate[1].text == "="
    name = aggregate[0].text if named else f"aggregated_{key[0].text}"
    return _Level(written(query, words[:of]), key[0].text, name, made if named else f"{name} = {made}", order)


def _summarize(query: str, stage: Stage, number: int) -> str | None:
    """``take_any(*)``: all columns of one row, as those of the row with the greatest constant."""
    words = stage.words
    for i, word in enumerate(words):
        if word.text in ("take_any", "any") and [each.text for each in words[i + 1 : i + 4]] == ["(", "*", ")"]:
            one = f"{HIDDEN}any{number}"
            before, after = query[words[0].start : word.start], query[words[i + 3].end : words[-1].end]
            made = f"| extend {one} = 1 | {before}arg_max({one}, *){after} | project-away {one}"
            return replaced(query, stage, made)
    return None


def _in_range(query: str, stage: Stage, words: Sequence[Token], inside: int) -> str:
    """``on T in range(a, b, s)`` as from, to and step; b itself belongs to a range."""
    by = find(words[inside:], "by")
    arguments = split(words[inside + 3 : (inside + by if by > 0 else len(words)) - 1])
    if len(arguments) != 3 or all(word.kind is not TokenKind.TIMESPAN for word in arguments[2]):
        raise stage.error(query, "make-series … in range() takes two times and a step", "in range(ago(1d), now(), 1h)")
    begin, until, step = (written(query, part) for part in arguments)
    rest = f" {written(query, words[inside + by :])}" if by > 0 else ""
    head = written(query, words[:inside])
    return replaced(query, stage, f"| make-series {head} from {begin} to ({until} + 1microsecond) step {step}{rest}")


def _make_series(query: str, stage: Stage, number: int) -> str:
    words = stage.words[1:]
    inside = find(words, "in")
    if 0 < inside < len(words) - 2 and words[inside + 1].text == "range":
        return _in_range(query, stage, words, inside)
    lets, made = plugins.make_series(query, stage, f"{HIDDEN}{number}")
    return hoisted(query, stage, number, lets, made)


def _extend(query: str, stage: Stage, number: int) -> str | None:
    made = plugins.fit_line(query, stage, number)
    return None if made is None else replaced(query, stage, made)


def _mv_apply(query: str, stage: Stage, number: int) -> str:
    lets, made = plugins.mv_apply(query, stage, f"{HIDDEN}{number}")
    return hoisted(query, stage, number, lets, made)


_STAGES: dict[str, Callable[[str, Stage, int], str | None]] = {
    "as": _as,
    "distinct": _distinct,
    "evaluate": plugins.evaluate,
    "extend": _extend,
    "make-series": _make_series,
    "mv-apply": _mv_apply,
    "mv-expand": _mv_expand,
    "parse": _parse,
    "parse-where": _parse,
    "partition": _partition,
    "project-away": _away,
    "project-keep": _columns("keep"),
    "project-reorder": _columns("reorder"),
    "sample": _sample,
    "sample-distinct": _sample_distinct,
    "search": _search,
    "serialize": _serialize,
    "summarize": _summarize,
    "top-nested": _top_nested,
}
