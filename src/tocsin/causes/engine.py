"""The cause of a failure, found in its texts.

    texts ── one pass with all patterns ──► patterns that match ── the last match of each ──► ranked ──► the cause

Patterns are RE2: linear in the text, whatever it holds. A match counts where its line speaks of an error: not where it is
logged as information, was handled ("skipping", "retrying"), or is only said to be possible ("might", "if you"). Of those
that count the last one decides, since what comes after an error that was survived is the error that ended the run. A
consequence (peers that time out after one rank died) decides only where nothing else is found; the type of an exception
alone (``general``) gives way to what a line near it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import re2

from tocsin.model.text.causes import one_line
from tocsin.model.text.redact import redact

MOST_TEXT = 64 << 10
"""Characters of a text that are read: of a longer one the last."""
MOST_LINE = 300
"""Characters of ``Found.line``."""
_NEAR = 40
"""Lines before the type of an exception in which what a line says is its cause."""
_CHUNK = 4096
"""Bytes that are read at once, from the end."""
_MOST_MATCHES, _MOST_FOUND = 200, 100
"""Matches of a text that are looked at, and of a pattern that are found in one chunk."""
_HEAD = 160
"""Characters of a line in which a log level stands."""

_INFORMED = re.compile(r"\b(?:INFO|DEBUG|TRACE|info|debug|trace)\b(?!\s*=)")
_HANDLED = re.compile(
    r"(?i)\b(?:skipp(?:ed|ing)|retry(?:ing)?|retried|re-?tries|recover(?:ed|ing)|fall(?:ing|s)? ?back|ignor(?:ed|ing)|restart(?:ed|ing)|"
    r"will (?:be )?(?:restart|retr|skip)\w*|continuing|halving|halved|trying again|handled|caught and|succeeded after|no longer)\b"
)
_POSSIBLE = re.compile(
    r"(?i)\b(?:if you|may|might|can happen|can cause|could (?:be|have)|potential|possibl[ey]|root causes?|for example|e\.g\.|to avoid|to prevent|"
    r"in case of|whether|when you|tips?|hint|note):?\b"
)
_SOURCE = re.compile(
    r"\s*(?:raise \w|except\b[^:]*:|(?:el)?if .*:\s*$|assert |def \w+\(|class \w+[(:]|[\w\-\"']{0,20}on_\w{1,40}[\"']?\s*[:=])"
)
"""What stands in the program or its configuration, as tracebacks and dumps show it."""
_SETTING = re.compile(
    r"[\s\-*|>{\"']*(?!\w*(?:Error|Exception|Warning)\b|(?:Reason|Message)\b)[\w.\-]{1,60}[\"']?\s{0,20}[:=]\s{0,4}"
    r"(?:true|false|none|null|\d[\d.]*|\"[^\"]*\"|'[^']*'|\[[^\[\]]*\])[\s,}]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause as its file has it."""

    name: str
    reason: str  # one of the event model's
    patterns: Sequence[str]  # RE2; any of them
    unless: Sequence[str] = ()  # a line that one of these matches too is about something else
    fields: frozenset[str] = frozenset()  # texts that are read; none: all
    exit_codes: frozenset[int] = frozenset()  # of which the run has one; none: whatever it has
    keys: frozenset[str] = frozenset()  # named groups of a pattern that tell one failure from another
    consequence: bool = False
    general: bool = False
    certain: bool = False  # its patterns say it all: log levels and hedges of the line do not count
    advice: str = ""
    retry: str = "unknown"  # helps, never, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The cause of a failure; of one that nobody knows '' and ``unknown``."""

    cause: str = ""
    reason: str = "unknown"
    line: str = ""  # that says so, redacted
    keys: tuple[str, ...] = ()  # what its key captures caught, in the order of their names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    rank: tuple[bool, bool]  # whether it is no consequence, and whether it is not general
    at: tuple[int, int]  # of the text among the texts, of the line
    order: int  # of the cause: of two in one line the first in the files wins
    cause: Cause
    line: str
    keys: tuple[str, ...]


