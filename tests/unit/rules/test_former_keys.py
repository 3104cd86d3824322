"""Words that people may write for a key: the error names the key."""

import pytest

from tests.unit.rules.conftest import Load
from tocsin.errors import ConfigurationError

RULE = """
rules:
  - name: rate
    over: 1h
    query: RunStatusChanged | summarize n = count() by ExperimentName
    by: [ExperimentName]
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("keep: [ExperimentName]", "fields"), ("clear: n", "resolve"), ("was: old", "renamed_from"),
        ("tell_within: 1h", "max_event_age"), ("limit: {per: ExperimentName, told: 3, max: 1, window: 1h}", "max"),
        ("limit: {per: ExperimentName, max: 3, in: 1h, window: 1h}", "window"), ("resolve: {after: 1h, when: n < 1}", "auto_close"),
        ("tests: [{name: t, expect: [{at: 1h, told: 1}]}]", "notifications"),
        ("tests: [{name: t, expect: [{at: 1h, resolved_told: 1}]}]", "resolved"),
    ],
)  # fmt: skip
def test_a_former_word_for_a_key_names_the_key(load: Load, old: str, new: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(f"{RULE}    {old}\n")
    found = [str(p) for p in raised.value.problems]
    assert any(f"is not a key that is known here; did you mean '{new}'?" in f for f in found), found
