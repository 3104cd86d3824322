"""Tags, properties and descriptions that people set: they move Runs, stay whatever events say, and are no events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.logstore.helpers import Bench, beat, event
from tocsin.logstore.query.as_of import runs_as_of
from tocsin.model.run_state import patched


@pytest.fixture(autouse=True, params=["small", "bulk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs both ways."""
    if request.param == "bulk":
        monkeypatch.setattr("tocsin.logstore.ingest.small.MOST", 0)
        monkeypatch.setattr("tocsin.logstore.ingest.runs.SMALL", 0)


def update(run: object = "r1", *, id: str = "u1", **data: Any) -> bytes:
    return json.dumps({"id": id, "source": "a", "type": "tocsin.run.update", "data": {"RunId": run, **data}}).encode()


def labels(put: Bench, seq: int | None = None) -> dict[str, tuple[str, dict[str, Any], dict[str, Any], str]]:
    """Status, Tags, Properties and Description of each run, as of ``seq``."""
    head = put.store.head().seq
    sql, params = runs_as_of(head if seq is None else seq, head=head, table=put.store.table)
    rows = put.rows(f"SELECT * FROM ({sql})", **params)
    return {
        r["RunId"]: (r["Status"], json.loads(r["Tags"]), json.loads(r["Properties"]), r["Description"]) for r in rows
    }


def test_an_update_sets_and_removes(put: Bench) -> None:
    put(event("r1", "Running", Tags={"team": "a", "old": "1"}), event("r2", "Running"))
    put(update(Tags={"team": "b", "old": None, "new": "2"}, Properties={"p": "3"}, Description="# why"))
    assert {
        "r1": ("Running", {"team": "b", "new": "2"}, {"p": "3"}, "# why"),
        "r2": ("Running", {}, {}, ""),
    } == labels(put)
    assert 2 == len(put.events())


def test_what_people_set_stays(put: Bench) -> None:
    """A later event with tags, one that comes late so that the run is folded again, a heartbeat, a second update."""
    put(event("r1", "Running", 10, Tags={"team": "a"}))
    put(update(Tags={"team": "b", "gone": None}, Description="why"))
    put(event("r1", "Completed", 60, Tags={"team": "a", "gone": "1", "more": "2"}))
    assert ("Completed", {"team": "b", "more": "2"}, {}, "why") == labels(put)["r1"]
    put(event("r1", "Queued", 5))
    put(beat("r1"))
    put(update(id="u2", Tags={"more": "3"}))
    assert ("Completed", {"team": "b", "more": "3"}, {}, "why") == labels(put)["r1"]


def test_runs_as_of_a_commit_have_the_tags_of_then(put: Bench) -> None:
    seen = []
    for payload in (
        event("r1", "Running", 10, Tags={"team": "a"}),
        update(Tags={"team": "b"}),
        update(id="u2", Tags={"team": None}, Description="why"),
        update("r9", id="u3", Tags={"k": "v"}),
        event("r1", "Completed", 60, Tags={"team": "a", "more": "2"}),
    ):
        put(payload)
        seen.append(labels(put))
    assert seen == [labels(put, seq) for seq in range(1, 6)]
    assert ("Unknown", {"k": "v"}, {}, "") == seen[3]["r9"]


def test_an_update_with_its_run_in_one_commit(put: Bench) -> None:
    commit = put(update(Tags={"team": "b"}), event("r1", "Running", Tags={"team": "a"}))
    assert (2, 1) == (commit.receipts[0].accepted, commit.rows)
    assert ("Running", {"team": "b"}, {}, "") == labels(put)["r1"]


@pytest.mark.parametrize(
    ("payload", "detail"),
    [(update(Tags=["a"]), "Tags is no object"), (update(Description=1), "Description is no text")],
    ids=["tags", "description"],
)
def test_what_cannot_be_read_is_a_dead_letter(put: Bench, payload: bytes, detail: str) -> None:
    (letter,) = put(payload).receipts[0].dead
    assert letter.detail.startswith(detail)


objects = st.dictionaries(st.sampled_from(["a", "b", "c", "ü"]), st.sampled_from(["1", "x", ""]))
patches = st.dictionaries(st.sampled_from(["a", "b", "c", "ü"]), st.sampled_from(["1", "y", None]), min_size=1)


@given(first=objects, patch=patches)
def test_python_and_sql_patch_alike(first: dict[str, str], patch: dict[str, str | None]) -> None:
    """Also in the order of keys: both write the text that is stored."""
    import duckdb

    texts = [json.dumps(o, ensure_ascii=False, separators=(",", ":")) for o in (first, patch)]
    ((merged,),) = duckdb.execute("SELECT json_merge_patch($a, $b)::VARCHAR", {"a": texts[0], "b": texts[1]}).fetchall()
    assert merged == patched(*texts)


def test_a_producers_description_stands_until_somebody_sets_one(put: Bench) -> None:
    """It comes with a status change, canonical or mapped; that event counts once and names nothing unknown."""
    commit = put(event("r1", "Running", 1, Description=" from its **producer** "))
    assert (1, 0, ()) == (commit.receipts[0].accepted, commit.receipts[0].misnamed, commit.receipts[0].unknown)
    assert ("from its **producer**", "Running") == (put.run("r1")["Description"], put.run("r1")["Status"])
    assert 1 == put(event("r1", "Running", 1, Description=" from its **producer** ")).receipts[0].duplicate
    update = {
        "id": "u1",
        "source": "people",
        "type": "tocsin.run.update",
        "data": {"RunId": "r1", "Description": "mine"},
    }
    put(json.dumps(update).encode())
    put(event("r1", "Completed", 2, Description="another of its producer's"))
    assert ("mine", "Completed") == (put.run("r1")["Description"], put.run("r1")["Status"])


@pytest.mark.parametrize("odd", [7, None, "", "  ", {"a": 1}])
def test_a_description_that_is_no_text_is_left_out(put: Bench, odd: object) -> None:
    """One odd field is no reason to lose a status."""
    assert 1 == put(event("r1", "Failed", 1, Description=odd)).receipts[0].accepted
    assert ("", "Failed") == (put.run("r1")["Description"], put.run("r1")["Status"])
