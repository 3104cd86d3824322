"""Who is on call, and why; held to a brute-force oracle by the minute over both changes of clocks."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tests.oracle.oncall import PlainLayer, PlainSchedule, by_minute, utc
from tocsin.model.calendars.wallclock import TimeRange, parse_range
from tocsin.notify.oncall.schedule import Assignment, Entry, Layer, Override, Rotation, Schedule, Why, on_call_at
from tocsin.notify.oncall.shifts import gaps, next_gap, overlaps, person_shifts, shift_at, shifts, span_text

BUDAPEST, PACIFIC = ZoneInfo("Europe/Budapest"), ZoneInfo("America/Los_Angeles")
HOLIDAY = date(2026, 12, 25)
EU = Layer(
    name="eu",
    zone=BUDAPEST,
    hours=(parse_range("08:00-20:00"),),
    skips=frozenset({HOLIDAY}),
    rotation=Rotation(members=("anna", "bela"), start=datetime(2026, 1, 5, 9)),
)
US = Layer(
    name="us",
    zone=PACIFIC,
    hours=(parse_range("08:00-20:00"),),
    rotation=Rotation(members=("cruz",), every=timedelta(days=1), start=datetime(2026, 1, 5, 8)),
)
SWAP = Override(start=utc("2026-12-24T08:00"), end=utc("2026-12-27T08:00"), who="bela", reason="swap")
PRIMARY = Schedule(name="primary", zone=BUDAPEST, layers=(EU, US), uncovered="cruz", overrides=(SWAP,))


def at(text: str, schedule: Schedule = PRIMARY) -> tuple[Assignment, ...]:
    return on_call_at(schedule, utc(text))


def test_the_example_of_the_language() -> None:
    """RULES.md's schedule, with its inline tests."""
    assert (Assignment(who="bela", why=Why.OVERRIDE, of="swap"),) == at("2026-12-24T10:00")
    assert (Assignment(who="cruz", why=Why.UNCOVERED),) == at("2026-12-24T05:00")
    assert (Assignment(who="cruz", why=Why.LAYER, of="us"),) == at("2026-12-24T03:00")


def test_turns_change_at_the_handoff_on_the_clock() -> None:
    """Weeks of anna and bela from Monday 5 January, 09:00 in Budapest."""
    assert (Assignment(who="anna", why=Why.LAYER, of="eu"),) == at("2026-01-12T07:59")
    assert (Assignment(who="bela", why=Why.LAYER, of="eu"),) == at("2026-01-12T08:00")
    assert (Assignment(who="bela", why=Why.LAYER, of="eu"),) == at("2026-03-30T06:59")
    assert (Assignment(who="anna", why=Why.LAYER, of="eu"),) == at(
        "2026-03-30T07:00"
    )  # summer time since the day before


def test_before_its_start_a_rotation_covers_nothing() -> None:
    assert (Assignment(who="cruz", why=Why.UNCOVERED),) == at("2026-01-05T07:59")
    assert (Assignment(who="anna", why=Why.LAYER, of="eu"),) == at("2026-01-05T08:00")


def test_the_later_layer_wins_unless_all_that_overlap_are_on_call() -> None:
    """Both layers are around the clock here."""
    first = Layer(name="first", zone=BUDAPEST, rotation=Rotation(members=("anna",)))
    second = Layer(name="second", zone=BUDAPEST, rotation=Rotation(members=("bela",)))
    anna, bela = (Assignment(who=w, why=Why.LAYER, of=of) for w, of in (("anna", "first"), ("bela", "second")))
    schedule = Schedule(name="s", layers=(first, second))
    assert (bela,) == at("2026-06-01T00:00", schedule)
    both = Schedule(name="s", layers=(first, second), overlap_all=True)
    assert (anna, bela) == at("2026-06-01T00:00", both)


def test_nobody_is_on_call_twice() -> None:
    """Of two layers that name the same person the reason is that of the one that wins."""
    layers = tuple(Layer(name=n, zone=BUDAPEST, rotation=Rotation(members=("anna",))) for n in ("a", "b"))
    both = Schedule(name="s", layers=layers, overlap_all=True)
    assert (Assignment(who="anna", why=Why.LAYER, of="b"),) == at("2026-06-01T00:00", both)


