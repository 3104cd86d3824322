"""How long commands take, and `tocsin up` until it is ready, beside uv, Prometheus and its promtool.

    python -m bench.startup [--rounds 5] [--rows 5000000] [--years 10] [--rules 1000] [--stores DIR]

Each command is a process of its own, from its start to its end. A start is that of a tocsin whose log store holds so many
rows (`bench.history`), with so many event rules, until /readyz says 200; the peer has as many alerting rules and no data.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import history
from bench.common import Figure, machine, report, say
from bench.latency import rules_text
from bench.stand import link
from tests.acceptance.harness import Tocsin, settings
from tests.servers.process import ServerMissing
from tests.servers.prometheus import PrometheusServer
from tests.servers.smtp_sink import Sink

PROGRAM = Path(sys.executable).with_name("tocsin")


def alerting_rules(count: int) -> str:
    """A file of Prometheus's rules, as JSON."""
    rules = [
        {"alert": f"rule-{n}", "expr": f'increase(failures_total{{experiment="{n}"}}[1m]) > 0'} for n in range(count)
    ]
    return json.dumps({"groups": [{"name": "bench", "rules": rules}]})


def seconds_of(command: Sequence[str], cwd: Path) -> float:
    """How long a command takes. Raises RuntimeError where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    return took


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float] | None, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, interleaved; the first round warms up."""
    mine: list[float] = []
    others: list[float] = []
    for number in range(rounds + 1):
        for kept, work in ((mine, ours), (others, theirs)) if number % 2 else ((others, theirs), (mine, ours)):
            if work is not None:
                kept.append(work())
    return mine[1:], others[1:]


def starting(start: Callable[[], object], stop: Callable[[], object]) -> float:
    """Seconds until it is ready; it is stopped again."""
    began = time.perf_counter()
    start()
    took = time.perf_counter() - began
    stop()
    return took


def main(arguments: list[str]) -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="bench.startup", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--stores", type=Path, help="directory of the log store; made where it is not there, and kept")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        try:
            rules = directory / "alert-rules.json"
            rules.write_text(alerting_rules(chosen.rules))
            peer = PrometheusServer(directory / "prometheus", json.dumps({"rule_files": [str(rules)]}))
            stack.callback(peer.stop)
        except ServerMissing as missing:
            say(f"without the peer: {missing}")
            peer = None
        commands(directory, peer, chosen.rounds, stack)
        starts(directory, peer, chosen, stack)
    print(f"\n{chosen.rounds} rounds; {machine()}.")


def commands(directory: Path, peer: PrometheusServer | None, rounds: int, stack: ExitStack) -> None:
    """Figures of three commands, in a project directory with the shipped rules, whose tocsin runs."""
    tocsin = Tocsin(program=PROGRAM, home=directory / "shipped")
    tocsin.write("tocsin.yaml", settings())
    stack.callback(tocsin.kill)
    tocsin.start()
    rules = directory / "few-rules.json"
    rules.write_text(alerting_rules(50))
    home, url = ["--home", str(tocsin.home)], "" if peer is None else peer.start().url
    for what, workload, ours, theirs in (
        ("tocsin --help", "no project", ["--help"], [str(PROGRAM.with_name("uv")), "--help"]),
        ("tocsin rules list", "shipped rules, tocsin runs", ["rules", "list", *home], ["promtool", "query", "instant", url, "ALERTS"]),
        ("tocsin check", "shipped rules", ["check", *home], ["promtool", "check", "rules", str(rules)]),
    ):  # fmt: skip
        there = shutil.which(theirs[0]) is not None and (peer is not None or theirs[0] != "promtool")
        mine, others = in_turn(
            partial(seconds_of, [str(PROGRAM), *ours], directory),
            partial(seconds_of, theirs, directory) if there else None,
            rounds,
        )
        name = f"{Path(theirs[0]).name} {' '.join(theirs[1:3] if len(theirs) > 2 else theirs[1:])}"
        report(Figure(what=what, unit="s", ours=mine, workload=workload, peer=name, theirs=others))
    if peer is not None:
        peer.stop()
    tocsin.stop()


def starts(directory: Path, peer: PrometheusServer | None, chosen: argparse.Namespace, stack: ExitStack) -> None:
    """The figure of starts."""
    stores = chosen.stores or directory
    tocsin = Tocsin(program=PROGRAM, home=directory / "home")
    sink = Sink(directory / "mails")
    stack.callback(sink.stop)
    more = {"shipped": {"rules": False}, "retention": {"events": "10000d"}}
    tocsin.write("tocsin.yaml", settings(smtp_port=sink.port, more=more))
    tocsin.write("rules/alerts/rules.yaml", rules_text(chosen.rules))
    (tocsin.home / "data").mkdir()
    link(history.kept(stores, chosen.rows, chosen.years), tocsin.home / "data" / "events.duckdb")
    stack.callback(tocsin.kill)
    tocsin.start("--adopt", within=300)
    tocsin.stop()
    mine, others = in_turn(
        partial(starting, partial(tocsin.start, within=120), tocsin.stop),
        None if peer is None else partial(starting, peer.start, peer.stop),
        min(chosen.rounds, 3),
    )
    workload = f"{chosen.rows:,} rows stored, {chosen.rules:,} event rules"
    report(
        Figure(
            what="ready",
            unit="s",
            ours=mine,
            workload=workload,
            peer="Prometheus, as many rules, no data",
            theirs=others,
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
