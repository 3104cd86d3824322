"""rules/oncall: what is read, what is refused, and where the fault stands."""

from pathlib import Path

import pytest

from tocsin.errors import ConfigurationError
from tocsin.notify.routing.files import OnCall, OnCallFile, Receiver, load_oncall

SHIPPED = Path(__file__).parents[3] / "rules" / "oncall"


def load(tmp_path: Path, **files: str) -> OnCall:
    paths = []
    for name, content in files.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(content)
        paths.append(path)
    return load_oncall(paths, tmp_path)


def problems(tmp_path: Path, **files: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, **files)
    return [str(p) for p in caught.value.problems]


def test_people_receivers_and_the_route_are_read(tmp_path: Path) -> None:
    oncall = load(
        tmp_path,
        people="people:\n  - {name: anna, email: anna@Example.org, timezone: Europe/Budapest}\n",
        rest="""
receivers:
  - {name: leads, email: [anna, ml-leads@example.org]}
  - name: owner
    email: {first_of: ["{{ OwnerEmail }}"]}
    fallback: {receiver: leads}
route: {receiver: leads, always: [owner], group_wait: 0s}
""",
    )
    assert oncall.receivers["leads"] == Receiver(name="leads", emails=("anna", "ml-leads@example.org"))
    assert oncall.receivers["owner"] == Receiver(
        name="owner", emails=("{{ OwnerEmail }}",), first_of=True, fallback="leads"
    )
    assert (oncall.always, oncall.receiver) == (("owner",), "leads")
    assert str(oncall.zone_of("ANNA@example.org")) == "Europe/Budapest"


def test_the_shipped_file_notifies_the_owner() -> None:
    oncall = load_oncall(sorted(SHIPPED.glob("*.yaml")))
    owner = oncall.receiver_called("owner")
    assert owner is not None and owner.first_of
    assert oncall.always == ("owner",)


def test_no_file_is_as_good_as_the_shipped_one() -> None:
    shipped = load_oncall(sorted(SHIPPED.glob("*.yaml")))
    assert (OnCall().always, OnCall().receiver_called("owner")) == (shipped.always, shipped.receiver_called("owner"))


LATER = {
    "people[0].page": "people: [{name: a, email: a@b.c, page: 'ntfy://x'}]",
    "receivers[0].webhook": "receivers: [{name: a, webhook: {url: x}}]",
    "receivers[0].schedule": "receivers: [{name: a, email: [a@b.c], schedule: primary}]",
    "receivers[0].fallback.digest": "receivers: [{name: a, email: [a@b.c], fallback: {receiver: x@y.z, digest: daily}}]",
    "route.routes": "route: {routes: []}",
    "route.group_by": "route: {group_by: [rule]}",
    "route.group_wait": "route: {group_wait: 30s}",
    "route.repeat_interval": "route: {repeat_interval: 4h}",
    "inhibit": "inhibit: []",
    "time_intervals": "time_intervals: []",
    "schedules": "schedules: []",
    "escalations": "escalations: []",
    "silences": "silences: []",
    "tests": "tests: []",
    "receivers[0].email.first_of[0]": "receivers: [{name: a, email: {first_of: ['owners.csv(ExperimentName)']}}]",
}


@pytest.mark.parametrize(("key", "content"), LATER.items(), ids=LATER)
def test_what_is_not_built_yet_is_refused_at_its_line(tmp_path: Path, key: str, content: str) -> None:
    """A silently ignored escalation would be worse than none."""
    found = problems(tmp_path, a=f"# one\n{content}\n")
    assert any(p.startswith(f"a.yaml:2: {key}: ") and "not supported yet" in p for p in found), found


def test_every_key_of_the_language_is_known() -> None:
    """Keys that a later version brings are refused as such, not as unknown."""
    assert set(OnCallFile.model_fields) == {
        "people", "receivers", "route", "inhibit", "calendars", "time_intervals", "maintenance", "schedules",
        "escalations", "silences", "tests",
    }  # fmt: skip


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        a="people:\n  - {name: anna, email: nobody}\n  - {name: 'b@c', email: b@example.org, timezone: Europe/Budapset}\n",
        b="receivers:\n  - name: x\n    emial: [a@b.c]\nrout: {}\n",
    )
    assert [p.partition(": ")[0] for p in found] == ["a.yaml:2", "a.yaml:3", "a.yaml:3", "b.yaml:3", "b.yaml:4"]
    assert "did you mean 'Europe/Budapest'?" in found[2]
    assert "did you mean 'email'?" in found[3]


def test_a_calendar_has_one_place(tmp_path: Path) -> None:
    """A name is declared once over all files."""
    found = problems(tmp_path, a="calendars:\n  hu: {country: HU}\n", b="calendars:\n\n  hu: {dates: [2026-12-24]}\n")
    assert ["b.yaml:3: calendars.hu: 'hu' is taken; it stands in a.yaml:2"] == found


def test_names_that_nobody_declared_are_faults(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        a="""
receivers:
  - {name: leads, email: [ana, "bad@@address"]}
  - {name: other, email: ["{{ OwnerEmail"], fallback: {receiver: laeds}}
route: {always: [ownr], receiver: leads}
people: [{name: anna, email: anna@example.org}]
""",
    )
    assert found == [
        "a.yaml:3: receivers[0].email[0]: 'ana' is no person or address; did you mean 'anna'?",
        "a.yaml:3: receivers[0].email[1]: 'bad@@address' is more than one address; write ops@example.org",
        "a.yaml:4: receivers[1].email[0]: is no template: unexpected end of template, expected 'end of print statement'.",
        "a.yaml:4: receivers[1].fallback.receiver: 'laeds' is no receiver, person or address; did you mean 'leads'?",
        "a.yaml:5: route.always[0]: 'ownr' is no receiver, person or address; did you mean 'owner'?",
    ]


def test_a_name_stands_once_and_a_route_stands_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        a="receivers: [{name: x, email: [a@b.c]}]\nroute: {receiver: x}\n",
        b="people: [{name: x, email: a@b.c}]\nroute: {receiver: x}\n",
    )
    assert found == [
        "b.yaml:1: people[0].name: 'x' is taken; it stands in a.yaml:1",
        "b.yaml:2: route: is given twice; it stands in a.yaml",
    ]


def test_fallbacks_do_not_go_in_a_circle(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        a="receivers:\n- {name: x, email: [a@b.c], fallback: {receiver: y}}\n- {name: y, email: [a@b.c], fallback: {receiver: x}}\n",
    )
    assert "goes in a circle: x → y → x" in found[0]


def test_a_rules_receivers_can_be_checked() -> None:
    """For `tocsin check`: what notify.to of a rule may name."""
    oncall = OnCall()
    assert [oncall.wrong(n) for n in ("owner", "ops@example.org")] == [None, None]
    assert oncall.wrong("ownr") == ("'ownr' is no receiver, person or address", "did you mean 'owner'?")
    assert oncall.wrong("ops@exa mple.org") == ("'ops@exa mple.org' has a domain that is none", "write ops@example.org")
