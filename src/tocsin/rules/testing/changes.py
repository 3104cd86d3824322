"""What a mutant changes: one value of a rule as its file writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.config.yaml.document import KeyPath
from tocsin.config.yaml.durations import format_duration, parse_duration
from tocsin.errors import QueryError
from tocsin.kql.tokens import Token, TokenKind, tokenize
from tocsin.model.statuses import STATUS_WORDS

DROPPED = object()
"""The value of a key that is left out."""

_PREDICATES = frozenset({"query", "sql", "where", "condition"})
_THRESHOLDS = frozenset({"above", "below", "failed", "severity"})
_NUMBERS = frozenset({"max", "times", "min_runs", "at_least"})
_WINDOWS = frozenset({"over", "in_status_for", "silent_for", "within", "last", "window", "grace", "early", "look_back"})
_FORS = frozenset({"for", "keep_firing_for"})
_GROUPS = frozenset({"by", "same", "per"})
_STATUSES = frozenset({"status", "after"})
_APART = frozenset({"tests", "name", "description", "annotations", "labels", "summary", "notify", "fields", "runbook"})

_OTHER = {">": ">=", ">=": ">", "<": "<=", "<=": "<", "==": "!=", "!=": "==", "=~": "!~", "!~": "=~"}
_SWAPPED = {"Failed": "Canceled", "Running": "Queued", "Queued": "Running"}
_N_OF_M = re.compile(r"(\d+) of (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a rule."""

    kind: str  # threshold, comparison, window, filter, status, for, final or group
    path: KeyPath  # from the rule on
    said: str  # for people
    value: Any  # what stands at the path instead, or DROPPED
    offset: int = 0  # in the text at the path


def changes(entry: Mapping[str, Any]) -> Iterator[Change]:
    """Every change of a rule, in the order of its keys."""
    for path, value in _leaves({key: value for key, value in entry.items() if key not in _APART}, ()):
        key = next(part for part in reversed(path) if isinstance(part, str))
        if key in _PREDICATES or path == ("resolve", "when") or (path[0] == "severity" and len(path) > 1):
            yield from _of_text(path, value)
        elif key in _THRESHOLDS or key in _NUMBERS:
            yield from _of_numbers(path, value)
        elif key in _WINDOWS or key in _FORS:
            yield from _of_duration(path, value, "window" if key in _WINDOWS else "for")
        elif key in _STATUSES and value in STATUS_WORDS:
            other = swapped(value)
            yield Change(kind="status", path=path, said=f"{key}: {value} → {other}", value=other)
        elif key in _GROUPS:
            yield Change(kind="group", path=path, said=f"{key}: {value} dropped", value=DROPPED)
    yield from _of_final(entry)


def changed(value: Any, path: KeyPath, new: Any) -> Any:
    """``value`` with ``new`` at ``path``. A list that would be empty is left out with its key."""
    if not path:
        return new
    inner = value.get(path[0]) if isinstance(value, Mapping) else value[path[0]]
    put = changed(inner, path[1:], new)
    gone = put is DROPPED or (put == [] and inner != [])
    if isinstance(value, Mapping):
        return {**{k: v for k, v in value.items() if k != path[0]}, **({} if gone else {path[0]: put})}
    at = int(path[0])
    return [*value[:at], *([] if gone else [put]), *value[at + 1 :]]


def swapped(status: str) -> str:
    """The status that a mutant has for ``status``."""
    return _SWAPPED.get(status, "Failed")


