"""rules/oncall from disk: what is read, what is refused, and where the fault stands."""

from pathlib import Path

import pytest

from tests.unit.notify.make import oncall
from tocsin.errors import ConfigurationError, Problem
from tocsin.notify.routing.files import OnCallFiles, read_oncall_files
from tocsin.notify.routing.oncall_file import Context, OnCallFile, OnCallRules, read_files

SHIPPED = Path(__file__).parents[3] / "rules" / "oncall"


def load(tmp_path: Path, **files: str) -> OnCallFiles:
    paths = []
    for name, content in files.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(content)
        paths.append(path)
    return read_oncall_files(paths, tmp_path)


def faults(tmp_path: Path, **files: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, **files)
    return [str(p) for p in caught.value.problems]


def shipped() -> OnCallRules:
    problems: list[Problem] = []
    found = read_files(read_oncall_files(sorted(SHIPPED.glob("*.yaml"))).files, Context(), problems)
    assert found is not None, problems
    return found


def test_people_receivers_and_the_route_are_read() -> None:
    found = oncall("""
people: [{name: anna, email: anna@Example.org, timezone: Europe/Budapest}]
receivers:
  - {name: leads, email: [anna, ml-leads@example.org]}
  - name: owner
    email: {first_of: ["{{ OwnerEmail }}"]}
    fallback: {receiver: leads}
route: {receiver: leads, always: [owner], group_wait: 0s}
""")
    leads, owner = found.receivers["leads"], found.receivers["owner"]
    assert (("anna", "ml-leads@example.org"), False) == (leads.emails, leads.takes_first)
    assert (("{{ OwnerEmail }}",), True) == (owner.emails, owner.takes_first)
    assert (("owner",), ("leads",)) == (found.always, found.root.receivers)
    assert "Europe/Budapest" == str(found.zone_of("ANNA@example.org"))


def test_no_file_is_as_good_as_the_shipped_one() -> None:
    """Both notify the owner."""
    file, none = shipped(), OnCallRules()
    of_file, of_none = file.receiver_called("owner"), none.receiver_called("owner")
    assert of_file is not None and of_none is not None
    assert (none.always, of_none.emails, of_none.takes_first) == (file.always, of_file.emails, of_file.takes_first)


def test_every_key_of_the_language_is_known() -> None:
    assert set(OnCallFile.model_fields) == {
        "people", "receivers", "route", "inhibit", "calendars", "time_intervals", "maintenance", "schedules",
        "escalations", "silences", "tests",
    }  # fmt: skip


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        a="people:\n  - {name: anna, email: nobody}\n  - {name: 'b@c', email: b@example.org, timezone: Europe/Budapset}\n",
        b="receivers:\n  - name: x\n    emial: [a@b.c]\nrout: {}\n",
    )
    assert [p.partition(": ")[0] for p in found] == ["a.yaml:2", "a.yaml:3", "a.yaml:3", "b.yaml:3", "b.yaml:4"]
    assert "did you mean 'Europe/Budapest'?" in found[2]
    assert "did you mean 'email'?" in found[3]


def test_a_calendar_has_one_place(tmp_path: Path) -> None:
    """A name is declared once over all files."""
    found = faults(tmp_path, a="calendars:\n  hu: {country: HU}\n", b="calendars:\n\n  hu: {dates: [2026-12-24]}\n")
    assert ["b.yaml:3: calendars.hu: 'hu' is taken; it stands in a.yaml:2"] == found


def test_a_rules_receivers_can_be_checked() -> None:
    """For `tocsin check`: what notify.to of a rule may name."""
    found = OnCallRules()
    assert [found.wrong(n) for n in ("owner", "ops@example.org")] == [None, None]
    assert found.wrong("ownr") == ("'ownr' is no receiver, person or address", "did you mean 'owner'?")
    assert found.wrong("ops@exa mple.org") == ("'ops@exa mple.org' has a domain that is none", "write ops@example.org")
