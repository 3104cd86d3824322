"""rules: what alert rules are, do, and notify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tocsin.cli.common import (  # fmt: skip
    HERE,
    AsJson,
    HomeOption,
    Stop,
    fail,
    open_home,
    print_json,
    problem_row,
    rules_that_are_right,
    say,
    show,
    visible,
)
from tocsin.cli.rules import backtest, explain, interchange, mutate

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.rules.kinds.ruleset import RuleSet
    from tocsin.rules.testing.run import TestResult

rules = typer.Typer(no_args_is_help=True, help="Alert rules.")
interchange.register(rules)
backtest.register(rules)


@rules.command("list")
def rules_list(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """List rules: kind, severity, whether they are in force, where they stand."""
    from tocsin.cli.client import rules_in_force

    place = open_home(home)
    found = rules_in_force(place)
    if found is None:
        from tocsin.rules.inspect.listing import listing

        found = listing(rules_that_are_right(place))
    columns = ("Rule", "Kind", "Severity", "Enabled", "Tests")
    rows = []
    for row in found:
        file, _, line = row["File"].rpartition(":")
        rows.append({**{key: row[key] for key in columns}, "File": file, "Line": int(line), "Fault": row["Fault"]})
    faults = ("Fault",) if any(row["Fault"] for row in rows) else ()
    show(rows, (*columns, "File", "Line", *faults), as_json, "No rules.")


@rules.command("status")
def rules_status(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Show the status of rules: notifications, times and errors."""
    from tocsin.cli.client import asking

    with asking(open_home(home)) as asked:
        rows = asked.rules()
    if not as_json:
        for row in rows:
            row["State"] = (
                "error" if row["Error"] else "behind" if row["BehindSince"] else "on" if row["Enabled"] else "off"
            )
            if row["Fault"]:
                row |= {"State": "off, faulty", "Error": row["Fault"]}
    columns = (
        "Rule",
        "Kind",
        "Severity",
        "State",
        "Fired",
        "Notified",
        "Resolved",
        "LastFired",
        "Firing",
        "Pending",
        "NextEvaluation",
        "Error",
    )
    show(rows, columns, as_json, "No rules.")


rules.command("explain")(explain.rules_explain)


@rules.command("test")
def rules_test(
    chosen: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME]...", help="Rule files, or names of rules; all of the project directory where absent."
        ),
    ] = None,
    words: Annotated[
        str, typer.Option("-k", metavar="WORDS", help="Only tests whose rule or name has all of these words.")
    ] = "",
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML too.")] = None,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Run the inline tests of rules with the engine that runs them live. Ends with 1 where one fails."""
    place = open_home(home)  # first: it imports structlog without rich
    from tocsin.app.views.oncall import view_oncall
    from tocsin.app.views.presented import presents
    from tocsin.rules.testing.run import each_test

    loaded, names = _chosen(place, chosen or [])
    wanted = [w.lower() for w in words.split()]
    results: list[TestResult] = []
    for result in each_test(
        (loaded.rules[name] for name in names),
        lambda rule, test: all(word in f"{rule.name} {test.name}".lower() for word in wanted),
        presents(view_oncall(place).rules),
    ):
        results.append(result)
        if not as_json:
            _print_test(result)
    failed = [r for r in results if not r.passed]
    if junit is not None:
        from tocsin.rules.testing.junit import junit as xml

        try:
            junit.write_text(xml(results), encoding="utf-8")
        except OSError as e:
            fail(f"cannot write {junit}: {e.strerror}", code=2)
    if as_json:
        print_json([
            {
                "Rule": r.rule, "Test": r.name, "Passed": r.passed, "File": r.file, "Line": r.line,
                "Faults": [fault.strip() for fault in r.faults], "Timeline": r.timeline, "Seconds": round(r.seconds, 3),
            }
            for r in results
        ])  # fmt: skip
    else:
        spent = f" in {sum(r.seconds for r in results):.1f} s"
        none = f"No test has '{words}'." if words else "No rule has tests."
        say(f"{len(results) - len(failed)} passed, {len(failed)} failed{spent}" if results else none)
    if failed:
        raise Stop(1)
    if not results and (words or chosen):
        raise Stop(2)


def _print_test(result: TestResult) -> None:
    print(f"{'ok  ' if result.passed else 'FAIL'} {result.rule}: {visible(result.name)}", flush=True)
    if not result.passed:
        print(f"    {result.file}:{result.line}\n    what was expected and is not so:")
        print(visible("\n".join(f"    {fault}" for fault in result.faults)))
        print("    what happened:")
        print(visible("\n".join(f"    {line}" for line in result.timeline.splitlines())))


rules.command("mutate")(mutate.rules_mutate)


@rules.command("lint")
def rules_lint(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Rule files; those of the project directory where absent."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 where there is a warning.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Find rules that are right by the letter and most likely wrong."""
    place = open_home(home)
    from tocsin.app.project.content import load_content
    from tocsin.app.views.check import lint_content

    content = load_content(place)
    found = lint_content(content, _load(place, files) if files else None)
    if as_json:
        print_json([problem_row(p) for p in found])
    else:
        for problem in found:
            print(visible(str(problem)))
        say(f"{len(found)} warning{'' if len(found) == 1 else 's'}" if found else "Nothing to say.")
    if found and strict:
        raise Stop(1)


@rules.command("schema")
def rules_schema() -> None:
    """Print the JSON Schema of rule files, for editors."""
    from tocsin.rules.kinds.registry import rules_json_schema

    print_json(rules_json_schema())


def _chosen(place: Home, chosen: list[str]) -> tuple[RuleSet, list[str]]:
    """Rules, and the names of those that ``chosen`` (files and names) means."""
    files = [Path(word) for word in chosen if word.endswith((".yaml", ".yml")) or Path(word).is_file()]
    names = [word for word in chosen if Path(word) not in files]
    from tocsin.app.project.rules import own

    loaded = _load(place, files or None)
    for name in names:
        if name not in loaded.rules:
            from tocsin.config.yaml.document import suggest

            fail(f"there is no rule '{name}'", suggest(name, loaded.rules))
    return loaded, names or list(loaded.rules if files else own(loaded).rules)


def _load(place: Home, files: list[Path] | None = None) -> RuleSet:
    """The rules of ``files``, or of the project directory."""
    from tocsin.app.project.rules import rules_of

    for path in files or []:
        if not path.is_file():
            fail(f"{path} is no file", code=2)
    return rules_of(place, files)
