"""rules explain: what a rule compiles to, and, where the project directory has been used, what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import (
    HERE,
    AsJson,
    HomeOption,
    fail,
    open_home,
    print_json,
    rules_that_are_right,
    table,
    text,
    visible,
)
from tocsin.model.text.names import by_columns

if TYPE_CHECKING:
    from tocsin.config.project.home import Home
    from tocsin.rules.kinds.ruleset import FaultyRule
    from tocsin.rules.spec.rule import Rule

_LIVE = ("NextEvaluation", "Fired", "Notified", "Resolved", "LastFired", "Firing", "Pending", "Error", "Instances", "LastRows", "LastRowsOf", "LastRowsError")  # fmt: skip


def rules_explain(
    name: Annotated[str, typer.Argument(help="The rule.")], home: HomeOption = HERE, as_json: AsJson = False
) -> None:
    """Show what a rule compiles to: kind, fields, prefilter, shape, query, SQL; when it is evaluated next, what it matched last."""
    place = open_home(home)
    from tocsin.app.views.rules import expected, notified
    from tocsin.clock import SystemClock
    from tocsin.rules.inspect.explain import explain

    loaded = rules_that_are_right(place, name)
    rule = loaded.rules.get(name)
    if rule is None and name in loaded.faulty:
        _faulty(loaded.faulty[name], as_json)
        return
    if rule is None:
        from tocsin.config.yaml.document import suggest

        fail(f"there is no rule '{name}'", suggest(name, loaded.rules))
    seen = _seen(place, rule)
    facts = asdict(explain(rule))
    more = {"expects": expected(rule, SystemClock().now()), "notifies": notified(place, rule)}
    if as_json:
        print_json({**by_columns({**facts, **more}), "Seen": seen})
        return
    window, waits = facts.pop("window"), facts.pop("waits")
    for key, value in {**facts, **window, **waits}.items():
        _fact(key, ", ".join(str(v) for v in value) if isinstance(value, tuple) else str(value))
    for key, lines in more.items():
        if lines:
            _fact(key, "\n".join(lines))
    if seen is None:
        _fact("seen", "nothing yet: no tocsin has run here")
        return
    _fact(
        "next evaluation",
        text(seen["NextEvaluation"]) or ("with each commit" if rule.enabled else "never: it is not enabled"),
    )
    counts = (
        f"{seen['Fired']}, last {text(seen['LastFired'])}; {seen['Notified']} notified, {seen['Resolved']} resolved"
    )
    _fact("fired", counts if seen["Fired"] else "never")
    if seen["Error"]:
        _fact("error", seen["Error"])
    if seen["Instances"]:
        print("now:")
        table(("Phase", "Since", "Value", "Instance"), [
            [text(one[key]) for key in ("Phase", "Since", "Value", "Instance")] for one in seen["Instances"]
        ])  # fmt: skip
    _rows(seen)


def _faulty(rule: FaultyRule, as_json: bool) -> None:
    """Of one that is off and cannot be compiled, there is only that."""
    faults = [str(replace(fault, warning=False)) for fault in rule.faults]
    if as_json:
        print_json({"Name": rule.name, "Place": str(rule.place), "Enabled": False, "Faults": faults})
        return
    _fact("name", rule.name)
    _fact("place", str(rule.place))
    _fact("enabled", "False")
    _fact("faults", "it cannot be switched on before these are fixed\n" + "\n".join(faults))


def _seen(place: Home, rule: Rule) -> Mapping[str, Any] | None:
    """What the stores know of the rule; None where there are none yet."""
    from tocsin.cli.client import asking, remote

    if remote(place) is None and not place.store_path(place.settings()).exists():
        return None
    with asking(place) as asked:
        found = asked.rule(rule.name)
    return None if found is None else {key: found[key] for key in _LIVE}


def _rows(seen: Mapping[str, Any]) -> None:
    if seen["LastRowsError"]:
        _fact("last rows", f"cannot be read: {seen['LastRowsError']}")
        return
    print(f"last rows, of {seen['LastRowsOf']}:{'' if seen['LastRows'] else ' none'}")
    if seen["LastRows"]:
        names = list(seen["LastRows"][0])
        table(names, [[_short(text(row.get(name))) for name in names] for row in seen["LastRows"]])


def _short(cell: str) -> str:
    return cell if len(cell) <= 60 else cell[:59] + "…"


def _fact(key: str, value: str) -> None:
    shown = visible(value.strip()) or "–"
    if "\n" in shown:
        print(f"{key}:", *(f"    {line}" for line in shown.splitlines()), sep="\n")
    else:
        print(f"{key + ':':<16} {shown}")
