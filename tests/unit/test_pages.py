"""What pages show is run: YAML and JSON here, commands and programs by tests that claim them. What is not run says why."""

import ast
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.pages import MARK, PAGES, ROOT, SPAN, Block, blocks, commands
from tocsin.app.views.check import check
from tocsin.causes.files import failures, read_causes
from tocsin.cli.main import tree
from tocsin.config.load import load_settings
from tocsin.config.project.home import Home
from tocsin.config.project.tokens import load_tokens
from tocsin.intake.consumer import load_consumers
from tocsin.intake.testing import run_consumer_tests
from tocsin.kql.schema import schema_with
from tocsin.notify.routing.files import OnCallFiles, read_oncall_files
from tocsin.rules.compile.load import load_rules
from tocsin.rules.testing.run import run_tests

TABLES = {
    "nightlies": {"experiment": "string", "cron": "string", "grace": "string"},
    "limits": {"experiment": "string", "longest": "long", "team": "string"},
    "owners": {"ExperimentName": "string", "team": "string"},
}
ONCALL = frozenset(
    [
        "people",
        "receivers",
        "route",
        "inhibit",
        "calendars",
        "time_intervals",
        "silences",
        "maintenance",
        "schedules",
        "escalations",
        "tests",
    ]
)
ALL = list(blocks())
RUN = [block for block in ALL if not block.why_not]


def rules(path: Path) -> None:
    written = YAML(typ="safe").load(path)["rules"]
    if not all({"when", "query", "sql"} & rule.keys() for rule in written):
        return beneath_a_project(path)
    loaded = load_rules([path], schema_with(TABLES))
    assert [] == [str(result) for result in run_tests(loaded) if not result.passed]


def beneath_a_project(path: Path, place: str = "rules/alerts/example.yaml") -> None:
    """What changes keys of a file that ships."""
    file = path.parent / place
    file.parent.mkdir(parents=True)
    path.rename(file)
    home = Home(path=path.parent)
    for name in re.findall(r"^ *token_file: (\S+)$", file.read_text(), re.M):
        (home.path / name).write_text("secret\n")
    assert [] == [str(problem) for problem in check(home) if not problem.warning]


def causes(path: Path) -> None:
    """A project's: they may change shipped ones."""
    file = path.parent / "rules/causes" / path.name
    file.parent.mkdir(parents=True)
    path.rename(file)
    assert [] == failures(read_causes(path.parent))


def oncall(path: Path) -> None:
    assert read_oncall_files([path]) != OnCallFiles()


def consumer(path: Path) -> None:
    assert load_consumers([path])
    assert [] == [result.text for result in run_consumer_tests([path]) if not result.passed]


def settings(path: Path) -> None:
    for name in re.findall(r"_file: (\S+?)[,}\n]", path.read_text()):
        path.write_text(path.read_text().replace(name, str(path.parent / "secret")))
    (path.parent / "secret").write_text("secret\n")
    load_settings(path.rename(path.parent / "tocsin.yaml").parent, {})


def tokens(path: Path) -> None:
    path.write_text(re.sub(r"\$\{\w+\}", "a-long-secret-of-the-page", path.read_text()))
    assert load_tokens(path)


def reader_of(text: str) -> Callable[[Path], None]:
    """What reads a file with these top-level keys."""
    if placed := re.match(r"# (consumers/\S+\.yaml): ", text):
        return partial(beneath_a_project, place=placed[1])
    keys = set(YAML(typ="safe").load(text))
    if keys == {"causes"}:
        return causes
    if keys <= {"rules", "defaults"}:
        return rules
    if "connector" in keys:
        return consumer
    if keys == {"tokens"}:
        return tokens
    return oncall if keys <= ONCALL else settings


@pytest.mark.parametrize("block", [b for b in RUN if b.kind == "yaml"], ids=str)
def test_a_file_of_a_page_works(block: Block, tmp_path: Path) -> None:
    """Rules with their tests, on-call files, consumers with their tests, settings."""
    path = tmp_path / "example.yaml"
    path.write_text(block.text)
    reader_of(block.text)(path)


@pytest.mark.parametrize("block", [b for b in RUN if b.kind == "json"], ids=str)
def test_json_of_a_page_is_json(block: Block) -> None:
    json.loads(block.text)


def claims() -> set[tuple[str, ...]]:
    """What `shown_on(PAGE, BEGINNING, …)` of the tests names."""
    calls = (
        node
        for text in (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
        if "shown_on(" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "shown_on"
    )
    return {tuple(ast.literal_eval(argument) for argument in call.args) for call in calls}


def test_a_test_runs_each_command_or_it_says_why_not() -> None:
    """`shown_on` fails in the test that claims a command and does not run it."""
    claimed = claims()
    lacking = [
        str(command)
        for command in commands()
        if not any(command.page == page and command.text.startswith(tuple(begins) or "") for page, *begins in claimed)
    ]
    assert [] == lacking, f"run it in a test, inside `shown_on`, or write `{MARK}why` above the block"
    assert [] == [str(b) for b in ALL if b.why_not and len(b.why_not) < 10]


def test_commands_that_prose_names_exist() -> None:
    """With their options, in pages for newcomers and for those who change tocsin."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    wrong = []
    for page in (*PAGES, "AGENTS.md", "CHANGELOG.md", "SECURITY.md"):
        for span in SPAN.findall((ROOT / page).read_text(encoding="utf-8")):
            program, *words = span.partition(" -- ")[0].split()
            if (program == "make" and words[0] not in targets) or (program == "tocsin" and not known(words)):
                wrong.append((page, span))
    assert [] == wrong


def known(words: list[str]) -> bool:
    """Whether these words after `tocsin` begin with a command, and name no option that it lacks."""
    node: Any = tree()
    for word in words:
        if word.startswith("-") or not getattr(node, "commands", None):
            break
        if word not in node.commands:
            return False
        node = node.commands[word]
    options = {option for parameter in node.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= options | {"--help"}
