"""What commands share: options, tables, errors. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import importlib
import json
import os
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
    if "structlog" in sys.modules:
        return sys.modules["structlog"]
    rich = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it raises ImportError
    try:
        return importlib.import_module("structlog")
    finally:
        del sys.modules["rich"]
        if rich is not None:
            sys.modules["rich"] = rich


def rules_that_are_right(place: Home) -> RuleSet:
    """The rules of a project directory; what is wrong in its files goes to stderr and hides no other rule."""
    from tocsin.app.project.content import rules_of

    problems: list[Problem] = []
    found = rules_of(place, problems=problems)
    for problem in problems:
        if not problem.warning:
            say(f"not loaded: {problem}")
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


def print_json(value: Any) -> None:
    """JSON for programs."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    print()


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
    """A table for people; as wide as it needs where stdout is no terminal."""
    if not sys.stdout.isatty():
        print("\n".join(_lines(headings, rows)))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, highlight=False)
    for heading in headings:
        drawn.add_column(Text(heading), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    Console(soft_wrap=False).print(drawn)


def _lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [list(headings), *([visible(c).replace("\n", " ") for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


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
    return 0