def tokens_of(text: str) -> tuple[Token, ...]:
    """The tokens of ``text``; none where they cannot be read."""
    try:
        return tokenize(text)
    except QueryError:
        return ()


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    for part, inner in (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from _leaves(inner, (*path, part))


def _of_final(entry: Mapping[str, Any]) -> Iterator[Change]:
    when = entry.get("when")
    if not isinstance(when, Mapping) or {"in_status_for", "times", "cron"} & set(when):
        return
    if "final" in when:
        other = "false" if when["final"] == "true" else "true"
        yield Change(kind="final", path=("when", "final"), said=f"final: {when['final']} → {other}", value=other)
    elif "Failed" in (when.get("status") or ()):
        yield Change(kind="final", path=("when", "final"), said="final: false added", value="false")


def _of_duration(path: KeyPath, value: str, kind: str) -> Iterator[Change]:
    key = path[-1]
    if match := _N_OF_M.fullmatch(value):
        n, m = int(match[1]), int(match[2])
        for other in (n - 1, n + 1):
            if 1 <= other <= m:
                yield _put(kind, path, value, f"{other} of {m}")
    else:
        try:
            length = parse_duration(value)
        except ValueError:
            return  # `run`, `root`, a template
        for other_length in (length * 2, length / 2):
            yield _put(kind, path, value, format_duration(other_length))
    if kind == "for":
        yield Change(kind=kind, path=path, said=f"{key}: {value} dropped", value=DROPPED)


def _of_numbers(path: KeyPath, value: str) -> Iterator[Change]:
    for token in tokens_of(value):
        if token.kind is TokenKind.NUMBER:
            for other in _near(token.text):
                yield _put("threshold", path, value, other, token)


def _of_text(path: KeyPath, text: str) -> Iterator[Change]:
    tokens = tokens_of(text)
    for number, token in enumerate(tokens):
        beside = {t.text for t in (*tokens[max(number - 1, 0) : number], *tokens[number + 1 : number + 2])}
        if token.text in _OTHER and token.kind is TokenKind.PUNCT:
            yield _put("comparison", path, text, _OTHER[token.text], token)
        elif token.kind is TokenKind.NUMBER and beside & set(_OTHER):
            for other in _near(token.text):
                yield _put("threshold", path, text, other, token)
        elif token.kind is TokenKind.TIMESPAN:
            match = re.match(r"[\d.]+", token.text)
            assert match is not None
            for factor in (2, 0.5):
                yield _put("window", path, text, f"{float(match[0]) * factor:g}{token.text[match.end() :]}", token)
        elif token.kind is TokenKind.STRING and (word := token.text[1:-1]) in STATUS_WORDS:
            yield _put("status", path, text, f"{token.text[0]}{swapped(word)}{token.text[-1]}", token)
    yield from _without_filters(path, text, tokens)
    yield from _without_groups(path, text, tokens)


def _without_filters(path: KeyPath, text: str, tokens: tuple[Token, ...]) -> Iterator[Change]:
    if path[-1] == "where":
        yield Change(kind="filter", path=path, said=f"where: {text} dropped", value=DROPPED)
    for part in _parts(tokens):
        is_filter = [t.text for t in part[:2]] == ["|", "where"]
        if is_filter:
            yield _cut("filter", path, text, part[0].start, part[-1].end)
        elif path[-1] == "query":
            continue
        yield from _without_terms(path, text, part[2:] if is_filter else part)


def _without_terms(path: KeyPath, text: str, part: list[Token]) -> Iterator[Change]:
    """Without each of the terms that an `and` joins."""
    depth, ands = 0, []
    for token in part:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if depth == 0 and token.text == "or":
            return
        if depth == 0 and token.text == "and":
            ands.append(token)
    if ands:
        yield _cut("filter", path, text, part[0].start, ands[0].end)
    for number, token in enumerate(ands):
        end = ands[number + 1].start if number + 1 < len(ands) else part[-1].end
        yield _cut("filter", path, text, token.start, end)


def _without_groups(path: KeyPath, text: str, tokens: tuple[Token, ...]) -> Iterator[Change]:
    """Without each plain column of a `summarize … by A, B`."""
    for part in _parts(tokens):
        at = next((i for i, token in enumerate(part) if token.text == "by" and part[1].text == "summarize"), None)
        names = part[at + 1 :] if at is not None else []
        if len(names) < 3 or not all((t.kind is TokenKind.NAME) != (i % 2) for i, t in enumerate(names)):
            continue
        for i in range(0, len(names), 2):
            start, end = (names[i].start, names[i + 1].end) if i == 0 else (names[i - 1].start, names[i].end)
            yield _cut("group", path, text, start, end)


def _parts(tokens: tuple[Token, ...]) -> list[list[Token]]:
    """The operators of a query, each with the `|` before it."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
        if token.text == "|" and depth == 0:
            parts.append([])
        parts[-1].append(token)
    return [part for part in parts if len(part) > 1]


def _near(number: str) -> list[str]:
    """A little more and a little less: by 1 below 20, by a tenth above and of fractions."""
    if not number.isdigit():
        value = float(number) if re.fullmatch(r"[\d.eE+-]+", number) else 0.0
        return [f"{value * 1.1:g}", f"{value * 0.9:g}"] if value else []
    whole = int(number)
    step = 1 if whole < 20 else whole // 10
    return [str(whole + step), *([str(whole - step)] if whole >= step else [])]


def _put(kind: str, path: KeyPath, text: str, new: str, token: Token | None = None) -> Change:
    start, end = (token.start, token.end) if token else (0, len(text))
    around = text[text.rfind("\n", 0, start) + 1 :].split("\n")[0].strip() if token else text
    said = f"{path[-1]}: {text[start:end]} → {new}" + (f" in `{around}`" if token else "")
    return Change(kind=kind, path=path, said=said, value=type(text)(text[:start] + new + text[end:]), offset=start)


def _cut(kind: str, path: KeyPath, text: str, start: int, end: int) -> Change:
    said = f"{path[-1]}: `{' '.join(text[start:end].split())}` dropped"
    return Change(kind=kind, path=path, said=said, value=type(text)(text[:start] + text[end:]), offset=start)
