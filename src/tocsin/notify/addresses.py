"""E-mail addresses, read strictly: one address, nothing that could become a header, a command or a second recipient."""

from __future__ import annotations

import re
from collections.abc import Callable

from tocsin.errors import TocsinError

LONGEST = 254  # RFC 5321's path less its brackets
LONGEST_LOCAL = 64
_LOCAL = re.compile(r"[^\s\"(),:;<>@\[\\\]\x00-\x20\x7f]+")
_ROUTED = re.compile(
    r"[%!]|^-"
)  # user%other@relay and other!user are routes to some servers, -x an option to some programs
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Allows = Callable[[str], bool]
"""Whether an address that came out of a payload may be mailed."""


class BadAddress(TocsinError):
    """A text is not one plain address; the message says why."""


def parse_address(text: str) -> str:
    """``text`` as one bare address: outer blanks off, the domain in lower case and in its ASCII form (IDNA).

    Quoted local parts, comments, display names, address literals and lists are refused. Raises BadAddress.
    """
    address = text.strip(" \t")
    if not address:
        raise BadAddress("is empty")
    if len(address) > LONGEST:
        raise BadAddress(f"is longer than {LONGEST} characters")
    if not address.isprintable():
        raise BadAddress("has control characters or line breaks")
    if address.count("@") > 1 or "," in address or ";" in address:
        raise BadAddress("is more than one address")
    local, at, domain = address.partition("@")
    if not at:
        raise BadAddress("has no @")
    if not _LOCAL.fullmatch(local) or local[0] == "." or local[-1] == "." or ".." in local:
        raise BadAddress("has a name before the @ that is not plain")
    if _ROUTED.search(local):
        raise BadAddress("has %, ! or a leading - before the @: some servers read that as another address")
    if len(local.encode()) > LONGEST_LOCAL:
        raise BadAddress(f"has more than {LONGEST_LOCAL} bytes before the @")
    return f"{local}@{_domain(domain)}"


def _domain(text: str) -> str:
    try:
        domain = text.encode("idna").decode("ascii").lower() if not text.isascii() else text.lower()
    except UnicodeError as e:
        raise BadAddress("has a domain that is none") from e
    labels = domain.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(domain) > 253:
        raise BadAddress("has a domain that is none")
    if len(labels) == 4 and all(label.isdigit() for label in labels):
        raise BadAddress("has a number where its domain should be")
    return domain


def same(address: str) -> str:
    """What two addresses of one mailbox have in common: lower case throughout."""
    return address.lower()


def mailbox(address: str) -> str:
    """What all addresses of one mailbox have in common, as far as one can know: lower case, and no ``+tag``."""
    local, at, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0] or local}{at}{domain}"


def needs_smtputf8(address: str) -> bool:
    """Whether only a server with SMTPUTF8 can take mail for it."""
    return not address.isascii()
