"""What on-call files announce: read whole, or refused at its line with what would be right."""

from datetime import UTC, datetime, timedelta

import pytest

from tocsin.config.calendars.maintenance import Announced, MaintenanceModel, read_maintenance
from tocsin.config.yaml.document import load, parse
from tocsin.errors import ConfigurationError, Problem
from tocsin.model.calendars.calendar import Maintenance

GOOD = "from: 2026-12-01T20:00Z, to: 2026-12-01T23:00Z, deadlines: pause"


def read(entry: str, labels: frozenset[str] | None = frozenset({"team"})) -> tuple[tuple[Maintenance, ...], list[str]]:
    document = load(f"maintenance:\n  - {{{entry}}}\n", "oncall.yaml")
    path = ("maintenance", 0)
    try:
        model = parse(MaintenanceModel, document, path)
    except ConfigurationError as e:
        return (), [str(p) for p in e.problems]
    problems: list[Problem] = []
    found = read_maintenance([Announced(model=model, document=document, path=path)], labels, problems)
    return found, [str(p) for p in problems]


def test_all_that_it_says_is_read() -> None:
    """As the language's example says it; `>= critical` are severities."""
    (found,), problems = read(
        f'{GOOD}, match: {{Target: aks-eu, team: [a, b]}}, settle: 20m, except: {{severity: ">= error"}}'
    )
    assert [] == problems
    assert (
        Maintenance(
            begin=datetime(2026, 12, 1, 20, tzinfo=UTC),
            end=datetime(2026, 12, 1, 23, tzinfo=UTC),
            settle=timedelta(minutes=20),
            match={"Target": frozenset({"aks-eu"}), "team": frozenset({"a", "b"})},
            but={"severity": frozenset({"critical", "error"})},
            place="oncall.yaml:2",
        )
        == found
    )
    assert datetime(2026, 12, 1, 23, 20, tzinfo=UTC) == found.until


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("error", "error"),
        (">= error", "critical error"),
        ("> error", "critical"),
        ("<= informational", "informational verbose"),
        ("< informational", "verbose"),
        ("[critical, verbose]", "critical verbose"),
    ],
)
def test_severities_compare_as_people_do(said: str, words: str) -> None:
    """Critical is more than error, though its number is less."""
    quoted = said if said.startswith("[") else f'"{said}"'
    (found,), _ = read(f"{GOOD}, match: {{severity: {quoted}}}")
    assert set(words.split()) == found.match["severity"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (GOOD.replace("from: 2026-12-01T20:00Z", "from: 2026-12-01T20:00"), "says no zone; write 2026-12-01T20:00Z"),
        (GOOD.replace("from: 2026-12-01T20:00Z", "from: soon"), "'soon' is no time; write for example"),
        (GOOD.replace("T23", "T19"), "maintenance[0].to: does not come after `from`"),
        (GOOD.replace("to: 2026", "to: 2028"), "more than a year"),
        (GOOD.replace("from: 2026-12-01T20:00Z, ", ""), "maintenance[0].from: is missing"),
        (f"{GOOD}, during: weekends", "maintenance[0].during: stands beside from: and to:"),
        ("deadlines: pause, during: weekends", "maintenance[0].deadlines: pauses only between from: and to:"),
        (f"{GOOD}, match: {{Tragte: x}}", "maintenance[0].match.Tragte: 'Tragte' is no column of a run that can be matched"),
        (f"{GOOD}, match: {{Traget: x}}", "did you mean 'Target'?"),
        (f"{GOOD}, match: {{Tags: x}}", "'Tags' is no column of a run that can be matched"),
        (f"{GOOD}, match: {{Target: []}}", "must not be empty"),
        (f"{GOOD}, except: {{severity: '>= eror'}}", "'eror' is not a severity; did you mean 'error'?"),
        (f"{GOOD}, mach: {{Target: x}}", "did you mean 'match'?"),
        (f"{GOOD}, clocks: stop", "maintenance[0].clocks"),
        (f"{GOOD}, then: later", "maintenance[0].then"),
        ("deadlines: pause", "maintenance[0]: says no time; write from: and to:, or during:"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_line(entry: str, says: str) -> None:
    entry = entry.replace(", deadlines: pause, clocks: stop", ", clocks: stop")
    _, problems = read(entry)
    assert any(p.startswith("oncall.yaml:2: ") and says in p for p in problems), problems


def test_labels_that_are_not_known_are_no_fault() -> None:
    """Where the rules are broken, what they label cannot be checked."""
    assert [] == read(f"{GOOD}, match: {{whatever: x}}", None)[1]


def test_one_that_only_mutes_pauses_no_deadline() -> None:
    """Muting is notify's."""
    assert ((), []) == read(GOOD.replace(", deadlines: pause", ""))
    assert ((), []) == read("during: weekends")
