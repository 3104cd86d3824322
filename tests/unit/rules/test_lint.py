"""Each warning with what it catches and what it leaves alone."""

import pytest

from tests.unit.rules.conftest import Load
from tocsin.rules.inspect.lint import lint
from tocsin.rules.language.lint_query import findings


def said(load: Load, query: str, more: str = "") -> list[str]:
    rules = load(f"rules:\n  - name: a\n    {more or 'enabled: true'}\n    query: |\n      {query}\n")
    return [f"{p.message}; {p.hint}" for p in lint(rules)]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Status == 'Failed' and Status == 'Completed'", "no event has Status == 'Failed' and Status == 'Completed'"),
        ("Status in ('Failed', 'Canceled') | where Status !in ('Failed', 'Canceled')", "no event has Status in"),
        (
            "Status == 'Failed' and ExperimentName =~ 'A' and ExperimentName == 'b'",
            "no event has ExperimentName =~ 'A'",
        ),
        ("Status == 'Failed' and Tags.env == 'prod' and Tags.env == 'dev'", "no event has Tags.env == 'prod'"),
        ("Status == 'Failed' and not(Status in ('Failed'))", "no event has Status == 'Failed' and Status != 'Failed'"),
        ("Attempt > 3 and Attempt < 2", "no event has Attempt > 3 and Attempt < 2"),
        ("Attempt > 3 and Attempt <= 3", "no event has Attempt > 3"),
        ("Progress > 50", "no event has Progress > 50"),
        ("Progress between (2 .. 3)", "no event has Progress >= 2"),
        ("Status == 'Failed' and 1 == 2", "it asks for a condition that is false"),
        (
            "Status == 'Failed' and isnull(Message)",
            "no event has null in Message: an absent text is '', and isempty(Message)",
        ),
    ],
)
def test_what_never_matches(load: Load, query: str, words: str) -> None:
    (warning,) = said(load, f"RunStatusChanged | where {query}")
    assert f"never matches: {words}" in warning


@pytest.mark.parametrize(
    "query",
    [
        "Status == 'Failed' or Status == 'Completed'",
        "Status in ('Failed', 'Canceled') and Status != 'Failed'",
        "ExperimentName =~ 'CHURN' and ExperimentName == 'churn'",
        "Attempt > 3 and Attempt < 5",
        "Attempt >= 3 and Attempt <= 3",
        "Progress >= 1",
        "Status == 'Failed' and Tags.a == 'x' and Tags.b == 'y'",
        "Status == 'Failed' | extend Target = 'x' | where Target == 'x' | where Target != 'y'",
        "Status == 'Failed' | extend Attempt = -5 | where Attempt < 0",
        "Status == 'Failed' and Reason == '' and Reason != 'user_canceled'",
    ],
)
def test_what_may_match(load: Load, query: str) -> None:
    assert [] == said(load, f"RunStatusChanged | where {query}")


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("Status == 'Faild'", "'Faild' is no Status that an event can have; did you mean 'Failed'?"),
        ("Status == 'failed'", "'failed' is no Status that an event can have; did you mean 'Failed'?"),
        (
            "Status in ('Failed', 'Cancelled')",
            "'Cancelled' is no Status that an event can have; did you mean 'Canceled'?",
        ),
        ("Status != 'Sucess' and Reason == 'oom'", "'oom' is no Reason that an event can have; known are"),
        ("Status == 'Failed' and Reason != 'user_cancelled'", "did you mean 'user_canceled'?"),
    ],
)
def test_words_that_no_event_has(load: Load, condition: str, words: str) -> None:
    assert any(words in warning for warning in said(load, f"RunStatusChanged | where {condition}"))


@pytest.mark.parametrize(
    "condition",
    ["Status =~ 'failed'", "OriginalStatus == 'error'", "Status == 'Unknown'", "Status == 'Failed' and Reason == ''"],
)
def test_words_that_some_event_has(load: Load, condition: str) -> None:
    assert [] == said(load, f"RunStatusChanged | where {condition}")


def test_words_inside_aggregates_count_too() -> None:
    found = findings("RunStatusChanged | summarize n = countif(Status == 'Faild') | where n > 3")
    assert ["Faild"] == [w.value for w in found.compared]
    assert not found.always


