"""Consumer files: what is wrong is said with file and line, all at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from tocsin.errors import ConfigurationError
from tocsin.intake.consumer import active, load_consumers, read_consumer
from tocsin.intake.files import CancelPart
from tocsin.intake.testing import run_consumer_tests

GOOD = """\
connector: http
mapping:
  RunId: run
  Status: state
"""


def write(directory: Path, **files: str) -> list[Path]:
    paths = []
    for name, text in files.items():
        path = directory / f"{name.replace('_', '-')}.yaml"
        path.write_text(text)
        paths.append(path)
    return paths


def problems(paths: list[Path]) -> list[str]:
    try:
        load_consumers(paths, {p: p.name for p in paths})
    except ConfigurationError as e:
        return [str(p) for p in e.problems]
    return []


def test_a_good_file_is_a_consumer(tmp_path: Path) -> None:
    """Named after its file, with what it promises."""
    text = GOOD + "expect: {event_every: 15m}\nretries: unknown\n"
    consumers = load_consumers(write(tmp_path, my_source=text))
    found = consumers["my-source"]
    assert ("http", timedelta(minutes=15), True) == (found.connector, found.event_every, found.retries_unknown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("http", "htp"), "c.yaml:1: connector: 'htp' is none of http, kafka, file, poll; did you mean 'http'?"),
        (GOOD.replace("http", "poll"), "c.yaml:1: connector: 'poll' is not supported yet; use kafka or http"),
        (GOOD + "maping: {}\n", "c.yaml:5: maping: is not a key that is known here; did you mean 'mapping'?"),
        (GOOD + "  Tagss: x\n", "c.yaml:5: mapping.Tagss: Tagss is not a column that a mapping can set; did you mean 'Tags'?"),
        (GOOD + "  EventId: x\n", "c.yaml:5: mapping.EventId: EventId is not set under mapping; write it as the key `event_id`"),
        (GOOD + "  Progress: a / b\n", "'a / b' is no JMESPath: there is no arithmetic in it; keep both values"),
        (GOOD + "  Tags: a..b\n", "c.yaml:5: mapping.Tags: 'a..b' is no JMESPath"),
        (GOOD + "filter: lowr(x)\n", "c.yaml:5: filter: there is no function lowr(); did you mean 'lower'?"),
        (GOOD + "status_map: {OK: Complete}\n", "c.yaml:5: status_map.OK: 'Complete' is not a status; did you mean 'Completed'?"),
        (GOOD + "status_map: {OK: Completed, ok: Failed}\n", "c.yaml:5: status_map: 'OK' and 'ok' are the same word"),
        (GOOD + "format: json linse\n", "c.yaml:5: format: 'json linse' is neither auto, one, array, json lines nor a JMESPath"),
        (GOOD + "format: aray\n", "c.yaml:5: format: 'aray' is no format; did you mean 'array'?"),
        (GOOD + "expect: {event_every: soon}\n", "c.yaml:5: expect.event_every: 'soon' is not a duration; write 90s, 45m, 12h or 30d"),
        (GOOD + "name: other\n", "c.yaml:5: name: 'other' is not the file's name; write name: c"),
        (GOOD + "kafka: {topics: [t]}\n", "c.yaml:1: connector: http and the key kafka do not go together"),
        (GOOD + "canonical: true\n", "c.yaml:1: canonical: true and the key mapping do not go together"),
        ("connector: http\n", "c.yaml:1: the key mapping must say where RunId is"),
        ("connector: http\nmapping: {RunId: r}\n", "c.yaml:1: the key mapping must say where Status is"),
        ("connector: kafka\ncanonical: true\n", "c.yaml:1: connector: kafka needs the key kafka"),
        ("connector: kafka\ncanonical: true\nkafka: {topics: []}\n", "c.yaml:3: kafka.topics:"),
        (
            "connector: kafka\ncanonical: true\nkafka: {topics: [t], settings: {enable_auto_commit: true}}\n",
            "c.yaml:3: kafka.settings: enable_auto_commit cannot stand here",
        ),
        (
            "connector: kafka\ncanonical: true\nkafka: {topics: [t], settings: {fetch_max_byte: 1}}\n",
            "did you mean 'fetch_max_bytes'?",
        ),
        (GOOD + "tests: [{payload: {}, rows: [{Runid: x}]}]\n", "Runid is not a column of its rows; did you mean 'RunId'?"),
        (GOOD + "tests: [{payload: {}, dead: [{reason: no_run}]}]\n", "'no_run' is not a reason; did you mean 'no_run_id'?"),
        ("connector: [http\n", "c.yaml:2: not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    """What, where, and what would be right."""
    found = problems(write(tmp_path, c=text))
    assert any(expected in problem for problem in found), found


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    """Not one a run."""
    bad = GOOD + "filter: '('\nmaping: {}\n  \n"
    found = problems(write(tmp_path, a=bad, b=GOOD, c="connector: ftp\n"))
    assert {"a.yaml:5", "a.yaml:6", "c.yaml:1"} == {p.split(": ")[0] for p in found}


def test_a_kafka_consumer_rests_until_there_is_kafka(tmp_path: Path) -> None:
    """So the shipped one disturbs nobody; a disabled one rests always."""
    kafka = "connector: kafka\ncanonical: true\nkafka: {topics: [t]}\n"
    consumers = load_consumers(write(tmp_path, k=kafka, h=GOOD, off=GOOD + "enabled: false\n"))
    assert ["h"] == sorted(active(consumers, kafka=False))
    assert ["h", "k"] == sorted(active(consumers, kafka=True))


def test_inline_tests_say_what_differs(tmp_path: Path) -> None:
    """Hits and misses, each with its line."""
    text = (
        GOOD
        + """\
