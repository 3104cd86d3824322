"""Links in mails: those of others where they are plain web addresses, and tocsin's own pages."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


def web_link(url: object) -> str:
    """``url`` where it is a plain http(s) address, else ''."""
    text = str(url or "").strip()
    if len(text) > 2000 or not text.isprintable() or any(x in text for x in " \"'<>`\\"):
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.netloc else ""


def run_page(base: str, run: str) -> str:
    """The page of a run under ``base``; '' where there is none."""
    return f"{base}/runs/{quote(run[:500], safe='', errors='replace')}" if base and run else ""


def rule_page(base: str, rule: str) -> str:
    """The page of a rule under ``base``; '' where there is none."""
    return f"{base}/rules/{quote(rule, safe='', errors='replace')}" if base and rule else ""
