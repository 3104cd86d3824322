"""Reference tables: a CSV's columns get the narrowest type that loses nothing; ids stay text."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tocsin.config.project.tables import load_tables
from tocsin.errors import ConfigurationError


def csv(tmp_path: Path, text: str, name: str = "t", encoding: str = "utf-8") -> pa.Table:
    path = tmp_path / f"{name}.csv"
    path.write_text(text, encoding=encoding)
    return load_tables([path])[name]


def faults(*paths: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_tables(paths, lambda p: p.name)
    return [str(p) for p in caught.value.problems]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-20", "0"], "int64", [1, -20, 0]),
        (["1", "", "3"], "int64", [1, None, 3]),
        (["007", "42"], "string", ["007", "42"]),
        (["1e5", "2e5"], "string", ["1e5", "2e5"]),
        (["+1", "2"], "string", ["+1", "2"]),
        (["9223372036854775808"], "string", ["9223372036854775808"]),
        (["1.5", "2"], "double", [1.5, 2.0]),
        (["1.5", "1.50.2"], "string", ["1.5", "1.50.2"]),
        (["00.5", "1.5"], "string", ["00.5", "1.5"]),
        (["true", "False"], "bool", [True, False]),
        (["yes", "no"], "string", ["yes", "no"]),
        (["2026-01-05", "2026-01-06T10:00:00+01:00"], "timestamp[us]", [datetime(2026, 1, 5), datetime(2026, 1, 6, 9)]),
        (["2026-02-31"], "string", ["2026-02-31"]),
        (["a", ""], "string", ["a", ""]),
        (["", ""], "string", ["", ""]),
        (["NaN", "1.5"], "string", ["NaN", "1.5"]),
    ],
)  # fmt: skip
def test_types_lose_nothing(tmp_path: Path, cells: list[str], kind: str, values: list[object]) -> None:
    table = csv(tmp_path, "value,other\n" + "\n".join(f"{c},x" for c in cells))
    assert kind == str(table.schema.field("value").type)
    assert values == table.column("value").to_pylist()


def test_columns_called_like_an_events_have_its_type(tmp_path: Path) -> None:
    """Otherwise `lookup owners on RunId` compares a number with text."""
    table = csv(tmp_path, "RunId,Attempt\n17,1\n18,2\n")
    assert ["string", "int64"] == [str(f.type) for f in table.schema]


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    """A BOM, semicolons, quotes with line breaks, blank lines, spaces around."""
    table = csv(tmp_path, 'name;note\r\n"Ágnes";"a\r\nb; c"\r\n\r\n béla ;x\r\n', encoding="utf-8-sig")
    assert [{"name": "Ágnes", "note": "a\nb; c"}, {"name": "béla", "note": "x"}] == table.to_pylist()


def test_all_faults_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n1\n1,2,3\n")
    twice = tmp_path / "twice.csv"
    twice.write_text("a,A,b-c\n")
    ours = tmp_path / "runs.csv"
    ours.write_text("a\n1\n")
    odd = tmp_path / "odd name.csv"
    odd.write_text("a\n1\n")
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("n\n\xe1gnes\n".encode("latin-1"))
    found = faults(bad, twice, ours, odd, empty, latin)
    assert "bad.csv:3: has 1 fields where the header has 2" in found
    assert "bad.csv:4: has 3 fields where the header has 2" in found
    assert "twice.csv:1: 'b-c' is no name for a column; use letters, digits and _" in found
    assert "twice.csv:1: two columns are called 'a'" in found
    assert "runs.csv: the name 'runs' is that of one of tocsin's own tables; rename the file" in found
    assert any(f.startswith("odd name.csv: 'odd name' is no name for a table") for f in found)
    assert any(f.startswith("empty.csv: is empty") for f in found)
    assert any(f.startswith("latin.csv: cannot be read") and "UTF-8" in f for f in found)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    one, two = tmp_path / "owners.csv", tmp_path / "a" / "Owners.csv"
    for path in (one, two):
        path.write_text("x\n1\n")
    assert ["Owners.csv: the name 'Owners' is that of owners.csv; rename the file"] == faults(one, two)


def test_parquet_comes_in_kqls_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({
            "small": pa.array([1, None], pa.int8()),
            "money": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "when": pa.array([datetime(2026, 1, 5, 1, tzinfo=UTC), None], pa.timestamp("ns", "Europe/Budapest")),
            "day": pa.array([date(2026, 1, 5), None]),
            "word": pa.array(["a", None]).dictionary_encode(),
            "list": pa.array([[1, 2], None], pa.list_(pa.int64())),
        }),
        path,
    )  # fmt: skip
    table = load_tables([path])["t"]
    assert ["int64", "double", "timestamp[us]", "timestamp[us]", "string", "string"] == [
        str(f.type) for f in table.schema
    ]
    first, second = table.to_pylist()
    assert {
        "small": 1,
        "money": 1.5,
        "when": datetime(2026, 1, 5, 1),
        "day": datetime(2026, 1, 5),
        "word": "a",
        "list": "[1, 2]",
    } == first
    assert {"small": None, "money": None, "when": None, "day": None, "word": "", "list": None} == second


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("a,b")
    assert faults(path)[0].startswith("t.parquet: cannot be read")
