"""init, check, doctor, tokens: the project directory itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tocsin.cli.common import HERE, AsJson, HomeOption, Stop, fail, open_home, print_json, problem_row, say, visible
from tocsin.model.text.names import by_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tocsin.config.project.home import Home
    from tocsin.errors import Problem

tokens = typer.Typer(no_args_is_help=True, help="Tokens: who may post events, ask, scrape.")


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory; made where it is not there.")],
    as_json: AsJson = False,
) -> None:
    """Make a project directory in DIR: settings, an example rule with its test, an on-call file."""
    from tocsin.config.project.home import init_home

    made = init_home(directory.absolute())
    if as_json:
        print_json({"Home": str(directory.absolute()), "Files": [str(p) for p in made]})
        return
    for path in made:
        print(directory / path)
    say(f"{len(made)} files made." if made else "Everything was there already; nothing was changed.")
    say(f"Next: tocsin up --home {directory}")


def copy(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Shipped files, such as rules/alerts/too-slow.yaml.")
    ] = None,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Bring shipped files into the project directory to be edited; without PATH list them."""
    from tocsin.config.content import copyable
    from tocsin.config.project.home import copy_shipped

    place = open_home(home)
    done = [str(copy_shipped(place, path)) for path in paths] if paths else copyable()
    if as_json:
        print_json(done)
        return
    print("\n".join(done))
    say("What is in it is yours now: upgrades no longer change it." if paths else "Copy one with: tocsin copy PATH")


def check(
    tests: Annotated[bool, typer.Option("--tests", help="Run the inline tests of rules and consumers too.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Find everything that is wrong in the project directory's files, all at once."""
    place = open_home(home)  # first: it imports structlog without rich
    from tocsin.app.views.check import check as found_in

    report([replace(p, file=place.shown(Path(p.file))) for p in found_in(place, with_tests=tests)], as_json)


def report(problems: Sequence[Problem], as_json: bool) -> None:
    """Print problems; ends with 1 where one is more than a warning."""
    faults = [p for p in problems if not p.warning]
    if as_json:
        print_json([problem_row(p) for p in problems])
    else:
        for p in problems:
            print(visible(str(p)))
        warnings = len(problems) - len(faults)
        say(f"{_count(len(faults), 'problem')}, {_count(warnings, 'warning')}" if problems else "Everything is right.")
    if faults:
        raise Stop(1)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


@tokens.command("new")
def tokens_new(
    name: Annotated[str, typer.Argument(help="Whose it is; shown in logs.")],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="What it opens: producer, viewer, responder, admin, metrics; may be repeated."),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="From when on it opens nothing: 2027-01-31, UTC.")
    ] = "",
    consumer: Annotated[
        list[str] | None, typer.Option("--consumer", help="The consumer to which alone it may post; may be repeated.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="The Source that alone its events may have; may be repeated."),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="PATTERN", help="The runs and jobs that alone it may name: lab-*; may be repeated."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before the first token locks a running project.")
    ] = False,
    home: HomeOption = HERE,
) -> None:
    """Make a token, keep its digest in the tokens file, and print it once."""
    from tocsin.config.project.tokens import Role, add_token, instant

    try:
        end = instant(expires or None)
    except ValueError as e:
        fail(str(e), "", 2)
    known = [r.value for r in Role]
    for given in role or ():
        if given not in known:
            fail(f"'{given}' is no role", f"known are {', '.join(known)}", 2)
    place = open_home(home)
    settings = place.settings()
    if not yes and place.held() and not place.locked() and not place.tokens(settings):
        _ask_before_locking()
    roles = frozenset(Role(r) for r in role or known)
    word = add_token(
        place.tokens_path(settings), name, roles, end, consumers=consumer or (), sources=source or (), runs=run or ()
    )
    print(word)
    say("This is the only time that it is shown; the file holds its digest.")


def _ask_before_locking() -> None:
    """Ask whether the first token may lock a project that runs without; ends with 1 where not, 2 where nobody can
    answer.
    """
    import sys

    say(
        "tocsin runs here without tokens. The first one locks it: whoever posts, asks or scrapes needs a token at once."
    )
    if not sys.stdin.isatty():
        fail("nobody can be asked without a terminal", "give --yes to lock it", 2)
    if not typer.confirm("Make the first token?", err=True):
        raise Stop(1)


@tokens.command("revoke")
def tokens_revoke(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    home: HomeOption = HERE,
) -> None:
    """Take a token out of the tokens file: within seconds it opens nothing, and its sessions have ended."""
    from tocsin.config.project.tokens import revoke_token

    place = open_home(home)
    revoke_token(place.tokens_path(place.settings()), name)
    say(f"The token '{name}' opens nothing any more.")


