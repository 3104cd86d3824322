"""Functions that can make a value much longer, as macros that refuse to.

A temporary macro of a built-in's name comes before it for whoever asks on that cursor. Each works out beforehand by how
many bytes the result would exceed the longest thing that it is made of, and ends the query where these are more than
its room. Arguments are bound once, in a list of one: written out twice, each level of nesting would double the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
