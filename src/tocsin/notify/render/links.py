"""Links in mails: those of others where they are plain web addresses, and tocsin's own pages."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote, urlsplit


def web_link(url: object) -> str:
    """``url`` where it is a plain http(s) address without a user in it, else ''."""
    text = str(url or "").strip()
    if len(text) > 2000 or not text.isprintable() or any(x in text for x in " \"'<>`\\"):
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.netloc and "@" not in parts.netloc else ""


def is_allowed(link: str, hosts: Collection[str]) -> bool:
    """Whether the host of a ``web_link`` is among ``hosts``: names, and ``*.example.org`` for those below one."""
    host = (urlsplit(link).hostname or "").rstrip(".")
    return any(
        host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:]))
        for allowed in (each.lower() for each in hosts)
    )


def as_text(link: str) -> str:
    """A ``web_link`` so that no reader of mail makes it one to click on: its host first, without the scheme."""
    return link.partition("://")[2]


def run_page(base: str, run: str) -> str:
    """The page of a run under ``base``; '' where there is none."""
    return f"{base}/runs/{quote(run[:500], safe='', errors='replace')}" if base and run else ""


def rule_page(base: str, rule: str) -> str:
    """The page of a rule under ``base``; '' where there is none."""
    return f"{base}/rules/{quote(rule, safe='', errors='replace')}" if base and rule else ""
