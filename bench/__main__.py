"""python -m bench [NAME] [OPTIONS]: run all benchmarks, or one with its options; `--list` names them.

What they print goes to dist/bench.json too, its tables as columns and rows.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.common import machine

HERE = Path(__file__).parent
NO_BENCHMARKS = frozenset({"__init__", "__main__", "common", "paired", "payloads", "plot"})
TOOLS = frozenset({"flood", "history"})
"""They take long, or make what benchmarks read: they run by name only."""
RESULTS = HERE.parent / "dist" / "bench.json"


def benchmarks() -> dict[str, str]:
    """Name → first line of what it says of itself, for each module that can be run."""
    found = {}
    for file in sorted(HERE.glob("*.py")):
        if file.stem in NO_BENCHMARKS or file.stem.startswith("_"):
            continue
        text = file.read_text(encoding="utf-8")
        if "__main__" in text:
            found[file.stem] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    """Run what is asked for, each in a process of its own, so that none inherits another's memory."""
    known = benchmarks()
    if arguments[:1] == ["--list"]:
        for name, words in known.items():
            print(f"{name:14} {words}")
        return 0
    chosen, options = [name for name in known if name not in TOOLS], arguments
    if arguments and not arguments[0].startswith("-"):
        if arguments[0] not in known:
            print(f"no benchmark {arguments[0]!r}; there are {', '.join(known)}", file=sys.stderr)
            return 2
        chosen, options = [arguments[0]], arguments[1:]
    done: list[dict[str, Any]] = []
    for name in chosen:
        print(f"\n## {name}\n\n{known[name]}\n", flush=True)
        done.append({"name": name, "what": known[name], "options": options, **run(name, options)})
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": machine(), "benchmarks": done}, indent=1) + "\n", encoding="utf-8")
    return max(int(each["exit_code"]) for each in done)


def run(name: str, options: list[str]) -> dict[str, Any]:
    """Run one benchmark and show what it prints; how long it took, how it ended, its words and tables."""
    began = time.perf_counter()
    command = [sys.executable, "-m", f"bench.{name}", *options]
    text = ""
    with subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            text += line
    seconds = round(time.perf_counter() - began, 1)
    words = "\n".join(line for line in text.splitlines() if line and not line.startswith("|"))
    return {"exit_code": abs(process.returncode), "seconds": seconds, "text": words, "tables": tables(text)}


def tables(text: str) -> list[dict[str, Any]]:
    """The Markdown tables of a text, as columns and rows of strings."""
    found: list[dict[str, Any]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not inside:
            found.append({"columns": cells, "rows": []})
        elif not all(cell == "---" for cell in cells):
            found[-1]["rows"].append(cells)
        inside = True
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