@pytest.mark.parametrize(
    ("query", "always"),
    [
        ("RunStatusChanged", True),
        ("RunStatusChanged | extend x = 1", True),
        ("RunStatusChanged | where isnotempty(RunId) and Status != 'Done'", True),
        ("RunStatusChanged | where true", True),
        ("RunStatusChanged | where Status == 'Failed'", False),
        ("RunStatusChanged | where isnotempty(Message)", False),
        ("RunStatusChanged | where Status != 'Running'", False),
        ("RunStatusChanged | summarize n = count() by ExperimentName", True),
        ("RunStatusChanged | summarize n = count() by ExperimentName | where n > 3", False),
    ],
)
def test_what_always_fires(query: str, always: bool) -> None:
    assert always == findings(query).always


def test_a_rule_that_always_fires_is_notified(load: Load) -> None:
    assert ["fires for every event: no condition keeps any out; say which with where"] == said(load, "RunStatusChanged")


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("Message == 'CUDA out of memory'", "write Message has 'CUDA out of memory'"),
        ("DisplayName != 'nightly'", "write DisplayName !has 'nightly'"),
        ("LogTail in ('a')", "write LogTail has 'a'"),
        ("OwnerEmail == 'Anna@example.org'", "write OwnerEmail =~ 'Anna@example.org'"),
    ],
)
def test_equality_on_free_text(load: Load, condition: str, hint: str) -> None:
    (warning,) = said(load, f"RunStatusChanged | where Status == 'Failed' and {condition}")
    assert warning.endswith(hint)


@pytest.mark.parametrize(
    "condition",
    [
        "Message has 'memory'",
        "Message == ''",
        "ExperimentName == 'churn'",
        "Target == 'gpu'",
        "OwnerEmail =~ 'a@b.c'",
        "Message != ''",
    ],
)
def test_equality_that_is_meant(load: Load, condition: str) -> None:
    assert [] == said(load, f"RunStatusChanged | where Status == 'Failed' and {condition}")


def test_names_that_never_come_again(load: Load) -> None:
    (warning,) = said(load, "RunStatusChanged | where Status == 'Failed'", "by: [ExperimentName, Message]")
    assert warning.startswith("Message has another value in nearly every event")
    assert [] == said(load, "RunStatusChanged | where Status == 'Failed'", "by: [ExperimentName]")


def test_final_of_what_does_not_end(load: Load) -> None:
    rules = load("""
        rules:
          - {name: odd, when: {status: Running, final: true}}
          - {name: fine, when: {status: [Failed, Running], final: true}}
        """)
    assert ["odd: when.final"] == [p.key for p in lint(rules)]


def test_rules_that_find_the_same(load: Load) -> None:
    """Whatever they are called and carry; not one that is disabled, or asks for each attempt."""
    rules = load("""
        rules:
          - {name: a, when: {status: Failed, final: false}}
          - {name: b, severity: error, query: "RunStatusChanged | where Status == 'Failed'"}
          - {name: c, enabled: false, when: {status: Failed, final: false}}
          - {name: d, when: {status: Failed}}
          - {name: e, when: {status: Completed}}
        """)
    assert ["rules.yaml:4: warning: b: finds the same as a at rules.yaml:3"] == [
        str(p).partition(";")[0] for p in lint(rules)
    ]


def test_a_receiver_of_whom_nobody_may_be_mailed(load: Load) -> None:
    rules = load("rules:\n  - {name: a, when: {status: Failed}, notify: {to: [owner, void]}}")
    (warning,) = lint(rules, lambda name: name == "void")
    assert str(warning).startswith("rules.yaml:2: warning: a: notify.to: nobody behind 'void' may be mailed")


def test_a_rule_that_notifies_each_run_of_what_another_collapses(load: Load) -> None:
    text = """
        rules:
          - {name: run-failed, when: {status: Failed}}
          - {name: sweep-failing, when: {status: Failed}, collapse: {to: root, when: {failed: 20%}}}
          - {name: other, when: {status: Canceled}, collapse: {to: root, when: {failed: 20%}}}
        """
    (found,) = lint(load(text))
    assert found.key == "sweep-failing: collapse"
    assert found.message == "saves no mail: run-failed at rules.yaml:3 notifies of each run"
