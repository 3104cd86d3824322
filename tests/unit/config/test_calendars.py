"""Calendars with a name: what is wrong is said at its line; a URL is fetched, kept, and its last good copy counts on."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tocsin.config.calendars.fetch import FRESH
from tocsin.config.calendars.named import CalendarModel, Declared, read_calendars, refresh
from tocsin.config.yaml.document import load, parse
from tocsin.errors import Problem
from tocsin.model.calendars.calendar import Calendar

NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)


def event(day: str) -> bytes:
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        f"DTSTART;VALUE=DATE:{day}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


def declared(text: str) -> dict[str, Declared]:
    document = load(text, "oncall.yaml")
    return {
        name: Declared(
            model=parse(CalendarModel, document, ("calendars", name)), document=document, path=("calendars", name)
        )
        for name in document.data["calendars"]
    }


def read(text: str, home: Path, now: datetime = NOW) -> tuple[dict[str, Calendar], list[str]]:
    problems: list[Problem] = []
    found = read_calendars(declared(text), home, home / "data" / "calendars", now, problems)
    return found, [str(p) for p in problems]


class Answers:
    """A web server's answers, one a request; the last one stays."""

    def __init__(self) -> None:
        self.next: list[tuple[int, bytes, dict[str, str]]] = []
        self.asked = 0
        self.url = ""

    def give(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.next = [(status, body, {k.replace("_", "-"): v for k, v in headers.items()})]


@pytest.fixture
def server() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked += 1
            status, body, headers = answers.next[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppressed():
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        answers.url = f"http://127.0.0.1:{httpd.server_port}/private/s3cret.ics"
        yield answers
        httpd.shutdown()
        thread.join()


@contextmanager
def suppressed() -> Iterator[None]:
    try:
        yield
    except OSError:
        pass  # the reader had enough


def test_days_come_from_all_that_a_calendar_says(tmp_path: Path) -> None:
    """A country, dates and a file of the project directory, together."""
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "company.ics").write_bytes(event("20261230"))
    found, problems = read(
        "calendars:\n  all: {country: HU, dates: [2026-12-24], ical: calendars/company.ics}\n", tmp_path
    )
    assert [] == problems
    days = found["all"]
    assert [True, True, True, False] == [
        date(2026, 12, day) in days for day in (24, 30, 25, 29)
    ]  # 25 December is a holiday in Hungary


def test_every_fault_has_its_line_and_what_would_be_right(tmp_path: Path) -> None:
    """All at once."""
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "company.ics").write_bytes(b"<html>")
    _, problems = read(
        "calendars:\n"
        "  a: {country: hu}\n"
        "  b: {country: DE, subdivision: BX}\n"
        "  c: {dates: [2026-13-01]}\n"
        "  d: {ical: calendars/compny.ics}\n"
        "  e: {ical: ../secrets.ics}\n"
        "  f: {ical: 'file:///etc/passwd'}\n"
        "  g: {}\n"
        "  h: {ical: calendars/company.ics}\n"
        "  i: {subdivision: BY}\n",
        tmp_path,
    )
    assert [p.partition(": ")[0] for p in problems] == [f"oncall.yaml:{n}" for n in range(2, 11)], problems
    for said, wanted in zip(
        problems,
        [
            "did you mean 'HU'?", "'BX' is no part of DE", "write for example 2026-12-24", "did you mean 'calendars/company.ics'?",
            "is no file of calendars/", "use http or https", "says no day", "does not begin with BEGIN:VCALENDAR",
            "write country: beside it",
        ],
        strict=True,
    ):  # fmt: skip
        assert wanted in said


