"""What tocsin says on a terminal, and what it leaves out of collected logs."""

from typing import Any

import pytest

from tocsin.app.run.sentences import sentences, structured

AT = {"timestamp": "2026-12-07T10:51:37.132719Z", "level": "info"}
FAILED: dict[str, Any] = {
    "event": "alert", "kind": "fired", "rule": "run-failed", "severity": "error", "run_id": "r1", "commit_seq": 2,
    "people": {"name": "churn", "run": "night 7", "status": "Failed", "why": "CUDA out of memory"},
}  # fmt: skip
MAILED: dict[str, Any] = {
    "event": "delivery_sent", "channel": "email", "receiver": "owner", "delivery": "e19c", "attempt": 1,
    "people": {"address": "anna@example.org", "subject": "churn failed: CUDA out of memory"},
}  # fmt: skip


def said(line: dict[str, Any], *, colour: bool = False) -> str:
    return sentences(colour=colour)(None, "info", {**line, **AT}).partition("  ")[2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (FAILED, "fired      churn / night 7 failed: CUDA out of memory (run-failed, error)"),
        (FAILED | {"people": {}}, "fired      r1 (run-failed, error)"),
        (FAILED | {"run_id": "", "people": {"name": "Target gpu-17", "why": "value 3"}},
         "fired      Target gpu-17: value 3 (run-failed, error)"),
        (MAILED, "mailed     anna@example.org: churn failed: CUDA out of memory"),
        (MAILED | {"channel": "slack", "receiver": "ml"}, "sent       ml: churn failed: CUDA out of memory"),
        ({"event": "store_full", "error": "no space left"}, "tocsin     store full: error no space left"),
        ({"event": "stopped"}, "tocsin     stopped"),
    ],
)  # fmt: skip
def test_a_line_is_a_sentence(line: dict[str, Any], expected: str) -> None:
    assert expected == said(line)


def test_a_warning_says_so() -> None:
    line = {"event": "files_refused", "problems": ["a.yaml:3: no"], **AT, "level": "warning"}
    assert sentences(colour=False)(None, "warning", line).endswith("warning    files refused: problems a.yaml:3: no")


def test_a_payload_moves_no_cursor_and_ends_no_line() -> None:
    """Escape sequences and line breaks of an event do not reach the terminal."""
    hostile = FAILED["people"] | {"name": "\x1b[2Jchurn\nfake line", "why": "\x1b]0;title\x07\u202ebad"}
    text = said(FAILED | {"run_id": "r\x1b[1A", "people": hostile})
    assert text.isprintable()
    assert "churn fake line" in text


def test_colour_follows_the_severity_and_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mfired" in said(FAILED, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in said(FAILED, colour=True)


def test_collected_logs_hold_no_payload() -> None:
    assert "people" not in structured(None, "info", {**FAILED})