@tokens.command("list")
def tokens_list(home: HomeOption = HERE, as_json: AsJson = False) -> None:
    """List whose tokens there are, what they open, and when each was used last."""
    from tocsin.cli.common import show
    from tocsin.web.access.used import last_uses

    place = open_home(home)
    used = last_uses(place.data)
    rows = [
        {
            "Token": t.name,
            "Roles": sorted(t.roles),
            "Consumers": list(t.consumers),
            "Sources": list(t.sources),
            "Runs": list(t.runs),
            "Signature": str(t.signature) if t.signature is not None else None,
            "Expires": f"{t.expires:%Y-%m-%dT%H:%M:%SZ}" if t.expires is not None else None,
            "LastUsed": used.get(t.name),
        }
        for t in place.tokens(place.settings()).listed()
    ]
    show(
        rows,
        ("Token", "Roles", "Consumers", "Sources", "Runs", "Signature", "Expires", "LastUsed"),
        as_json,
        "No tokens.",
    )


def doctor(
    compact: Annotated[bool, typer.Option("--compact", help="Rewrite the log store's file without its holes.")] = False,
    home: HomeOption = HERE,
    as_json: AsJson = False,
) -> None:
    """Check files, Kafka, mail server, clock, disk, stores, the running tocsin; say how to fix what is wrong."""
    place = open_home(home)
    if compact:
        _compact(place)
        return
    facts, ready = _facts(place)
    findings = _findings(place, ready)
    if as_json:
        print_json({**by_columns(facts), "Findings": [by_columns(each) for each in findings]})
    else:
        for name, value in facts.items():
            print(f"{name:<16} {visible(str(value))}")
        print()
        for each in findings:
            print(f"{each['level']:<8} {each['part']:<14} {visible(each['text'])}")
            if each["fix"]:
                print(f"{'':<23} fix: {visible(each['fix'])}")
    errors = [each for each in findings if each["level"] == "error"]
    if errors:
        say(f"{_count(len(errors), 'problem')} found.")
        raise Stop(1)


def _findings(place: Home, ready: dict[str, Any] | None) -> list[dict[str, str]]:
    from contextlib import nullcontext
    from dataclasses import asdict

    from tocsin.app.upkeep.doctor import diagnose
    from tocsin.cli.client import remote
    from tocsin.clock import SystemClock

    running = remote(place) if ready is not None else None

    def ask(kql: str) -> list[dict[str, Any]]:
        return running.query(kql)[1] if running is not None else []

    with place.lock() if ready is None else nullcontext():
        return [asdict(each) for each in diagnose(place, SystemClock(), ready, ask)]


def _facts(place: Home) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What there is, and what /readyz of the running tocsin says; None where none runs."""
    import platform
    from importlib.metadata import version

    from tocsin import __version__
    from tocsin.cli.client import remote
    from tocsin.config.content import packaged
    from tocsin.config.yaml.sizes import human_size
    from tocsin.errors import ConfigurationError

    facts: dict[str, Any] = {
        "tocsin": __version__,
        "python": f"{platform.python_version()} on {platform.platform(terse=True)}",
        "duckdb": version("duckdb"),
        "home": str(place.path),
        "content": str(packaged()),
    }
    try:
        settings = place.settings()
        for name, path in (("events", place.store_path(settings)), ("state", place.state_path(settings))):
            sizes = [p.stat().st_size for p in path.parent.glob(path.name + "*")] if path.parent.is_dir() else []
            facts[name] = f"{path}, {human_size(sum(sizes))}" if sizes else f"{path}, not made yet"
        facts["notifications"] = (
            f"go to {settings.smtp.host}:{settings.smtp.port}" if settings.smtp.host else "stay on this machine"
        )
        facts["kafka"] = ", ".join(settings.kafka.bootstrap_servers) if settings.kafka else "none"
    except ConfigurationError:
        pass  # a finding says so
    running = remote(place)
    facts["running"] = running.url if running else "no"
    if running is None:
        return facts, None
    with running.client:
        ready = {**running.client.get("/healthz").json(), **running.client.get("/readyz").json()}
    facts["ready"] = ready.get("ready")
    return facts, ready


def _compact(place: Home) -> None:
    from tocsin.app.views.offline import compact
    from tocsin.config.yaml.sizes import human_size

    if place.held():
        fail("a tocsin runs on this project directory and owns the file", "stop it first")
    with place.lock():
        before, after = compact(place)
    say(f"{human_size(before)} became {human_size(after)}.")


__all__ = ["check", "copy", "doctor", "init", "report", "tokens"]
