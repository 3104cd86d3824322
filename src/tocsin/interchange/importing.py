"""Files of other systems → rules of ours, each with what was kept, what was not, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tocsin.config.yaml.document import load, resolved
from tocsin.errors import ConfigurationError, Problem
from tocsin.interchange.azure.forms import is_sentinel, of_sentinel
from tocsin.interchange.azure.jsonc import load_jsonc, looks_like_json
from tocsin.interchange.azure.read import is_map, text_of_name, type_of
from tocsin.interchange.azure.read_rules import import_query_rule
from tocsin.interchange.azure.resources import QUERY_RULES, Found, find, parameter_values
from tocsin.interchange.azure.scope import Budget
from tocsin.interchange.azure.write import export_rule, template_of
from tocsin.interchange.emit import file_of
from tocsin.interchange.others import import_other
from tocsin.interchange.prometheus.read import import_groups, import_rule_group, rule_groups
from tocsin.interchange.queries import Schema, lacks_tables
from tocsin.interchange.report import Imported, Lost
from tocsin.rules.compile.load import load_documents
from tocsin.rules.kinds.registry import rule_model

PROMETHEUS_GROUPS = "microsoft.alertsmanagement/prometheusrulegroups"
SENTINEL = "microsoft.securityinsights/alertrules"
_TERRAFORM = re.compile(r"^\s*resource\s+\"\w+\"\s+\"", re.MULTILINE)
_BICEP = re.compile(r"^\s*(?:resource\s+\w+\s+'|param\s+\w+\s+\w+|targetScope\s*=)", re.MULTILINE)


def import_files(
    files: Sequence[Path], schema: Schema, *, parameters: Path | None = None, taken: Sequence[str] = ()
) -> list[Imported]:
    """Every alert rule of ``files``. ``taken`` are names of rules that exist; a name that is taken gets a number.

    Raises ContentError with the problems of all files that cannot be read, or in which there is no alert rule.
    """
    problems: list[Problem] = []
    given: Mapping[str, Any] = {}
    if parameters is not None:
        try:
            given = parameter_values(load_jsonc(read_text(parameters), str(parameters)))
        except ConfigurationError as e:
            problems += e.problems
    out: list[Imported] = []
    for path in files:
        unread: list[str] = []
        try:
            found = list(import_text(read_text(path), str(path), schema, parameters=given, unread=unread))
            if not found and unread:
                raise ConfigurationError([Problem(
                    file=str(path), message=f"{one}, which is not read", hint="import that file by itself",
                ) for one in unread])  # fmt: skip
            if not found:
                raise ConfigurationError([Problem(
                    file=str(path), message="has no alert rule in it",
                    hint="ARM templates, policies and bodies of rules, and Prometheus rule files are read",
                )])  # fmt: skip
            out += found
        except ConfigurationError as e:
            problems += e.problems
    if problems:
        raise ConfigurationError(problems)
    return [_passing(one, schema) for one in _named_apart(out, set(taken))]


def _passing(one: Imported, schema: Schema) -> Imported:
    """The rule, switched off where ``check`` would refuse it."""
    if one.rule is None or one.rule.get("enabled") is False:
        return one
    problems: list[Problem] = []
    load_documents([load(file_of([one]), one.file)], schema, problems)
    fault = next((problem for problem in problems if not problem.warning), None)
    if fault is None:
        return one
    rule = {"name": one.rule["name"], "enabled": False, **{k: v for k, v in one.rule.items() if k != "enabled"}}
    return replace(one, rule=rule, off=f"{fault.key.partition('.')[2]}: {fault.message}")


def import_text(
    text: str,
    file: str,
    schema: Schema,
    *,
    parameters: Mapping[str, Any] | None = None,
    unread: list[str] | None = None,
) -> Iterator[Imported]:
    """Every alert rule of one file. Raises ConfigurationError where it cannot be read. ``unread``: see ``find``."""
    if looks_like_json(text):
        for found in find(load_jsonc(text, file), parameters or {}, Budget(), unread):
            yield from _resource(found, file, schema)
        return
    if file.endswith(".tf") or _TERRAFORM.search(text):
        raise ConfigurationError([Problem(
            file=file, message="is Terraform, which is not read", hint="import what `terraform show -json` prints of a plan or a state",
        )])  # fmt: skip
    if file.endswith((".bicep", ".bicepparam")) or _BICEP.search(text):
        raise ConfigurationError([Problem(
            file=file, message="is Bicep, which is not read", hint="import what `bicep build` makes of it",
        )])  # fmt: skip
    yield from _of_yaml(text, file, schema)


def _of_yaml(text: str, file: str, schema: Schema) -> Iterator[Imported]:
    """Rules of Prometheus and of Sentinel; other objects of Kubernetes that stand among them are passed over."""
    passed: list[ConfigurationError] = []
    none = True
    for document in _documents(text, file):
        data = document.data
        if is_sentinel(data):
            none = False
            yield _sentinel(Found(type=SENTINEL, api="", name="", body=_whole(data), path=""), file, schema)
            continue
        held = data.get("data") if is_map(data) and data.get("kind") == "ConfigMap" else None
        if inner := [str(text) for text in held.values() if "groups:" in str(text)] if is_map(held) else []:
            none = False
            for each in inner:
                yield from _of_yaml(each, file, schema)
            continue
        try:
            groups = rule_groups(document)
        except ConfigurationError as e:
            if not (is_map(data) and "apiVersion" in data and "kind" in data):
                raise
            passed.append(e)
            continue
        none = False
        yield from import_groups(groups, document, schema)
    if none and passed:
        raise passed[0]


def _whole(value: Any) -> Any:
    """A YAML value with plain numbers and words for true and false."""
    if isinstance(value, Mapping):
        return {str(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else resolved(value)


def _sentinel(found: Found, file: str, schema: Schema) -> Imported:
    """A rule of Sentinel over tables that are here; what it looks for in others, tocsin does not get."""
    properties = found.body.get("properties", found.body)
    query = properties.get("query") if isinstance(properties, Mapping) else None
    if found.fault or not isinstance(query, str) or lacks_tables(query, schema):
        return import_other(found, file)
    body = of_sentinel(properties, str(found.body.get("kind", "")))
    return import_query_rule(replace(found, name=body["name"], body=body), file, _stem(file), schema)


def _documents(text: str, file: str) -> Iterator[Any]:
    """The documents of a YAML file, which ``---`` parts."""
    parts = re.split(r"^---[ \t]*(?:#.*)?$", text, flags=re.MULTILINE)
    line = 0
    for part in parts:
        if part.strip():
            yield load("\n" * line + part, file)
        line += part.count("\n")


def _resource(found: Found, file: str, schema: Schema) -> Iterator[Imported]:
    kind = found.type.partition("@")[0].lower()
    if found.condition is False:
        why = "its condition, or that of the deployment around it, is false: it is not deployed with these parameters"
        yield Imported(file=file, path=found.path, type=type_of(found), name=text_of_name(found), why_not=why)
        return
    if kind == PROMETHEUS_GROUPS and not found.fault:
        yield from import_rule_group(found, file, schema)
    elif kind == QUERY_RULES:
        yield _merged(found, import_query_rule(found, file, _stem(file), schema), schema)
    elif kind == SENTINEL or kind.endswith("/providers/alertrules"):
        yield _sentinel(found, file, schema)
    else:
        yield import_other(found, file)


def _merged(found: Found, native: Imported, schema: Schema) -> Imported:
    """What ``tocsin rules export`` kept beside a resource, with what was changed in the resource since."""
    kept = found.kept.get("rules")
    data = kept.get(text_of_name(found)) if isinstance(kept, Mapping) else None
    if native.rule is None or not isinstance(data, Mapping):
        return native
    try:
        rule_model().model_validate(data)
    except ValidationError:
        return replace(
            native, lost=(*native.lost, Lost(key="metadata", why="what tocsin kept there is no rule any more"))
        )
    exported = export_rule(data, schema)
    if exported.resource is None:
        return replace(native, lost=(*native.lost, Lost(key="metadata", why=exported.why_not)))
    again = next(find(template_of([replace(exported, rule={})]), {}))
    before = import_query_rule(again, native.file, _stem(native.file), schema).rule
    rule, changed = three_way(data, before or {}, native.rule)
    lost = tuple(Lost(key=key, why="was changed in Azure's template since the export") for key in changed)
    whole = f"{len(rule)} keys -> as tocsin exported them" if not changed else "the others -> as tocsin exported them"
    return replace(
        native, rule=rule, kept=(*(f"{k} -> taken from Azure's template" for k in changed), whole), lost=lost, off=""
    )


def three_way(
    ours: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """``ours`` with what changed from ``before`` to ``after``, and which keys that were."""
    rule = dict(ours)
    changed = [key for key in dict.fromkeys((*before, *after)) if before.get(key) != after.get(key)]
    for key in changed:
        if key in after:
            rule[key] = after[key]
        else:
            rule.pop(key, None)
    if "query" in changed:
        rule.pop("when", None)
        if "condition" not in after:
            rule.pop("condition", None)
    elif "condition" in changed:
        rule["query"] = after["query"]  # ours may hold the old condition as its last where
    return rule, changed


def _named_apart(rules: Sequence[Imported], taken: set[str]) -> Iterator[Imported]:
    for one in rules:
        if one.rule is None:
            yield one
            continue
        name = str(one.rule["name"])
        number = 2
        while name in taken:
            name = f"{str(one.rule['name'])[:120]}-{number}"
            number += 1
        taken.add(name)
        if name != one.rule["name"]:
            lost = Lost(key="name", why=f"'{one.rule['name']}' is taken; called '{name}'")
            one = replace(one, rule={**one.rule, "name": name}, lost=(*one.lost, lost))
        yield one


def read_text(path: Path) -> str:
    """What ``path`` holds. Raises ConfigurationError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationError([Problem(file=str(path), message=f"cannot be read: {e}")]) from e


def _stem(file: str) -> str:
    return Path(file).name.split(".")[0]
