"""Exports of PagerDuty: the same people are on call here, hour by hour, and every hour that differs is named.

The final schedules are rendered here, from PagerDuty's documentation, in steps of 15 minutes.
"""

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.integration.cli.conftest import Run, run
from tocsin.errors import ConfigurationError
from tocsin.interchange.pagers.compare import Compared
from tocsin.interchange.pagers.pagerduty import import_pagerduty

__all__ = ["run"]

SINCE = datetime(2026, 2, 1, tzinfo=UTC)  # both zones change their clocks within 90 days
STEP = timedelta(minutes=15)
USERS = [
    {"id": "PA", "name": "Anna Acs", "email": "anna@example.org", "time_zone": "Europe/Budapest", "role": "admin"},
    {"id": "PB", "name": "Bela", "email": "bela@example.org", "time_zone": "Europe/Budapest"},
    {"id": "PC", "name": "Cruz", "email": "cruz@example.org", "time_zone": "Pacific Time (US & Canada)"},
]
NAMES = {str(user["id"]): str(user["name"]).replace(" ", "-") for user in USERS}


def layer(
    start: str, turn: timedelta, users: str, *restrictions: tuple[str, float, int], **more: Any
) -> dict[str, Any]:
    """One of a schedule's; a restriction is (time of day, hours, day of the week or 0 for each day)."""
    return {
        "id": "L", "name": "Layer 1", "start": start, "end": None, "rotation_virtual_start": start,
        "rotation_turn_length_seconds": int(turn.total_seconds()),
        "users": [{"user": {"id": f"P{each}", "type": "user_reference"}} for each in users],
        "restrictions": [
            {"type": "weekly_restriction", "start_day_of_week": day, "start_time_of_day": at, "duration_seconds": int(h * 3600)}
            if day else {"type": "daily_restriction", "start_time_of_day": at, "duration_seconds": int(h * 3600)}
            for at, h, day in restrictions
        ],
        **more,
    }  # fmt: skip


def taker(layer: dict[str, Any], t: datetime, zone: ZoneInfo) -> str | None:
    """Whose turn it is by one layer, by the clock on the wall."""
    wall = t.astimezone(zone).replace(tzinfo=None)
    if t < datetime.fromisoformat(layer["start"]) or (layer["end"] and t >= datetime.fromisoformat(layer["end"])):
        return None

    def inside(each: dict[str, Any]) -> bool:
        begin = datetime.combine(wall.date(), datetime.strptime(each["start_time_of_day"], "%H:%M:%S").time())
        days = (each["start_day_of_week"],) if "start_day_of_week" in each else range(1, 8)
        begins = (begin - timedelta(days=n) for n in range(8))
        return any(
            b.isoweekday() in days and b <= wall < b + timedelta(seconds=each["duration_seconds"]) for b in begins
        )

    if layer["restrictions"] and not any(map(inside, layer["restrictions"])):
        return None
    first = datetime.fromisoformat(layer["rotation_virtual_start"]).astimezone(zone).replace(tzinfo=None)
    turn = (wall - first) // timedelta(seconds=layer["rotation_turn_length_seconds"])
    return str(layer["users"][turn % len(layer["users"])]["user"]["id"])


def schedule(
    zone: str, layers: Sequence[dict[str, Any]], overrides: Sequence[tuple[str, str, str]] = ()
) -> dict[str, Any]:
    """GET /schedules/PS1 with since and until; ``layers`` as the API has them, the first wins."""

    def entry(start: datetime, end: datetime, user: str) -> dict[str, Any]:
        at, to = (each.astimezone(ZoneInfo(zone)).isoformat() for each in (start, end))
        return {"start": at, "end": to, "user": {"id": user, "type": "user_reference", "summary": user}}

    over = [(datetime.fromisoformat(a), datetime.fromisoformat(b), who) for a, b, who in overrides]

    def who(t: datetime) -> str | None:
        taken = [user for a, b, user in over if a <= t < b]
        return next(iter([*taken, *(each for one in layers if (each := taker(one, t, ZoneInfo(zone))))]), None)

    steps = [SINCE + n * STEP for n in range(90 * 96)]
    runs = [(user, list(found)) for user, found in itertools.groupby(steps, who)]
    final = [entry(found[0], found[-1] + STEP, user) for user, found in runs if user]
    return {
        "id": "PS1", "type": "schedule", "name": "Primary on call", "time_zone": zone, "schedule_layers": list(layers),
        "overrides_subschedule": {"name": "Overrides", "rendered_schedule_entries": [entry(*each) for each in over]},
        "final_schedule": {"name": "Final Schedule", "rendered_schedule_entries": final},
    }  # fmt: skip


