"""Log tails are what a person would have seen on a terminal, and hold a failed program's last frames whole."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.model.text.tails import LARGEST, as_seen, last_lines, sent_tail, stored_tail, traceback_of

BAR = "\r 10%|#         | 1/10 [00:01<00:09]\r 20%|##        | 2/10 [00:02<00:08]\r100%|##########| 10/10 [00:10<00:00]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\n\ttext\n", "plain\n\ttext\n"),
        (f"epoch 1\n{BAR}\nsaved", "epoch 1\n100%|##########| 10/10 [00:10<00:00]\nsaved"),
        (f"{BAR}\r", "100%|##########| 10/10 [00:10<00:00]"),
        ("loading weights\r               \rready", "ready"),
        ("loading weights\r\x1b[Kready", "ready"),
        ("loss 0.512\rloss 0.4", "loss 0.412"),
        ("\x1b[1;31mError:\x1b[0m out of memory\r\n", "Error: out of memory\n"),
        ("\x1b[38;5;196mred\x1b[39m \x1b[38:2::1:2:3mtoo\x1b[m", "red too"),
        ("\x1b]0;a title\x07text \x1b]8;;https://a.b\x1b\\link\x1b]8;;\x1b\\", "text link"),
        ("typo\b\b\b\bfine", "fine"),
        ("first bar 1%\nsecond bar 1%\x1b[A\rfirst bar 9%\n\rsecond bar 9%\n", "first bar 9%\nsecond bar 9%\n"),
        ("a\nb\nc\x1b[2A\r\x1b[Jnew", "new"),
        ("before\n\x1b[H\x1b[2Jafter", "before\nafter"),
        ("a\x1b[5Gb", "a   b"),
        ("gone \x1b[2Jkept", "gone\nkept"),
        ("cut \x1b[3", "cut"),
        ("\x9b31mred\x9b0m", "red"),
        ("bell\x07 nul\x00", "bell nul"),
    ],
)
def test_a_text_is_what_a_terminal_shows_at_its_end(text: str, expected: str) -> None:
    assert expected == as_seen(text)


def shown(pieces: list[str]) -> list[str]:
    """A terminal of cells, written from ECMA-48 alone: what stands where at the end."""
    cells: dict[tuple[int, int], str] = {}
    row = column = bottom = 0
    for piece in pieces:
        if piece == "\n":
            row, column = row + 1, 0
            bottom = max(bottom, row)
        elif piece == "\r":
            column = 0
        elif piece == "\b":
            column = max(0, column - 1)
        elif piece == "\x1b[A":
            row = max(0, row - 1)
        elif piece in ("\x1b[K", "\x1b[2K"):
            cells = {k: c for k, c in cells.items() if k[0] != row or (piece == "\x1b[K" and k[1] < column)}
        elif piece == "\x1b[3C":
            column += 3
        elif not piece.startswith("\x1b"):
            cells[row, column] = piece
            column += 1
    width = max((k[1] for k in cells), default=0) + 1
    return ["".join(cells.get((r, c), " ") for c in range(width)).rstrip() for r in range(bottom + 1)]


PIECES = st.lists(
    st.sampled_from(["a", "b", "é", " ", "\n", "\r", "\b", "\x1b[A", "\x1b[K", "\x1b[2K", "\x1b[3C", "\x1b[31m", "\x1b[0m"]),
    max_size=40,
)  # fmt: skip


@settings(max_examples=examples(300), deadline=None)
@given(PIECES)
def test_every_text_shows_what_a_terminal_of_cells_shows_property(pieces: list[str]) -> None:
    """Whatever is written over, erased or coloured: the last state of each cell is what stays."""
    assert shown(pieces) == [line.rstrip() for line in as_seen("".join(pieces)).split("\n")]


@settings(max_examples=examples(300), deadline=None)
@given(st.text(st.characters(max_codepoint=0x3FF) | st.sampled_from("\x1b[]\r\n\b\x9b;0123mKAJH\x07"), max_size=200))
def test_no_control_stays_and_a_second_time_changes_nothing_property(text: str) -> None:
    once = as_seen(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", once)
    assert once == as_seen(once)
    assert len(once) <= LARGEST


HOSTILE = {
    "returns": "a\r", "backspaces": "a\b", "introducers": "\x1b[", "parameters": "\x1b[" + "0;" * 200, "titles": "\x1b]x",
    "up": "x\n\x1b[9A", "wide": "\x1b[9999Gx\n", "far": "\x1b[9999Cx", "pages": "\x1b[Hx", "erased": "a" * 100 + "\x1b[2K",
    "below": "\n\n\n\x1b[3A\x1b[J", "overwritten": "a" * 3000 + "\rxy" * 900, "headers": "Traceback (most recent call last):\n",
    "frames": 'Traceback (most recent call last):\n  File "x", line 1\n', "prefixes": "x" * 100 + "Traceback (most recent call last):\n",
    "indented": ' File "a"\n', "one line": "x",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_costs_bounded_time(name: str) -> None:
    """64 KiB of any shape take less than half a second (0.07 s on an idle machine) and never grow."""
    text = (HOSTILE[name] * (LARGEST // len(HOSTILE[name]) + 1))[:LARGEST]
    began = time.process_time()
    tail = sent_tail(text)
    assert time.process_time() - began < 0.5
    assert len(tail) <= 16_000
    assert len(stored_tail(text)) <= LARGEST


def trace(frames: int, error: str = "ValueError: bad shape", before: str = "") -> list[str]:
    lines = ["Traceback (most recent call last):"]
    for i in range(frames):
        lines += [
            f'  File "/job/layer{i}.py", line {i}, in call{i}',
            f"    return call{i + 1}(x)",
            "           ^^^^^^^^",
        ]
    return [before + line for line in [*lines, error]]


NOISE = [f"[rank0] destroying group {i}" for i in range(60)]


def test_the_last_frames_stand_whole_before_other_lines() -> None:
    """60 lines after a traceback would push it out of the last 50: its last frames come first, none in part."""
    kept = last_lines("\n".join(["epoch 1", *trace(30), *NOISE]), 50, 16_000)
    assert 50 >= len(kept)
    assert "Traceback (most recent call last):" == kept[0]
    error = kept.index("ValueError: bad shape")
    frames = kept[2:error]
    assert len(frames) % 3 == 0 and len(frames) >= 30
    assert trace(30)[-1 - len(frames) : -1] == frames
    short = last_lines("\n".join(["epoch 1", *trace(5), *NOISE]), 50, 16_000)
    assert trace(5) == short[: len(trace(5))]
    assert NOISE[-20:] == short[-20:]


@settings(max_examples=examples(100), deadline=None)
@given(
    st.integers(1, 40), st.integers(0, 60), st.integers(0, 60), st.integers(8, 60),
    st.sampled_from(["", "[rank3]: ", "(train pid=7) "]), st.sampled_from(["ValueError: bad shape", "app.Broken"]),
)  # fmt: skip
def test_frames_are_whole_in_whatever_surrounds_them_property(
    frames: int, before: int, after: int, most: int, prefix: str, error: str
) -> None:
    """However much stands before and after: the error, the last frame whole, no more lines than asked; cut twice as once."""
    lines = trace(frames, error, prefix)
    text = "\n".join([*NOISE[:before], *lines, *NOISE[:after]])
    kept = last_lines(text, most, 16_000)
    assert len(kept) <= most
    last = lines[-4:]
    at = kept.index(last[0])
    assert last == kept[at : at + 4]
    assert kept == last_lines("\n".join(kept), most, 16_000)
    assert prefix + error in last_lines("\n".join(kept), 8, 16_000)


def test_the_programs_own_traceback_stands_before_its_launchers() -> None:
    """torchrun raises ChildFailedError after the script failed: the script's is the cause."""
    own = trace(3, "RuntimeError: CUDA error", "[rank0]: ")
    launcher = trace(20, "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:")
    found = traceback_of([*own, *launcher])
    assert found is not None
    assert "RuntimeError: CUDA error" == found.said
    assert own == last_lines("\n".join([*own, *launcher]), 50, 16_000)[: len(own)]


def test_a_progress_bar_before_a_traceback_is_not_of_its_lines() -> None:
    lines = ["  3%|#   | 3/100Traceback (most recent call last):", *trace(2)[1:], *NOISE]
    found = traceback_of(lines)
    assert found is not None
    assert (2, "ValueError: bad shape") == (len(found.frames), found.said)


def test_secrets_in_colours_are_hidden() -> None:
    """What a terminal shows is redacted, not what was written."""
    assert "pass" + "word=[redacted]" == stored_tail("pass\x1b[1mword=hun\x1b[0mter2")
