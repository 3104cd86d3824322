"""python -m bench [NAME [OPTIONS]] [--quick]: all benchmarks, or one with further options.

    python -m bench --list         their names, and how long each takes
    python -m bench --quick        all with small sizes, to try whether they work
    python -m bench --page         docs/performance.md and its plot from the last results

Results go to dist/bench.json after each benchmark (with --quick to dist/bench-quick.json). All replaces the file; one
replaces what it had in there. A benchmark that fails, or takes five times as long as it should, costs the others nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from typing import Any

from bench.common import FIGURES, Figure, table, versions
from bench.page import DATA, kept, lines, write
from bench.plan import HERE, PLAN, STORES, Planned

HEAD = ("what", "tocsin", "peer", "ratio", "spread", "target", "workload")
DIST = HERE.parent / "dist"


def main(arguments: list[str]) -> int:
    """Run what is asked for, each in a process of its own, so that none inherits another's memory; 1 where one failed."""
    quick = "--quick" in arguments
    names = [argument for argument in arguments[:1] if not argument.startswith("-")]
    options = [argument for argument in arguments[len(names) :] if argument != "--quick"]
    file = DIST / ("bench-quick.json" if quick else "bench.json")
    if options == ["--list"]:
        print("\n".join(f"{name:17} {_duration(one):>17}  {one.about}" for name, one in PLAN.items()))
        return 0
    if options == ["--page"] and not names:
        DATA.write_text(json.dumps(kept(json.loads(file.read_text())), indent=1) + "\n", encoding="utf-8")
        print("\n".join(str(each) for each in (DATA, *write(HERE.parent))))
        return 0
    if any(name not in PLAN for name in names) or (options and not names):
        print(f"{' '.join(arguments)}: no benchmark; there are {', '.join(PLAN)}\n\n{__doc__}", file=sys.stderr)
        return 2
    chosen = names or [name for name, one in PLAN.items() if not one.by_name]
    done: list[dict[str, Any]] = json.loads(file.read_text())["benchmarks"] if names and file.exists() else []
    total = sum(PLAN[name].seconds for name in chosen)
    print(f"{len(chosen)} benchmarks, about {total // 60 + 1} minutes on a quiet machine with 2 cores", flush=True)
    results: dict[str, Any] = {}
    DIST.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as stores:
        for name in chosen:
            one = PLAN[name]
            print(f"\n## {name} ({_duration(one)})\n\n{one.about}\n", flush=True)
            given = [*one.options, *(one.quick if quick else ()), *options]
            ran = run(one, [option.replace(STORES, stores) for option in given])
            order = list(PLAN)
            done = [each for each in done if each["name"] != name]
            done.append({"name": name, "title": one.title, "options": given, **ran})
            done.sort(key=lambda each: order.index(each["name"]))
            results = {"versions": versions(), "benchmarks": done}
            file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not names:
        print(f"\n## All\n\n{table(HEAD, *lines(results))}\n")
        print(", ".join(f"{name} {version}" for name, version in results["versions"].items()))
    failed = [name for name in chosen if any(each["name"] == name and each["exit_code"] for each in done)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _duration(one: Planned) -> str:
    return f"about {one.seconds} s" if not one.by_name else f"by name, {one.seconds} s"


def run(one: Planned, options: list[str]) -> dict[str, Any]:
    """Run one benchmark and show what it prints; when, how long and how it ended, its text, tables and figures."""
    began, at = time.perf_counter(), datetime.now(UTC)
    command = [sys.executable, "-m", f"bench.{one.module}", *options]
    text = ""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as figures:
        environment = {**os.environ, FIGURES: figures.name}
        with subprocess.Popen(
            command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        ) as process:
            assert process.stdout is not None
            # In a session of its own it gets an interrupt from here alone, and ends its servers.
            timer = threading.Timer(5 * one.seconds + 120, process.send_signal, (signal.SIGINT,))
            timer.start()
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    text += line
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                process.wait(60)
                raise
            finally:
                timer.cancel()
        reported = [targeted(one, json.loads(line)) for line in figures]
    return {
        "at": at.isoformat(timespec="seconds"), "seconds": round(time.perf_counter() - began, 1),
        "exit_code": abs(process.returncode), "figures": reported, "tables": tables(text),
        "text": "\n".join(line for line in text.splitlines() if line and not line.startswith("|")),
    }  # fmt: skip


def targeted(one: Planned, figure: dict[str, Any]) -> dict[str, Any]:
    """A reported figure with its targets."""
    what = figure["what"]
    assert Figure(**figure).ours, f"{what}: no round"
    return {**figure, "target": one.targets.get(what), "least_ratio": one.ratios.get(what)}


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
