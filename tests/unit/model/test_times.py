"""Times of all forms that producers write."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.clock import micros
from tocsin.model.calendars.times import read_time


def t(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2020-03-09T23:53:04.4579729Z", t(2020, 3, 9, 23, 53, 4, 457972)),
        ("2020-03-09T23:53:04.999999999Z", t(2020, 3, 9, 23, 53, 4, 999999)),
        ("2020-03-09T23:53:04Z", t(2020, 3, 9, 23, 53, 4)),
        ("2020-03-09T23:53:04", t(2020, 3, 9, 23, 53, 4)),
        ("2020-03-09 23:53:04.5", t(2020, 3, 9, 23, 53, 4, 500000)),
        ("2020-03-09 23:53:04,123", t(2020, 3, 9, 23, 53, 4, 123000)),
        ("2020-03-09t23:53:04z", t(2020, 3, 9, 23, 53, 4)),
        ("2020-03-09T23:53:04+05:30", t(2020, 3, 9, 18, 23, 4)),
        ("2020-03-09T23:53:04.5-0800", t(2020, 3, 10, 7, 53, 4, 500000)),
        ("2020-03-09T23:53:04+02", t(2020, 3, 9, 21, 53, 4)),
        ("2020-03-09 23:53:04 UTC", t(2020, 3, 9, 23, 53, 4)),
        ("2020-03-09T23:53Z", t(2020, 3, 9, 23, 53)),
        ("2020-03-09", t(2020, 3, 9)),
        ("2016-12-31T23:59:60Z", t(2017, 1, 1)),
        (" 2020-03-09T23:53:04Z ", t(2020, 3, 9, 23, 53, 4)),
        ("3/22/2019 1:36:31 PM", t(2019, 3, 22, 13, 36, 31)),
        ("3/22/2019 12:36:31 AM", t(2019, 3, 22, 0, 36, 31)),
        ("12/22/2019 12:36:31 PM +00:00", t(2019, 12, 22, 12, 36, 31)),
        ("03/22/2019 13:36:31", t(2019, 3, 22, 13, 36, 31)),
        ("Sep 1, 2017 4:12:29 PM", t(2017, 9, 1, 16, 12, 29)),
        ("Sep 13, 2019 4:12:29 AM", t(2019, 9, 13, 4, 12, 29)),
        ("September 1, 2017", t(2017, 9, 1)),
        (1583797984, t(2020, 3, 9, 23, 53, 4)),
        (1583797984.4579724, t(2020, 3, 9, 23, 53, 4, 457972)),
        ("1583797984.4579729", t(2020, 3, 9, 23, 53, 4, 457972)),
        (1583797984457, t(2020, 3, 9, 23, 53, 4, 457000)),
        ("1583797984457", t(2020, 3, 9, 23, 53, 4, 457000)),
        (1583797984457.999, t(2020, 3, 9, 23, 53, 4, 457999)),
        (1583797984457972, t(2020, 3, 9, 23, 53, 4, 457972)),
        (1583797984457972999, t(2020, 3, 9, 23, 53, 4, 457972)),
        (1.583797984e9, t(2020, 3, 9, 23, 53, 4)),
        (None, None),
        ("", None),
        ("  ", None),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00", None),
        ("0001-01-01T00:00:00+02:00", None),
        ("1/1/0001 12:00:00 AM", None),
    ],
)
def test_every_form_is_read(written: object, expected: datetime | None) -> None:
    """UTC, cut to µs; None where the producer says that there is none."""
    assert expected == read_time(written)


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "2020-13-01T00:00:00Z",
        "2020-02-30",
        "2020-03-09T25:00:00Z",
        "2020-03-09T23:53:04+25:00",
        "2020-03-09T23:53:04+02:75",
        "9999-12-31T23:59:59-12:00",
        "0001-01-02T00:00:00+99:00",
        "13/22/2019 1:36:31 PM",
        "3/22/2019 13:36:31 PM",
        "Foo 1, 2017 4:12:29 PM",
        "２０２０-03-09",
        "1" * 21,
        "2020-03-09T23:53:04." + "1" * 100,
        True,
        [],
        {},
        float("nan"),
        float("inf"),
        10**30,
        -(10**400),
    ],
)
def test_what_is_no_time_is_refused(written: object) -> None:
    """ValueError, never another error and never a guess."""
    with pytest.raises(ValueError, match="no time"):
        read_time(written)


times = st.datetimes(datetime(1973, 3, 4), datetime(2262, 4, 11))


@given(times, st.integers(-23 * 60, 23 * 60), st.integers(0, 999))
def test_an_offset_and_digits_beyond_micros_change_nothing(local: datetime, minutes: int, beyond: int) -> None:
    """The instant is the same in any offset, and is cut, not rounded."""
    instant = local.replace(tzinfo=UTC)
    shown = local + timedelta(minutes=minutes)
    sign = "-" if minutes < 0 else "+"
    text = f"{shown:%Y-%m-%dT%H:%M:%S}.{shown.microsecond:06}{beyond:03}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    assert instant == read_time(text)


@given(times)
def test_micros_and_nanos_are_distinguished(local: datetime) -> None:
    """An epoch number of either unit, as number or as text, is the same instant."""
    instant = local.replace(tzinfo=UTC)
    us = micros(instant)
    assert [instant] * 4 == [read_time(us), read_time(str(us)), read_time(us * 1000 + 999), read_time(str(us * 1000))]


@given(st.text(max_size=70) | st.from_regex(r"\A\d{1,4}[-/]\d{1,2}[-/]\d{1,4}[T ]?[\d:.]*[Z+-]?[\d:]*\Z"))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    """Nothing else comes out, whatever comes in."""
    try:
        found = read_time(text)
    except ValueError:
        return
    assert found is None or found.utcoffset() == timedelta(0)
