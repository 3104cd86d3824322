"""tocsin.yaml: every setting with its default, meaning and example. docs/settings.md is made from these models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parseaddr
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from tocsin.config.kafka import KafkaSettings
from tocsin.config.yaml.document import YamlModel, suggest
from tocsin.config.yaml.fields import Addresses, Positive, Words, bare_address, is_loopback
from tocsin.config.yaml.sizes import Size

MIB = 1 << 20
RUN_LABELS = ("experiment", "workspace", "target")


class HttpSettings(YamlModel):
    """The web server: intake, API, pages, metrics."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. On any but loopback tocsin starts only when there are tokens.",
        examples=["0.0.0.0"],
    )
    port: int = Field(
        default=8700, ge=0, le=65535, description="Port to listen on; 0 takes a free one.", examples=[8700]
    )
    base_url: str | None = Field(
        default=None,
        description="What links in mails begin with; `http://<host>:<port>` where absent.",
        examples=["https://tocsin.example.org"],
    )
    tokens_file: str = Field(
        default="tokens.yaml",
        description=(
            "File of the tokens, from the project directory on. Once tokens were in force, a file that is gone, empty or broken opens "
            "nothing: the last good tokens stay in force, and a start is refused. `tokens: []` opens it at the next start."
        ),
        examples=["/run/secrets/tokens.yaml"],
    )
    allowed_hosts: Words = Field(
        default=(),
        description="Further names that the server answers to, besides loopback, `host` and that of `base_url`.",
        examples=[["tocsin.example.org"]],
    )
    head_timeout: Positive = Field(
        default=timedelta(seconds=10),
        description="How long the head of a request (at most 32 KiB) may take; later: 408.",
        examples=["30s"],
    )
    body_timeout: Positive = Field(
        default=timedelta(minutes=1),
        description="How long the body of a request may take, later: 408; and how long a client may read nothing of an answer.",
        examples=["5m"],
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description=(
            "Most connections. Where more come, those that have waited longest for their client are closed; 32 more are "
            "kept for /healthz and /readyz. One address has at most 64 connections without a whole request head."
        ),
        examples=[4000],
    )

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"'{value}' is not a web address; write https://tocsin.example.org")
        return value.rstrip("/")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """``base_url``, or what follows from ``host`` and ``port``; no slash at the end."""
        if self.base_url is not None:
            return self.base_url
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class StoreSettings(YamlModel):
    """The log store."""

    url: str = Field(
        default="duckdb:data/events.duckdb",
        description="Where events lie: `duckdb:` and a path, from the project directory on.",
        examples=["duckdb:/var/lib/tocsin/events.duckdb"],
    )
    memory_limit: Size = Field(
        default=80 * MIB,
        ge=72 * MIB,  # a commit of 20,000 events takes 66
        description="Memory that DuckDB may use, besides at most 1 MiB for each 123,000 runs.",
        examples=["1GiB"],
    )
    spill_limit: Size = Field(
        default=4096 * MIB, description="Disk that large queries may use besides.", examples=["20GiB"]
    )
    checkpoint_threshold: Size = Field(
        default=64 * MIB,
        ge=MIB,
        description="Size of the write-ahead log at which it is written into the file. More: rarer pauses, longer recovery.",
        examples=["256MiB"],
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value.startswith("duckdb:") or value == "duckdb:":
            raise ValueError(f"'{value}' is no log store that is known; write duckdb:data/events.duckdb")
        return value

    @property
    def path(self) -> str:
        """The file's path, from the project directory on."""
        return self.url.removeprefix("duckdb:")


class StateSettings(YamlModel):
    """The state: cursors, alerts, the outbox."""

    url: str = Field(
        default="sqlite:data/state.sqlite",
        description="Where state lies: `sqlite:` and a path, from the project directory on.",
        examples=["sqlite:/var/lib/tocsin/state.sqlite"],
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value.startswith("sqlite:") or value == "sqlite:":
            raise ValueError(f"'{value}' is no state store that is known; write sqlite:data/state.sqlite")
        return value

    @property
    def path(self) -> str:
        """The file's path, from the project directory on."""
        return self.url.removeprefix("sqlite:")


class Cap(YamlModel):
    """How many mails one address gets at most; what is beyond comes in one summary at the window's end."""

    mails: int = Field(default=30, ge=1, description="Mails that one address gets in a window.", examples=[100])
    in_: Positive = Field(
        default=timedelta(minutes=10), alias="in", description="Length of the window.", examples=["1h"]
    )


def _cap(value: Any) -> Any:
    return None if value is None or str(value) == "none" else value


class SmtpSettings(YamlModel):
    """How mails leave. Without `host` they stay on this machine, on the page /mails."""

    host: str | None = Field(
        default=None,
        description="The SMTP server. Absent: mails go to the local outbox.",
        examples=["smtp.example.org"],
    )
    port: int = Field(
        default=25, ge=1, le=65535, description="Its port: 25, 587 (starttls) or 465 (tls).", examples=[587]
    )
    security: Literal["none", "starttls", "tls"] = Field(
        default="none", description="none, starttls (refused where the server has none) or tls.", examples=["starttls"]
    )
    username: str | None = Field(default=None, description="User to log in as; absent: no login.", examples=["tocsin"])
    password: SecretStr | None = Field(
        default=None,
        description="Password of that user; better from the environment.",
        examples=["from the environment"],
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
        default=Cap(), description="Most mails that one address gets in a while, or `none`.", examples=["none"]
    )
    connections: int = Field(default=4, ge=1, le=64, description="Connections kept to the server.", examples=[2])
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


class DefaultReceiver(YamlModel):
    """Who is notified when nobody else is."""

    email: Addresses = Field(description="Addresses.", examples=[["ops@example.org"]], min_length=1)


class RetentionSettings(YamlModel):
    """How long things are kept. Deleted by day; open runs keep their last row."""

    events: Positive = Field(default=timedelta(days=400), description="Status changes.", examples=["30d"])
    heartbeats: Positive = Field(default=timedelta(days=30), description="Heartbeats.", examples=["7d"])
    alerts: Positive = Field(
        default=timedelta(days=400), description="History of alerts and mails, finished outbox.", examples=["90d"]
    )
    dead_letters: Positive = Field(
        default=timedelta(days=30), description="Unreadable messages, and of them at most 1 GiB.", examples=["7d"]
    )


class IntakeSettings(YamlModel):
    """Bounds of what is taken in."""

    max_body: Size = Field(
        default=16 * MIB,
        ge=1024,
        description="Largest body of one request; one event is at most 1 MiB.",
        examples=["4MiB"],
    )
    queue_wait: Positive = Field(
        default=timedelta(seconds=10),
        description="How long a request waits for its commit before 503.",
        examples=["30s"],
    )


class CommitSettings(YamlModel):
    """How what came in is gathered into one commit of the log store."""

    max_rows: int = Field(
        default=20_000,
        ge=1,
        description="Most rows of one commit. What comes while one is written is taken by the next, so nothing waits on purpose.",
        examples=[50_000],
    )


class QuerySettings(YamlModel):
    """Bounds of one query of a user."""

    timeout: Positive = Field(default=timedelta(seconds=30), description="Longest run of a query.", examples=["2m"])
    max_rows: int = Field(default=10_000, ge=1, description="Most rows that a query answers.", examples=[100_000])
    concurrent: int = Field(default=2, ge=1, description="Queries that run at once; others get 429.", examples=[4])


class MetricsSettings(YamlModel):
    """What /metrics shows of runs."""

    run_labels: Words = Field(
        default=(),
        description="Labels that the metrics of runs get: `experiment`, `workspace`, `target`. Each combination is a series.",
        examples=[["experiment"]],
    )
    run_series: int = Field(
        default=100,
        ge=1,
        le=2000,
        description="Most combinations of `run_labels`: the ones with the most runs. All others count as `other`.",
        examples=[500],
    )

    @field_validator("run_labels")
    @classmethod
    def _known_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if label not in RUN_LABELS:
                raise ValueError(f"'{label}' is no label of runs; {suggest(label, RUN_LABELS)}")
        return tuple(dict.fromkeys(labels))


class LogSettings(YamlModel):
    """What tocsin says of itself, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error.", examples=["warning"]
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="text, json, or auto: text on a terminal, else json.", examples=["json"]
    )


class ShippedSettings(YamlModel):
    """Which of the shipped files are in force beneath the project's."""

    rules: bool = Field(default=True, description="Alert rules. false: only those of the project.", examples=[False])
    consumers: bool = Field(default=True, description="Consumers. false: only those of the project.", examples=[False])
    oncall: bool = Field(
        default=True, description="Receivers and the route. false: only those of the project.", examples=[False]
    )
    templates: bool = Field(
        default=True,
        description="Templates. false: only those of the project; the built-in ones stand in for one that fails.",
        examples=[False],
    )


class Settings(YamlModel):
    """tocsin.yaml."""

    http: HttpSettings = Field(default=HttpSettings(), description="The web server: intake, API, pages, metrics.")
    kafka: KafkaSettings | None = Field(
        default=None,
        description="The Kafka cluster; absent: no Kafka. Any setting of kafka-python's consumer may stand here.",
    )
    store: StoreSettings = Field(default=StoreSettings(), description="The log store.")
    state: StateSettings = Field(default=StateSettings(), description="Cursors, alerts, the outbox.")
    smtp: SmtpSettings = Field(
        default=SmtpSettings(),
        description="How mails leave. Without `host` they stay on this machine, on the page /mails.",
    )
    admin_email: Addresses = Field(
        default=(),
        description="Who is notified about broken files, rule errors and tocsin's own trouble.",
        examples=[["ops@example.org"]],
    )
    default_receiver: DefaultReceiver | None = Field(
        default=None,
        description="Who is notified when nobody else is; without an SMTP server `you@localhost`.",
        examples=[{"email": ["ops@example.org"]}],
    )
    shipped: ShippedSettings = Field(
        default=ShippedSettings(), description="Which shipped files are in force beneath the project's own."
    )
    timezone: str = Field(
        default="UTC", description="Time zone of mails to people whose own is not known.", examples=["Europe/Budapest"]
    )
    retention: RetentionSettings = Field(default=RetentionSettings(), description="How long things are kept.")
    intake: IntakeSettings = Field(default=IntakeSettings(), description="Bounds of what is taken in.")
    commit: CommitSettings = Field(default=CommitSettings(), description="How rows are gathered into one commit.")
    query: QuerySettings = Field(default=QuerySettings(), description="Bounds of one query of a user.")
    metrics: MetricsSettings = Field(default=MetricsSettings(), description="What /metrics shows of runs.")
    log: LogSettings = Field(default=LogSettings(), description="What tocsin says of itself, on stderr.")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            from zoneinfo import available_timezones

            raise ValueError(f"'{value}' is not a time zone; {suggest(value, available_timezones())}") from e
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.smtp.host is not None and self.default_receiver is None and not self.admin_email:
            raise ValueError(
                "smtp.host is given but neither default_receiver nor admin_email: mails that nobody else gets would be "
                "lost; add default_receiver: {email: [you@example.org]}"
            )
        return self

    @property
    def fallback(self) -> tuple[str, ...]:
        """Addresses of the default receiver; never empty."""
        if self.default_receiver is not None:
            return self.default_receiver.email
        return self.admin_email or ("you@localhost",)

    @property
    def admins(self) -> tuple[str, ...]:
        """Who is notified about tocsin's own trouble; never empty."""
        return self.admin_email or self.fallback

    def keep(self) -> Mapping[str, timedelta]:
        """Retention by name of table, for ``LogStore.retain``."""
        r = self.retention
        return {
            "RunStatusChanged": r.events,
            "Heartbeats": r.heartbeats,
            "Alerts": r.alerts,
            "Notifications": r.alerts,
            "DeadLetters": r.dead_letters,
        }
