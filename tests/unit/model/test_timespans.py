"""Timespans as text: KQL's for programs, words for people."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.text.timespans import kql_text, read_kql_text, spoken


@pytest.mark.parametrize(
    ("length", "kql", "words"),
    [
        (timedelta(minutes=9, seconds=50), "00:09:50", "9 min 50 s"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4), "1.02:03:04", "1 d 2 h"),
        (timedelta(days=1, seconds=4), "1.00:00:04", "1 d"),
        (timedelta(hours=6), "06:00:00", "6 h"),
        (timedelta(seconds=1.5), "00:00:01.5000000", "1.5 s"),
        (timedelta(milliseconds=250), "00:00:00.2500000", "250 ms"),
        (timedelta(0), "00:00:00", "0 s"),
        (-timedelta(minutes=5), "-00:05:00", "-5 min"),
    ],
)
def test_a_length_is_written_for_programs_and_for_people(length: timedelta, kql: str, words: str) -> None:
    assert (kql, words, length) == (kql_text(length), spoken(length), read_kql_text(kql))


@given(st.timedeltas(timedelta(days=-9999), timedelta(days=9999)))
def test_kqls_text_is_read_back(length: timedelta) -> None:
    assert length == read_kql_text(kql_text(length))


@pytest.mark.parametrize("text", ["", "9 min", "12:30", "1:02:03", "2026-01-01T00:00:00Z", "00:00:00.12345678", "1.5"])
def test_other_texts_are_no_timespans(text: str) -> None:
    assert read_kql_text(text) is None
