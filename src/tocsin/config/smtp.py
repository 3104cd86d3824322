"""The mail server of tocsin.yaml, and how many mails it may be given."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import parseaddr
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from tocsin.config.yaml.document import YamlModel
from tocsin.config.yaml.fields import Positive, Words, bare_address, is_loopback


class Cap(YamlModel):
    """How many mails one address gets at most; what is beyond comes in one summary at the window's end."""

    max: int = Field(default=30, ge=1, description="Mails that one mailbox gets in a window.", examples=[100])
    window: Positive = Field(default=timedelta(minutes=10), description="Length of the window.", examples=["1h"])


class GlobalCap(YamlModel):
    """How many mails leave at most, to all addresses together; critical ones go first."""

    max: int = Field(default=600, ge=1, description="Mails that leave in a window.", examples=[2000])
    window: Positive = Field(default=timedelta(minutes=10), description="Length of the window.", examples=["1h"])


def _cap(value: Any) -> Any:
    return None if value is None or str(value) == "none" else value


class SmtpSettings(YamlModel):
    """How mails leave. Without `host` they stay on this machine, on the page /notifications."""

    host: str | None = Field(
        default=None,
        description="The SMTP server. Absent: mails go to the local outbox.",
        examples=["smtp.example.org"],
    )
    port: int = Field(
        default=25, ge=1, le=65535, description="Its port: 25, 587 (starttls) or 465 (tls).", examples=[587]
    )
    security: Literal["none", "starttls", "tls"] | None = Field(
        default=None,
        description="none, starttls (refused where the server has none) or tls. By default starttls, and none for a server on this machine.",
        examples=["starttls"],
    )
    username: str | None = Field(default=None, description="User to log in as; absent: no login.", examples=["tocsin"])
    password: SecretStr | None = Field(
        default=None,
        description="Password of that user; better from the environment.",
        examples=["${SMTP_PASSWORD}"],
    )
    password_file: str | None = Field(
        default=None, description="File that holds the password instead.", examples=["/run/secrets/smtp-password"]
    )
    ca_file: str | None = Field(
        default=None, description="Authorities to trust instead of the system's.", examples=["/etc/ssl/our-ca.pem"]
    )
    sender: str = Field(
        default="tocsin <tocsin@localhost>", description="From.", examples=["tocsin <tocsin@example.org>"]
    )
    allowed_recipients: Words = Field(
        default=(),
        description=(
            "Domains and addresses that events may name (OwnerEmail, tags). Addresses in rules and on-call files are "
            "always allowed; without an SMTP server, all are."
        ),
        examples=[["example.org", "*.example.org", "guest@example.com"]],
    )
    cap: Annotated[Cap | None, BeforeValidator(_cap)] = Field(
        default=Cap(),
        description=(
            "Most mails that one mailbox (upper case and `+tag` apart) gets in a while; the rest comes in one summary. "
            "`none` switches off `global_cap` too."
        ),
        examples=[{"max": 100, "window": "1h"}],
    )
    global_cap: GlobalCap = Field(
        default=GlobalCap(),
        description="Most mails that leave in a while. Critical ones go first; the rest comes in summaries.",
        examples=[{"max": 2000, "window": "10m"}],
    )
    connections: int = Field(
        default=50,
        ge=1,
        le=64,
        description="Most connections to the server: a few, more while waiting is all they do, half once it refuses one.",
        examples=[2],
    )
    timeout: Positive = Field(
        default=timedelta(seconds=30), description="How long one answer of the server may take.", examples=["10s"]
    )
    deadline: Positive = Field(
        default=timedelta(hours=24), description="How long an undelivered mail is tried again.", examples=["4h"]
    )

    @field_validator("sender")
    @classmethod
    def _sender(cls, value: str) -> str:
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise ValueError("a sender has no control characters")
        bare_address(parseaddr(value)[1] or value)
        return value

    @field_validator("allowed_recipients")
    @classmethod
    def _allowed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if "@" in entry:
                bare_address(entry)
            elif not re.fullmatch(r"(\*\.)?[^\s*@]+", entry):
                raise ValueError(f"'{entry}' is neither a domain nor an address; write example.org or *.example.org")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file are both given; keep one")
        if self.username is not None and self.host is not None and self.password is None and self.password_file is None:
            raise ValueError("username is given but neither password nor password_file; give one")
        return self

    @property
    def secured(self) -> Literal["none", "starttls", "tls"]:
        """How the connection is secured."""
        return self.security or ("none" if self.host is None or is_loopback(self.host) else "starttls")

    def allows(self, address: str) -> bool:
        """Whether an address that an event named may be mailed."""
        if self.host is None:
            return True
        address = address.lower()
        domain = address.rpartition("@")[2]
        for entry in self.allowed_recipients:
            entry = entry.lower()
            if entry in (address, domain) or (entry.startswith("*.") and domain.endswith(entry[1:])):
                return True
        return False
