"""Matchers: Alertmanager's documentation, sentence by sentence, and `match:` of our files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracle.effort import examples
from tocsin.notify.routing.matchers import (
    BadMatcher,
    Matcher,
    Op,
    matcher,
    matches,
    one_of,
    parse_matchers,
    text_of,
)


def said(text: str) -> list[tuple[str, str, str]]:
    return [(each.name, each.op.value, each.value) for each in parse_matchers(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{alertname="Watchdog", severity=~"warning|critical"}', [("alertname", "=", "Watchdog"), ("severity", "=~", "warning|critical")]),
        ('alertname="Watchdog", severity=~"warning|critical"', [("alertname", "=", "Watchdog"), ("severity", "=~", "warning|critical")]),
        ('{alertname="Watchdog",}', [("alertname", "=", "Watchdog")]),  # one trailing comma
        ('{\n  alertname = "Watchdog",\n\tseverity !~ "warning",\n}', [("alertname", "=", "Watchdog"), ("severity", "!~", "warning")]),
        ("foo = bar", [("foo", "=", "bar")]),
        ("dings != bums", [("dings", "!=", "bums")]),
        ('foo = "bar,baz"', [("foo", "=", "bar,baz")]),
        (r'{quote=~"She said: \"Hi, all!( How\'re you…)?\""}'.replace("\\'", "'"), [("quote", "=~", "She said: \"Hi, all!( How're you…)?\"")]),
        ("Προμηθεύς=[a-z]+", [("Προμηθεύς", "=", "[a-z]+")]),  # UTF-8 literals
        ('"foo!"="bar"', [("foo!", "=", "bar")]),  # quoted names
        (r'a=~"\\d+"', [("a", "=~", r"\d+")]),
        (r'a="\xf0\x9f\x99\x82"', [("a", "=", "🙂")]),
        ("foo=", [("foo", "=", "")]),  # classic only: the value may be empty
        ("foo=a b", [("foo", "=", "a b")]),  # classic only: unquoted blanks
        (r"foo=a\d", [("foo", "=", r"a\d")]),  # classic only: a backslash that escapes nothing is one
        ("{}", []),
    ],
)  # fmt: skip
def test_what_the_documentation_permits(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert expected == said(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{alertname="Watchdog"', "has no closing brace"),
        ('alertname="Watchdog"}', "where a comma belongs"),
        ('{{alertname="Watchdog"}}', "where a field's name belongs"),
        ('{a="b",,}', "where a field's name belongs"),
        ("alertname", "where one of = != =~ !~ belongs"),
        ("=b", "where a field's name belongs"),
        ('a="b" c="d"', "where a comma belongs"),
        ("", 'is empty; write team="ranking"'),
        ('a="b', "where it does not belong"),
        ('a=~"("', "is not a regular expression of RE2"),
        ('a=~"(?=b)"', "is not a regular expression of RE2"),  # Go's engine looks neither ahead nor behind
        ('a=~"' + "x" * 2001 + '"', "longer than 2000 characters"),
    ],
)
def test_what_it_does_not_permit(text: str, why: str) -> None:
    with pytest.raises(BadMatcher) as caught:
        parse_matchers(text)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ('a="b"', "b", True), ('a="b"', "B", False), ('a="b"', "", False),
        ('a!="b"', "", True), ('a!="b"', "b", False),
        ('a=""', "", True),  # a missing field and an empty one are the same
        ('a=~"b|c"', "c", True), ('a=~"b"', "abc", False), ('a=~".*b.*"', "abc", True),  # anchored at both ends
        ('a!~"b"', "abc", True), ('a=~"b.*"', "", False), ('a=~".*"', "", True), ('a=~"(?i)B"', "b", True),
    ],
)  # fmt: skip
def test_how_they_compare(text: str, value: str, expected: bool) -> None:
    (found,) = parse_matchers(text)
    assert expected is found.matches({"a": value} if value else {})


def test_all_of_a_list_must_match() -> None:
    both = (*parse_matchers("alertname = Watchdog"), *parse_matchers('{severity =~ "warning|critical"}'))
    assert matches(both, {"alertname": "Watchdog", "severity": "critical"})
    assert not matches(both, {"alertname": "Watchdog", "severity": "none"})
    assert matches((), {})


def test_a_hostile_value_takes_linear_time() -> None:
    """Python's engine would take centuries; a label may be what anybody posted."""
    assert not matcher("a", Op.MATCHES, "(a|aa)+b").matches({"a": "a" * 5000})


@settings(max_examples=examples(50), deadline=None)
@given(
    st.text(min_size=1, max_size=20, alphabet=st.characters(exclude_categories=["Cs", "Cc"])),
    st.sampled_from([Op.EQUAL, Op.NOT_EQUAL]),
    st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs", "Cc"])),
)
def test_a_quoted_matcher_says_its_name_and_value_whatever_they_are(name: str, op: Op, value: str) -> None:
    quoted = ['"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in (name, value)]
    assert [(name, op.value, value)] == said(f"{{{quoted[0]}{op}{quoted[1]}}}")


@settings(max_examples=examples(50), deadline=None)
@given(st.text(max_size=30))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        for each in parse_matchers(text):
            assert isinstance(each, Matcher)
    except BadMatcher as e:
        assert str(e)


# -- ours --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "among"),
    [
        ([">= critical"], {"critical"}),
        ([">= warning"], {"critical", "error", "warning"}),
        (["< error"], {"warning", "informational", "verbose"}),
        (["error", "> error"], {"critical", "error"}),
    ],
)
def test_severities_are_compared(texts: list[str], among: set[str]) -> None:
    found = one_of("severity", texts)
    severities = ["critical", "error", "warning", "informational", "verbose"]
    assert among == {word for word in severities if found.matches({"severity": word})}


def test_one_of_several_texts() -> None:
    found = one_of("rule", ["run-silent", "run-failed"])
    assert found.matches({"rule": "run-failed"}) and not found.matches({"rule": "run-stuck"}) and not found.matches({})
    with pytest.raises(BadMatcher, match="'eror' is not a severity"):
        one_of("severity", [">= eror"])


def test_a_person_reads_what_they_say() -> None:
    both = (one_of("severity", [">= critical"]), one_of("rule", ["a", "b"]), *parse_matchers('team!="x"'))
    assert 'severity: >= critical, rule: [a, b], team!="x"' == text_of(both)
    assert "every alert" == text_of(())
