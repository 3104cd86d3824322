"""docs/cli.md, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tocsin.cli.main import tree


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by what is typed, e.g. ``tocsin rules test``."""
    yield from _below("tocsin", tree())


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for word, child in children.items():
        if child.hidden:  # another name of a group
            continue
        yield from _below(f"{name} {word}", child)


def usage(name: str, command: Any) -> str:
    """The command as it is typed, with its arguments."""
    arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    return " ".join([name, *(_bracketed(p, m) for p, m in zip(_arguments(command), arguments, strict=True))])


def _arguments(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "argument"]


def _bracketed(parameter: Any, metavar: str) -> str:
    return metavar if parameter.required or metavar.startswith("[") else f"[{metavar}]"


def cli_reference() -> str:
    """One section a command."""
    out = [
        "# Commands",
        "",
        "<!-- Made by `make docs` from src/tocsin/cli; a test holds both equal. -->",
        "",
        "Every command works on a project directory: `--home DIR`, else `TOCSIN_HOME`, else the current directory.",
        "Data goes to stdout, everything else to stderr; `--json` prints JSON for programs.",
        "Its names are written as KQL's columns are, and are those columns where there are some: `RunId`, `AlertId`, `Rule`, `Severity`. "
        "`query` answers `columns` and `rows` as the API does; `ml` has the keys of Azure's command.",
        "The exit code is 0 where all is fine, 1 where problems were found, 2 for misuse.",
        "A running `tocsin up` owns the stores, so commands ask it over HTTP; where none runs, they open the files.",
        "They find it, and a token for it, in the project directory's `data/`; `TOCSIN_URL` and `TOCSIN_TOKEN` name another one.",
        "",
    ]
    for name, command in commands():
        out += [f"## {name}", "", (command.help or "").strip(), "", "```", usage(name, command), "```", ""]
        rows = [_row(p) for p in command.params if p.name not in ("help",)]
        if rows:
            out += ["| | meaning | default |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(out)


def _row(p: Any) -> str:
    if p.param_type_name == "argument":
        name = p.metavar or p.name.upper()
    else:
        name = ", ".join(p.opts) + ("" if p.is_flag else f" {p.metavar or p.name.upper()}")
    default = "" if p.default in (None, "", False, []) or callable(p.default) else str(p.default)
    if p.name == "home":
        default = "`TOCSIN_HOME`, else here"
    return f"| `{name}` | {p.help or ''} | {default} |"
