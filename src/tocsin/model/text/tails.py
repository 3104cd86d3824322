"""The end of a log as a person would have seen it on a terminal, and which of its lines to keep.

A terminal emulator (pyte) wraps lines at a width and forgets what scrolled away; a log has no width, and its text must stay
whole. So this follows the few controls that logs hold, in time that is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tocsin.model.text.redact import redact

LARGEST = 64 << 10
"""Characters of a text's end that ``as_seen`` renders; what stands before is left out where the text has controls."""
LINES, LONGEST = 50, 16_000
"""Lines and characters that the SDK and ``tocsin exec`` send."""
LONGEST_LINE = 2_000
"""Characters of the longest line that ``last_lines`` keeps whole."""
_WIDEST = 256  # columns that a cursor may jump to: a few bytes must not make long lines
CONTROLS = r"[\x00-\x08\x0b-\x1f\x7f-\x{9f}]"
"""What ``as_seen`` changes, for RE2."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)([0-9;:<=>?]*+)[ -/]*+([@-~]?)"  # CSI, which moves, erases or colours
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*+(?:\x07|\x1b\\|\x9c|)"  # strings: titles, links
    r"|\x1b[ -/]*+[0-~]?"
    r"|(\r+|\n+|\x08+)"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]+"
    r"|([^\x00-\x08\x0a-\x1f\x7f-\x9f]+)"
)
_HEADER = re.compile(r"^(?P<before>.{0,120}?)(?:\+ Exception Group )?Traceback \(most recent call last\):\s*$")
_FRAME = re.compile(r'^\s+(?:[+|]\s*)*File "')
_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "WorkerCrashedError")
"""Exceptions by which a launcher says that training, which it started, raised another."""
_LEFT_OUT = "  … earlier frames left out"
_BETWEEN = "…"
_MESSAGE = 4  # lines after an exception's first that may belong to its message


def as_seen(text: str) -> str:
    """``text`` without controls: colours are removed, what ``\\r``, backspace or the cursor overwrote shows its last state.

    A text without controls comes back as it is. Applying it twice changes nothing more.
    """
    if _CONTROL.search(text) is None:
        return text
    text = text[-LARGEST:].replace("\r\n", "\n")
    if _CONTROL.search(text) is None:
        return text
    screen = _Screen()
    for found in _SEQUENCE.finditer(text):
        numbers, command, move, plain = found.groups()
        if plain is not None:
            screen.write(plain)
        elif move is not None:
            screen.move(move)
        elif command:
            screen.control(command, numbers)
    return "\n".join("".join(line).rstrip() for line in screen.lines)[-LARGEST:]


def stored_tail(text: str) -> str:
    """``text`` as LogTail is stored: as seen, secrets hidden. Wherever a LogTail comes in, it goes through here."""
    return redact(as_seen(text))


class _Screen:
    """Lines without a width, and a cursor."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        line, column = self.lines[self._row], self._column
        if column > len(line):
            line.extend(" " * (column - len(line)))
        self._column = column + len(text)
        line[column : self._column] = text

    def move(self, controls: str) -> None:
        """A run of one of carriage return, line feed and backspace."""
        if controls[0] == "\r":
            self._column = 0
        elif controls[0] == "\b":
            self._column = max(0, self._column - len(controls))
        else:
            self._row, self._column = self._row + len(controls), 0
            while len(self.lines) <= self._row:
                self.lines.append([])

    def control(self, command: str, numbers: str) -> None:
        """A control sequence; colours and what is not known change nothing."""
        digits = re.match(r"[0-9]{1,5}", numbers)
        given = int(digits[0]) if digits else None
        count = given or 1
        line = self.lines[self._row]
        if command in "AF":
            self._row = max(0, self._row - count)
        elif command in "BE":
            self._row = min(len(self.lines) - 1, self._row + count)
        elif command == "C":
            self._column = max(min(self._column + count, _WIDEST), min(self._column, len(line)))
        elif command == "D":
            self._column = max(0, self._column - count)
        elif command in "G`":
            self._column = min(count - 1, _WIDEST)
        elif command == "K" and given != 1:
            del line[0 if given == 2 else self._column :]
        elif command == "J" and not given:
            del line[self._column :], self.lines[self._row + 1 :]
        elif command == "H" or (command == "J" and given != 1):
            self._new_page()
        if command in "EF":
            self._column = 0

    def _new_page(self) -> None:
        """The screen is cleared, or the cursor set anywhere: what was seen before is kept above."""
        if self.lines[-1]:
            self.lines.append([])
        self._row, self._column = len(self.lines) - 1, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traceback:
    """A traceback in a log."""

    header: str
    frames: tuple[tuple[str, ...], ...]  # lines of each frame
    error: tuple[str, ...]  # the exception's line and what may be the rest of its message; () where the log ends before
    said: str  # the exception's line without what a launcher writes before each line
    start: int  # of the header, in the log's lines
    end: int  # after ``error``

    def lines(self) -> list[str]:
        """All its lines."""
        return [self.header, *(line for frame in self.frames for line in frame), *self.error]

    def last(self, most: int) -> list[str]:
        """At most ``most`` lines (5 at least): its last frames, each whole, and the exception."""
        if len(whole := self.lines()) <= most:
            return whole
        error = list(self.error[: max(1, most // 4)])
        room = most - len(error) - 2
        kept: list[str] = []
        for frame in reversed(self.frames):
            if kept and len(kept) + len(frame) > room:
                break
            kept = [*frame[: max(1, room)], *kept]
        return [self.header, _LEFT_OUT, *kept, *error]


def traceback_of(lines: Sequence[str]) -> Traceback | None:
    """The last traceback of the program that failed; a launcher's that only says so comes after it. None without one."""
    starts = [i for i, line in enumerate(lines) if "Traceback (most" in line and _HEADER.match(line)]
    found = None
    for start in reversed(starts[-20:]):
        found = _read(lines, start)
        if not any(name in found.said.partition(":")[0] for name in _LAUNCHERS):
            return found
    return found


def _read(lines: Sequence[str], start: int) -> Traceback:
    before = _prefix(lines, start)
    frames: list[list[str]] = []
    for at in range(start + 1, len(lines)):
        line = lines[at]
        if not line.startswith(before):
            continue  # another rank's, between
        body = line[len(before) :]
        if _FRAME.match(body):
            frames.append([line])
        elif body and not body[0].isspace():
            end = _message_end(lines, at, before)
            return _traceback(lines, start, frames, at, end, body)
        elif frames:
            frames[-1].append(line)
    return _traceback(lines, start, frames, len(lines), len(lines), "")


def _traceback(lines: Sequence[str], start: int, frames: list[list[str]], error: int, end: int, said: str) -> Traceback:
    return Traceback(
        header=lines[start],
        frames=tuple(map(tuple, frames)),
        error=tuple(lines[error:end]),
        said=said,
        start=start,
        end=end,
    )


def _prefix(lines: Sequence[str], start: int) -> str:
    """What stands before each line of the traceback: '' where its first frame does not repeat it."""
    match = _HEADER.match(lines[start])
    before = match["before"] if match else ""
    following = lines[start + 1 : start + 20]
    return (
        before
        if before and any(line.startswith(before) and _FRAME.match(line[len(before) :]) for line in following)
        else ""
    )


def _message_end(lines: Sequence[str], error: int, before: str) -> int:
    """Where an exception's message ends at the latest: at another traceback, or after ``_MESSAGE`` lines."""
    end = error + 1
    while end < len(lines) and end <= error + _MESSAGE and lines[end].startswith(before):
        if _HEADER.match(lines[end]):
            break
        end += 1
    return end


def last_lines(text: str, most: int, longest: int) -> list[str]:
    """At most ``most`` whole lines of ``text`` as seen, with ``longest`` characters in all; empty ones are left out.

    They are the last. Where training raised and its traceback is not among them, the traceback's last frames come before them,
    each whole.
    """
    seen = [line.rstrip() for line in as_seen(text).split("\n")]
    lines = [line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…" for line in seen if line]
    trace = traceback_of(lines)
    last = _fitting(lines[-most:], longest)
    if trace is None or trace.start >= len(lines) - len(last):
        return last
    size = most
    while size > 5 and sum(map(len, trace.last(size))) + size > longest:
        size -= 1
    kept = trace.last(size)
    after = lines[trace.end :]
    room = most - len(kept) - 1
    rest = _fitting(after[-room:], longest - sum(map(len, kept)) - len(kept)) if room > 0 else []
    between = [_BETWEEN] if len(rest) < len(after) and rest else []
    return [*kept, *between, *rest]


def sent_tail(text: str) -> str:
    """LogTail of an event that ends a run, of the end of what the run wrote."""
    return "\n".join(last_lines(stored_tail(text), LINES, LONGEST))


def _fitting(lines: Sequence[str], longest: int) -> list[str]:
    """The last of ``lines`` that have ``longest`` characters together."""
    kept: list[str] = []
    for line in reversed(lines):
        longest -= len(line) + 1
        if longest < 0:
            break
        kept.append(line)
    return kept[::-1]
