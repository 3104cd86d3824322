"""The ``kafka:`` section: any setting of kafka-python's consumer, checked against what the installed one knows."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from tocsin.config.yaml.document import YamlModel, suggest
from tocsin.config.yaml.fields import is_loopback

OURS: Mapping[str, str] = {
    "enable_auto_commit": "offsets live in the log store, and are committed to the group by tocsin",
    "key_deserializer": "a consumer file's `format` says how messages are read",
    "value_deserializer": "a consumer file's `format` says how messages are read",
    "consumer_timeout_ms": "tocsin polls for ever",
}
"""Settings that would break exactly-once intake, each with the reason."""

_NO_TEXT = frozenset({
    "default_offset_commit_callback", "kafka_client", "metric_reporters", "partition_assignment_strategy",
    "sasl_oauth_token_provider", "selector", "socket_options", "ssl_context",
})  # fmt: skip
_INTS = frozenset({"receive_buffer_bytes", "send_buffer_bytes"})
_SECRETS = frozenset({"sasl_plain_password", "ssl_password"})
FILES = frozenset(f"{secret}_file" for secret in _SECRETS)
"""Files that hold secrets; ours, not kafka-python's."""
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):(\d{1,5})")


class KafkaSettings(YamlModel):
    """Where Kafka is, and how its client behaves."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    bootstrap_servers: tuple[str, ...] = Field(
        description="Brokers to ask first, each `host:port`.", examples=[["kafka-1:9092", "kafka-2:9092"]]
    )
    security_protocol: str = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.", examples=["SASL_SSL"]
    )
    sasl_mechanism: str | None = Field(
        default=None, description="How to log in: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, …", examples=["PLAIN"]
    )
    sasl_plain_username: str | None = Field(default=None, description="User of the login.", examples=["tocsin"])
    sasl_plain_password: SecretStr | None = Field(
        default=None,
        description="Password of the login; better from the environment variable.",
        examples=["${KAFKA_PASSWORD}"],
    )
    sasl_plain_password_file: str | None = Field(
        default=None, description="File that holds the password instead.", examples=["/run/secrets/kafka-password"]
    )
    ssl_cafile: str | None = Field(
        default=None, description="File of the authorities to trust.", examples=["/etc/ssl/kafka-ca.pem"]
    )
    ssl_password: SecretStr | None = Field(
        default=None, description="Password of the client certificate's key.", examples=["${KAFKA_KEY_PASSWORD}"]
    )
    ssl_password_file: str | None = Field(
        default=None, description="File that holds that password instead.", examples=["/run/secrets/kafka-key-password"]
    )

    @field_validator("bootstrap_servers", mode="before")
    @classmethod
    def _servers(cls, value: Any) -> Any:
        servers = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if isinstance(servers, list | tuple):
            if not servers:
                raise ValueError('names no broker; write ["127.0.0.1:9092"]')
            for server in servers:
                found = _HOST_PORT.fullmatch(str(server))
                if found is None or not 0 < int(found[2]) < 65536:
                    raise ValueError(f"'{server}' is not host:port; write 127.0.0.1:9092")
        return servers

    @field_validator("security_protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        known = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
        if value.upper() not in known:
            raise ValueError(f"'{value}' is not a security protocol; {suggest(value, known)}")
        return value.upper()

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        """Hold every further key to kafka-python's own list, and read it as the type of its default there."""
        if not isinstance(value, Mapping):
            return value
        defaults = _defaults()
        out: dict[str, Any] = {}
        for key, given in value.items():
            if key in OURS:
                raise ValueError(f"{key} is set by tocsin: {OURS[key]}")
            if key not in defaults and key not in FILES:
                known = [k for k in defaults if k not in OURS and k not in _NO_TEXT]
                raise ValueError(f"{key} is no setting of kafka-python's consumer; {suggest(key, known)}")
            if key in _NO_TEXT:
                raise ValueError(f"{key} takes a Python object and cannot be written here")
            out[key] = given if key in cls.model_fields else _coerced(key, given, defaults[key])
        for file in FILES:
            if out.get(file) is not None and out.get(file.removesuffix("_file")) is not None:
                raise ValueError(f"{file.removesuffix('_file')} and {file} are both given; keep one")
        return out

    @property
    def warnings(self) -> list[tuple[str, str, str]]:
        """What others on the network could do with these settings: key, what, what would be right."""
        hosts = {server.rpartition(":")[0] for server in self.bootstrap_servers}
        if all(map(is_loopback, hosts)):
            return []
        found = []
        if self.security_protocol == "SASL_PLAINTEXT":
            found.append(("security_protocol", "the login goes over the network in clear", "use SASL_SSL"))
        if self.security_protocol.endswith("SSL") and (self.model_extra or {}).get("ssl_check_hostname") is False:
            found.append(("ssl_check_hostname", "any server with a certificate of that authority may pose as the broker",
                          "leave it on"))  # fmt: skip
        return found

    def client(self) -> dict[str, Any]:
        """Arguments for ``KafkaConsumer(**…)``, secrets in clear: never log it."""
        out: dict[str, Any] = {}
        for key in (*type(self).model_fields, *(self.model_extra or {})):
            if key in FILES:
                continue
            value = getattr(self, key)
            if value is None:
                continue
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            out[key] = list(value) if isinstance(value, tuple) and key == "bootstrap_servers" else value
        return out


@functools.cache
def _defaults() -> Mapping[str, Any]:
    from kafka import KafkaConsumer  # takes a while; only project directories that use Kafka pay for it

    return dict(KafkaConsumer.DEFAULT_CONFIG)


def _coerced(key: str, given: Any, default: Any) -> Any:
    if given is None:
        return None
    text = str(given)
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}: '{text}' is neither true nor false")
        return text.lower() == "true"
    if key in _INTS or isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{key}: '{text}' is not a whole number") from None
    if key == "api_version":
        try:
            return tuple(int(part) for part in text.split("."))
        except ValueError:
            raise ValueError(f"{key}: '{text}' is not a version; write 3.9") from None
    if isinstance(given, Mapping | list):
        raise ValueError(f"{key} takes a single value")
    return text
