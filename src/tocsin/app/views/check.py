"""``tocsin check``: everything that can be wrong in a project directory, all at once. ``rules lint``: what is right by
the letter and most likely wrong.
"""

from __future__ import annotations

from tocsin.app.project.content import Content, gather
from tocsin.app.project.rules import own
from tocsin.causes.files import check_causes
from tocsin.clock import SystemClock
from tocsin.config.content import packaged
from tocsin.config.project.home import Home
from tocsin.errors import Problem, TocsinError
from tocsin.notify.render.templates import Templates
from tocsin.notify.routing.oncall_file import check_files
from tocsin.rules.inspect.lint import lint
from tocsin.rules.kinds.ruleset import RuleSet


def check(home: Home, with_tests: bool = False) -> list[Problem]:
    """Every problem and warning of the project directory's files; with their inline tests where ``with_tests``."""
    if home.empty:
        message = (
            f"{home.path} is no project directory: it has neither tocsin.yaml nor rules/, consumers/ or templates/"
        )
        return [Problem(file="tocsin.yaml", message=message, hint=f"make one with: tocsin init {home.path}")]
    problems: list[Problem] = []
    content = gather(home, problems)
    problems += check_causes(home.path)
    problems += Templates(home.template_dirs(), packaged() / "templates").check()
    if content is None:
        return problems
    problems += home.warnings(content.settings)
    problems += check_files(content.oncall_files.files, content.oncall, SystemClock().now())
    if not content.settings.http.loopback and not content.tokens:
        problems.append(
            Problem(
                file="tocsin.yaml", key="http.host",
                message=f"{content.settings.http.host} can be reached from outside, and there are no tokens",
                hint="make one with: tocsin tokens new NAME",
            )
        )  # fmt: skip
    if (lost := home.lost_tokens(content.settings, content.tokens)) is not None:
        problems.append(lost)
    if with_tests and not any(not p.warning for p in problems):
        problems += failing_tests(home)
    return problems


def failing_tests(home: Home) -> list[Problem]:
    """A problem for each inline test of rules and consumers that fails."""
    from tocsin.app.views.presented import presents
    from tocsin.intake.testing import run_consumer_tests  # these two import stores, half the time of a check
    from tocsin.rules.testing.run import run_tests

    problems: list[Problem] = []
    content = gather(home, [])
    assert content is not None
    ships = home.shipped_consumers() if content.settings.shipped.consumers else {}
    files = home.consumer_files(shipped=False) or list(ships.values())
    for result in run_consumer_tests(files, {f: home.shown(f) for f in files}, ships):
        if not result.passed:
            problems.append(
                Problem(file=result.file, line=result.line, key=result.name, message=f"test fails: {result.text}")
            )
    try:
        results = run_tests(own(content.rules), presents=presents(content.oncall))
    except TocsinError as e:
        return [*problems, Problem(file="rules", message=str(e))]
    for r in results:
        if not r.passed:
            text = "\n".join([*r.faults, r.timeline])
            problems.append(
                Problem(file=r.file, line=r.line, key=f"{r.rule}: {r.name}", message=f"test fails:\n{text}")
            )
    return problems


def lint_content(content: Content, rules: RuleSet | None = None) -> list[Problem]:
    """Warnings about ``rules``, those of ``content`` where absent."""
    oncall, settings = content.oncall, content.settings

    def nobody(name: str) -> bool:
        """Whether only events name its addresses, and none of these may be mailed."""
        receiver = oncall.receiver_called(name)
        if receiver is None or settings.smtp.host is None or settings.smtp.allowed_recipients:
            return False
        return receiver.emails != () and all("{{" in address for address in receiver.emails)

    return lint(content.rules if rules is None else rules, nobody)
