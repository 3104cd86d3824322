"""tokens.yaml: who may post events, ask the API, scrape metrics. Only digests are kept in memory."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from io import StringIO
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from ruamel.yaml import YAML

from tocsin.config.secrets import expanded
from tocsin.config.yaml.document import YamlModel, load_file, parse
from tocsin.config.yaml.fields import Words
from tocsin.errors import ConfigurationError, Problem, TocsinError

SHORTEST = 16
"""Characters of the shortest token that is taken."""


class Role(StrEnum):
    """What a token opens."""

    PRODUCER = "producer"  # posts events: /intake/… and ping URLs
    VIEWER = "viewer"  # reads: pages, /api/v1, queries, /metrics
    RESPONDER = "responder"  # and acts: alerts, silences, subscriptions, runs
    ADMIN = "admin"  # everything, such as replays and backups
    METRICS = "metrics"  # /metrics alone, for Prometheus


_MORE: Mapping[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset((Role.METRICS,)),
    Role.RESPONDER: frozenset((Role.VIEWER, Role.METRICS)),
    Role.ADMIN: frozenset(Role),
}
"""What a role opens besides its own."""


class Signature(StrEnum):
    """How a sender signs its bodies with the token, which it never sends."""

    GITHUB = "github"  # X-Hub-Signature-256: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    SLACK = "slack"  # X-Slack-Signature: https://docs.slack.dev/authentication/verifying-requests-from-slack
    PAGERDUTY = "pagerduty"  # X-PagerDuty-Signature: https://developer.pagerduty.com/docs/verifying-webhook-signatures

    @property
    def role(self) -> Role:
        """What may be signed so: events, or what people did in PagerDuty."""
        return Role.RESPONDER if self is Signature.PAGERDUTY else Role.PRODUCER


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
        description="What it opens: producer, viewer, responder, admin, metrics.", examples=[["producer"]], min_length=1
    )

    expires: Annotated[datetime | None, BeforeValidator(instant)] = Field(
        default=None, description="From when on it opens nothing; UTC where no zone is given.", examples=["2027-01-31"]
    )
    consumers: Words = Field(
        default=(),
        description="Consumers to which alone it may post, of the role producer.",
        examples=[["github-actions"]],
    )
    sources: Words = Field(
        default=(),
        description="Values of Source that alone its events may have; any other is a dead letter.",
        examples=[["github.com/acme/models"]],
    )
    runs: Words = Field(
        default=(),
        description="Names of the runs and jobs that alone its events may name, with * for any characters; any other is a dead letter.",
        examples=[["lab-*"]],
    )
    signature: Signature | None = Field(
        default=None,
        description="How its sender signs bodies with it, github, slack or pagerduty; it opens nothing by itself then.",
        examples=["github"],
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
        if self.signature is not None and self.token is None:
            raise ValueError("signature needs the token itself, not its sha256")
        if self.signature is not None and self.roles != {role := self.signature.role}:
            raise ValueError(f"a token with the signature {self.signature} has the role {role} alone")
        return self

    def opens(self, role: Role, at: datetime, consumer: str = "") -> bool:
        """Whether it opens ``role`` at ``at`` (UTC), and ``consumer``, where one is named."""
        bound = bool(self.consumers and consumer and consumer not in self.consumers)
        has = role in self.roles or any(role in _MORE.get(each, ()) for each in self.roles)
        return has and not bound and (self.expires is None or at < self.expires)

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

    def find(self, presented: str) -> Token | None:
        """The token ``presented``, whatever it opens. One whose sender signs is never presented."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        found: Token | None = None
        for known, token in self._digests:
            if hmac.compare_digest(known, digest) and token.signature is None:
                found = token
        return found

    def who(self, presented: str, role: Role, at: datetime, consumer: str = "") -> str | None:
        """Name of the token ``presented`` if it opens ``role`` at ``at`` (UTC), and ``consumer``, where one is named."""
        found = self.find(presented)
        return found.name if found is not None and found.opens(role, at, consumer) else None

    def named(self, name: str) -> Token | None:
        """The token of that name."""
        return next((token for _, token in self._digests if token.name == name), None)

    def signing(self, signature: Signature, role: Role, at: datetime, consumer: str) -> list[Token]:
        """The tokens with which bodies for what ``role`` opens, and ``consumer``, may be signed so at ``at`` (UTC)."""
        return [t for _, t in self._digests if t.signature is signature and t.opens(role, at, consumer)]

    def listed(self) -> list[Token]:
        """The tokens, in the order of the file."""
        return [token for _, token in self._digests]

    def plain(self, role: Role) -> str | None:
        """A token of ``role`` that stands in clear in the file: for commands on this machine."""
        for _, token in self._digests:
            bound = token.consumers or token.sources or token.runs or token.signature or token.expires
            if role in token.roles and token.token is not None and not bound:
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
    if problems := expanded(document, os.environ):
        raise ConfigurationError(problems)
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
    path: Path,
    name: str,
    roles: frozenset[Role],
    expires: datetime | None = None,
    *,
    consumers: Sequence[str] = (),
    sources: Sequence[str] = (),
    runs: Sequence[str] = (),
) -> str:
    """Append a fresh token called ``name`` to the file (made for its owner's eyes only) and return it.

    Raises ContentError where the file is broken or the name is taken; then it is unchanged.
    """
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
    for key, words in (("consumers", consumers), ("sources", sources), ("runs", runs)):
        if words:
            text += f"    {key}: [{', '.join(map(_quoted, words))}]\n"
    _replace(path, text)
    return word


def revoke_token(path: Path, name: str) -> None:
    """Take the token called ``name`` out of the file. Raises TocsinError where there is none, or it is the last one:
    a file without tokens is refused by what runs, and opens what starts.
    """
    load_tokens(path)  # says what is wrong with it
    yaml = YAML()  # keeps comments and order
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)  # as ``add_token`` writes
    yaml.width = 4096
    document = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None
    entries = (document or {}).get("tokens") or []
    at = next((n for n, each in enumerate(entries) if each.get("name") == name), None)
    if at is None:
        known = ", ".join(str(each.get("name")) for each in entries)
        raise TocsinError(f"there is no token '{name}'; there are {known or 'none'}")
    if len(entries) == 1:
        raise TocsinError(f"'{name}' is the last token; make another first, with `tocsin tokens new NAME`")
    del entries[at]
    text = StringIO()
    yaml.dump(document, text)
    _replace(path, text.getvalue())


def _replace(path: Path, text: str) -> None:
    """Write the file again for its owner's eyes only. Raises ContentError where ``text`` is wrong; then it is unchanged."""
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


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
