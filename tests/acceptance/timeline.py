"""A scenario as a list: what is done when, what must be seen between when and when. It runs once and reports all.

t.at("0s").post(RunId="r1", Status="Failed", EventId="e1")
t.at("1s").kill()
t.at("2s").start()
t.expect("0s..8s").mails("ops@example.org", 1)
t.run()
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.harness import Gone, Tocsin
from tests.servers.eventually import eventually
from tests.servers.smtp import SmtpServer

TOLERANCE = 1.0
"""Seconds by which anything may be later than a window says: the one tolerance of all scenarios."""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """`90s`, `1.5s`, `-1h` as seconds."""
    unit = next(u for u in UNITS if text.endswith(u) and text[: -len(u)].lstrip("-").replace(".", "").isdigit())
    return float(text[: -len(unit)]) * UNITS[unit]


@dataclass(frozen=True, slots=True)
class _Action:
    at: float
    words: str
    do: Callable[[float], str]  # epoch seconds of the scenario's start → what came of it


@dataclass(frozen=True, slots=True)
class _Expectation:
    first: float
    last: float
    words: str
    look: Callable[[float, float], Iterable[str]]  # the window in epoch seconds → what was seen
    count: int


@dataclass
class Timeline:
    """One scenario over one tocsin and its SMTP server."""

    tocsin: Tocsin
    smtp: SmtpServer
    _actions: list[_Action] = field(default_factory=list)
    _expectations: list[_Expectation] = field(default_factory=list)
    _sent: dict[str, dict[str, Any]] = field(default_factory=dict)  # event by id

    def at(self, when: str) -> "_At":
        """What is done at a time since the start."""
        return _At(self, seconds(when))

    def expect(self, window: str) -> "_Expect":
        """What must be seen in a window, `0s..5s`, no less and no more."""
        first, _, last = window.partition("..")
        return _Expect(self, seconds(first), seconds(last))

    def run(self) -> None:
        """Do and look at everything in order of time. Raises AssertionError with every mismatch and what happened when.

        Time stands still while something is done: a start that takes 2 s moves what comes after it by 2 s.
        """
        began = time.time()
        overruns: list[tuple[float, float]] = []
        happened: list[tuple[float, str]] = []
        wrong: list[str] = []

        def real(offset: float) -> float:
            return began + offset + sum(length for at, length in overruns if at < offset)

        plan: list[tuple[float, int, _Action | _Expectation]] = [(a.at, 0, a) for a in self._actions]
        plan += [(e.last, 1, e) for e in self._expectations]
        for due, _, step in sorted(plan, key=lambda item: item[:2]):
            grace = 0.0 if isinstance(step, _Action) else TOLERANCE
            eventually(lambda: time.time() >= real(due) + grace, within=due + 60)  # noqa: B023 called at once
            if isinstance(step, _Action):
                words = step.do(began)
                happened.append((time.time(), f"{step.words}: {words}"))
                overruns.append((due, max(0.0, time.time() - real(due))))
                continue
            seen = list(step.look(real(step.first), real(step.last) + TOLERANCE))
            if len(seen) != step.count:
                wrong.append(
                    f"{step.first:g}s..{step.last:g}s: {step.words}: {len(seen)} instead of {step.count} {seen}"
                )
        if wrong:
            happened += [(m.accepted_at, f"mail to {', '.join(m.rcpt_tos)}: {m.subject}") for m in self.smtp.messages()]
            lines = [f"{at - began:8.2f}s  {what}" for at, what in sorted(happened)]
            raise AssertionError("\n".join([*wrong, "what happened:", *lines, "what tocsin said:", self.tocsin.said()]))


@dataclass(frozen=True, slots=True)
class _At:
    timeline: Timeline
    when: float

    def do(self, words: str, what: Callable[[], object]) -> None:
        """Call `what`; `words` stands for it in the report."""

        def act(_: float) -> str:
            result = what()
            return "done" if result is None else str(result)

        self.timeline._actions.append(_Action(self.when, words, act))

    def post(self, *, EventId: str = "", TimeGenerated: str = "0s", Source: str = "/trainer", **data: Any) -> None:
        """POST one canonical event; TimeGenerated is relative to its sending. It is sent again until it is taken."""

        def act(_: float) -> str:
            moment = datetime.now(UTC) + timedelta(seconds=seconds(TimeGenerated))
            event = {"specversion": "1.0", "type": "tocsin.run.status", "source": Source, "time": moment.isoformat()}
            event |= {"id": EventId or f"e{len(sent)}-{self.when}-{data.get('RunId')}"}
            # the same id is the same event: its time does not move when it is sent again
            event = sent.setdefault(event["id"], {**event, "data": data})
            body = json.dumps(event).encode()

            def taken() -> object:
                try:
                    answer = self.timeline.tocsin.send(body)
                except Gone as gone:
                    raise AssertionError(str(gone)) from gone
                assert answer.status == 202, answer
                return answer.body

            return str(eventually(taken, within=20))

        sent = self.timeline._sent
        self.timeline._actions.append(_Action(self.when, f"post {EventId or data}", act))

    def kill(self) -> None:
        """kill -9."""
        self.do("kill -9", self.timeline.tocsin.kill)

    def start(self) -> None:
        """Start it and wait until it is ready."""

        def act() -> None:
            self.timeline.tocsin.start()

        self.do("start", act)

    def stop(self) -> None:
        """Stop it in good order."""
        self.do("stop", self.timeline.tocsin.stop)


@dataclass(frozen=True, slots=True)
class _Expect:
    timeline: Timeline
    first: float
    last: float

    def mails(self, to: str, count: int, *, subject: str = "") -> None:
        """So many mails accepted for an address, with `subject` in their subjects."""
        smtp = self.timeline.smtp

        def look(first: float, last: float) -> Iterable[str]:
            for mail in smtp.messages(to):
                if first <= mail.accepted_at <= last and subject in mail.subject:
                    yield mail.subject

        self._add(f"mails to {to}", look, count)

    def rows(self, kql: str, count: int) -> None:
        """So many rows of a query when the window ends."""
        tocsin = self.timeline.tocsin

        def look(_: float, __: float) -> Iterable[str]:
            try:
                return [str(row) for row in tocsin.query(kql)]
            except Gone:
                return ["(nobody answers)"]

        self._add(kql, look, count)

    def _add(self, words: str, look: Callable[[float, float], Iterable[str]], count: int) -> None:
        self.timeline._expectations.append(_Expectation(self.first, self.last, words, look, count))
