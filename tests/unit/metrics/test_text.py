"""The text of a scrape is what prometheus-client writes, byte for byte; its library is the oracle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder

from tests.oracle.effort import examples
from tocsin.metrics.exports import Family
from tocsin.metrics.registry import Metrics
from tocsin.metrics.table import TABLE

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FORMS = ("", "text/plain; version=1.0.0; escaping=allow-utf-8", OPENMETRICS)
NUMBERS = st.floats() | st.integers(-(10**12), 10**12).map(float)
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)


def lines(text: bytes) -> list[str]:
    """In their order, but for what the process itself is asked at each time."""
    return [line for line in text.decode().split("\n") if "process_" not in line and "python_" not in line]


def same(metrics: Metrics) -> None:
    for accept in FORMS:
        encode, content_type = choose_encoder(accept)
        text, given_type = metrics.exposition(accept)
        assert (lines(encode(metrics.registry)), content_type) == (lines(text), given_type)


def fill(metrics: Metrics, word: str, number: float) -> None:
    """A series of each family."""
    for m in TABLE:
        labels = dict.fromkeys(m.with_labels_of_runs(metrics.run_labels), word)
        if m.type == "counter":
            metrics.inc(m.name, abs(number) if abs(number) < 1e300 else 1, **labels)
        elif m.type == "gauge":
            metrics.set(m.name, number, **labels)
        else:
            metrics.observe(m.name, number, **labels)


@settings(max_examples=examples(10))
@given(words=st.lists(WORDS, min_size=1, max_size=3), numbers=st.lists(NUMBERS, min_size=3, max_size=3))
def test_it_is_what_the_library_writes(words: list[str], numbers: list[float]) -> None:
    metrics = Metrics(("experiment",))
    metrics.exports.declare([Family(name="cost", help='In "US\\$"\nby run.', labels=("RunId", "ExperimentName"))])
    for word, number in zip(words, numbers, strict=False):
        fill(metrics, word, number)
        metrics.exports.put("cost", {"RunId": word, "ExperimentName": "x"}, number)
    same(metrics)


def test_series_and_families_that_went_are_gone_from_the_next_scrape() -> None:
    """Heads of lines are kept between scrapes."""
    metrics = Metrics()
    metrics.exports.declare([Family(name="cost", help="Cost.", labels=("RunId",))])
    metrics.exports.put("cost", {"RunId": "r1"}, 1)
    fill(metrics, "a", 1)
    same(metrics)
    metrics.forget("tocsin_alerts_fired_total", rule="a")
    metrics.exports.declare([Family(name="cost", help="Cost.", labels=("Target",))])
    metrics.exports.put("cost", {"Target": "r1"}, 2)
    same(metrics)
    assert b'cost{target="r1"} 2.0' in metrics.exposition()[0]
    metrics.exports.declare([])
    fill(metrics, "b", 2)
    same(metrics)


@pytest.mark.parametrize("accept", FORMS)
def test_a_scrape_ends_as_its_form_wants(accept: str) -> None:
    assert Metrics().exposition(accept)[0].endswith(b"# EOF\n") == (accept == OPENMETRICS)
