"""Words and numbers as a mail shows them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.text import causes
from tocsin.notify import text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (22_320, "6 h 12"), (22_000, "6 h 06"),
        (86_400, "1 d"), (100_000, "1 d 3 h"), (-5, "0 s"),
    ],
)  # fmt: skip
def test_lengths_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert words == text.length(timedelta(seconds=seconds)) == text.length(seconds)


def test_times_are_the_readers() -> None:
    """Today by the clock, yesterday by name, a week by weekday, else the date; days are those of the reader's zone."""
    zone, now = ZoneInfo("Europe/Budapest"), datetime(2026, 11, 24, 7, 15, tzinfo=UTC)
    ago = {hours: text.day_time(now - timedelta(hours=hours), now, zone) for hours in (0, 9, 30, 80, 24 * 40)}
    expected = {0: "08:15", 9: "yesterday 23:15", 30: "yesterday 02:15", 80: "Sat 00:15", 960: "2026-10-15 09:15"}
    assert expected == ago
    said = [text.at_day_time(now - timedelta(hours=hours), now, zone) for hours in (0, 9, 80, 960)]
    assert ["at 08:15", "yesterday at 23:15", "on Sat at 00:15", "on 2026-10-15 at 09:15"] == said


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("CUDA out of memory", "CUDA out of memory"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "CUDA out of memory"),
        ("KeyError: 'x'", "KeyError: 'x'"),
        ("Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: batch size must be positive", "batch size must be positive"),
        ("\x1b[31mdisk full\x1b[0m\nmore", "disk full"),
        ("exit code 137", "exit code 137"),
        ("", "out of memory"),
    ],
)  # fmt: skip
def test_the_cause_is_the_notifying_line(message: str, cause: str) -> None:
    """A traceback's last line, an exception without its module, one sentence."""
    assert cause == causes.cause(message, "out_of_memory", "E1")


def test_without_a_message_the_reason_then_the_code_then_nothing() -> None:
    said = [causes.cause("", reason, code) for reason, code in (("preempted", "E1"), ("unknown", "E1"), ("", ""))]
    assert ["preempted", "E1", ""] == said


@given(
    name=st.text(max_size=200),
    status=st.sampled_from(["Failed", "Canceled", "Completed", "NotResponding", "Queued"]),
    hours=st.none() | st.floats(0, 10_000),
)
def test_a_default_subject_says_the_cause_within_45_characters(name: str, status: str, hours: float | None) -> None:
    """However long the name: what went wrong begins where a phone still shows it."""
    ran = None if hours is None else timedelta(hours=hours)
    subject = text.default_subject(name=name, status=status, ran=ran, why="CUDA out of memory", rule="run-failed")
    assert subject.index("CUDA") <= text.CAUSE_WITHIN - 5
    assert len(subject) <= causes.SUBJECT_LENGTH


def test_the_usual_subject() -> None:
    subject = text.default_subject(
        name="churn", status="Failed", ran=timedelta(hours=6, minutes=12), why="CUDA out of memory", rule="run-failed"
    )
    assert subject == "churn failed after 6 h 12: CUDA out of memory"


def test_what_does_not_show_is_removed_from_a_line_of_letters_too() -> None:
    """Letters alone take a shorter way, for which Python's word on what is printable is not enough."""
    for hidden in map(
        chr, [*map(ord, causes.BIDI), 0xAD, 0x34F, 0x115F, 0x1160, 0x17B4, 0x200B, 0xFEFF, 0xE0041, 0x7F, 0x1B]
    ):
        assert causes.one_line(f"  a{hidden}b  \u3000c") == "ab c"
        assert causes.one_line(f"a{hidden}b") == "ab"


@given(st.text(max_size=400))
def test_a_header_is_one_line_without_tricks(raw: str) -> None:
    """No controls, line breaks, bidi controls, zero-width characters or lone surrogates come through."""
    line = causes.one_line(raw)
    assert len(line) <= causes.SUBJECT_LENGTH
    assert line == line.encode().decode()
    assert not [c for c in line if c in "\r\n\t\x00\x1b\u202e\u2066\u200b\u200d\ufeff\u061c"]


def test_a_body_keeps_its_lines_and_loses_controls() -> None:
    assert text.shown("a\r\nb\x1b[1m\u202ec\x07") == "a\nbc"


def test_cutting_tears_no_mark_off_its_letter() -> None:
    """A combining accent goes with its letter."""
    assert [causes.cut("abcde\u0301f", n) for n in (7, 6, 5)] == ["abcde\u0301f", "abcd…", "abcd…"]


def test_right_to_left_words_are_isolated_in_a_line() -> None:
    assert [text.isolate(t) for t in ("churn", "ليلى")] == ["churn", "\u2068ليلى\u2069"]


def test_lines_of_a_mail_have_72_columns() -> None:
    """Words stay whole, wide letters count twice, what was indented stays so."""
    japanese = "学習中にGPUのメモリが不足しました。" * 8
    lines = text.wrap(f"    {'word ' * 40}\n\n{japanese}\n{'x' * 100}", "  ").split("\n")
    assert lines[0].startswith("      word")
    assert [line for line in lines if len(line) > 72] == ["  " + "x" * 100]
    wide = [line for line in lines if "学" in line]
    assert wide and max(sum(1 + (not c.isascii()) for c in line) for line in wide) <= 72
    assert "".join(line.strip() for line in lines if not line.isascii()) == japanese
    assert "" in lines