def test_a_holiday_leaves_out_the_windows_that_begin_on_it() -> None:
    night = Layer(
        name="night",
        zone=BUDAPEST,
        hours=(parse_range("20:00-08:00"),),
        skips=frozenset({HOLIDAY}),
        rotation=Rotation(members=("anna",)),
    )
    schedule = Schedule(name="s", layers=(night,))
    anna = (Assignment(who="anna", why=Why.LAYER, of="night"),)
    assert anna == at("2026-12-25T06:59", schedule)  # of the night that began on the 24th
    assert () == at("2026-12-25T19:00", schedule)
    assert () == at("2026-12-26T06:59", schedule)  # of the night that would have begun on the 25th
    assert anna == at("2026-12-26T19:00", schedule)


def test_an_override_instead_of_somebody_takes_only_that_persons_shifts() -> None:
    swap = Override(
        start=utc("2026-01-01T00:00"), end=utc("2026-02-01T00:00"), who="dora", instead_of="anna", reason="ill"
    )
    schedule = Schedule(name="s", layers=(EU, US), overrides=(swap,))
    assert (Assignment(who="dora", why=Why.SWAP, of="ill"),) == at("2026-01-06T09:00", schedule)
    assert (Assignment(who="bela", why=Why.LAYER, of="eu"),) == at("2026-01-13T09:00", schedule)
    assert () == at("2026-01-06T05:00", schedule)


def test_overrides_apply_one_after_the_other() -> None:
    """Who swapped may swap again; the last that takes everything wins."""
    month = Override(start=utc("2026-01-01T00:00"), end=utc("2026-02-01T00:00"), who="fay")
    chain = (
        replace(month, who="dora", instead_of="anna"),
        replace(month, who="emil", instead_of="dora", reason="2nd"),
    )
    schedule = Schedule(name="s", layers=(EU,), overrides=chain)
    assert (Assignment(who="emil", why=Why.SWAP, of="2nd"),) == at("2026-01-06T09:00", schedule)
    schedule = Schedule(name="s", layers=(EU,), overrides=(*chain, month))
    assert (Assignment(who="fay", why=Why.OVERRIDE),) == at("2026-01-06T09:00", schedule)


def test_a_feed_says_who_is_on_call_and_the_entry_that_begins_later_wins() -> None:
    feed = (
        Entry(start=utc("2026-01-01T00:00"), end=utc("2026-01-08T00:00"), who="anna", title="Anna on call"),
        Entry(start=utc("2026-01-03T00:00"), end=utc("2026-01-04T00:00"), who="bela", title="Bela helps"),
    )
    schedule = Schedule(name="s", feed=feed, uncovered="cruz")
    assert (Assignment(who="anna", why=Why.FEED, of="Anna on call"),) == at("2026-01-02T00:00", schedule)
    assert (Assignment(who="bela", why=Why.FEED, of="Bela helps"),) == at("2026-01-03T00:00", schedule)
    assert (Assignment(who="cruz", why=Why.UNCOVERED),) == at("2026-01-08T00:00", schedule)


def test_the_text_of_an_assignment_says_why() -> None:
    assert "anna is on call by layer eu" == Assignment(who="anna", why=Why.LAYER, of="eu").text
    assert "cruz is on call for what nothing else covers" == Assignment(who="cruz", why=Why.UNCOVERED).text


@pytest.mark.parametrize(
    "every", [timedelta(minutes=20), timedelta(hours=7), timedelta(hours=36)], ids=["short", "7h", "36h"]
)
def test_a_turn_is_days_or_a_part_that_divides_a_day(every: timedelta) -> None:
    with pytest.raises(ValueError, match="by a part of a day that divides it"):
        Rotation(members=("a", "b"), every=every, start=datetime(2026, 1, 5))


# -- shifts ------------------------------------------------------------------------------------------------------------


def said(found: Sequence[object]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f"{s.start:%d %H:%M}", f"{s.end:%d %H:%M}", s.who) for s in found]  # type: ignore[attr-defined]


