"""A reload of many rules: as at a start, with ten rules broken in ten ways, with these fixed and one edited.

The mix: 70 % event rules of 20 shapes, 20 % window rules of 20 shapes, 10 % absence rules of 5; a hundred files. A start
has every shape to plan; a reload knows most of them. Each of the ten faults must be named with its file and line.

    python -m bench reload --rules 10000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time

from bench.common import Figure, machine, report, table
from bench.windows import rule_texts
from tocsin.errors import ConfigurationError
from tocsin.kql.schema import Schema, schema_with
from tocsin.rules.compile.load import load_rules
from tocsin.rules.kinds.event.kind import KIND as EVENT
from tocsin.rules.kinds.ruleset import RuleSet
from tocsin.rules.kinds.window.kind import KIND as WINDOW

FILES = 100
COLUMNS = ("ExperimentName", "WorkspaceName", "Target", "RunType", "OwnerEmail")
WORDS = ("Message has 'memory'", "Reason == 'timeout'", "Attempt > {n}", "Tags.env =~ 'prod'")
ABSENT = (
    "{{status: Queued, in_status_for: {n}m}}",
    "{{status: Running, silent_for: {n}m}}",
    "{{status: [Queued, Preparing], in_status_for: {n}m}}",
    "{{status: Running, unchanged: Progress, for: {n}m}}",
    "{{status: NotResponding, in_status_for: {n}m}}",
)
BROKEN = (
    "{name: broken-0, when: {status: Faild}}",
    "{name: broken-1, when: {status: Failed, where: \"Experiment == 'a'\"}}",
    "{name: broken-2, when: {status: Failed, where: \"Message has ('a'\"}}",
    "{name: broken-3, when: {status: Failed}, severity: eror}",
    "{name: broken-4, when: {status: Failed}, fields: [Ownr]}",
    "{name: broken-5, when: {status: Running, silent_for: soon}}",
    "{name: broken-6, query: RunStatusChanged | summarize n = count() by Target | where n > 1, by: [Target]}",
    '{name: broken-7, when: {status: Failed}, summary: "{{ RunId "}',
    "{name: broken-8, when: {status: Failed}, serverity: error}",
    "{name: broken-9, over: 1h, query: RunStatusChanged | summarize n = count() by Target | where m > 1, by: [Target]}",
)
"""Ten rules, each wrong in its own way."""


def texts(rules: int) -> list[str]:
    """Files of ``rules`` rules, in no order of kinds."""
    experiments = [f"exp-{n}" for n in range(200)]
    windows = "\n".join(rule_texts(rules // 5, 20, experiments)).split("\n\n  - name: ")[1:]
    entries: list[str] = []
    for n in range(rules):
        if n % 5 == 1:
            entries.append("  - name: window-" + windows[n // 5].rstrip() + "\n")
        elif n % 10 == 2:
            entries.append(f"  - {{name: absence-{n}, when: {ABSENT[n // 10 % 5].format(n=20 + n // 50)}}}\n")
        else:
            column, word = COLUMNS[n % 5], WORDS[n // 5 % 4].format(n=n % 7)
            entries.append(
                f"  - name: row-{n}\n"
                f"    when: {{status: Failed, where: \"{column} == 'value-{n}' and {word}\"}}\n"
                f'    summary: "{{{{ {column} }}}} failed: {{{{ Message }}}}"\n'
                f"    labels: {{team: team-{n % 40}}}\n"
            )
    size = -(-len(entries) // FILES)
    return ["rules:\n" + "".join(entries[at : at + size]) for at in range(0, len(entries), size)]


def break_ten(paths: Sequence[Path]) -> dict[str, Path]:
    """Add a broken rule to each of ten files; ``file:line`` of each → its file."""
    places = {}
    for number, text in enumerate(BROKEN):
        path = paths[number * len(paths) // len(BROKEN)]
        lines = path.read_text().splitlines()
        lines.append(f"  - {text}")
        path.write_text("\n".join(lines) + "\n")
        places[f"{path.name}:{len(lines)}"] = path
    return places


def mend(places: dict[str, Path]) -> None:
    """Take the broken rules out again."""
    for path in places.values():
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def loaded(paths: Sequence[Path], schema: Schema) -> RuleSet:
    """The rules, ready to be evaluated: plans and indexes included."""
    rules = load_rules(paths, schema, names={path: path.name for path in paths})
    assert rules.of(EVENT).index.fields
    assert rules.of(WINDOW).groups
    assert rules.of(WINDOW).early is not None
    return rules


def named(error: ConfigurationError, places: dict[str, Path]) -> set[str]:
    """Which of ``places`` are named by a fault."""
    return places.keys() & {f"{p.file}:{p.line}" for p in error.problems}


def main(arguments: list[str]) -> int:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rules", type=int, default=10_000)
    options = parser.parse_args(arguments)
    schema, lines = schema_with(), []

    def timed(what: str, work: object) -> None:
        began, cpu = perf_counter(), process_time()
        assert callable(work)
        said = work()
        lines.append((what, f"{perf_counter() - began:.1f}", f"{process_time() - cpu:.1f}", said))
        report(
            Figure(
                what=what, unit="s", ours=[perf_counter() - began], workload=f"{options.rules:,} rules in {FILES} files"
            )
        )

    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for number, text in enumerate(texts(options.rules)):
            paths.append(Path(directory) / f"rules-{number:03}.yaml")
            paths[-1].write_text(text)

        def broken() -> str:
            try:
                loaded(paths, schema)
            except ConfigurationError as e:
                return f"{len(named(e, places))} of {len(BROKEN)} named, {len(e.problems)} faults in all"
            return "nothing was refused"

        timed("start", lambda: f"{len(loaded(paths, schema).rules):,} rules")
        places = break_ten(paths)
        timed("ten broken", broken)
        mend(places)
        paths[0].write_text(paths[0].read_text().replace("status: Failed", "status: Canceled", 1))
        timed("fixed, one edited", lambda: f"{len(loaded(paths, schema).rules):,} rules")
    print(f"{options.rules:,} rules in {FILES} files; {machine()}\n")
    print(table(("load", "s", "CPU s", "result"), *lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
