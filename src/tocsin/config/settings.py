"""tocsin.yaml: every setting with its default, meaning and example. docs/settings.md is made from these models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator, model_validator

from tocsin.config.kafka import KafkaSettings
from tocsin.config.smtp import SmtpSettings
from tocsin.config.yaml.document import YamlModel, suggest
from tocsin.config.yaml.fields import Addresses, Positive, Words, is_loopback
from tocsin.config.yaml.sizes import Size
from tocsin.model.event import MAX_CLOCK_SKEW

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
    tls_cert_file: str | None = Field(
        default=None,
        description="Certificate (with its chain, PEM) of this server, from the project directory on. With it, it speaks HTTPS alone. A renewed one counts within a minute.",
        examples=["tls/fullchain.pem"],
    )
    tls_key_file: str | None = Field(
        default=None, description="The key of that certificate (PEM, without a password).", examples=["tls/key.pem"]
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

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            given, other = ("cert", "key") if self.tls_key_file is None else ("key", "cert")
            raise ValueError(f"tls_{given}_file is given without tls_{other}_file; give both")
        return self

    @property
    def scheme(self) -> Literal["http", "https"]:
        """What the server speaks."""
        return "http" if self.tls_cert_file is None else "https"

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
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


class StoreSettings(YamlModel):
    """The log store."""

    url: str = Field(
        default="duckdb:data/events.duckdb",
        description="Where events lie: `duckdb:` and a path, from the project directory on.",
        examples=["duckdb:/var/lib/tocsin/events.duckdb"],
    )
    memory_limit: Size = Field(
        default=512 * MIB,
        ge=72 * MIB,  # a commit of 20,000 events takes 66
        description="Memory that DuckDB may use, besides 32 MiB kept for commits and at most 1 MiB for each 123,000 runs.",
        examples=["1GiB"],
    )
    spill_limit: Size = Field(
        default=4096 * MIB, description="Disk that large queries may use besides.", examples=["20GiB"]
    )
    checkpoint_threshold: Size = Field(
        default=128 * MIB,
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


class DefaultReceiver(YamlModel):
    """Who is notified when nobody else is."""

    email: Addresses = Field(description="Addresses.", examples=[["ops@example.org"]], min_length=1)


class RetentionSettings(YamlModel):
    """How long things are kept. Deleted by day; open runs keep their last row."""

    events: Positive = Field(default=timedelta(days=400), description="Status changes.", examples=["30d"])
    heartbeats: Positive = Field(default=timedelta(days=30), description="Heartbeats.", examples=["7d"])
    metrics: Positive = Field(default=timedelta(days=90), description="Metrics of runs.", examples=["400d"])
    alerts: Positive = Field(
        default=timedelta(days=400),
        description="History of alerts, mails and what people did, finished outbox.",
        examples=["90d"],
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
    max_messages: int = Field(
        default=100_000,
        ge=1,
        description="Most events in one request; with more it is refused (413), and nothing of it is kept.",
        examples=[10_000],
    )
    queue_wait: Positive = Field(
        default=timedelta(seconds=10),
        description="How long a request waits for its commit before 503.",
        examples=["30s"],
    )
    max_clock_skew: Positive = Field(
        default=MAX_CLOCK_SKEW,
        description=(
            "How far the time of an event may lie after its receipt. Beyond that the receipt is taken, as if the producer "
            "had given no time; the given one is kept in GivenTime."
        ),
        examples=["1h"],
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


class RunsSettings(YamlModel):
    """Pages of runs."""

    workspaces: Words = Field(
        default=(),
        description=(
            "Workspace folders on this machine, from the project directory on, whose runs' files and logs are shown and "
            "whose runs can be canceled. Workspaces of the same user that send here need no line, nor the one that the project "
            "directory lies in."
        ),
        examples=[["../training"]],
    )


class DeadManSettings(YamlModel):
    """A URL elsewhere that is pinged while tocsin works: its silence is noticed there."""

    url: SecretStr = Field(
        description="Of healthchecks.io, or of what takes its forms.", examples=["https://hc-ping.com/your-uuid"]
    )
    every: Positive = Field(default=timedelta(minutes=1), description="How often it is pinged.", examples=["5m"])

    @field_validator("url")
    @classmethod
    def _web(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("is no web address; write https://hc-ping.com/your-uuid")
        return url


class LinksSettings(YamlModel):
    """Where links in mails may lead."""

    allowed_hosts: Words = Field(
        default=(),
        description=(
            "Hosts to which addresses that events name (Url) may be links in mails: names, and `*.example.org` for those "
            "below one. Others are shown as text, and the button leads to the run's page here."
        ),
        examples=[["ml.azure.com", "*.example.org"]],
    )


class LogSettings(YamlModel):
    """What tocsin says of itself, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error.", examples=["warning"]
    )
    format: Literal["auto", "text", "json"] = Field(
        default="auto",
        description="text (sentences for people), json, or auto: text on a terminal, else json.",
        examples=["json"],
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
        description="How mails leave. Without `host` they stay on this machine, on the page /notifications.",
    )
    admin_email: Addresses = Field(
        default=(),
        description="Who is notified about broken files, rule errors and tocsin's own health.",
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
        default="UTC", description="Time zone of schedules and people without one.", examples=["Asia/Tokyo"]
    )
    retention: RetentionSettings = Field(default=RetentionSettings(), description="How long things are kept.")
    intake: IntakeSettings = Field(default=IntakeSettings(), description="Bounds of what is taken in.")
    commit: CommitSettings = Field(default=CommitSettings(), description="How rows are gathered into one commit.")
    query: QuerySettings = Field(default=QuerySettings(), description="Bounds of one query of a user.")
    metrics: MetricsSettings = Field(default=MetricsSettings(), description="What /metrics shows of runs.")
    runs: RunsSettings = Field(default=RunsSettings(), description="Pages of runs.")
    dead_man: DeadManSettings | None = Field(
        default=None,
        description="The dead-man’s switch: a URL elsewhere that is pinged while tocsin works.",
        examples=[{"url": "https://hc-ping.com/your-uuid", "every": "1m"}],
    )
    links: LinksSettings = Field(default=LinksSettings(), description="Where links in mails may lead.")
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
        """Who is notified about tocsin's own health; never empty."""
        return self.admin_email or self.fallback

    def keep(self) -> Mapping[str, timedelta]:
        """Retention by name of table, for ``LogStore.retain``."""
        r = self.retention
        return {
            "RunStatusChanged": r.events,
            "Heartbeats": r.heartbeats,
            "RunMetrics": r.metrics,
            "Alerts": r.alerts,
            "Notifications": r.alerts,
            "Actions": r.alerts,
            "DeadLetters": r.dead_letters,
        }