time: at
tests:
  - name: right
    payload: {run: r1, state: finished, at: "2026-01-05T10:00:00+01:00"}
    rows: [{RunId: r1, Status: Unknown, OriginalStatus: finished, TimeGenerated: "2026-01-05T09:00:00Z", Tags: {}}]
  - name: wrong
    payload: |
      {"run": "r2", "state": "Failed"}
      {"state": "Failed"}
    rows: [{RunId: r2, Status: Completed}, {RunId: r3}]
"""
    )
    right, wrong = run_consumer_tests(write(tmp_path, c=text))
    assert (True, 7) == (right.passed, right.line)
    assert (False, 10) == (wrong.passed, wrong.line)
    assert [
        "row 1, Status: expected 'Completed', got 'Failed'",
        "row 2 did not come: {'RunId': 'r3'}",
        "dead letters: expected none, got ['no_run_id']",
        "  no_run_id: RunId: `run` finds nothing; the event has state (a string)",
    ] == wrong.text.split("\n")


def test_tests_with_the_same_event_do_not_disturb_each_other(tmp_path: Path) -> None:
    """What one stored is no duplicate in the next."""
    test = '  - payload: {run: r, state: Failed, id: "1", at: "2026-01-05T10:00:00Z"}\n    rows: [{RunId: r}]\n'
    results = run_consumer_tests(write(tmp_path, c=GOOD + "event_id: id\ntime: at\ntests:\n" + test * 2))
    assert ["", ""] == [r.text for r in results]


@pytest.mark.parametrize(
    ("cancel", "why"),
    [
        ("{url: 'ftp://a.example'}", "is no URL; write https://"),
        ("{url: 'https://{Target}.example/x'}", "a run must not say which host is called"),
        ("{url: 'https://a.example/{Runid}'}", "did you mean 'RunId'"),
        ("{url: 'https://a.example/', body: {id: ['{Tags}']}}", "{Tags} is no column of Runs that holds text"),
        ("{url: 'https://a.example/', method: GET}", "method"),
    ],
)
def test_a_cancel_that_cannot_be_made_is_refused(tmp_path: Path, cancel: str, why: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"connector: http\nmapping: {{RunId: id, Status: state}}\ncancel: {cancel}\n")
    with pytest.raises(ConfigurationError) as e:
        read_consumer(path, "c.yaml")
    assert why in str(e.value)


def test_columns_of_a_run_fill_a_cancel() -> None:
    part = CancelPart(
        url="https://a.example/r/{RunId}?e={ExperimentName}", body={"id": "{RunId}", "n": [1, "x {Target}"]}
    )
    run = {"RunId": "a/b ?", "ExperimentName": "&", "Target": "{RunId}"}
    assert "https://a.example/r/a%2Fb%20%3F?e=%26" == part.address(run)
    assert {"id": "a/b ?", "n": [1, "x {RunId}"]} == part.filled(part.body, run)