def test_shifts_are_the_fewest_intervals_cut_at_both_ends() -> None:
    found = shifts(PRIMARY, utc("2026-12-23T12:00"), utc("2026-12-24T12:00"))
    expected = [
        ("23 12:00", "23 16:00", ("anna",)),
        ("23 16:00", "24 04:00", ("cruz",)),  # us wins where both cover
        ("24 04:00", "24 07:00", ("cruz",)),  # uncovered: another reason
        ("24 07:00", "24 08:00", ("anna",)),
        ("24 08:00", "24 12:00", ("bela",)),
    ]
    assert expected == said(found)


def test_a_whole_shift_is_found_from_any_instant_in_it() -> None:
    found = shift_at(PRIMARY, utc("2026-12-25T20:00"))
    assert (utc("2026-12-24T08:00"), utc("2026-12-27T08:00"), ("bela",)) == (found.start, found.end, found.who)


def test_gaps_are_what_nothing_covers_also_where_uncovered_takes_them() -> None:
    found = gaps(PRIMARY, utc("2026-12-21T00:00"), utc("2026-12-22T12:00"))
    assert [("21 04:00", "21 07:00", ("cruz",)), ("22 04:00", "22 07:00", ("cruz",))] == said(found)
    assert "mon 2026-12-21 05:00 to 08:00 Europe/Budapest" == span_text(found[0].start, found[0].end, BUDAPEST)


def test_the_next_gap() -> None:
    found = next_gap(PRIMARY, utc("2026-12-24T09:00"))
    assert found is not None and (utc("2026-12-28T04:00"), utc("2026-12-28T07:00")) == (found.start, found.end)
    always = Schedule(name="s", layers=(Layer(name="a", zone=BUDAPEST, rotation=Rotation(members=("anna",))),))
    assert next_gap(always, utc("2026-12-24T09:00")) is None


def test_overlaps_name_the_layers() -> None:
    (found,) = overlaps(PRIMARY, utc("2026-12-21T12:00"), utc("2026-12-22T00:00"))
    assert (utc("2026-12-21T16:00"), utc("2026-12-21T19:00")) == (found.start, found.end)
    assert ["eu", "us"] == [each.of for each in found.covering]


def test_each_persons_shifts_go_on_while_others_change() -> None:
    """`overlap: all`: anna around the clock, cruz by day beside her."""
    all_day = Layer(name="all", zone=BUDAPEST, rotation=Rotation(members=("anna",)))
    schedule = Schedule(name="s", layers=(all_day, US), overlap_all=True)
    found = person_shifts(shifts(schedule, utc("2026-06-01T00:00"), utc("2026-06-02T00:00")))
    assert [
        ("01 00:00", "02 00:00", ("anna",)),
        ("01 00:00", "01 03:00", ("cruz",)),
        ("01 15:00", "02 00:00", ("cruz",)),
    ] == said(found)


# -- held to the oracle ------------------------------------------------------------------------------------------------

CHANGES = {
    "Europe/Budapest": ["2026-03-29", "2026-10-25"],
    "America/Los_Angeles": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],
    "Africa/Cairo": ["2026-04-24", "2026-10-30"],
    "America/Havana": ["2026-03-08", "2026-11-01"],
}
MARKS = st.integers(min_value=0, max_value=95).map(lambda n: n * 15)
EVERY = st.sampled_from([timedelta(hours=h) for h in (1, 2, 8, 12, 24, 48, 168)] + [timedelta(minutes=30)])
PEOPLE = ["anna", "bela", "cruz"]


@st.composite
def layers(draw: st.DrawFn, name: str, day: date) -> PlainLayer:
    hours = draw(
        st.lists(st.tuples(MARKS, MARKS.map(lambda m: m + 15)).filter(lambda h: h[0] != h[1]), min_size=1, max_size=2)
    )
    start = day - timedelta(days=draw(st.integers(min_value=-1, max_value=9)))
    return PlainLayer(
        name=name,
        zone=draw(st.sampled_from(list(CHANGES))),
        members=draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3)),
        every=draw(EVERY),
        start=datetime(start.year, start.month, start.day) + timedelta(minutes=draw(MARKS)),
        hours=[(0, 1440)] if draw(st.booleans()) else hours,
        weekdays=frozenset(draw(st.sampled_from([range(7), range(5), (5, 6)]))),
        skips=frozenset(draw(st.lists(st.sampled_from([day, day - timedelta(days=1)]), max_size=1))),
    )


