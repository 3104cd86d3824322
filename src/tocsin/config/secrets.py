"""Secrets of tocsin.yaml: from the environment (``${NAME}``) or from files (``*_file``), and who else can read them."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tocsin.config.yaml.document import Document, KeyPath
from tocsin.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from tocsin.config.settings import Settings

SECRETS: Mapping[str, tuple[str, ...]] = {
    "smtp": ("password",),
    "kafka": ("sasl_plain_password", "ssl_password"),
}
"""Secrets by section; each may come from a file that ``<secret>_file`` names."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}")


def expanded(document: Document, env: Mapping[str, str]) -> list[Problem]:
    """Put variables of the environment where texts of ``document`` say ``${NAME}``; ``$${`` stands for ``${``.

    Returns a fault for each that is not set.
    """
    problems: list[Problem] = []

    def text(value: str, path: KeyPath) -> str:
        def put(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if name not in env:
                problems.append(document.problem(
                    path, f"the environment variable '{name}' is not set", "set it, or write $${ for the text ${",
                ))  # fmt: skip
                return ""
            return env[name]

        return type(value)(_REFERENCE.sub(put, value)) if "${" in value else value

    def below(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: below(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [below(each, (*path, n)) for n, each in enumerate(value)]
        return text(value, path) if isinstance(value, str) else value

    document.data = below(document.data, ())
    return problems


def with_secrets(settings: Settings, home: Path, document: Document) -> Settings:
    """``settings`` with what their ``*_file`` hold. Paths count from ``home``. Raises ConfigurationError."""
    problems: list[Problem] = []
    sections: dict[str, object] = {}
    for section, names in SECRETS.items():
        model = getattr(settings, section)
        found: dict[str, object] = {}
        for name in names if model is not None else ():
            file = getattr(model, f"{name}_file")
            if file is None:
                continue
            try:
                word = (home / file).read_text(encoding="utf-8").rstrip("\r\n")
                found |= {name: SecretStr(word), f"{name}_file": None}
            except (OSError, UnicodeDecodeError) as e:
                problems.append(document.problem((section, f"{name}_file"), f"cannot be read: {e}"))
        if found:
            sections[section] = model.model_copy(update=found)
    if problems:
        raise ConfigurationError(problems)
    return settings.model_copy(update=sections) if sections else settings


def readable(home: Path, document: Document, tokens_file: str) -> list[Problem]:
    """A warning for each file with a secret that other users of this machine can read."""
    data: dict[str, Any] = document.data if isinstance(document.data, dict) else {}
    files = {tokens_file: "tokens"} if _in_clear(home / tokens_file) else {}
    for section, names in SECRETS.items():
        given = data.get(section)
        if not isinstance(given, dict):
            continue
        for name in names:
            if name in given:
                files[document.file] = f"{section}.{name}"
            if isinstance(given.get(f"{name}_file"), str):
                files[str(given[f"{name}_file"])] = f"{section}.{name}"
    http = data.get("http")
    if isinstance(http, dict) and isinstance(http.get("tls_key_file"), str):
        files[str(http["tls_key_file"])] = "the key of http.tls_cert_file"
    warnings = []
    for file, what in files.items():
        try:
            mode = stat.S_IMODE((home / file).stat().st_mode)
        except OSError:
            continue
        if mode & 0o077:
            warnings.append(Problem(
                file=file, message=f"holds {what}, and other users of this machine can read it (mode {mode:04o})",
                hint=f"chmod 600 {file}", warning=True,
            ))  # fmt: skip
    return warnings


def _in_clear(tokens_file: Path) -> bool:
    """Whether it holds tokens; `tocsin tokens new` keeps their digests alone."""
    try:
        return re.search(r"\btoken\s*:", tokens_file.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False
