"""Alertmanager's receivers as ours: one or more each, since ours have one of each channel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin.interchange.azure.read import is_map

_SMTP = ("smarthost", "from", "hello", "auth_username", "auth_password", "auth_password_file", "auth_secret",
         "auth_identity", "require_tls", "tls_config")  # fmt: skip
_TEXTS = ("headers", "html", "text", "title", "title_link", "pretext", "fallback", "fields", "actions", "color",
          "username", "icon_emoji", "icon_url", "image_url", "thumb_url", "link_names", "short_fields", "footer",
          "description", "details", "client", "client_url", "component", "class", "group", "images", "links", "severity",
          "summary", "source", "message", "mrkdwn_in", "callback_id")  # fmt: skip
_APPRISE: Mapping[str, str] = {
    "opsgenie": "opsgenie://KEY", "victorops": "splunk://ROUTING_KEY@KEY/ENTITY", "pushover": "pover://USER@TOKEN",
    "telegram": "tgram://TOKEN/CHAT", "discord": "discord://ID/TOKEN", "webex": "wxteams://TOKEN",
    "sns": "sns://KEY/SECRET/REGION/TOPIC", "rocketchat": "rocket://WEBHOOK@HOST", "mattermost": "mmost://HOST/TOKEN",
}  # fmt: skip


@dataclass(slots=True)
class Converted:
    """One receiver: its parts, and what was lost of it by (key, why)."""

    parts: list[dict[str, Any]] = field(default_factory=list)  # without names
    lost: list[tuple[str, str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    none: bool = False  # it notifies nobody, on purpose


def receiver_name(text: str) -> str:
    """A name of ours: theirs may have spaces."""
    return re.sub(r"[\s@,;{}]+", "-", text).strip("-")[:200] or "receiver"


def convert(name: str, receiver: Mapping[str, Any], globals_: Mapping[str, Any]) -> Converted:
    """A receiver of theirs, called ``name`` here."""
    out = Converted()
    configs = [
        (key.removesuffix("_configs"), i, config)
        for key, listed in receiver.items()
        if key.endswith("_configs") and isinstance(listed, list)
        for i, config in enumerate(listed)
        if is_map(config)
    ]
    out.none = not configs
    for kind, i, config in configs:
        place = f"{kind}_configs[{i}]"
        if kind == "email":
            addresses = [part.strip() for part in str(config.get("to") or "").split(",") if part.strip()]
            if any("{{" in address for address in addresses):
                out.lost.append((f"{place}.to", "is a template of Go; write one of ours, e.g. '{{ OwnerEmail }}'"))
                continue
            _add(out, "email", [_address(each) for each in addresses])
        elif (made := _channel(kind, name, config, globals_, place, out)) is not None:
            _add(out, *made)
        else:
            continue
        out.kept.append(place)
        out.lost += [(f"{place}.{key}", why) for key, why in _left(kind, config)]
    return out


def _add(out: Converted, key: str, value: Any) -> None:
    """Into the first part that has no such channel yet; addresses together."""
    if key == "email":
        for part in out.parts:
            if "email" in part:
                part["email"] += value
                return
    for part in out.parts:
        if key not in part:
            part[key] = value
            return
    out.parts.append({key: value})


def _channel(
    kind: str, name: str, config: Mapping[str, Any], globals_: Mapping[str, Any], place: str, out: Converted
) -> tuple[str, Any] | None:
    """(our key, its options) of a config that is no mail; None where it cannot be kept."""

    def secret(keys: tuple[str, ...], suffix: str, default: str = "") -> str:
        return _secret(_Place(name, place, suffix), keys, {**_defaults(globals_, default, keys[0]), **config}, out)

    if kind == "webhook":
        if "url" not in config or str(config["url"]).startswith("<"):
            why = "stands in a file; our webhooks have their URL in the on-call file: write webhook: {url: …}"
            out.lost.append((f"{place}.url_file", why))
            return None
        return "webhook", {"url": str(config["url"]), "format": "alertmanager", "allow_private": True}
    if kind == "pagerduty":
        options = {"routing_key_file": secret(("routing_key", "service_key"), "pagerduty.key")}
        if "service_key" in config or "service_key_file" in config:
            why = "is of Events API v1; ours is v2: make an integration key of Events API v2 and write that"
            out.lost.append((f"{place}.service_key", why))
        if url := config.get("url") or globals_.get("pagerduty_url"):
            options["url"] = str(url)
        return "pagerduty", options
    if kind == "slack":
        options = {"url_file": secret(("api_url",), "slack.url", "slack_api_url")}
        if channel := config.get("channel"):
            why = f"an incoming webhook posts to its own channel; for {channel} write token_file: and channel:"
            out.lost.append((f"{place}.channel", why))
        return "slack", options
    if kind in ("msteams", "msteamsv2"):
        if kind == "msteams":
            out.lost.append((f"{place}", "Teams' connectors have ended: make a Workflows URL and write that"))
        return "teams", {"url_file": secret(("webhook_url",), "teams.url")}
    hint = f"; write apprise: {_APPRISE[kind]}" if kind in _APPRISE else "; apprise may know it"
    out.lost.append((place, f"there is no channel {kind} here{hint}"))
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a secret stands, and how its file is called."""

    receiver: str
    config: str  # slack_configs[0]
    suffix: str


def _defaults(globals_: Mapping[str, Any], default: str, key: str) -> dict[str, Any]:
    file = globals_.get(f"{default}_file") if default else None
    return {f"{key}_file": file} if file else {}


def _secret(place: _Place, keys: tuple[str, ...], config: Mapping[str, Any], out: Converted) -> str:
    """The file of a secret, which is never written into a file of rules."""
    for key in keys:
        if given := config.get(f"{key}_file"):
            return str(given)
    number = place.config.partition("[")[2].rstrip("]")
    file = f"secrets/{place.receiver}{'' if number == '0' else '-' + number}.{place.suffix}"
    out.lost.append((f"{place.config}.{keys[0]}", f"is a secret: write it into {file} of the project directory"))
    return file


def _left(kind: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = {
        "email": ("to",), "webhook": ("url",), "pagerduty": ("routing_key", "service_key", "url"),
        "slack": ("api_url", "channel"),
    }.get(kind, ("webhook_url",))  # fmt: skip
    for key, value in config.items():
        if key in known or key.removesuffix("_file") in known:
            continue
        if key == "send_resolved":
            if str(value).lower() == "false":
                yield key, "a rule says it here (send_resolved: false), not a receiver"
        elif kind == "email" and key in _SMTP:
            yield key, "is smtp: of tocsin.yaml, for all mails"
        elif key in _TEXTS:
            yield key, "is a template of Go; mails and messages have templates of ours"
        elif key == "http_config":
            yield key, "proxies and credentials of single receivers are not known here"
        else:
            yield key, "is not known here"


def _address(text: str) -> str:
    found = re.search(r"<([^<>]+)>\s*$", text)
    return found[1] if found else text
