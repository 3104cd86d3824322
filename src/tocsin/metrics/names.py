"""Names and labels of the metrics of rules. Without prometheus-client, which a `check` does not need."""

from __future__ import annotations

import re
from collections.abc import Collection

from tocsin.metrics.table import TABLE

OURS, RULES = "tocsin_", "tocsin_rule_"
"""Names that begin so are ours; those that begin so rules may have."""
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_created", "_info")


def name_fault(name: str) -> tuple[str, str]:
    """(what is wrong with the name of a rule's metric, what would be right); two '' for a good one."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        return f"'{name}' is no name of a metric", "letters, digits, _ and :, for example tocsin_rule_cost_usd"
    if name in {m.name for m in TABLE} or (name.startswith(OURS) and not name.startswith(RULES)):
        return f"'{name}' is a name of tocsin's own", f"begin it with {RULES}, or with a word of yours"
    if name.endswith(_SUFFIXES):
        suffix = next(s for s in _SUFFIXES if name.endswith(s))
        return f"'{name}' ends like another kind of metric than a gauge", f"leave {suffix} out"
    return "", ""


def label_of(field: str) -> str:
    """The label of a field: ``ExperimentName`` is ``experiment_name``."""
    return _WORDS.sub("_", field).lower()


def label_fault(name: str, others: Collection[str] = ()) -> str:
    """What is wrong with a field as a label beside those of ``others``; '' for a good one."""
    if not _LABEL.fullmatch(label_of(name)):
        return f"'{name}' cannot be a label"
    twin = next((other for other in others if other != name and label_of(other) == label_of(name)), "")
    return f"'{name}' and '{twin}' would be the same label '{label_of(name)}'" if twin else ""