@dataclass(slots=True)
class Causes:
    """All causes in force, compiled once."""

    known: Sequence[Cause]
    _all: Any = field(init=False)
    _compiled: list[tuple[int, Cause, Any]] = field(init=False)
    _unless: dict[str, list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self._all = re2.Set.SearchSet(_options())
        self._compiled = []
        for order, cause in enumerate(self.known):
            for pattern in cause.patterns:
                self._all.Add(_of_lines(pattern))
                self._compiled.append((order, cause, compiled(pattern)))
        if self._compiled:
            self._all.Compile()
        self._unless = {cause.name: [compiled(each) for each in cause.unless] for cause in self.known}

    def find(self, row: Mapping[str, object]) -> Found:
        """The cause of a failed run by its ``Message``, ``ErrorCode``, ``LogTail``, ``OriginalStatus`` and ``ExitCode``."""
        code = _number(row.get("ExitCode"))
        matches: list[_Match] = []
        for place, name in enumerate(("OriginalStatus", "LogTail", "ErrorCode", "Message")):
            text = str(row.get(name) or "")[-MOST_TEXT:]
            if text and self._compiled:
                matches += self._in(text.encode(errors="replace"), name, place, code)
        if not matches:
            return Found()
        best = max(matches, key=_ranked(matches))
        return Found(cause=best.cause.name, reason=best.cause.reason, line=best.line, keys=best.keys)

    def _in(self, text: bytes, name: str, place: int, code: int | None) -> list[_Match]:
        """What counts in ``text``, from its end on until something is found that decides: see ``_ranked``."""
        found: list[_Match] = []
        end, left = len(text), [_MOST_MATCHES]
        while end > 0 and left[0] > 0 and not any(all(each.rank) for each in found):
            begin = text.rfind(b"\n", 0, max(end - _CHUNK, 0)) + 1
            for index in self._all.Match(text[begin:end]) or ():
                order, cause, pattern = self._compiled[index]
                if (cause.fields and name not in cause.fields) or (cause.exit_codes and code not in cause.exit_codes):
                    continue
                if (match := self._last(text, (begin, end), cause, pattern, left)) is not None:
                    start, line, keys = match
                    rank = (not cause.consequence, not cause.general)
                    at = (place, text.count(b"\n", 0, start))
                    found.append(_Match(rank=rank, at=at, order=order, cause=cause, line=line, keys=keys))
            end = begin - 1
        return found

    def _last(
        self, text: bytes, span: tuple[int, int], cause: Cause, pattern: Any, left: list[int]
    ) -> tuple[int, str, tuple[str, ...]] | None:
        """Where the last match of ``span`` that counts starts, its line, and what it caught. ``left`` is how many matches
        may still be looked at.
        """
        for match in reversed(list(islice(pattern.finditer(text, *span), _MOST_FOUND))):
            if left[0] == 0:
                return None
            left[0] -= 1
            first = text.rfind(b"\n", 0, match.start()) + 1
            last = text.find(b"\n", match.end())
            begins = max(first, match.start() - 2 * _HEAD)
            line = text[begins : min(last if last >= 0 else len(text), match.end() + 2 * _HEAD)].decode(
                errors="replace"
            )
            if self._counts(cause, text[first : first + _HEAD].decode(errors="replace"), line, match.end() - begins):
                groups = {_text(name): value for name, value in match.groupdict().items()}
                keys = tuple(_text(groups[key] or b"")[:200] for key in sorted(cause.keys & groups.keys()))
                return match.start(), _quoted(line, match.start() - begins), keys
        return None

    def _counts(self, cause: Cause, head: str, line: str, end: int) -> bool:
        """Whether ``line`` speaks of an error; the match ends at ``end``."""
        if any(each.search(line.encode()) for each in self._unless[cause.name]):
            return False
        if _SOURCE.match(head):
            return False
        if cause.certain:
            return True
        said = line[:end]
        return not (
            _INFORMED.search(head) or _POSSIBLE.search(said) or _HANDLED.search(line) or _SETTING.fullmatch(line)
        )


def _ranked(matches: Sequence[_Match]) -> Any:
    """What decides between matches: see the module."""
    firm = [each.at for each in matches if all(each.rank)]

    def value(each: _Match) -> tuple[object, ...]:
        hidden = not each.rank[1] and any(
            (at[0] == each.at[0] and 0 <= each.at[1] - at[1] <= _NEAR) or at[0] != each.at[0] for at in firm
        )
        return each.rank[0], not hidden, each.at, -each.order

    return value


def _number(value: object) -> int | None:
    try:
        return None if value in (None, "") else int(str(value))
    except ValueError:
        return None


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20  # of the automaton: where it is short the whole text is gone through the slow way
    return options


def compiled(pattern: str) -> Any:
    """A pattern over UTF-8; ``^`` and ``$`` mean a line. Raises re2.error. Of texts the library counts all characters
    anew in each call.
    """
    return re2.compile(_of_lines(pattern), _options())


def _quoted(line: str, at: int) -> str:
    """``line`` redacted; of a long one what stands around ``at``."""
    whole, before = redact(line), len(redact(line[:at]))
    return one_line(whole if len(whole) <= MOST_LINE else whole[max(before - MOST_LINE // 5, 0) :], MOST_LINE)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def groups_of(pattern: str) -> frozenset[str]:
    """Names of the groups of a pattern. Raises re2.error."""
    return frozenset(map(_text, compiled(pattern).groupindex))


def _of_lines(pattern: str) -> bytes:
    return f"(?m:{pattern})".encode()
