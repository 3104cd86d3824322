"""What commands share: options, tables, errors. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.errors import Problem
    from tocsin.rules.kinds.ruleset import RuleSet

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home", envvar="TOCSIN_HOME", metavar="DIR", help="The project directory to work on.", show_default="here"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Most rows.")]
HERE = Path(".")


class Stop(Exception):
    """Ends a command with ``code``; what was wrong is printed already."""

    def __init__(self, code: int = 1) -> None:
        self.code = code
        super().__init__(code)


def open_home(path: Path) -> Home:
    """The project directory, or an error that says what to do. From here on logs go to stderr, and only what is worth a warning."""
    import logging

    structlog = structlog_alone()
    from tocsin.config.project.home import open_home as opened
    from tocsin.config.stderr import CURRENT_STDERR

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(CURRENT_STDERR),
    )
    return opened(path)


def structlog_alone() -> Any:
    """structlog without rich, which it imports where it can, to draw tracebacks: a sixth of a start. Ours are plain
    text.
    """
    return _imported("structlog", without="rich")


def httpx_alone() -> Any:
    """httpx without its own command, which brings rich and pygments: three quarters of what it takes to import."""
    return _imported("httpx", without="httpx._main")


def _imported(name: str, without: str) -> Any:
    """Module ``name``, imported as if there were no module ``without``, which it can do without."""
    if name in sys.modules:
        return sys.modules[name]
    there = sys.modules.get(without)
    sys.modules[without] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[without]
        if there is not None:
            sys.modules[without] = there


def rules_that_are_right(place: Home, wanted: str = "") -> RuleSet:
    """The rules of a project directory; what is wrong in its files goes to stderr and hides no other rule. Ends with 1
    where rule ``wanted`` may be among what is wrong.
    """
    from tocsin.app.project.rules import rules_of

    problems: list[Problem] = []
    found = rules_of(place, problems=problems)
    for problem in problems:
        if not problem.warning:
            say(f"not loaded: {problem}")
    if wanted and wanted not in {**found.rules, **found.faulty} and any(not problem.warning for problem in problems):
        fail(f"there is no rule '{wanted}' that is right")
    return found


def say(text: str) -> None:
    """Notify a person something beside the data."""
    print(text, file=sys.stderr)


def fail(text: str, hint: str = "", code: int = 1) -> NoReturn:
    """Say what is wrong and what to do, and end."""
    say(f"error: {text}")
    if hint:
        say(f"hint: {hint}")
    raise Stop(code)


def facts(row: Mapping[str, Any]) -> None:
    """Print what is known of one thing, a key and its value a line."""
    for key, value in row.items():
        shown = visible(text(value))
        if shown and shown != "{}":
            first, *rest = shown.splitlines()
            print(f"{key:<20} {first}")
            for line in rest:
                print(f"{'':<20} {line}")


def print_json(value: Any) -> None:
    """JSON for programs."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    print()


def problem_row(problem: Problem) -> dict[str, Any]:
    """What `check` and `rules lint` print of a problem as JSON."""
    return {
        "File": problem.file, "Line": problem.line, "Key": problem.key, "Message": problem.message, "Hint": problem.hint,
        "Severity": "warning" if problem.warning else "error",
    }  # fmt: skip


def show(
    rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | Mapping[str, str], as_json: bool, none: str
) -> None:
    """Rows as a table of ``columns`` (key, or key → heading), or all of them as JSON; ``none`` is said where there
    are none.
    """
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        say(none)
        return
    headings = dict(columns) if isinstance(columns, Mapping) else {c: c for c in columns}
    table(list(headings.values()), [[text(row.get(key)) for key in headings] for row in rows])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people: cut to the terminal; as wide as it needs where stdout is none."""
    lines, left_out = lines_of(headings, rows, terminal_width() if sys.stdout.isatty() else None)
    print("\n".join(lines))
    if left_out:
        say(f"{left_out} more columns do not fit; --json shows all")


def terminal_width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


NARROWEST = 12
"""A column is cut to this, and no further, before the last ones are left out."""


def lines_of(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> tuple[list[str], int]:
    """The lines of a table no wider than ``width`` (None: any), and how many columns are left out for it."""
    from rich.cells import cell_len, set_cell_size

    def cut(cell: str, to: int) -> str:
        return set_cell_size(cell, to) if cell_len(cell) <= to else set_cell_size(cell, to - 1) + "…"

    cells = [list(headings), *([visible(c).replace("\n", " ") for c in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if width is not None:
        widths = [min(w, width) for w in widths]
        while len(widths) > 1 and sum(min(w, NARROWEST) + 2 for w in widths) - 2 > width:
            widths.pop()
        while sum(widths) + 2 * (len(widths) - 1) > width:
            widths[widths.index(max(widths))] -= 1
    shown = ["  ".join(map(cut, row, widths)).rstrip() for row in cells]
    return shown, len(headings) - len(widths)


def visible(text: str) -> str:
    """``text`` without what would drive a terminal: payloads may hold escape sequences."""
    return "".join(c if c in "\n\t" or (c.isprintable() and c not in _INVISIBLE) else "�" for c in text)


_INVISIBLE = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def text(value: Any) -> str:
    """A cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    out = str(value)
    return _time(out) if len(out) >= 20 and out.endswith("Z") and out[10] == "T" else out


def _time(iso: str) -> str:
    return iso[:10] + " " + iso[11:19]


def guarded(call: Callable[[], Any]) -> int:
    """Run ``call``; errors of ours become text and an exit code."""
    from tocsin.errors import TocsinError

    try:
        call()
    except Stop as e:
        return e.code
    except TocsinError as e:
        for line in str(e).splitlines():
            say(f"error: {line}")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what read us has gone; nothing to flush to
        return 1
    except OSError as e:  # a directory that cannot be written, a file that is none
        say(f"error: {e.filename}: {e.strerror}" if e.filename else f"error: {e}")
        return 1
    return 0
