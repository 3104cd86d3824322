"""What a reader copies from the pages, the tests that claim to run it, and what says that it is not run."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "cli.md")]
"""All but docs/cli.md, which comes from the program."""
MARK = "not run here: "
FILES = frozenset({"yaml", "json", "text", "kql"})
"""Kinds of blocks that are no commands: files, what a program prints, queries, which have a test of their own."""
PROGRAMS = frozenset({"python"})
SHELLS = frozenset({"sh"})
"""Kinds whose every line is a command. In other blocks a command stands behind `$ `, and what it prints below."""
SPAN = re.compile(r"`((?:tocsin|make) [^`\n<]+)`")
"""A command in prose."""
PLACEHOLDER = re.compile(r"…|\b[A-Z]{2,}\b(?!=)")
"""What a reader replaces."""
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<words>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: str  # its path from the root
    line: int
    kind: str  # the first word behind the fence, '' for none
    words: frozenset[str]  # the others: `background` and `retry` say how a test runs it
    text: str
    why_not: str  # what the line before it, or its own first line, says behind MARK; '' for a block that is run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*pages: str) -> Iterator[Block]:
    """The blocks of these pages, else of all."""
    for page in pages or PAGES:
        whole = (ROOT / page).read_text(encoding="utf-8")
        for match in _BLOCK.finditer(whole):
            text, (kind, *words) = dedent(match["text"]), match["words"].split(" ")
            before = whole[: match.start()].rstrip("\n").rpartition("\n")[2]
            _, marked, why = f"{before}\n{text.partition(chr(10))[0]}".partition(MARK)
            line = whole.count("\n", 0, match.start()) + 1
            yield Block(
                page=page, line=line, kind=kind, words=frozenset(words), text=text, why_not=why if marked else ""
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a reader copies and runs: one command of a shell with its continuation lines, or a whole program."""

    page: str
    line: int
    text: str  # without the prompt
    output: str  # what the page shows that it prints, '' where it shows nothing

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text.splitlines()[0]}"

    @property
    def arguments(self) -> list[str]:
        """Those of a `tocsin` command."""
        program, *rest = shlex.split(self.text, comments=True)
        assert program == "tocsin", self
        return rest


def commands(*pages: str) -> Iterator[Command]:
    """Those of the blocks that are run, then those in prose that have options or arguments; on these pages, else on all."""
    for page in pages or PAGES:
        for block in blocks(page):
            if block.why_not or block.kind in FILES:
                continue
            made = (
                [(0, block.text, "")] if block.kind in PROGRAMS else _of_a_shell(block.text, block.kind not in SHELLS)
            )
            for offset, text, output in made:
                yield Command(page=page, line=block.line + 1 + offset, text=text, output=output)
        whole = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), (ROOT / page).read_text(encoding="utf-8"))
        for span in SPAN.finditer(whole):
            if not PLACEHOLDER.search(span[1]) and re.search(r" -|[=/]", span[1]):
                yield Command(page=page, line=whole.count("\n", 0, span.start()) + 1, text=span[1], output="")


def _of_a_shell(text: str, prompted: bool) -> Iterator[tuple[int, str, str]]:
    """(line, command, output): a command goes on while a quotation is open or a line ends with a backslash."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("$ ")] if prompted else range(len(lines))
    at = 0
    for start in starts:
        if start < at:
            continue
        at = start + 1
        while at < len(lines) and _goes_on("\n".join(lines[start:at])):
            at += 1
        command = "\n".join(lines[start:at]).removeprefix("$ " if prompted else "")
        end = next((n for n in starts if n >= at), len(lines)) if prompted else at
        if command.strip() and not command.startswith("#"):
            yield start, command, "".join(f"{line}\n" for line in lines[at:end])


def _goes_on(text: str) -> bool:
    if text.endswith("\\"):
        return True
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


@contextmanager
def shown_on(page: str, *beginnings: str) -> Iterator["Shown"]:
    """Claim the commands of `page`, or those that begin so. Raises AssertionError at the end for one that was not run.

    tests/unit/test_pages.py finds each claim in the tests' source and fails for a command without one, so write the
    arguments out.
    """
    claimed = Shown([c for c in commands(page) if c.text.startswith(beginnings or "")])
    assert claimed.left, (page, beginnings)
    yield claimed
    assert [] == claimed.left, "claimed, and not run"


class Shown:
    """Commands that a test has to run, in the order of the page."""

    def __init__(self, claimed: list[Command]) -> None:
        self.left = claimed

    def __iter__(self) -> Iterator[Command]:
        """A command was run when the body of the loop came to its end."""
        for command in tuple(self.left):
            yield command
            self.left.remove(command)

    def ran(self, block: Block) -> None:
        """A whole block was run."""
        inside = [c for c in self.left if block.line < c.line <= block.line + block.text.count("\n")]
        assert inside, f"{block}: nothing of it is claimed"
        for command in inside:
            self.left.remove(command)
