"""Functions that can make a value much longer, as macros that refuse to.

A temporary macro of a built-in's name comes before it for whoever asks on that cursor. Each works out beforehand by how
many bytes the result would exceed the longest thing that it is made of, and ends the query where these are more than
its room. Arguments are bound once, in a list of one: written out twice, each level of nesting would double the work.

``growth`` says how much longer a query may make its texts, read off its SQL.

DuckDB neither counts nor interrupts what one function makes of one vector: 2,048 rows of ``repeat(x, 1000000)`` are
eight gigabytes that neither its limit of memory nor a time limit ends. So a query that could make much out of little
runs on a cursor where such functions refuse (``macros``), and one that could not runs as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.errors import QueryError

ROOM = "tocsin_room"
"""Variable of the session: bytes that one call may add to a value."""

ADDING = frozenset(
    ("concat", "concat_ws", "json_array", "json_object", "list_concat", "list_cat", "array_concat", "array_cat")
)
"""Functions whose result is all their arguments, one after the other."""

IN_KQL = {
    "array_to_string": "strcat_array",
    "concat": "strcat",
    "concat_ws": "strcat_delim",
    "json_array": "pack_array",
    "json_object": "bag_pack",
    "list_concat": "array_concat",
    "regexp_extract_all": "extract_all",
    "regexp_replace": "replace_regex",
    "repeat": "strrep",
    "replace": "replace_string",
    "str_split": "split",
    "to_base64": "base64_encode_tostring",
}
"""Functions -> what makes them out of KQL, under another name."""

_OPTIONS = ("g", "i", "gi", "ig", "c", "gc", "m", "gm", "n", "gn", "s", "gs", "")
_LIST_ENTRY = 16  # bytes of a text in a list, besides its characters


def macro(function: str, arities: Iterable[int]) -> str:
    """The statement that makes the macro of ``function``, one of ``GUARDED``, for these numbers of arguments."""
    made = [GUARDED[function](function, arity) for arity in sorted(set(arities))]
    overloads = [f"({', '.join(names)}) AS {body}" for names, body in filter(None, made)]
    return f'CREATE OR REPLACE TEMP MACRO "{function}"{", ".join(overloads)}' if overloads else ""


_Made = tuple[list[str], str] | None  # parameters and body; None: the function has no such form


def _size(name: str) -> str:
    return f"coalesce(strlen(CAST(r.{name} AS VARCHAR)), 0)"


def _body(function: str, bound: Sequence[str], grown: str, call: str) -> str:
    """``call``, over ``r.<name>`` for each of ``bound``, where ``grown`` bytes have room."""
    fields = ", ".join(f"'{name}': {name}" for name in bound)
    kql = f" ({IN_KQL[function]}() in KQL)" if function in IN_KQL else ""
    said = (
        f"system.main.concat('{function}(){kql} would make a value ', {grown}, ' bytes longer than what it is made of; "
        f"this query may by ', getvariable('{ROOM}'))"
    )
    return (
        f"list_transform(system.main.list_value({{{fields}}}), lambda r: "
        f"CASE WHEN {grown} > getvariable('{ROOM}') THEN error({said}) ELSE {call} END)[1]"
    )


def _adding(function: str, arity: int) -> _Made:
    names = [f"a{n}" for n in range(arity)]
    if arity < 2:
        takes = ("concat", "json_array") if arity else ("json_array", "json_object")
        return (names, f"system.main.{function}({', '.join(names)})") if function in takes else None
    if function == "json_object" and arity % 2:
        return None
    parts = names[1:] if function == "concat_ws" else names
    sizes = [_size(name) for name in parts]
    between = f" + {len(parts)} * {_size('a0')}" if function == "concat_ws" else ""
    grown = f"({' + '.join(sizes)} - greatest({', '.join(sizes)}){between})"
    keys = range(0, arity, 2) if function == "json_object" else ()
    given = [f"CAST(r.{name} AS VARCHAR)" if n in keys else f"r.{name}" for n, name in enumerate(names)]
    return names, _body(function, names, grown, f"system.main.{function}({', '.join(given)})")


def _repeat(function: str, arity: int) -> _Made:
    if arity != 2:
        return None
    grown = f"(CAST({_size('s')} AS HUGEINT) * (r.n - 1))"
    return ["s", "n"], _body(function, ["s", "n"], grown, "system.main.repeat(r.s, r.n)")


def _replace(function: str, arity: int) -> _Made:
    if arity != 3:
        return None
    found = "((strlen(r.s) - strlen(system.main.replace(r.s, r.a, ''))) // greatest(1, strlen(r.a)))"
    grown = f"({found} * (strlen(r.b) - strlen(r.a)))"
    return ["s", "a", "b"], _body(function, ["s", "a", "b"], grown, "system.main.replace(r.s, r.a, r.b)")


def _regexp_replace(function: str, arity: int) -> _Made:
    """The pattern stays outside of the list: a fixed one is compiled once."""
    if arity not in (3, 4):
        return None
    again = "(strlen(r.b) - strlen(system.main.replace(r.b, '\\', '')))"  # groups that the replacement repeats
    found = "len(system.main.regexp_extract_all(r.s, p))" if arity == 4 else "1"
    few = f"(strlen(r.s) + 1) * strlen(r.b) <= getvariable('{ROOM}')"
    grown = f"(CASE WHEN {few} THEN 0 ELSE {found} * strlen(r.b) END + greatest(0, {again} - 1) * strlen(r.s))"
    call = "system.main.regexp_replace(r.s, p, r.b)"
    if arity == 4:  # an option cannot be a parameter
        each = " ".join(f"WHEN '{o}' THEN system.main.regexp_replace(r.s, p, r.b, '{o}')" for o in _OPTIONS)
        call = f"CASE o {each} ELSE error('regexp_replace() is not known with these options') END"
    return ["s", "p", "b", "o"][:arity], _body(function, ["s", "b"], grown, call)


def _pad(function: str, arity: int) -> _Made:
    if arity != 3:
        return None
    wide = "CASE WHEN strlen(r.p) > length(r.p) THEN 4 ELSE 1 END"
    grown = f"(greatest(0, CAST(r.n AS BIGINT) - length(r.s)) * {wide})"
    return ["s", "n", "p"], _body(function, ["s", "n", "p"], grown, f"system.main.{function}(r.s, r.n, r.p)")


def _joined(function: str, arity: int) -> _Made:
    """The delimiter stays outside: DuckDB wants a constant, and makes none of an expression inside."""
    if arity != 2:
        return None
    small = _body(function, ["l"], "(len(r.l) * strlen(d))", "r.l")
    return ["l", "d"], f"system.main.{function}({small}, d)"


def _split(function: str, arity: int) -> _Made:
    if arity != 2:
        return None
    found = "((strlen(r.s) - strlen(system.main.replace(r.s, r.d, ''))) // greatest(1, strlen(r.d)))"
    grown = f"({_LIST_ENTRY} * CASE WHEN r.d = '' THEN strlen(r.s) ELSE {found} END)"
    return ["s", "d"], _body(function, ["s", "d"], grown, f"system.main.{function}(r.s, r.d)")


def _matches(function: str, arity: int) -> _Made:
    if not 2 <= arity <= (3 if function == "regexp_extract_all" else 2):
        return None
    rest = ["p", "g"][: arity - 1]
    grown = f"({_LIST_ENTRY} // 4 * strlen(r.s))"  # every fourth character begins one
    return ["s", *rest], _body(function, ["s"], grown, f"system.main.{function}(r.s, {', '.join(rest)})")


def _times(times: int) -> Callable[[str, int], _Made]:
    """A function of a text, and others that matter little, whose result has up to ``times`` its bytes."""

    def made(function: str, arity: int) -> _Made:
        names = [f"a{n}" for n in range(arity)]
        if arity != (3 if function == "translate" else 1):
            return None
        call = f"system.main.{function}({', '.join('r.' + name for name in names)})"
        return names, _body(function, names, f"({times - 1} * {_size('a0')})", call)

    return made


TIMES = {
    **dict.fromkeys(("hex", "to_hex", "to_base64", "base64", "regexp_escape", "json_quote"), 2),
    **dict.fromkeys(("url_encode", "translate"), 4),
    **dict.fromkeys(("bin", "to_binary"), 8),
}
"""Functions of one text -> how many times longer their result can be."""
SPLITTING = frozenset(("str_split", "string_split", "string_to_array", "split"))
MATCHING = frozenset(("regexp_extract_all", "regexp_split_to_array", "string_split_regex", "str_split_regex"))

GUARDED: dict[str, Callable[[str, int], _Made]] = {
    **dict.fromkeys(ADDING, _adding),
    **{name: _times(times) for name, times in TIMES.items()},
    **dict.fromkeys(SPLITTING, _split),
    **dict.fromkeys(MATCHING, _matches),
    "repeat": _repeat,
    "replace": _replace,
    "regexp_replace": _regexp_replace,
    "lpad": _pad,
    "rpad": _pad,
    "array_to_string": _joined,
}
"""Functions that are held to a bound -> how their macro is made."""

OPERATOR = 'CREATE OR REPLACE TEMP MACRO "||"(a, b) AS ' + _body(
    "||", ["a", "b"], f"least({_size('a')}, {_size('b')})", "OPERATOR_CALL"
).replace("OPERATOR_CALL", 'system.main."||"(r.a, r.b)')
"""The statement that makes ``||`` a macro."""


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
