"""Rules as YAML that people read: queries as blocks, short lists on a line, a comment for what could not be kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tocsin.interchange.report import Imported
from tocsin.rules.kinds.registry import rule_model

WIDTH = 116
_ORDER = {
    name: i
    for i, name in enumerate([
        "name", "enabled", "description", "over", "every", "when", "query", "sql", "condition", "by", "value", "for",
        "keep_firing_for", "lateness", "severity", "summary", "labels", "fields", "notify", "annotations", "resolve",
        "send_resolved", "auto_close", "repeat_every",
    ])
}  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z0-9_./$][A-Za-z0-9_./@$%+\-]*(?: [A-Za-z0-9_./@$%+*(),;!?'=<>-]+)*")
_WORDS = re.compile(r"(?i)~|null|true|false|yes|no|on|off|y|n|[-+.]?[0-9].*|\.inf|\.nan")
_DURATION = re.compile(r"(\d+(\.\d+)?(ms|s|m|h|d|w))+|\d+ of \d+")


def file_of(rules: Sequence[Imported]) -> str:
    """A rule file of everything that was imported; the rest is said in comments."""
    lines = ["# Imported by `tocsin rules import`. Comments say what could not be kept.", "", "rules:"]
    done = [r for r in rules if r.rule is not None]
    for one in done:
        lines += [*_rule(one), ""]
    left = [r for r in rules if r.rule is None]
    if not done:
        lines[-1] = "rules: []"
        lines.append("")
    if left:
        lines.append("# Not imported:")
        for one in left:
            lines += [f"# {line}".rstrip() for line in _left(one)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _rule(one: Imported) -> Iterator[str]:
    assert one.rule is not None
    yield from comment(f"  # From {one.type} '{one.name}', {one.file}{f', {one.path}' if one.path else ''}.")
    if one.off:
        yield from comment(f"  # Off: {one.off}")
    for lost in one.lost:
        yield from comment(f"  # Not kept: {lost}")
    pairs = list(mapping(one.rule, 4))
    yield "  - " + pairs[0].lstrip()
    yield from pairs[1:]


def _left(one: Imported) -> Iterator[str]:
    yield from comment(f"{one.type} '{one.name}', {one.file}{f', {one.path}' if one.path else ''}:", "")
    yield from comment(f"  {one.why_not}", "  ")
    if one.stub:
        yield from mapping(one.stub, 4)


def comment(text: str, indent: str = "  # ") -> Iterator[str]:
    """Lines of a comment; nothing in it can end it."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    while len(clean) > WIDTH and (cut := clean.rfind(" ", len(indent) + 20, WIDTH)) > 0:
        yield clean[:cut]
        clean = f"{indent}  {clean[cut + 1 :]}"
    yield clean


def mapping(data: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Lines of a rule's keys, in the order in which one reads them."""
    known = {f.alias or n for n, f in rule_model().model_fields.items()}
    for key in sorted(data, key=lambda k: (_ORDER.get(k, 99), k not in known, k == "tests")):
        yield from _entry(key, data[key], indent)


def _entry(key: str, value: Any, indent: int) -> Iterator[str]:
    head = " " * indent + f"{scalar(key)}:"
    if isinstance(value, str) and _as_block(value):
        chomp = "-" if not value.endswith("\n") else ""
        yield f"{head} |{chomp}"
        yield from (f"{' ' * (indent + 2)}{line}".rstrip() for line in value.rstrip("\n").split("\n"))
        return
    flow = f"{head} {_flow(value)}"
    if len(flow) <= WIDTH or not isinstance(value, dict | list) or not value:
        yield flow
        return
    yield head
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _entry(str(inner), item, indent + 2)
        return
    for item in value:
        flow = f"{' ' * (indent + 2)}- {_flow(item)}"
        if len(flow) <= WIDTH or not isinstance(item, Mapping) or not item:
            yield flow
            continue
        lines = [line for inner, v in item.items() for line in _entry(str(inner), v, indent + 4)]
        yield f"{' ' * (indent + 2)}- {lines[0].lstrip()}"
        yield from lines[1:]


def _as_block(text: str) -> bool:
    lines = text.rstrip("\n").split("\n")
    if len(lines) < 2 or text.endswith("\n\n") or text[0] in " \n\t":
        return False
    return all(line == line.rstrip() and all(c.isprintable() or c == "\t" for c in line) for line in lines)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(k), flow=True)}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(v) for v in value) + "]"
    return scalar(value, flow=True)


def scalar(value: Any, *, flow: bool = False) -> str:
    """A value on one line. Text that YAML might take for something else is quoted."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    text = str(value).encode("utf-8", "replace").decode()  # half a character (a lone surrogate) is none
    plain = _PLAIN.fullmatch(text) and (not _WORDS.fullmatch(text) or _DURATION.fullmatch(text))
    if plain and not (flow and re.search(r"[,?\[\]{}]", text)):
        return text
    if ('"' in text or "\\" in text) and all(c.isprintable() for c in text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_quoted(c) for c in text) + '"'


def _quoted(c: str) -> str:
    """A character inside double quotes. JSON's pairs of ``\\u`` for what lies beyond 16 bits mean nothing in YAML."""
    if c in '"\\':
        return f"\\{c}"
    if c.isprintable():
        return c
    if c == "\n":
        return "\\n"
    return f"\\x{ord(c):02x}" if ord(c) < 0x100 else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
