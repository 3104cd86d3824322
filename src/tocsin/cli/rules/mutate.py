"""rules mutate: which changes of a rule its inline tests do not notice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, HomeOption, Stop, fail, open_home, print_json, say, visible

if TYPE_CHECKING:
    from tocsin.rules.testing.mutants import Mutant


def rules_mutate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule file.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="table|json", help="How it is printed.")] = "table",
    home: HomeOption = HERE,
) -> None:
    """Change the rules of FILE one value at a time, and list the changes that their inline tests do not notice. Ends with 1 where there is one."""
    if output not in ("table", "json"):
        fail(f"--output {output}: there are table and json", code=2)
    if not file.is_file():
        fail(f"{file} is no file", code=2)
    place = open_home(home)
    from tocsin.app.project.rules import rules_of, written_in
    from tocsin.app.views.oncall import view_oncall
    from tocsin.app.views.presented import presents
    from tocsin.rules.testing.mutants import Fate, mutate

    rules_of(place, [file])  # says what is wrong in it
    try:
        found = mutate(*written_in(place, file), presents(view_oncall(place).rules))
    except ValueError as e:
        fail(str(e), f"see tocsin rules test {file}")
    by_fate = {fate: [mutant for mutant in found if mutant.fate is fate] for fate in Fate}
    survived = by_fate[Fate.SURVIVED]
    if output == "json":
        print_json({"mutants": len(found), **{str(fate): [_row(m) for m in some] for fate, some in by_fate.items()}})
    else:
        for mutant in survived:
            print(visible(f"{mutant.file}:{mutant.line}: {mutant.rule}: {mutant.change.kind}: {mutant.change.said}"))
            if mutant.test:
                print(visible("".join(f"      {line}\n" for line in mutant.test.splitlines())))
        counts = ", ".join(f"{len(some)} {fate}" for fate, some in by_fate.items())
        say(f"{len(found)} mutants: {counts}" if found else "Nothing in it can be changed.")
    if survived:
        raise Stop(1)


def _row(mutant: Mutant) -> dict[str, Any]:
    return {
        "Rule": mutant.rule, "Kind": mutant.change.kind, "Change": mutant.change.said, "File": mutant.file,
        "Line": mutant.line, "KilledBy": mutant.killed_by, "Test": mutant.test,
    }  # fmt: skip
