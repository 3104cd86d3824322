"""docs/settings.md and the tocsin.yaml of a new home, made from the models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from tocsin.config.settings import Settings
from tocsin.config.yaml.document import _model_in
from tocsin.config.yaml.durations import format_duration
from tocsin.config.yaml.sizes import format_size

REQUIRED = "required"


def settings_reference() -> str:
    """docs/settings.md: one line a setting."""
    out = [
        "# Settings",
        "",
        "<!-- Made by `make docs` from src/tocsin/config/settings.py; a test holds both equal. -->",
        "",
        "Settings stand in `tocsin.yaml` of the project directory, and every one has a default: an empty file is fine.",
        "An environment variable wins over the file, an option of the command line over both.",
        "A variable's name is `TOCSIN_` and the setting's path in capitals, joined by `__`.",
        "Lists may be written with commas, objects as YAML (`{mails: 30, in: 10m}`).",
        "A key that is not known here is refused, with the nearest one that is.",
        "Durations are written `90s 45m 12h 30d 1w`, sizes `64KiB 160MiB 1GiB`.",
        "",
        "| setting | default | meaning | example | variable |",
        "| --- | --- | --- | --- | --- |",
    ]
    for path, field in walk(Settings):
        if _section(field) is not None and _default(field) in ("", "{}") and not field.examples:
            continue
        example = _shown(field.examples[0], field) if field.examples else ""
        out.append(
            f"| `{'.'.join(path)}` | {_code(_default(field))} | {_cell(field.description or '')} | {_code(example)} "
            f"| `TOCSIN_{'__'.join(p.upper() for p in path)}` |"
        )
    out += [
        "",
        "Under `kafka` any further setting of kafka-python's `KafkaConsumer` may stand, by its name there.",
        "Those that tocsin sets itself (`enable_auto_commit`, `key_deserializer`, `value_deserializer`, "
        "`consumer_timeout_ms`) are refused.",
        "",
        "Commands also read `TOCSIN_HOME` (the project directory, by default the current directory) and `TOCSIN_TOKEN` "
        "(the token with which a running tocsin is asked).",
        "",
    ]
    return "\n".join(out)


def settings_file() -> str:
    """A tocsin.yaml in which every setting stands as a comment: with its default, else with an example."""
    out = [
        "# tocsin.yaml: settings of this project directory. Everything has a default; take away the # before what you change.",
        "# An environment variable wins over this file: TOCSIN_SMTP__HOST=smtp.example.org",
        "",
    ]
    for name, field in _fields(Settings):
        out.append(f"# {field.description}")
        model = _section(field)
        if model is None:
            out += [f"#{name}: {_flow(name, field)}", ""]
            continue
        out.append(f"#{name}:")
        for key, child in _fields(model):
            out.append(f"#  {key}: {_flow(key, child)}  # {child.description}")
        out.append("")
    return "\n".join(out)


def walk(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting below ``model``, sections before what they hold."""
    for name, field in _fields(model):
        yield (*path, name), field
        inner = _section(field)
        if inner is not None:
            yield from walk(inner, (*path, name))


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _section(field: FieldInfo) -> type[BaseModel] | None:
    found = _model_in(field.annotation)
    return found if found is None or issubclass(found, BaseModel) else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return REQUIRED
    return "" if isinstance(field.default, BaseModel) and not field.examples else _shown(field.default, field)


def _flow(name: str, field: FieldInfo) -> str:
    value = None if field.is_required() else field.default
    if value in (None, (), []) and field.examples:
        value = field.examples[0]
    if name in ("password_file",):
        value = field.examples[0] if field.examples else value
    return _shown(value, field)


def _shown(value: Any, field: FieldInfo) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, int):
        return format_size(value) if _is_size(field) else str(value)
    if isinstance(value, SecretStr):
        return "…"
    if isinstance(value, BaseModel):
        return _object({(f.alias or n): _shown(getattr(value, n), f) for n, f in type(value).model_fields.items()})
    if isinstance(value, dict):
        return _object({k: _shown(v, field) for k, v in value.items()})
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(str(v)) for v in value) + "]"
    return str(value)


def _object(pairs: dict[str, str]) -> str:
    return "{" + ", ".join(f"{k}: {v}" for k, v in pairs.items()) + "}"


def _scalar(text: str) -> str:
    return json.dumps(text) if any(c in text for c in ":*,[]{}#&!|>'\"%@`") and not text[0].isalnum() else text


def _is_size(field: FieldInfo) -> bool:
    return any(getattr(m, "json_schema", {}).get("examples") == ["64KiB", "160MiB"] for m in field.metadata)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return text if text in ("", REQUIRED) else f"`{text}`"
