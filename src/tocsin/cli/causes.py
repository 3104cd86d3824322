"""causes: what failures mean, and why a text has the cause that it has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, fail, open_home, print_json, show

if TYPE_CHECKING:
    from tocsin.causes.files import Read

causes = typer.Typer(no_args_is_help=True, help="What failures mean: causes found in their texts.")

Project = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="A project directory, whose causes add to the shipped ones."),
]
Output = Annotated[str, typer.Option("--output", "-o", metavar="table|json", help="How it is printed.")]


@causes.command("list")
def causes_list(home: Project = None, as_json: AsJson = False) -> None:
    """List causes: reason, whether trying again helps, what to do, where they stand."""
    rows = []
    for model, where in _read(home).models:
        file, _, line = where.rpartition(":")
        rows.append({
            "Cause": model.name, "Reason": model.reason, "Retry": model.retry, "Enabled": model.enabled, "Advice": model.advice,
            "File": file, "Line": int(line),
        })  # fmt: skip
    show(rows, ("Cause", "Reason", "Retry", "Advice"), as_json, "No causes.")


@causes.command("test")
def causes_test(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Test the causes of this file alone.")] = None,
    home: Project = None,
) -> None:
    """Run the inline tests of causes. Ends with 1 where one fails."""
    from tocsin.causes.files import failures

    read = _read(home, file)
    wrong = failures(read)
    for line in wrong:
        print(f"FAIL {line}")
    hits = sum(len(model.tests.hits) + len(model.tests.misses) for model, _ in read.models)
    print(f"{len(read.models)} causes, {hits} texts, {len(wrong)} failed")
    if wrong:
        raise typer.Exit(1)


@causes.command("try")
def causes_try(
    file: Annotated[Path, typer.Argument(help="A text, read as one log tail, or rows as JSON lines (.jsonl).")],
    output: Output = "table",
    home: Project = None,
) -> None:
    """Show the cause of a text, or of each row with any of Message, ErrorCode, LogTail, ExitCode."""
    if output not in ("table", "json"):
        fail(f"'{output}' is no form of output", "write table or json", 2)
    engine = _read(home).causes
    found = [_shown(engine, row) for row in _rows(file)]
    if output == "json":
        for row in found:
            print(
                json.dumps(
                    {key: row[key] for key in ("Cause", "Reason", "CauseLine", "Fingerprint")}, ensure_ascii=False
                )
            )
        return
    show(found, ("Cause", "Reason", "CauseLine"), False, "No rows.")


@causes.command("explain")
def causes_explain(
    run: Annotated[str, typer.Argument(help="The id of a run.")], home: HomeOption = HERE, as_json: AsJson = False
) -> None:
    """Show the cause of a run's failure, the line that says so, and what to do."""
    from tocsin.cli.client import asking

    place = open_home(home)
    read = _read(place.path)
    with asking(place) as asked:
        found = asked.run(run)
    if found is None:
        fail(f"there is no run '{run}'", "tocsin run list shows those there are")
    event = next((each for each in reversed(found["events"]) if each["Status"] in ("Failed", "Canceled")), found["run"])
    shown = _shown(read.causes, event)
    advice = {model.name: (model.advice, model.retry, where) for model, where in read.models}
    shown["Advice"], shown["Retry"], shown["File"] = advice.get(shown["Cause"], ("", "unknown", ""))
    if as_json:
        print_json(shown)
        return
    print(f"{run}: {shown['Cause'] or 'no cause that is known'} ({shown['Reason']})")
    for name in ("CauseLine", "Advice", "File"):
        if shown[name]:
            print(f"  {name:<10} {shown[name]}")


def _read(home: Path | None, only: Path | None = None) -> Read:
    from tocsin.causes.files import read_causes

    return read_causes(home, only=only)


def _shown(engine: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    from tocsin.causes.fingerprint import fingerprint

    found = engine.find(row)
    return {
        "Cause": found.cause, "Reason": found.reason, "CauseLine": found.line, "Fingerprint": fingerprint(found, row),
    }  # fmt: skip


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        fail(f"cannot read {file}: {e.strerror}", code=2)
    if file.suffix not in (".jsonl", ".ndjson"):
        yield {"LogTail": text}
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as e:
            fail(f"{file}:{number}: this line is no JSON: {e}", code=1)
        if not isinstance(row, dict):
            fail(f"{file}:{number}: this line is no object", 'write {"LogTail": "…", "ExitCode": 1}', 1)
        yield row
