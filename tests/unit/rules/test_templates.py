"""Templates of rules: checked when loaded, run in a sandbox, harmless when they fail."""

import pytest

from tocsin.rules.language.templates import LONGEST, TemplateFault, checked


def render(source: str, **row: object) -> str:
    return checked(source)[0].render(row)


def test_values_of_a_row() -> None:
    assert "ranking" == render("{{ Tags.team | lower }}", Tags={"team": "Ranking"})
    assert "x on gpu" == render("  x on {{ Target }}\n", Target="gpu")
    assert "plain" == render("plain")


def test_what_is_missing_is_empty() -> None:
    assert "" == render("{{ Tags.a.b.c }}", Tags={})
    assert "" == render("{{ Tags.a | lower }}", Tags={"a": ""})


def test_the_names_that_it_uses() -> None:
    assert {"Tags", "Target"} == checked("{% set x = Tags.y %}{{ x }}{{ Target }}{{ range(3) }}")[1]
    assert frozenset() == checked("plain { text }")[1]


@pytest.mark.parametrize(
    ("source", "says"),
    [("{{ x", "unexpected end of template"), ("{{ x | nope }}", "no filter is called 'nope'"),
     ("{{ x is nope }}", "no test is called 'nope'"), ("{% for %}", "end of statement")],
)  # fmt: skip
def test_wrong_ones_are_found_when_loaded(source: str, says: str) -> None:
    with pytest.raises(TemplateFault, match=says):
        checked(source)


@pytest.mark.parametrize(
    "source",
    ["{{ Tags.__class__.__mro__ }}", "{{ Tags.update({'x': 1}) }}", "{{ 1 // 0 }}", "{{ range(10 ** 9) | list }}"],
)
def test_the_sandbox_holds(source: str) -> None:
    """Nothing of Python is reached, nothing changes the row, nothing breaks the evaluation."""
    row: dict[str, object] = {"Tags": {"a": 1}}
    try:
        text = checked(source)[0].render(row)
    except TemplateFault:
        text = ""
    assert "" == text and {"Tags": {"a": 1}} == row


def test_a_label_has_a_bound() -> None:
    assert LONGEST == len(render("{{ Message }}", Message="x" * 10_000))
    assert LONGEST == len(render("x" * 10_000))