@st.composite
def schedules(draw: st.DrawFn) -> tuple[PlainSchedule, datetime]:
    day = date.fromisoformat(draw(st.sampled_from(sorted({d for days in CHANGES.values() for d in days}))))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
    marks = st.integers(min_value=-10, max_value=300).map(lambda n: start + n * timedelta(minutes=15))
    overrides = [
        (min(a, b), max(a, b), who, instead)
        for a, b, who, instead in draw(
            st.lists(
                st.tuples(marks, marks, st.sampled_from(["dora", "anna"]), st.sampled_from(["", *PEOPLE])), max_size=2
            )
        )
        if a != b
    ]
    found = [draw(layers(f"l{n}", day)) for n in range(draw(st.integers(min_value=0, max_value=3)))]
    plain = PlainSchedule(
        layers=found,
        overlap_all=draw(st.booleans()),
        uncovered=draw(st.sampled_from(["", "cruz"])),
        overrides=overrides,
    )
    return plain, start


def built(plain: PlainSchedule) -> Schedule:
    return Schedule(
        name="s",
        layers=tuple(
            Layer(
                name=each.name,
                zone=ZoneInfo(each.zone),
                rotation=Rotation(members=tuple(each.members), every=each.every, start=each.start),
                hours=tuple(TimeRange(start=a, end=b) for a, b in each.hours),
                weekdays=each.weekdays,
                skips=each.skips,
            )
            for each in plain.layers
        ),
        overlap_all=plain.overlap_all,
        uncovered=plain.uncovered,
        overrides=tuple(Override(start=a, end=b, who=w, instead_of=i) for a, b, w, i in plain.overrides),
    )


@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, days in CHANGES.items() for day in days])
@pytest.mark.parametrize("minutes", [30, 60])
def test_short_turns_within_the_changed_hour_are_as_the_oracle_says(zone: str, day: str, minutes: int) -> None:
    """In the hour that comes again nobody's turn does."""
    first = date.fromisoformat(day)
    start = datetime(first.year, first.month, first.day)
    every = timedelta(minutes=minutes)
    layer = PlainLayer(name="l", zone=zone, members=PEOPLE, every=every, start=start, hours=[(0, 1440)])
    begin, end = start.replace(tzinfo=UTC) - timedelta(hours=16), start.replace(tzinfo=UTC) + timedelta(hours=24)
    expected = by_minute(PlainSchedule(layers=[layer]), begin, end)
    schedule = built(PlainSchedule(layers=[layer]))
    assert {t: who for t, (who, _) in expected.items()} == {
        t: tuple(a.who for a in on_call_at(schedule, t)) for t in expected
    }


@settings(max_examples=examples(20), deadline=None)
@given(schedules())
def test_every_minute_is_as_the_oracle_says_over_both_changes_of_clocks(drawn: tuple[PlainSchedule, datetime]) -> None:
    plain, start = drawn
    end = start + timedelta(days=3)
    schedule, expected = built(plain), by_minute(plain, start, end)
    found = shifts(schedule, start, end)
    assert (start, end) == (found[0].start, found[-1].end)
    for before, after in pairwise(found):
        assert before.end == after.start
        assert before.on_call != after.on_call
    for shift in found:
        t = shift.start
        while t < shift.end:
            assert (tuple(sorted(set(shift.who))), shift.is_gap) == expected[t], t
            t += timedelta(minutes=1)
    for t in (start + n * timedelta(minutes=15) for n in range(0, 3 * 96, 5)):
        for near in (t, t - timedelta(microseconds=1)):
            if near >= start:
                minute = near.replace(second=0, microsecond=0)
                assert expected[minute][0] == tuple(sorted(a.who for a in on_call_at(schedule, near))), near
