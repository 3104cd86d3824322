"""What a list of rules says of each, before any store is asked."""

from __future__ import annotations

from typing import Any

from tocsin.rules.kinds.ruleset import RuleSet


def listing(rules: RuleSet) -> list[dict[str, Any]]:
    """A row a rule. One that is off and cannot be compiled has a ``Fault``, and neither kind nor severity."""
    return [
        {
            "Rule": r.name, "Kind": r.word, "Severity": r.severity.word, "Enabled": r.enabled,
            "Tests": len(r.tests), "File": str(r.place), "Fault": "",
        }
        for r in rules.rules.values()
    ] + [
        {
            "Rule": r.name, "Kind": "", "Severity": "", "Enabled": False,
            "Tests": r.tests, "File": str(r.place), "Fault": r.faults[0].message,
        }
        for r in rules.faulty.values()
    ]  # fmt: skip
