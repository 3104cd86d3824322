"""How much longer a query may make its texts, read off its SQL.

DuckDB neither counts nor interrupts what one function makes of one vector: 2,048 rows of ``repeat(x, 1000000)`` are
eight gigabytes that neither its limit of memory nor a time limit ends. So a query that could make much out of little
runs on a cursor where such functions refuse (``macros``), and one that could not runs as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.errors import QueryError
from tocsin.logstore.query.macros import ADDING, GUARDED, MATCHING, SPLITTING, TIMES

MOST_TIMES = 256
"""How many times its longest input a text may become before functions are held to a bound."""
MOST_GROWN = 8192
"""Bytes by which a value may become longer, shared by all calls of a query that do so. 2,048 rows make a vector, and
DuckDB holds three copies of it at times: 50 MiB.
"""
MOST_CALLS = 64
"""Most calls of one query that make values longer, where they are held to a bound."""
_LONG = 1024  # characters of a literal: put beside each row it is as long as a text that grew
_SHORT = 64  # of what a text is padded to, and of a format of times
_DEEP = 8  # regexp_replace in regexp_replace: its macro names the pattern twice
_AFRESH = frozenset(("list_reduce", "array_reduce", "reduce"))  # what they call feeds itself
_PIECES = 8  # a list of one-letter texts takes 16 bytes for each

_TOKEN = re.compile(
    r"""
    --[^\n\r]*|/\*.*?\*/
    |(?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<name>"(?:[^"]|"")*"|[A-Za-z_]\w*)
    |(?P<mark>[()\[\]{},])
    |[^\s()\[\]{},'"]
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """``room``: bytes that one call may add to a value; 0 where nothing is held to a bound. ``calls``: the guarded
    functions that the query names -> with how many arguments.
    """

    room: int = 0
    calls: Mapping[str, frozenset[int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    """A bracket that is open: the word before it, and the tokens of each argument, without those in brackets."""

    name: str
    args: list[list[str]] = field(default_factory=lambda: [[]])

    def literal(self, number: int) -> str | None:
        """An argument that is one text literal, without its quotes."""
        arg = self.args[number] if number < len(self.args) else []
        return arg[0].lstrip("eE")[1:-1] if len(arg) == 1 and arg[0].endswith("'") else None

    def times(self) -> int:
        """How many times its longest argument the result may be; 0: any number of times."""
        name = self.name
        if (name in ADDING or name in TIMES) and all(map(_literal, self.args)):
            return 1
        if name in ADDING:
            return max(2, sum(not _literal(arg) for arg in self.args))
        if (
            name in SPLITTING
        ):  # into letters: sixteen times as long, and what makes JSON of them comes to far more, uncounted
            return _PIECES if self.literal(1) else 0
        if name in MATCHING:
            return _PIECES
        if name in ("lpad", "rpad"):
            wanted = self.args[1] if len(self.args) > 1 else []
            return 1 if len(wanted) == 1 and wanted[0].isdigit() and int(wanted[0]) <= _SHORT else 0
        if name in ("replace", "regexp_replace"):
            old, new = self.literal(1), self.literal(2)
            if name == "regexp_replace":
                return 1 if new == "" else 0
            return 1 if old is not None and new is not None and len(new.encode()) <= len(old.encode()) else 0
        return 0 if name in _AFRESH else TIMES.get(name, 0 if name in GUARDED else 1)


_NOTHING = Growth()
_KEPT: dict[tuple[int, int], Growth] = {}  # by hash and length: the texts themselves would be megabytes
_MOST_KEPT = 4096
_WORDS = tuple(sorted({*GUARDED, *_AFRESH, "strftime"}))


def growth(sql: str) -> Growth:
    """What the statement is to be held to. Raises QueryError where no bound would be one."""
    key = hash(sql), len(sql)
    found = _KEPT.get(key)
    if found is None:
        folded = sql.lower()
        found = _read(sql) if any(word in folded for word in _WORDS) else _NOTHING
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = found
    return found


@dataclass(slots=True)
class _Found:
    """What was found of a statement's calls so far."""

    times: int = 1  # how many times its longest input a text may become
    afresh: bool = False  # or any number of times
    count: int = 0  # calls that make longer values
    longest: int = 0  # characters of a literal
    calls: dict[str, set[int]] = field(default_factory=dict)

    def add(self, call: _Call) -> None:
        """Count a call that is closed. Raises QueryError for a format of times that is not fixed."""
        each = call.times()
        self.times, self.afresh = min(self.times * max(1, each), 1 << 30), self.afresh or each == 0
        self.count += each != 1
        if call.name == "strftime":
            _check_format(call)
        if call.name in GUARDED:
            arity = 0 if call.args == [[]] else len(call.args)
            self.calls.setdefault(call.name, set()).update((arity, arity + 1))  # x.f(y) is f(x, y)

    def growth(self) -> Growth:
        """What the statement is to be held to. Raises QueryError for too many calls."""
        if not (self.afresh or self.times > MOST_TIMES or (self.longest > _LONG and self.count)):
            return _NOTHING
        if self.count > MOST_CALLS:
            raise QueryError(f"the query has more than {MOST_CALLS} calls that make longer values", hint="use fewer")
        room = MOST_GROWN // max(1, self.count)
        return Growth(room=room, calls={name: frozenset(arities) for name, arities in self.calls.items()})


def _read(sql: str) -> Growth:
    found, deep = _Found(), 0
    stack = [_Call("")]
    word, written = "", ["", "", "", ""]  # the last tokens, as they are written
    for match in _TOKEN.finditer(sql):
        token, mark = match[0], match["mark"]
        if mark is None:
            if token.startswith(("--", "/*")):
                continue
            if match["name"] is not None:
                token = token.strip('"').lower()
            elif match["text"] is not None:
                found.longest = max(found.longest, len(token))
            stack[-1].args[-1].append(token)
            starred = written[-2:] == ["SELECT", "*"] or (written[0] == "SELECT" and written[2:] == [".", "*"])
            word = "" if token == "replace" and starred else token  # SELECT * REPLACE (…) is no call
            written = [*written[1:], match[0]]
        elif mark == ",":
            stack[-1].args.append([])
        elif mark in "([{":
            call = _Call(word if mark == "(" else mark)
            deep += call.name == "regexp_replace"
            if deep > _DEEP:
                raise QueryError("regular expressions replace what others replaced too often", hint="use fewer")
            stack.append(call)
        elif len(stack) > 1:
            call = stack.pop()
            stack[-1].args[-1].append(")")
            word, written = ")", [*written[1:], ")"]
            deep -= call.name == "regexp_replace"
            found.add(call)
    return found.growth()


def _literal(tokens: list[str]) -> bool:
    return len(tokens) == 1 and (tokens[0].endswith("'") or tokens[0].isdigit())


def _check_format(call: _Call) -> None:
    formats = [text for text in map(call.literal, range(2)) if text is not None]
    if not any(len(text) <= _SHORT for text in formats):
        raise QueryError(f"a format of times is fixed, and has at most {_SHORT} characters", hint="'%Y-%m-%d'")
