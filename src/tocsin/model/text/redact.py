"""Secrets out of free text (messages, log tails), by their shape or by the name before them.

Every repetition is bounded and each pattern runs only where one of its words occurs, so that hostile text costs linear
time. Better a harmless word hidden than a secret mailed; but ``max_tokens=4096`` and ``PWD=/home/me`` are no secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

REDACTED = "[redacted]"
"""What stands where a secret stood."""

_I = re.IGNORECASE
_VALUE = (
    r"""(?:"[^"\n]{1,1024}"|'[^'\n]{1,1024}'|\\{1,3}"[^"\\\n]{1,1024}\\{1,3}"|"""
    r"""\\{0,3}["']?[^\s"';&\\]{%d,4096})"""
)
_OPEN = r"""[\\"']{0,4}\s{0,3}(?:=>|:=|[=:])\s{0,3}"""
_QUOTED = re.compile(r"""(\\{0,3}["']?).*?(\\{0,3}["']?)""", re.DOTALL)
_NAMES = (
    r"pass(?:word|wd|phrase|code)|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|api[_-]?key|access[_-]?key|account[_-]?key|"
    r"shared[_-]?access[_-]?(?:key|signature)|private[_-]?key|encryption[_-]?key|client[_-]?secret|credentials?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    words: tuple[str, ...]  # lower case; without one of them the pattern cannot match
    find: re.Pattern[str]
    put: str | Callable[[re.Match[str]], str]


def _named(match: re.Match[str]) -> str:
    """Keep the name and, where the value is quoted, its quotes."""
    name, value = match.group(1), match.group(2)
    if match.group(0)[:3].lower() == "pwd" and value[:1] in "/~":
        return match.group(0)
    quotes = _QUOTED.fullmatch(value)
    return f"{name}{quotes[1]}{REDACTED}{quotes[2]}" if quotes else f"{name}{REDACTED}"


def _p(words: str, find: str, put: str | Callable[[re.Match[str]], str] = REDACTED, flags: int = 0) -> _Pattern:
    return _Pattern(words=tuple(words.split()), find=re.compile(find, flags), put=put)


_PATTERNS = (
    _p(
        "private",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        flags=re.DOTALL,
    ),
    # user:password@host, and a token in the user's place
    _p("://", r"(://[^\s/@:\"'<>]{0,256}:)[^\s/@\"'<>]{1,1024}(?=@)", rf"\1{REDACTED}"),
    _p("://", r"(://)[^\s/@:\"'<>]{20,1024}(?=@)", rf"\1{REDACTED}"),
    _p(
        "authorization",
        r"(authorization[\\\"']{0,4}\s{0,3}[:=]\s{0,3}[\\\"']{0,4}(?:[A-Za-z][A-Za-z0-9-]{2,30}[ \t]{1,3})?)[^\s\"'\\]{1,4096}",
        rf"\1{REDACTED}",
        _I,
    ),
    _p("bearer", r"(\bbearer[ \t]{1,3})[A-Za-z0-9._~+/=-]{8,4096}", rf"\1{REDACTED}", _I),
    _p("eyj", r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,4096}(?:\.[A-Za-z0-9_-]{0,4096})?"),
    _p("akia asia abia acca", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _p("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255})"),
    _p("glpat-", r"\bglpat-[A-Za-z0-9_.-]{16,255}"),
    _p("xox", r"\bxox[a-z]-[A-Za-z0-9-]{8,255}"),
    _p("hooks.slack.com", r"(hooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9/_-]{8,255}", rf"\1{REDACTED}", _I),
    _p("aiza ya29", r"\b(?:AIza[A-Za-z0-9_-]{30,100}|ya29\.[A-Za-z0-9_-]{16,1024})"),
    _p(
        "hf_ sk- dapi npm_ pypi- sk_ rk_",
        r"\b(?:hf_[A-Za-z0-9]{20,255}|sk-[A-Za-z0-9_-]{16,255}|dapi[0-9a-f]{32}(?:-\d)?|npm_[A-Za-z0-9]{30,255}|"
        r"pypi-[A-Za-z0-9_-]{40,1024}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,255})",
    ),
    _p("sig", r"((?:[?&;\s]|^)sig(?:nature)?=)[A-Za-z0-9%+/=_-]{8,1024}", rf"\1{REDACTED}", _I),
    _p(
        "signature", r"(x-(?:amz|goog)-(?:signature|credential|security-token)=)[^\s&\"']{8,4096}", rf"\1{REDACTED}", _I
    ),
    _p(
        "pass pwd secret key credential signature",
        rf"((?:{_NAMES}){_OPEN})({_VALUE % 1})",
        _named,
        _I,
    ),
    _p("token", rf"(token(?:[_-]?(?:key|value|secret))?{_OPEN})({_VALUE % 8})", _named, _I),
    _p(
        "--",
        rf"((?<![\w-])--(?:[a-z0-9]{{1,20}}-){{0,3}}(?:{_NAMES}|token)[ \t]{{1,3}})({_VALUE % 1})",
        _named,
        _I,
    ),
)

WORDS: frozenset[str] = frozenset(word for pattern in _PATTERNS for word in pattern.words)
"""Lower-case words of which one stands in every text that ``redact`` changes: a cheap test before it."""


@lru_cache(128)  # a message and its log tail are asked for several times for one mail
def redact(text: str) -> str:
    """``text`` with every secret that can be notified by shape or name replaced by ``[redacted]``.

    Applying it twice changes nothing more.
    """
    lowered = text.lower()
    for pattern in _PATTERNS:
        for word in pattern.words:
            if word in lowered:
                text = pattern.find.sub(pattern.put, text)
                break
    return text
