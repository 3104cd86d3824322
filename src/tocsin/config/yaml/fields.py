"""Kinds of values that settings have: hosts, addresses, lists that may be written with commas."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from tocsin.config.yaml.durations import Duration

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address, IPv6 with or without brackets) can only be reached from this machine."""
    host = host.strip("[]").lower()
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES or host.endswith(".localhost")


def bare_address(value: Any) -> Any:
    """``value`` as a bare e-mail address. Raises ValueError."""
    text = str(value)
    name, at, domain = text.rpartition("@")
    if re.search(r"[%!]|^-", name):
        raise ValueError(f"'{text}' has %, ! or a leading -, which some mail servers read as another address")
    if not (name and at and domain) or re.search(r"[\s<>,;\x00-\x1f\x7f]", text) or "@" in name.strip('"'):
        raise ValueError(f"'{text}' is not an e-mail address; write ops@example.org")
    return text


def _list(value: Any) -> Any:
    """One value, or several with commas, for a list of one."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be more than 0s; write 90s, 45m, 12h or 30d")
    return value


Address = Annotated[str, BeforeValidator(bare_address)]
"""A bare e-mail address."""
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_list)]
Words = Annotated[tuple[str, ...], BeforeValidator(_list)]
Positive = Annotated[Duration, AfterValidator(_positive)]
"""A duration longer than nothing."""
