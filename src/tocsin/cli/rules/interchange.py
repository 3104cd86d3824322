"""rules import, rules export, oncall import: rules and routes from and to other systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, fail, open_home, print_json, say, visible

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.interchange.pagers.compare import Compared
    from tocsin.interchange.report import Exported, Imported

PAGERDUTY = "pagerduty"
"""The word before files of PagerDuty."""


def register(rules: typer.Typer) -> None:
    """Add the commands to ``tocsin rules``."""
    rules.command("import")(rules_import)
    rules.command("export")(rules_export)


def rules_import(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="ARM templates, policies, bodies of rules; Prometheus rule files."),
    ],
    parameters: Annotated[
        Path | None, typer.Option("--parameters", metavar="FILE", help="Azure's parameters file for the templates.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the rules there; it must not exist yet.")
    ] = None,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Make rules of Azure's scheduled query rules and of Prometheus's alerts, and say what could not be kept."""
    from tocsin.interchange.emit import file_of
    from tocsin.interchange.importing import import_files

    found = import_files(files, _schema(open_home(home)), parameters=parameters)
    text = file_of(found)
    if output is not None:
        _write(output, text)
    if as_json:
        print_json([_imported(one) for one in found])
    else:
        _report(found)
        if output is None:
            print(text, end="")
    if any(one.rule is None for one in found):
        raise Stop(1)


def rules_export(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Rules; all where absent.")] = None,
    azure: Annotated[bool, typer.Option("--azure", help="As an ARM template of scheduled query rules.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Print rules as an ARM template (scheduled query rules, API 2021-08-01), and say what could not be kept."""
    from tocsin.config.content import shipped_files
    from tocsin.config.yaml.document import suggest
    from tocsin.interchange.azure.write import export_rule, template_of
    from tocsin.interchange.data import rules_of_files

    if not azure:
        fail("in which form?", "tocsin rules export --azure", 2)
    place = open_home(home)
    files = place.alert_files() or shipped_files("rules/alerts")
    data = {str(rule["name"]): rule for rule in rules_of_files(files, {f: place.shown(f) for f in files})}
    for name in names or ():
        if name not in data:
            fail(f"there is no rule '{name}'", suggest(name, data))
    schema = _schema(place)
    done = [export_rule(data[name], schema) for name in names or data]
    template = template_of(done)
    if as_json:
        print_json({"Template": template, "Rules": [_exported(one) for one in done]})
    else:
        for one in done:
            say(f"{'exported' if one.resource is not None else 'not exported'}: {one.name}")
            say_all([f"  {one.why_not}"] if one.why_not else [f"  not in Azure: {lost}" for lost in one.lost])
        print_json(template)
    if any(one.resource is None for one in done):
        raise Stop(1)


def oncall_import(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="[pagerduty] FILE...",
            help="A configuration of Alertmanager; after the word pagerduty, answers of its REST API.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the on-call file there; it must not exist yet."),
    ] = None,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Make an on-call file of Alertmanager's configuration or PagerDuty's schedules; say what could not be kept.

    Ends with 1 where others are on call than by PagerDuty's final schedule.
    """
    from tocsin.app.project.rules import rules_of
    from tocsin.config.yaml.document import load_file
    from tocsin.errors import ConfigurationError
    from tocsin.interchange.alertmanager.read import file_text, import_configuration

    compared: Sequence[Compared] = ()
    if str(files[0]) == PAGERDUTY and len(files) > 1:
        from tocsin.clock import SystemClock
        from tocsin.interchange.pagers.pagerduty import import_pagerduty

        found, compared = import_pagerduty(files[1:], SystemClock().now())
    elif len(files) > 1:
        fail("one configuration of Alertmanager at a time", "tocsin oncall import pagerduty FILE... takes several", 2)
    else:
        found = import_configuration(load_file(files[0]))
    text = file_text(found, files[-1].name)
    if output is not None:
        _write(output, text)
    differing = sum(each.differing for each in compared)
    if as_json:
        print_json({
            "OnCall": found.data, "Kept": found.kept, "Fields": found.fields,
            "NotKept": [{"Key": each.key, "Why": each.why} for each in found.lost],
            "Compared": [_compared(each) for each in compared],
        })  # fmt: skip
        if differing:
            raise Stop(1)
        return
    say_all([f"kept: {', '.join(found.kept)}", *map(str, compared), *(f"not kept: {lost}" for lost in found.lost)])
    try:
        carried = rules_of(open_home(home)).fields
    except ConfigurationError:
        carried = frozenset()
    if missing := sorted(set(found.fields) - set(carried)):
        say_all(
            [
                f"no rule carries {', '.join(missing)}: add them to `fields:` or `labels:` of rules, or `check` refuses the file"
            ]
        )
    if output is None:
        print(text, end="")
    if differing:
        raise Stop(1)


def _report(found: Sequence[Imported]) -> None:
    for one in found:
        where = f"{one.file}{f', {one.path}' if one.path else ''}"
        if one.rule is None:
            say_all([f"not imported: {one.name} ({one.type}; {where})", f"  {one.why_not}"])
            continue
        say_all([f"imported: {one.rule['name']} ({one.type}; {where})"])
        say_all([f"  off: {one.off}"] if one.off else [])
        say_all([f"  kept: {kept}" for kept in one.kept])
        say_all([f"  not kept: {lost}" for lost in one.lost])
    rules = sum(one.rule is not None for one in found)
    off = sum(bool(one.off) for one in found)
    say(f"{rules} imported{f' ({off} of them off)' if off else ''}, {len(found) - rules} not imported")


def say_all(lines: Sequence[str]) -> None:
    """Lines for a person; what a file says drives no terminal."""
    for line in lines:
        say(visible(line.replace("\n", " ")))


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path} is there already", "name another file, or take that one away", 2)
    except OSError as e:
        fail(f"{path} cannot be written: {e}")


def _schema(place: Home) -> dict[str, dict[str, str]]:
    from tocsin.app.project.rules import schema_with
    from tocsin.config.project.tables import load_tables

    return schema_with(load_tables(place.table_files(), place.shown))


def _imported(one: Imported) -> dict[str, Any]:
    return {
        "File": one.file, "Path": one.path, "Type": one.type, "Name": one.name, "Rule": one.rule, "Off": one.off,
        "Kept": one.kept, "NotKept": [{"Key": lost.key, "Why": lost.why} for lost in one.lost], "WhyNot": one.why_not,
    }  # fmt: skip


def _compared(one: Compared) -> dict[str, Any]:
    return {
        "Schedule": one.schedule, "From": one.start, "To": one.end, "Hours": one.hours, "Differing": one.differing,
        "Differences": [
            {"From": each.start, "To": each.end, "There": each.theirs, "Here": each.ours} for each in one.differences
        ],
    }  # fmt: skip


def _exported(one: Exported) -> dict[str, Any]:
    return {
        "Rule": one.name, "Exported": one.resource is not None, "WhyNot": one.why_not,
        "NotInAzure": [{"Key": lost.key, "Why": lost.why} for lost in one.lost],
    }  # fmt: skip
