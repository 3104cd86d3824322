"""Labels of an alert, made by the rule's templates."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from tocsin.rules.language.templates import TemplateFault
from tocsin.rules.spec.rule import Rule

_log = structlog.get_logger(__name__)


def labels_of(rule: Rule, fields: Mapping[str, object]) -> dict[str, object]:
    """Labels over a row. One that fails is '' and logged: an alert never waits for a label."""
    labels: dict[str, object] = {}
    for name, text in rule.labels.items():
        try:
            labels[name] = text.render(fields)
        except TemplateFault as e:
            labels[name] = ""
            _log.warning("label_failed", rule=rule.name, label=name, error=str(e))
    return labels
