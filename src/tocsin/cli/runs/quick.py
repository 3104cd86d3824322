"""`tocsin exec` without the command line's library, which takes longer to load than most jobs' first line takes to print.

What this does not know (--help, a wrong option) goes to the library, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TEXTS = {"--name": "name", "--experiment": "experiment", "--run-id": "run_id", "--owner": "owner"}
TAG, HEARTBEAT, VERBOSE = "--tag", "--heartbeat", "--verbose"
SHORTEST_HEARTBEAT = 0.1


def parse(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What follows `tocsin exec` as fields of ``sdk.running.wrap.Given``; None where the library is to read it."""
    out: dict[str, Any] = {"tags": []}
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        if word == VERBOSE:
            out["verbose"] = True
            continue
        option, equals, value = word.partition("=")
        if not equals:
            if not rest:
                return None
            value = rest.pop(0)
        if option in TEXTS:
            out[TEXTS[option]] = value
        elif option == TAG:
            out["tags"].append(value)
        elif option == HEARTBEAT and _seconds(value) >= SHORTEST_HEARTBEAT:
            out["heartbeat"] = _seconds(value)
        else:
            return None
    return {"command": rest, **out} if rest else None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def execute(arguments: Sequence[str]) -> int | None:
    """Run what `tocsin exec` is to run and return its exit code; None where the library is to do it."""
    given = parse(arguments)
    if given is None:
        return None
    from tocsin.sdk.running.wrap import Given, wrap

    problem, code = wrap(Given(**given))
    return None if problem else code