def test_a_url_is_fetched_once_a_day(tmp_path: Path, server: Answers) -> None:
    """Its copy lies in data/, and commands of the same day do not ask again."""
    server.give(event("20261224"))
    text = f"calendars:\n  bank: {{ical: '{server.url}'}}\n"
    for hours in (0, 1, 23):
        found, problems = read(text, tmp_path, NOW + timedelta(hours=hours))
        assert ([], True) == (problems, date(2026, 12, 24) in found["bank"])
    assert 1 == server.asked
    server.give(event("20261231"))
    found, _ = read(text, tmp_path, NOW + FRESH)
    assert (2, True) == (server.asked, date(2026, 12, 31) in found["bank"])


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, b"", "status 500"),
        (200, b"<html>sign in</html>", "does not begin with BEGIN:VCALENDAR"),
        (200, b"x" * (3 << 20), "more than 2048 KiB"),
        (404, b"", "status 404"),
    ],
)
def test_the_last_good_copy_counts_on_and_a_warning_says_so(
    tmp_path: Path, server: Answers, status: int, body: bytes, says: str
) -> None:
    """A calendar host that is down takes no holiday away. The URL, which may be secret, is not said."""
    server.give(event("20261224"))
    text = f"calendars:\n  bank: {{ical: '{server.url}'}}\n"
    read(text, tmp_path)
    server.give(body, status)
    found, problems = read(text, tmp_path, NOW + 2 * FRESH)
    assert date(2026, 12, 24) in found["bank"]
    assert 1 == len(problems)
    assert problems[0].startswith("oncall.yaml:2: warning: calendars.bank.ical: ")
    assert says in problems[0]
    assert "the copy of 2026-11-25 10:00 UTC counts on" in problems[0]
    assert "s3cret" not in problems[0]


def test_what_was_never_fetched_leaves_no_day_out_and_says_so(tmp_path: Path, server: Answers) -> None:
    """Too much is notified rather than too little."""
    server.give(b"", 503)
    found, problems = read(f"calendars:\n  bank: {{ical: '{server.url}'}}\n", tmp_path)
    assert not found["bank"]
    assert "until it answers, no day of it is left out" in problems[0]


def test_a_compressed_answer_and_endless_redirects_are_refused(tmp_path: Path, server: Answers) -> None:
    """Little cannot become much."""
    text = f"calendars:\n  bank: {{ical: '{server.url}'}}\n"
    server.give(b"\x1f\x8b", Content_Encoding="gzip")
    assert "compressed" in read(text, tmp_path)[1][0]
    server.give(b"", 302, Location=server.url)
    assert "redirects too often" in read(text, tmp_path)[1][0]
    server.give(b"", 302, Location="file:///etc/passwd")
    assert "warning" in read(text, tmp_path)[1][0]


def test_refresh_says_whether_something_changed(tmp_path: Path, server: Answers) -> None:
    """So that a running tocsin takes new days into force, and reloads for nothing else."""
    cache = tmp_path / "data" / "calendars"
    calendars = declared(f"calendars:\n  bank: {{ical: '{server.url}'}}\n  hu: {{country: HU}}\n")
    server.give(event("20261224"))
    assert refresh(calendars, cache, NOW)
    assert not refresh(calendars, cache, NOW)
    assert not refresh(calendars, cache, NOW + FRESH)
    server.give(b"", 500)
    assert not refresh(calendars, cache, NOW + 2 * FRESH)
    server.give(event("20261231"))
    assert refresh(calendars, cache, NOW + 2 * FRESH)


def test_a_copy_that_was_spoilt_is_fetched_again(tmp_path: Path, server: Answers) -> None:
    """What lies in data/ is held to the same as what comes."""
    server.give(event("20261224"))
    text = f"calendars:\n  bank: {{ical: '{server.url}'}}\n"
    read(text, tmp_path)
    copy = next((tmp_path / "data" / "calendars").iterdir())
    copy.write_bytes(b"spoilt")
    os.utime(copy, (NOW.timestamp(), NOW.timestamp()))
    found, problems = read(text, tmp_path)
    assert ([], 2, True) == (problems, server.asked, date(2026, 12, 24) in found["bank"])
