"""Reading settings: tocsin.yaml, then the environment (``TOCSIN_SMTP__HOST``), then options of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tocsin.config.kafka import KafkaSettings
from tocsin.config.secrets import expanded, with_secrets
from tocsin.config.settings import Settings
from tocsin.config.yaml.document import Document, KeyPath, Plain, _model_in, load, load_file, parse, suggest
from tocsin.errors import ConfigurationError, Problem

PREFIX = "TOCSIN_"
NOT_SETTINGS = frozenset({"TOCSIN_HOME", "TOCSIN_TOKEN", "TOCSIN_URL"})
"""Variables that commands read; they set nothing."""

_KUBERNETES = re.compile(r"TOCSIN(_\w+)?_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_\w+)?)|TOCSIN_PORT")
FILE = "tocsin.yaml"


def load_settings(
    home: Path, env: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> Settings:
    """The settings of ``home``; ``overrides`` are by dotted key. Raises ContentError with every fault and its place.

    A secret may come from a file (``smtp.password_file``, relative to ``home``), and any text of tocsin.yaml may hold
    ``${NAME}`` of ``env``.
    """
    document = settings_document(home)
    origins: dict[KeyPath, str] = {}
    problems: list[Problem] = expanded(document, env or {})
    for name, value in sorted((env or {}).items()):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            _from_env(name, value, document, origins, problems)
    for key, given in (overrides or {}).items():
        keys = tuple(key.split("."))
        _put(document.data, keys, given if isinstance(given, list | dict) else Plain(str(given)))
        origins[keys] = f"--{keys[-1].replace('_', '-')}"
    settings: Settings | None = None
    try:
        settings = parse(Settings, document)
    except ConfigurationError as e:
        problems += [_placed(problem, origins) for problem in e.problems]
    if problems or settings is None:
        raise ConfigurationError(problems)
    return with_secrets(settings, home, document)


def settings_document(home: Path) -> Document:
    """tocsin.yaml as written; empty where there is none. Raises ConfigurationError."""
    path = home / FILE
    document = load_file(path, FILE) if path.exists() else Document(file=FILE, data=None)
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise ConfigurationError([document.problem((), "must be keys and values", "see docs/settings.md")])
    return document


def _from_env(name: str, value: str, document: Document, origins: dict[KeyPath, str], problems: list[Problem]) -> None:
    keys = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
    model: Any = Settings
    field: FieldInfo | None = None
    for i, key in enumerate(keys):
        fields = {f.alias or n: f for n, f in model.model_fields.items()} if model is not None else {}
        field = fields.get(key)
        if field is None and model is KafkaSettings and i == len(keys) - 1:
            break
        if field is None:
            if len(keys) == 1 and (_KUBERNETES.fullmatch(name) or "did you mean" not in suggest(key, fields)):
                return  # not ours: Kubernetes sets TOCSIN_PORT for a service called tocsin
            problems.append(Problem(
                file=f"environment variable {name}", key=".".join(keys[: i + 1]), message="is not a setting",
                hint=suggest(key, fields),
            ))  # fmt: skip
            return
        model = _model_in(field.annotation)
    origins[keys] = f"environment variable {name}"
    try:
        _put(document.data, keys, _read(name, value, field))
    except ConfigurationError as e:
        problems += [replace(p, line=0) for p in e.problems]


def _read(name: str, value: str, field: FieldInfo | None) -> Any:
    """Lists and objects may be written as YAML; text stays as it is, whatever it holds."""
    textual = field is not None and _is_text(field.annotation)
    if not textual and "PASSWORD" not in name and value[:1] in ("[", "{"):
        return load(value, f"environment variable {name}").data
    if value == "" and not textual:
        return None
    return Plain(value)


def _is_text(annotation: Any) -> bool:
    if annotation in (str, SecretStr):
        return True
    args = [a for a in getattr(annotation, "__args__", ()) if a is not type(None)]
    return bool(args) and getattr(annotation, "__origin__", None) is not tuple and all(_is_text(a) for a in args)


def _put(data: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(data.get(key), dict):
            data[key] = {}
        data = data[key]
    data[keys[-1]] = value


def _placed(problem: Problem, origins: Mapping[KeyPath, str]) -> Problem:
    """``problem``, naming the variable or option where that gave the value."""
    key = tuple(re.split(r"[.\[]", problem.key.replace("]", "")))
    for end in range(len(key), 0, -1):
        if (origin := origins.get(key[:end])) is not None:
            return replace(problem, file=origin, line=0)
    # A fault across the keys of a section, or inside a section that only the environment gave.
    under = sorted({origin for keys, origin in origins.items() if problem.key and keys[: len(key)] == key})
    if len(under) == 1 and problem.line <= 1:
        return replace(problem, file=under[0], line=0)
    return problem


def describes(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Fields of a settings model by the name that users write."""
    return {f.alias or n: f for n, f in model.model_fields.items()}
