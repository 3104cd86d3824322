"""The fenced blocks of the pages: what a reader copies, and what says that it is not run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
MARK = "not run here: "
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<words>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: str  # its path from the root
    line: int
    kind: str  # the first word behind the fence, '' for none
    text: str
    why_not: str  # what the line before it, or its own first line, says behind MARK; '' for a block that is run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*pages: str) -> Iterator[Block]:
    """The blocks of these pages, else of README.md and docs/ but the generated docs/cli.md."""
    found = [ROOT / page for page in pages] or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for path in found:
        page = path.relative_to(ROOT).as_posix()
        if page == "docs/cli.md":
            continue
        whole = path.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(whole):
            text, kind = dedent(match["text"]), match["words"].split(" ")[0]
            before = whole[: match.start()].rstrip("\n").rpartition("\n")[2]
            _, marked, why = f"{before}\n{text.partition(chr(10))[0]}".partition(MARK)
            line = whole.count("\n", 0, match.start()) + 1
            yield Block(page=page, line=line, kind=kind, text=text, why_not=why if marked else "")
