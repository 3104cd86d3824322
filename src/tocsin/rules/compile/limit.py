"""`limit:` of a rule file."""

from __future__ import annotations

from collections.abc import Collection

from tocsin.alerts.conditions import ZERO
from tocsin.config.yaml.document import suggest
from tocsin.rules.language.checks import Faults, Said
from tocsin.rules.language.schema import RuleModel
from tocsin.rules.spec.limit import Limit


def limit_of(model: RuleModel, said: Said, fields: Collection[str] | None, faults: Faults) -> Limit | None:
    """What the rule says; ``fields`` are those of its rows and labels (None: not known)."""
    limit = said(lambda m: m.limit, "limit")
    if limit is None:
        return None
    at = ("limit",) if "limit" in model.model_fields_set else ()
    if not limit.per:
        faults.add((*at, "per"), "names no field", "write for example per: ExperimentName")
    for name in limit.per if fields is not None else ():
        if name not in (fields or ()):
            faults.add((*at, "per"), f"'{name}' is no field of the rule's alerts", suggest(name, fields or ()))
    if limit.window <= ZERO:
        faults.add((*at, "window"), "must be longer than nothing", "write for example window: 1d")
    return Limit(per=limit.per, most=limit.max, span=limit.window, digest=limit.then == "digest")