def written(tmp_path: Path, *answers: dict[str, Any]) -> list[Path]:
    files = [tmp_path / f"{n}.json" for n, _ in enumerate(answers)]
    for path, answer in zip(files, answers, strict=True):
        path.write_text(json.dumps(answer))
    return files


def imported(tmp_path: Path, theirs: dict[str, Any]) -> tuple[Any, Compared]:
    found, [compared] = import_pagerduty(written(tmp_path, {"schedule": theirs}, {"users": USERS}), SINCE)
    return found, compared


DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
OFFICE = [("08:00:00", 9, day) for day in range(1, 6)]
SCHEDULES = {
    "weekly": schedule("Europe/Budapest", [layer("2026-01-05T09:00:00+01:00", WEEK, "ABC")]),
    "daily, begun in summer": schedule("America/New_York", [layer("2025-07-01T12:30:00Z", DAY, "ABA")]),
    "two weeks, one user": schedule("UTC", [layer("2025-12-01T00:00:00Z", 2 * WEEK, "C")]),
    "12 hours": schedule("Europe/Budapest", [layer("2026-01-01T07:00:00+01:00", 12 * timedelta(hours=1), "AB")]),
    "36 hours": schedule("America/New_York", [layer("2026-01-01T07:00:00-05:00", 36 * timedelta(hours=1), "ABC")]),
    "at night, past midnight": schedule("Europe/Budapest", [layer("2026-01-01T20:00:00Z", DAY, "AB", ("20:00:00", 12, 0))]),
    "a day from eight to eight": schedule("UTC", [layer("2026-01-01T20:00:00Z", DAY, "AB", ("08:00:00", 24, 0))]),
    "office hours over the rest": schedule("America/New_York", [
        layer("2026-01-05T08:00:00-05:00", WEEK, "AB", *OFFICE), layer("2026-01-05T08:00:00-05:00", DAY, "BCA"),
    ]),
    "weekends, friday evening to monday": schedule("Europe/Budapest", [
        layer("2026-01-02T17:00:00+01:00", WEEK, "BC", ("17:00:00", 63, 5)),
        layer("2026-01-05T09:00:00+01:00", WEEK, "A", ("09:00:00", 104, 1)),
    ]),
    "overrides, over both changes of clocks": schedule("Europe/Budapest", [layer("2026-01-05T09:00:00+01:00", WEEK, "AB")], [
        ("2026-03-28T18:00:00+01:00", "2026-03-29T09:00:00+02:00", "PC"), ("2026-04-01T12:15:00Z", "2026-04-01T13:00:00Z", "PC"),
    ]),
    "one layer has ended": schedule("UTC", [
        layer("2025-01-05T09:00:00Z", WEEK, "C", end="2026-01-05T09:00:00Z"), layer("2026-01-05T09:00:00Z", WEEK, "AB"),
    ]),
    "begins within the days, on a later turn": schedule("Europe/Budapest", [
        layer("2026-02-10T09:00:00+01:00", DAY, "ABC", rotation_virtual_start="2026-01-05T09:00:00+01:00"),
        layer("2026-01-05T00:00:00+01:00", WEEK, "CB"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_same_people_are_on_call_in_every_hour_of_90_days(name: str, tmp_path: Path) -> None:
    found, compared = imported(tmp_path, SCHEDULES[name])
    assert () == compared.differences
    first = datetime.fromisoformat(SCHEDULES[name]["final_schedule"]["rendered_schedule_entries"][0]["start"])
    assert (compared.end - first) / timedelta(hours=1) == compared.hours
    assert not [each for each in found.lost if each.key.startswith("schedule")]


def test_every_hour_that_differs_is_named(tmp_path: Path) -> None:
    """Somebody else is on call for 75 minutes by the final schedule, and nobody for another hour."""
    theirs = schedule("UTC", [layer("2026-01-05T09:00:00Z", WEEK, "AB")])
    entries = theirs["final_schedule"]["rendered_schedule_entries"]
    at = next(n for n, each in enumerate(entries) if each["start"] == "2026-02-23T09:00:00+00:00")
    mine, xenia = entries[at], {"id": "PX", "summary": "Xenia"}
    assert "PB" == mine["user"]["id"]
    entries[at : at + 1] = [
        {**mine, "end": "2026-02-24T10:15:00+00:00"},
        {"start": "2026-02-24T10:15:00+00:00", "end": "2026-02-24T11:30:00+00:00", "user": xenia},
        {**mine, "start": "2026-02-24T11:30:00+00:00", "end": "2026-02-25T00:00:00+00:00"},
        {**mine, "start": "2026-02-25T01:00:00+00:00"},
    ]
    found, compared = imported(tmp_path, theirs)
    expected = [
        "2026-02-24T10:00Z to 2026-02-24T12:00Z, 2 h: Xenia there, Bela here",
        "2026-02-25T00:00Z to 2026-02-25T01:00Z, 1 h: nobody there, Bela here",
    ]
    assert expected == list(map(str, compared.differences))
    assert [f"differs {each}" for each in expected] == [e.why for e in found.lost if e.key.startswith("schedule")]
    assert 3 == compared.differing


def test_a_layer_that_ends_later_differs_aloud(tmp_path: Path) -> None:
    end = "2026-04-20T09:00:00Z"
    _, compared = imported(tmp_path, schedule("UTC", [
        layer("2026-01-05T09:00:00Z", WEEK, "C", end=end), layer("2026-01-05T09:00:00Z", WEEK, "AB"),
    ]))  # fmt: skip
    assert (compared.end - datetime.fromisoformat(end)) / timedelta(hours=1) == compared.differing


def test_days_that_could_not_be_compared_are_said(tmp_path: Path) -> None:
    """Nobody is on call after the only layer has ended, so the final schedule ends there too."""
    theirs = schedule("UTC", [layer("2026-01-05T09:00:00Z", WEEK, "AB", end="2026-03-01T09:00:00Z")])
    found, compared = imported(tmp_path, theirs)
    assert 0 == compared.differing
    said = "only 2026-02-01T00:00Z to 2026-03-01T09:00Z was compared, not 90 days"
    assert any(each.why.startswith(said) for each in found.lost)


def test_layers_in_the_other_order_are_found_by_the_final_schedule(tmp_path: Path) -> None:
    theirs = SCHEDULES["office hours over the rest"]
    other = {**theirs, "schedule_layers": theirs["schedule_layers"][::-1]}
    assert 0 == imported(tmp_path, other)[1].differing


def test_escalations_repeat_as_often_as_the_policy_loops(tmp_path: Path) -> None:
    policy = {"id": "PE", "name": "Page us", "num_loops": 1, "escalation_rules": [
        {"id": "R1", "escalation_delay_in_minutes": 15, "targets": [{"id": "PS1", "type": "schedule_reference"}]},
        {"id": "R2", "escalation_delay_in_minutes": 30, "targets": [{"id": "PA", "type": "user_reference"}, {"id": "PC"}]},
    ]}  # fmt: skip
    answers = (
        {"schedules": [SCHEDULES["weekly"]]},
        {"users": USERS},
        {"escalation_policies": [policy], "teams": [{"id": "PT"}]},
    )
    found, _ = import_pagerduty(written(tmp_path, *answers), SINCE)
    [escalation] = found.data["escalations"]
    expected = [
        ("0s", ["Primary-on-call"]),
        ("15m", ["Anna-Acs", "Cruz"]),
        ("45m", ["Primary-on-call"]),
        ("1h", ["Anna-Acs", "Cruz"]),
    ]
    assert expected == [(step["after"], step["notify"]) for step in escalation["steps"]]
    assert {"teams", "users", "user Cruz", "escalation policy Page us"} == {each.key for each in found.lost}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"schedule": SCHEDULES["weekly"]}], "names somebody whom it does not have: PA, in schedule Primary on call"),
        ([{"users": USERS}], "has no schedule of PagerDuty in it"),
        ([{"schedule": {"id": "PS1", "name": "x", "schedule_layers": [{"start": 1}]}}], "rotation_virtual_start"),
    ],
)  # fmt: skip
def test_what_is_no_whole_export_is_refused(answers: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as e:
        import_pagerduty(written(tmp_path, *answers), SINCE)
    assert said in str(e.value)


def test_a_layer_that_begins_inside_a_turn_is_said_and_its_hours_differ(tmp_path: Path) -> None:
    """Turns of a week from Monday; the layer counts from Wednesday 09:00:20 on, here from the Monday before."""
    theirs = schedule("UTC", [
        layer("2026-02-11T09:00:20Z", WEEK, "AB", rotation_virtual_start="2026-01-05T09:00:20Z"),
        layer("2026-01-05T09:00:00Z", WEEK, "C"),
    ])  # fmt: skip
    found, compared = imported(tmp_path, theirs)
    said = [str(each) for each in found.lost]
    assert any("begins at 2026-02-11T09:00Z, inside a turn; here at 2026-02-09 09:00:20 UTC" in each for each in said)
    assert any("hands off at 09:00:20; here at 09:00" in each for each in said)
    assert datetime(2026, 2, 9, 9, tzinfo=UTC) == compared.differences[0].start
    assert datetime(2026, 2, 11, 10, tzinfo=UTC) == compared.differences[0].end


def test_what_has_no_form_here_is_said(tmp_path: Path) -> None:
    """Turns of 25 minutes; no final schedule."""
    theirs = schedule(
        "UTC", [layer("2026-01-05T09:00:00Z", timedelta(minutes=25), "A"), layer("2026-01-05T09:00:00Z", WEEK, "B")]
    )
    found, compared = import_pagerduty(
        written(
            tmp_path, {"schedule": {**theirs, "final_schedule": {"rendered_schedule_entries": []}}, "users": USERS}
        ),
        SINCE,
    )
    assert () == compared
    said = [str(each) for each in found.lost]
    assert any("turns of 25m have no form here" in each for each in said)
    assert any("nothing was compared" in each for each in said)


def test_the_command_writes_the_file_and_ends_with_1_where_hours_differ(run: Run, tmp_path: Path) -> None:
    good = written(tmp_path, {"schedule": SCHEDULES["weekly"]}, {"users": USERS})
    done = run("oncall", "import", "pagerduty", *map(str, good), "--output", str(tmp_path / "pagers.yaml"))
    assert 0 == done.returncode, done.stderr
    assert "2160 hours compared with the final schedule" in done.stderr
    assert "members: [Anna-Acs, Bela, Cruz]" in (tmp_path / "pagers.yaml").read_text()
    late = [
        layer("2026-01-05T09:00:00Z", WEEK, "AB", end="2026-04-20T09:00:00Z"),
        layer("2026-01-05T09:00:00Z", WEEK, "C"),
    ]
    answer = {"schedule": schedule("UTC", late), "users": USERS}
    done = run("oncall", "import", "pagerduty", *map(str, written(tmp_path, answer)), "--json")
    assert 1 == done.returncode
    [compared] = json.loads(done.stdout)["Compared"]
    assert compared["Differing"] > 0
    assert compared["Differences"]
