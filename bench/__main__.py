"""python -m bench [NAME] [OPTIONS]: run all benchmarks, or one with its options; `--list` names them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NO_BENCHMARKS = frozenset({"__init__", "__main__", "common", "paired", "payloads"})


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
    chosen, options = list(known), arguments
    if arguments and not arguments[0].startswith("-"):
        if arguments[0] not in known:
            print(f"no benchmark {arguments[0]!r}; there are {', '.join(known)}", file=sys.stderr)
            return 2
        chosen, options = [arguments[0]], arguments[1:]
    worst = 0
    for name in chosen:
        print(f"\n## {name}\n\n{known[name]}\n", flush=True)
        worst = max(
            worst, subprocess.run([sys.executable, "-m", f"bench.{name}", *options], cwd=HERE.parent).returncode
        )
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
