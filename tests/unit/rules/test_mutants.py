"""Mutants: each kind is made, a good test kills it, a weak one lets it live and gets the test that is missing."""

from textwrap import dedent, indent

import pytest

from tocsin.config.yaml.document import load
from tocsin.kql.schema import Schema
from tocsin.rules.compile.load import Known
from tocsin.rules.testing.mutants import Fate, Mutant, mutate

WEAK = """
        tests:
          - name: weak
            events: [{at: 0s, RunId: r1, Status: Queued}]
            expect: [{at: 0s, notifications: 0}]
"""


@pytest.fixture
def known(schema: Schema) -> Known:
    return Known(schema=schema)


def rule(body: str, tests: str) -> str:
    return (
        "rules:\n  - name: mine\n"
        + indent(dedent(body).strip(), "    ")
        + "\n"
        + indent(dedent(tests).strip(), "    ")
        + "\n"
    )


def mutants(text: str, known: Known, stories: int = 12) -> list[Mutant]:
    return mutate(load(text, "mine.yaml"), known, stories=stories)


BURST = """
    over: 10m
    every: 1m
    query: |
      RunStatusChanged
      | where Status == 'Failed'
      | summarize failed = count() by ExperimentName, Target
    condition: failed >= 2
    by: [ExperimentName, Target]
    for: 2m
"""
BURST_TEST = """
    tests:
      - name: two of one experiment and target, for two minutes
        events:
          - {at: 10s, RunId: r1, Status: Failed, ExperimentName: a, Target: x}
          - {at: 10s, RunId: r2, Status: Failed, ExperimentName: a, Target: x}
          - {at: 10s, RunId: r3, Status: Failed, ExperimentName: a, Target: y}
          - {at: 10s, RunId: r4, Status: Failed, ExperimentName: b, Target: y}
          - {at: 10s, RunId: r5, Status: Running, ExperimentName: b, Target: y}
        expect:
          - {at: 2m, notifications: 0}
          - {at: 9m, notifications: 1, firing: [{ExperimentName: a, Target: x}]}
"""


def test_every_kind_is_made_with_its_line(known: Known) -> None:
    made = {(m.change.kind, m.line) for m in mutants(rule(BURST, BURST_TEST), known)}
    assert {
        ("window", 3), ("status", 7), ("comparison", 7), ("filter", 7), ("threshold", 9), ("comparison", 9), ("for", 11)
    } <= made  # fmt: skip
    (final, *_) = [
        m for m in mutants(rule("when: {status: Failed, final: true}", WEAK), known) if m.change.kind == "final"
    ]
    assert ("final: true → false", 3) == (final.change.said, final.line)
    grouped = [m.change.said for m in mutants(rule(SEQUENCE, WEAK), known) if m.change.kind == "group"]
    assert ["by: Target dropped", "by: ExperimentName dropped"] == sorted(grouped, reverse=True)


SEQUENCE = "when: {status: Failed, times: 2, within: 1h, by: [ExperimentName, Target]}"
SEQUENCE_TEST = """
    tests:
      - name: twice within an hour, of one experiment and target
        events:
          - {at: 0m, RunId: r1, Status: Failed, ExperimentName: a, Target: x}
          - {at: 1m, RunId: r2, Status: Failed, ExperimentName: a, Target: y}
          - {at: 2m, RunId: r3, Status: Failed, ExperimentName: b, Target: x}
          - {at: 90m, RunId: r4, Status: Failed, ExperimentName: a, Target: x}
          - {at: 2h11m, RunId: r5, Status: Failed, ExperimentName: a, Target: x}
        expect:
          - {at: 1h, notifications: 0}
          - {at: 2h, notifications: 0}
          - {at: 2h20m, notifications: 1}
"""


@pytest.mark.parametrize(
    ("body", "kinds", "test"),
    [
        (
            "when: {status: Failed, final: true, where: ExperimentName == 'a'}",
            {"status", "final", "filter", "comparison"},
            """
            tests:
              - name: the last attempt of a
                events:
                  - {at: 0m, RunId: r1, Status: Failed, ExperimentName: a, WillRetry: true}
                  - {at: 1m, RunId: r2, Status: Failed, ExperimentName: b}
                  - {at: 2m, RunId: r3, Status: Failed, ExperimentName: a}
                expect:
                  - {at: 1m, notifications: 0}
                  - {at: 2m, notifications: 1}
            """,
        ),
        (
            "when: {status: Queued, in_status_for: 45m}",
            {"status", "window"},
            """
            tests:
              - name: after 45 minutes
                events: [{at: 0m, RunId: r1, Status: Queued}]
                expect: [{at: 44m, notifications: 0}, {at: 45m, notifications: 1}]
            """,
        ),
        (SEQUENCE, {"status", "window", "group", "threshold"}, SEQUENCE_TEST),
    ],
)
def test_a_good_test_kills_what_a_weak_one_lets_live(body: str, kinds: set[str], test: str, known: Known) -> None:
    good, weak = mutants(rule(body, test), known), mutants(rule(body, WEAK), known)
    assert [] == [m.change.said for m in good if m.fate is Fate.SURVIVED]
    assert kinds == {m.change.kind for m in good if m.fate is Fate.KILLED}
    assert [m.change.said for m in good] == [m.change.said for m in weak], "the same are made"
    assert [m for m in weak if m.fate is Fate.SURVIVED]


def test_the_test_that_is_printed_kills_the_mutant(known: Known) -> None:
    body = "when: {status: Failed, where: Attempt > 2}"
    weak = [m for m in mutants(rule(body, WEAK), known) if m.fate is Fate.SURVIVED]
    assert weak and all(m.test for m in weak)
    pasted = rule(body, "tests:\n" + indent("".join(m.test for m in weak), "  "))
    again = mutants(pasted, known)
    assert sum(m.fate is Fate.KILLED for m in again) >= len(weak)
    assert not {m.change.said for m in again if m.fate is not Fate.KILLED} & {m.change.said for m in weak}


def test_a_mutant_that_does_the_same_is_equivalent(known: Known) -> None:
    """A filter that says again what `status` says."""
    (other,) = [
        m
        for m in mutants(rule("when: {status: Failed, where: Attempt >= 0 and Status == 'Failed'}", WEAK), known)
        if m.change.said == "where: `and Status == 'Failed'` dropped"
    ]
    assert (Fate.EQUIVALENT, "") == (other.fate, other.test)


def test_a_test_that_fails_already_says_so(known: Known) -> None:
    with pytest.raises(ValueError, match="mine: the test 'weak' fails already"):
        mutants(rule("when: {status: Queued}", WEAK), known)
