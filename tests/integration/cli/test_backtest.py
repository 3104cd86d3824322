"""rules backtest on a resting and on a running project."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.acceptance.harness import Tocsin
from tests.integration.cli.conftest import Run
from tocsin.app.project.stores import open_log
from tocsin.clock import ManualClock, micros
from tocsin.config.project.home import open_home
from tocsin.model.event import Batch, MappedEvent, MappedEvents

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Path]:
    """A project directory that holds three weeks of runs, 14 of which failed, 11 of them churn."""
    home = open_home(tmp_path)
    clock = ManualClock(NOW)
    store = open_log(home, home.settings(), clock)
    for i in range(40):
        at = NOW + timedelta(hours=12 * i)
        clock.set(at)
        failed = i % 3 == 0
        columns = {
            "RunId": f"r{i}", "Status": "Failed" if failed else "Completed", "Message": "\x1b[31m<b>out of memory",
            "ExperimentName": "rank" if i in (0, 3, 6) else "churn",
        }  # fmt: skip
        event = MappedEvent(source="lab", event_id=f"e{i}", time=at, columns=columns, raw=b"{}")
        store.append([Batch(mapped=(MappedEvents(consumer="http", events=[event], received_us=micros(at)),))])
    store.close()
    yield tmp_path


def test_the_history_of_a_resting_home_is_read(run: Run, history: Path) -> None:
    done = run("rules", "backtest", "run-failed", "--from", "2026-11-01", "--to", "2026-11-21T00:00Z")
    assert 0 == done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert "run-failed would have notified 14 times, 11 of them the same ExperimentName: churn" == lines[0]
    assert lines[1].startswith("2026-11-01 00:00 to 2026-11-21 00:00 UTC, 40 events")
    assert "14 fired, 14 notified, 0 resolved" == lines[2]
    assert re.fullmatch(r"[·▁▂▃▄▅▆▇█]+  by the day, at most 1", lines[4])
    assert "\x1b" not in done.stdout
    assert 14 == sum("error" in line for line in lines)


def test_nothing_is_written(run: Run, history: Path) -> None:
    run("rules", "backtest", "run-failed", "--from", "2026-11-01")
    assert [] == json.loads(run("alerts", "list", "--json").stdout)
    assert [] == json.loads(run("notifications", "list", "--json").stdout)


def test_json_and_a_page(run: Run, history: Path, tmp_path: Path) -> None:
    """The page stands alone: no scripts, nothing loaded, texts escaped, every tag closed."""
    done = run("rules", "backtest", "run-failed", "--json", "--html", tmp_path / "out.html")
    found = json.loads(done.stdout)
    assert (14, 40, "2026-11-01T00:00:00Z") == (found["Notified"], found["Events"], found["From"])
    assert (14, 0, {"fired": 14}) == (found["Fired"], found["Resolved"], found["ByKind"])
    assert {"Field": "ExperimentName", "Value": "churn", "Count": 11} == found["Most"]
    assert 14 == len(found["Alerts"]) == sum(bar["Notified"] for bar in found["Timeline"])
    text = (tmp_path / "out.html").read_text()
    assert "&lt;b&gt;out of memory" in text
    assert 14 == text.count('class="bar"')
    for forbidden in ("<script", "src=", "href=", "url(", "@import"):
        assert forbidden not in text
    tags = Tags()
    tags.feed(text)
    assert [] == tags.open


class Tags(HTMLParser):
    """Which tags are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run-faild"], 1, "did you mean 'run-failed'?"),
        (["run-failed", "--from", "yesterday"], 1, "'yesterday' is no time; write 2026-01-05"),
        (["run-failed", "--from", "1d", "--to", "2d"], 1, "the range is empty"),
    ],
)
def test_what_is_asked_wrongly_is_said(run: Run, history: Path, arguments: list[str], code: int, said: str) -> None:
    done = run("rules", "backtest", *arguments)
    assert code == done.returncode
    assert said in done.stderr


def test_nothing_in_the_range_is_said(run: Run, history: Path) -> None:
    done = run("rules", "backtest", "run-failed", "--from", "2020-01-01", "--to", "2020-02-01")
    assert "would have notified nothing" in done.stdout
    assert "note: no event lies in this range of arrival times" in done.stderr


def test_a_running_home_is_asked(run: Run, lived: Tocsin) -> None:
    done = run("rules", "backtest", "run-failed", "--json", "--home", lived.home)
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    # At least its history: a run that another test starts in this process may find it, too.
    assert (2, True) == (found["Notified"], 5 <= found["Events"] <= lived.count("RunStatusChanged"))
    again = json.loads(run("rules", "backtest", "run-failed", "--json", "--as-if-live", "--home", lived.home).stdout)
    assert (2, True) == (again["Notified"], again["AsIfLive"])
    missing = run("rules", "backtest", "run-faild", "--home", lived.home)
    assert (1, True) == (missing.returncode, "did you mean 'run-failed'?" in missing.stderr)
