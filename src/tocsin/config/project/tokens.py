"""tokens.yaml: who may post events, ask the API, scrape metrics. Only digests are kept in memory."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from tocsin.config.yaml.document import YamlModel, load_file, parse
from tocsin.config.yaml.fields import Words
from tocsin.errors import ConfigurationError, Problem

SHORTEST = 16
"""Characters of the shortest token that is taken."""


class Role(StrEnum):
    """What a token opens."""

    INTAKE = "intake"  # POST /intake/…
    API = "api"  # pages and /api/v1
    METRICS = "metrics"  # /metrics


def instant(value: object) -> datetime | None:
    """``value``, ISO, as a time in UTC; a date is its beginning. Raises ValueError."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"'{value}' is no time; write 2027-01-31, or 2027-01-31T12:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _roles(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Token(YamlModel):
    """One token."""

    name: str = Field(min_length=1, description="Whose it is; shown in logs.", examples=["event-grid"])
    token: SecretStr | None = Field(
        default=None, description=f"The token itself, {SHORTEST} characters or more.", examples=["a long random word"]
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="Or its SHA-256 in hex: then the file gives nobody access.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )
    roles: Annotated[frozenset[Role], BeforeValidator(_roles)] = Field(
        description="What it opens: intake, api, metrics.", examples=[["intake"]], min_length=1
    )

    expires: Annotated[datetime | None, BeforeValidator(instant)] = Field(
        default=None, description="From when on it opens nothing; UTC where no zone is given.", examples=["2027-01-31"]
    )
    consumers: Words = Field(
        default=(),
        description="Consumers to which alone it may post, of the role intake.",
        examples=[["github-actions"]],
    )

    @field_validator("token")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST:
            raise ValueError(f"is shorter than {SHORTEST} characters; make one with `tocsin tokens new`")
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token is None) == (self.sha256 is None):
            raise ValueError("give either token or sha256")
        return self

    def opens(self, role: Role, at: datetime, consumer: str = "") -> bool:
        """Whether it opens ``role`` at ``at`` (UTC), and ``consumer``, where one is named."""
        bound = bool(self.consumers and consumer and consumer not in self.consumers)
        return role in self.roles and not bound and (self.expires is None or at < self.expires)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the token."""
        if self.token is not None:
            return hashlib.sha256(self.token.get_secret_value().encode()).digest()
        return bytes.fromhex(self.sha256 or "")


class TokensFile(YamlModel):
    """tokens.yaml."""

    tokens: tuple[Token, ...] = Field(description="The tokens.")

    @field_validator("tokens")
    @classmethod
    def _unique(cls, value: tuple[Token, ...]) -> tuple[Token, ...]:
        names = [t.name for t in value]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two tokens are called '{twice[0]}'; a name is given once")
        return value


class Tokens:
    """Tokens in force. Comparing takes the same time whatever was presented."""

    def __init__(self, tokens: tuple[Token, ...] = (), absent: str = "") -> None:
        """``absent`` says why there are none; empty where the file says `tokens: []`, which a person wrote on
        purpose.
        """
        self._digests: tuple[tuple[bytes, Token], ...] = tuple((t.digest, t) for t in tokens)
        self.absent = absent

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __len__(self) -> int:
        return len(self._digests)

    def who(self, presented: str, role: Role, at: datetime, consumer: str = "") -> str | None:
        """Name of the token ``presented`` if it opens ``role`` at ``at`` (UTC), and ``consumer``, where one is named."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found: str | None = None
        for known, token in self._digests:
            if hmac.compare_digest(known, digest) and token.opens(role, at, consumer):
                found = token.name
        return found

    def listed(self) -> list[Token]:
        """The tokens, in the order of the file."""
        return [token for _, token in self._digests]

    def plain(self, role: Role) -> str | None:
        """A token of ``role`` that stands in clear in the file: for commands on this machine."""
        for _, token in self._digests:
            if role in token.roles and token.token is not None and not token.consumers and token.expires is None:
                return token.token.get_secret_value()
        return None


def load_tokens(path: Path, name: str = "") -> Tokens:
    """The tokens of the file at ``path``, none where there is no file. Raises ContentError, also where it cannot be
    read.
    """
    name = name or path.name
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Tokens(absent="is gone")
    except OSError as e:
        raise ConfigurationError([Problem(file=name, message=f"cannot be read: {e.strerror}")]) from e
    if not stat.S_ISREG(mode):  # to open a fifo would block for ever
        raise ConfigurationError(
            [Problem(file=name, message="is no file", hint="make one with `tocsin tokens new NAME`")]
        )
    document = load_file(path, name)
    if document.data is None:
        return Tokens(absent="holds no token")
    return Tokens(parse(TokensFile, document).tokens)


def lost(tokens: Tokens, name: str, *, running: bool) -> Problem:
    """The fault of a file called ``name`` that gives no ``tokens`` although tokens were in force before."""
    what = tokens.absent or "holds no token"
    if running:
        message = f"{what}, and tokens are in force: they stay in force"
        hint = "restore it; to open tocsin to everybody on this machine write `tokens: []` and restart"
    else:
        message = f"{what}, and tokens were in force before"
        hint = (
            "restore it, or make one with `tocsin tokens new NAME`; "
            "to open tocsin to everybody on this machine write `tokens: []`"
        )
    return Problem(file=name, message=message, hint=hint)


def add_token(
    path: Path, name: str, roles: frozenset[Role], expires: datetime | None = None, consumers: Sequence[str] = ()
) -> str:
    """Append a fresh token called ``name`` to the file (made for its owner's eyes only) and return it.

    Raises ContentError where the file is broken or the name is taken; then it is unchanged.
    """
    import os

    word = secrets.token_urlsafe(32)
    digest = hashlib.sha256(word.encode()).hexdigest()
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if not load_tokens(path):  # an empty list cannot be added to
        before = "".join(line for line in before.splitlines(keepends=True) if line.startswith("#")) + "tokens:\n"
    listed = ", ".join(str(role) for role in sorted(roles))
    text = before.rstrip("\n") + "\n"
    text += f"  - name: {_quoted(name)}\n    sha256: {_quoted(digest)}\n    roles: [{listed}]\n"
    if expires is not None:
        text += f"    expires: {_quoted(expires.isoformat())}\n"
    if consumers:
        text += f"    consumers: [{', '.join(map(_quoted, consumers))}]\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        load_tokens(fresh, path.name)
        os.replace(fresh, path)
    except (ConfigurationError, OSError):
        fresh.unlink(missing_ok=True)
        raise
    return word


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
