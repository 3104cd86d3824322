"""rules: what alert rules are, do, and tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli import backtest, interchange
from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, fail, open_home, print_json, say, show, visible

if TYPE_CHECKING:
    from tocsin.config.home import Home
    from tocsin.rules.ruleset import RuleSet

rules = typer.Typer(no_args_is_help=True, help="Alert rules.")
interchange.register(rules)
backtest.register(rules)


@rules.command("list")
def rules_list(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """List rules: kind, severity, whether they are in force, where they stand."""
    loaded, _ = _load(open_home(home))
    rows = [
        {
            "name": r.name, "kind": r.kind.value, "severity": r.severity.word, "enabled": r.enabled,
            "tests": len(r.tests), "file": r.place.file, "line": r.place.line,
        }
        for r in loaded.rules.values()
    ]  # fmt: skip
    show(rows, ("name", "kind", "severity", "enabled", "tests", "file", "line"), as_json, "No rules.")


@rules.command("status")
def rules_status(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """Show how rules fare: what each told, and when, and its errors."""
    from tocsin.cli.asking import asking

    with asking(open_home(home)) as asked:
        rows = asked.rules()
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in ("description", "query")))
    show(rows, columns, as_json, "No rules.")


@rules.command("explain")
def rules_explain(
    name: Annotated[str, typer.Argument(help="The rule.")], home: HomeOption = HERE, as_json: AsJson = False
) -> None:
    """Show what a rule compiles to: kind, fields, prefilter, shape, query, SQL."""
    place = open_home(home)
    loaded, _ = _load(place)
    rule = loaded.rules.get(name)
    if rule is None:
        from tocsin.config.document import suggest

        fail(f"there is no rule '{name}'", suggest(name, loaded.rules), 2)
    from dataclasses import asdict

    from tocsin.rules.explain import explain

    facts = asdict(explain(rule))
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        shown = visible(", ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)) or "–"
        print(f"{key}:\n{_indented(shown)}" if "\n" in shown else f"{key + ':':<12} {shown}")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())


@rules.command("test")
def rules_test(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Rule files; those of the home where absent.")
    ] = None,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Run the inline tests of rules with the engine that runs them live."""
    from tocsin.rules.testing import run_tests

    place = open_home(home)
    loaded, _ = _load(place, files)
    results = run_tests(loaded)
    failed = [r for r in results if not r.passed]
    if as_json:
        print_json([{"rule": r.rule, "test": r.name, "passed": r.passed, "timeline": r.timeline} for r in results])
    else:
        for r in results:
            print(f"{'ok  ' if r.passed else 'FAIL'} {r.rule}: {visible(r.name)}")
            if not r.passed:
                print(_indented(visible(r.timeline)))
        say(f"{len(results) - len(failed)} passed, {len(failed)} failed" if results else "No rule has tests.")
    if failed:
        raise Stop(1)


@rules.command("schema")
def rules_schema() -> None:
    """Print the JSON Schema of rule files, for editors."""
    from tocsin.rules.schema import rules_json_schema

    print_json(rules_json_schema())


def _load(place: Home, files: list[Path] | None = None) -> tuple[RuleSet, Mapping[str, Any]]:
    """The rules of ``files``, or of the home, and its reference tables."""
    from tocsin.app.content import schema_with
    from tocsin.config.tables import load_tables
    from tocsin.rules.load import load_rules

    tables = load_tables(place.table_files(), place.shown)
    chosen = files if files else place.alert_files()
    for path in chosen:
        if not path.is_file():
            fail(f"{path} is no file", code=2)
    return load_rules(chosen, schema_with(tables), names={p: place.shown(p.absolute()) for p in chosen}), tables
