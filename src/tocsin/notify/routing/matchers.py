"""Matchers over the fields of an alert: Alertmanager's syntax, and ``match:`` of our files.

    severity=~"error|critical", team!="ops"            Alertmanager's, classic and UTF-8
    {rule: [run-silent, run-failed], severity: ">= critical"}   ours: one of these texts; severities compared

A field that an alert does not have is the empty text. Regular expressions are RE2's and match the whole value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import re2

from tocsin.config.calendars.maintenance import severities

Fields = Mapping[str, str]
"""What an alert can be matched by: ``rule``, ``severity``, its ``by``, ``labels`` and ``fields``, as texts."""

SEVERITY = "severity"
_LONGEST_PATTERN = 2000


class Op(StrEnum):
    """How a matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    MATCHES_NOT = "!~"
    ONE_OF = "in"


class BadMatcher(ValueError):
    """It cannot be read; the text says why, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """A comparison of one field."""

    name: str
    op: Op
    value: str = ""
    among: frozenset[str] = frozenset()  # of ONE_OF
    source: str = ""  # of ONE_OF: as it was written
    pattern: Any = field(default=None, compare=False, repr=False)

    def matches(self, fields: Fields) -> bool:
        """Whether an alert with these fields is meant."""
        found = fields.get(self.name, "")
        if self.op is Op.ONE_OF:
            return found in self.among
        if self.op is Op.EQUAL:
            return found == self.value
        if self.op is Op.NOT_EQUAL:
            return found != self.value
        return (self.pattern.fullmatch(found) is not None) is (self.op is Op.MATCHES)

    def __str__(self) -> str:
        if self.op is Op.ONE_OF:
            return f"{self.name}: {self.source}"
        return f"{self.name}{self.op}{json.dumps(self.value, ensure_ascii=False)}"


def matches(matchers: Iterable[Matcher], fields: Fields) -> bool:
    """Whether all of ``matchers`` match; without any, every alert is meant."""
    for each in matchers:  # noqa: SIM110 - `all` takes twice the time, for each route of each alert
        if not each.matches(fields):
            return False
    return True


def text_of(matchers: Sequence[Matcher]) -> str:
    """As a person reads them."""
    return ", ".join(map(str, matchers)) or "every alert"


def matcher(name: str, op: Op, value: str) -> Matcher:
    """A matcher of Alertmanager's. Raises BadMatcher."""
    pattern = _compiled(value) if op in (Op.MATCHES, Op.MATCHES_NOT) else None
    return Matcher(name=name, op=op, value=value, pattern=pattern)


def one_of(name: str, texts: Sequence[str]) -> Matcher:
    """An entry of ``match:``: one of ``texts``; of `severity` they may be compared (``>= error``). Raises BadMatcher."""
    try:
        meant = frozenset().union(*map(severities, texts)) if name == SEVERITY else frozenset(texts)
    except ValueError as e:
        raise BadMatcher(str(e)) from e
    return replace(among(name, meant), source=_source(texts))


def among(name: str, texts: frozenset[str]) -> Matcher:
    """One of ``texts`` as they are."""
    return Matcher(name=name, op=Op.ONE_OF, among=texts, source=_source(sorted(texts)))


