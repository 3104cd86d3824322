"""Owners who stand in a table: the first that is known is notified, and `check` says what cannot be looked up."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from tests.unit.notify.conftest import OK, Make, Wire, text_of
from tests.unit.notify.make import intent, oncall
from tocsin.config.yaml.document import load, parse
from tocsin.errors import Problem
from tocsin.notify.channels.base import Outcome, Reply
from tocsin.notify.routing.lookup import AddressTables, Lookup, parse_lookup
from tocsin.notify.routing.oncall_file import Context, OnCallFile, read_files

TABLES = AddressTables(
    {
        "owners": pa.table(
            {
                "ExperimentName": ["churn", "churn", "fraud", None, "empty"],
                "email": ["anna@example.org", "late@example.org", " bela@example.org ", "nobody@example.org", None],
            }
        ),
        "prices": pa.table({"Target": ["gpu-1"], "usd": [2.5]}),
    }
)
OWNER = """
receivers:
  - name: owner
    email: {first_of: ["{{ Tags['tocsin.mail'] }}", owners.csv(ExperimentName), leads@example.org]}
route: {receiver: owner}
"""


@pytest.mark.parametrize(
    ("value", "address"),
    [("churn", "anna@example.org"), ("fraud", "bela@example.org"), ("other", ""), ("empty", ""), (None, ""), ("", "")],
)
def test_the_first_row_of_a_value_counts(value: object, address: str) -> None:
    assert address == TABLES.find(Lookup("owners", "ExperimentName"), value)


@pytest.mark.parametrize("entry", ["owners.csv(ExperimentName)", "team-owners.parquet(Target)"])
def test_what_is_a_look_up(entry: str) -> None:
    found = parse_lookup(entry)
    assert found is not None and entry == f"{found.table}.{'csv' if 'csv' in entry else 'parquet'}({found.column})"


@pytest.mark.parametrize("entry", ["anna@example.org", "owners.csv", "owners.csv()", "owners.txt(A)", "{{ a(b) }}"])
def test_what_is_none(entry: str) -> None:
    assert parse_lookup(entry) is None


@pytest.mark.parametrize(
    ("experiment", "tags", "address"),
    [
        ("churn", {}, "anna@example.org"),
        ("churn", {"tocsin.mail": "me@example.org"}, "me@example.org"),
        ("unknown", {}, "leads@example.org"),
    ],
    ids=["by table", "by tag", "by neither"],
)
def test_an_owner_of_a_table_is_notified(house: Make, experiment: str, tags: dict[str, str], address: str) -> None:
    wire = Wire()
    here = house(wire, oncall=replace(oncall(OWNER), tables=TABLES))
    here.notify(intent(ExperimentName=experiment, Tags=tags))
    here.drain()
    assert [address] == [d.address for d in wire.sent]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("owner.csv(ExperimentName)", "there is no table 'owner'"),
        ("owners.csv(Experiment)", "table 'owners' has no column 'Experiment'"),
        ("prices.csv(Target)", "table 'prices' has no column 'email'"),
    ],
)
def test_a_look_up_that_finds_nothing_ever_is_a_fault(entry: str, says: str) -> None:
    document = load(f"receivers: [{{name: a, email: [{entry}]}}]", "oncall.yaml")
    problems: list[Problem] = []
    read_files([(document, parse(OnCallFile, document))], Context(tables=TABLES), problems)
    assert [says] == [p.message for p in problems]


def test_an_address_that_its_mail_server_refused_is_passed_over_for_a_day(house: Make) -> None:
    """Where all are refused the first is tried all the same: nobody is left out without a notice of it."""
    gone = {"me@example.org"}
    no = Reply(outcome=Outcome.NEVER, text="550 5.1.1 no such user")
    wire = Wire(lambda d: no if d.address in gone else OK)
    here = house(wire, oncall=replace(oncall(OWNER), tables=TABLES))

    def to(run: str) -> list[str]:
        before = len(wire.sent)
        here.notify(intent(run=run, ExperimentName="churn", Tags={"tocsin.mail": "me@example.org"}))
        here.drain()
        return [d.address for d in wire.sent[before:]]

    assert ["me@example.org", "ops@example.org"] == to("r1")
    assert ["anna@example.org"] == to("r2")
    assert "The mail server refused 'me@example.org' of owner." in text_of(wire.sent[-1])
    gone |= {"anna@example.org", "leads@example.org"}
    assert ["anna@example.org", "ops@example.org"] == to("r3")
    assert ["leads@example.org", "ops@example.org"] == to("r4")
    assert ["me@example.org", "ops@example.org"] == to("r5")
    gone.clear()
    here.clock.advance(timedelta(days=1))
    assert ["me@example.org"] == to("r6")
