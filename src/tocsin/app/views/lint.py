"""``rules lint``: what is right by the letter and most likely wrong, with what the project directory says of receivers."""

from __future__ import annotations

from tocsin.app.project.content import Content
from tocsin.errors import Problem
from tocsin.rules.inspect.lint import lint
from tocsin.rules.kinds.ruleset import RuleSet


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