def _source(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


# -- Alertmanager's syntax ---------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:(?P<op>=~|!=|!~|=)|(?P<punct>[{},])|"(?P<quoted>(?:[^"\\\n]|\\.)*)"|(?P<word>[^\s{}!=~,\\"'`]+))""",
    re.DOTALL,
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_CLASSIC = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!=|!~|=)\s*((?s:"?.*"?))', re.DOTALL)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """``{a="b", c=~"d"}``, braces optional, one trailing comma permitted. Raises BadMatcher.

    Read as Alertmanager 0.27 and later do: by the UTF-8 grammar, else by the classic one (``a=``, an unquoted value
    with reserved characters).
    """
    try:
        return _utf8(text)
    except BadMatcher as first:
        try:
            return _classic(text)
        except BadMatcher:
            raise first from None


def _utf8(text: str) -> tuple[Matcher, ...]:
    tokens = list(_tokens(text))
    braces = bool(tokens) and tokens[0] == ("punct", "{")
    if braces:
        if tokens[-1] != ("punct", "}") or len(tokens) < 2:
            raise BadMatcher(f"'{_short(text)}' has no closing brace; write {{a=\"b\"}}")
        tokens = tokens[1:-1]
    found: list[Matcher] = []
    at = 0
    while at < len(tokens):
        if found:
            if tokens[at] != ("punct", ","):
                raise BadMatcher(f"'{_short(text)}' has '{tokens[at][1]}' where a comma belongs")
            at += 1
            if at == len(tokens):
                break
        (kind, name), (op_kind, op), (value_kind, value) = (*tokens[at : at + 3], *[("end", "its end")] * 3)[:3]
        if kind not in ("word", "quoted") or not name:
            raise BadMatcher(f"'{_short(text)}' has {name!r} where a field's name belongs; write team=\"ranking\"")
        if op_kind != "op":
            raise BadMatcher(f"'{_short(text)}' has {op!r} where one of = != =~ !~ belongs")
        if value_kind not in ("word", "quoted"):
            raise BadMatcher(f"'{_short(text)}' has {value!r} where a value belongs; write \"…\" around it")
        found.append(matcher(name, Op(op), value))
        at += 3
    if not found and not braces:
        raise BadMatcher('is empty; write team="ranking"')
    return tuple(found)


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    at, text = 0, text.rstrip()
    while at < len(text):
        if (found := _TOKEN.match(text, at)) is None:
            raise BadMatcher(
                f"'{_short(text)}' has {text[at:].strip()[:1]!r} where it does not belong; write \"…\" around values"
            )
        kind = str(found.lastgroup)
        yield kind, _unquoted(found[kind]) if kind == "quoted" else found[kind]
        at = found.end()


def _unquoted(text: str) -> str:
    """Go's escapes in a double-quoted string; \\x and octal ones are bytes of UTF-8. Raises BadMatcher."""

    def one(found: re.Match[str]) -> bytes:
        if found[6]:
            raise BadMatcher(f"'\\{found[6]}' is not an escape; write \\\\ for a backslash")
        if found[1]:
            return _ESCAPES[found[1]].encode()
        if found[2] or found[3]:
            return bytes([int(found[2], 16) if found[2] else int(found[3], 8) & 255])
        return chr(int(found[4] or found[5], 16)).encode()

    out, at = b"", 0
    try:
        for found in _ESCAPE.finditer(text):
            out += text[at : found.start()].encode() + one(found)
            at = found.end()
        return (out + text[at:].encode()).decode()
    except (UnicodeError, ValueError, OverflowError) as e:
        if isinstance(e, BadMatcher):
            raise
        raise BadMatcher(f"'{_short(text)}' is no UTF-8 text") from e


def _classic(text: str) -> tuple[Matcher, ...]:
    inner = text.strip()
    if inner.startswith("{") != inner.endswith("}"):
        raise BadMatcher(f"'{_short(text)}' has one brace without the other")
    if inner.startswith("{"):
        inner = inner[1:-1]
    elif not inner:
        raise BadMatcher('is empty; write team="ranking"')
    return tuple(_classic_one(piece) for piece in _split(inner))


def _split(text: str) -> list[str]:
    """At commas outside of double quotes; one at the end is permitted."""
    pieces, quoted, escaped = [""], False, False
    for char in text:
        if char == "," and not quoted:
            pieces.append("")
            continue
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
        pieces[-1] += char
    return pieces[:-1] if not pieces[-1].strip() else pieces


def _classic_one(text: str) -> Matcher:
    found = _CLASSIC.fullmatch(text)
    if found is None:
        raise BadMatcher(f"'{_short(text)}' is not a matcher; write team=\"ranking\"")
    value = found[3].strip()
    opened = value.startswith('"')
    if opened:
        if len(value) < 2 or not value.endswith('"'):
            raise BadMatcher(f"'{_short(text)}' has a quote that is not closed")
        value = value[1:-1]
    out, at = "", 0
    while at < len(value):
        pair = value[at : at + 2]
        if pair in ('\\"', "\\\\", "\\n"):
            out += {'\\"': '"', "\\\\": "\\", "\\n": "\n"}[pair]
            at += 2
        elif value[at] == '"':
            raise BadMatcher(f"'{_short(text)}' has a quote within its value; write \\\"")
        else:
            out += value[at]
            at += 1
    return matcher(found[1], Op(found[2]), out)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


# -- regular expressions -----------------------------------------------------------------------------------------------

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


def _compiled(source: str) -> Any:
    """RE2's, as Alertmanager has: linear time, also on hostile values. Raises BadMatcher."""
    if len(source) > _LONGEST_PATTERN:
        raise BadMatcher(f"the regular expression is longer than {_LONGEST_PATTERN} characters")
    try:
        return re2.compile(source, _OPTIONS)
    except re2.error as e:
        reason = e.args[0].decode(errors="replace") if e.args and isinstance(e.args[0], bytes) else str(e)
        raise BadMatcher(f"'{_short(source)}' is not a regular expression of RE2: {reason}") from e
