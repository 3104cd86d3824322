"""Reference tables of a user: tables/*.csv and *.parquet as Arrow tables of KQL's types.

A CSV says nothing of types, so each column is read as the narrowest type that loses nothing: ``007`` and ``1e5`` stay
text. A column called like one of ``RunStatusChanged`` (RunId, OwnerEmail, …) has its type, so that a lookup on it can
match.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from tocsin.errors import ConfigurationError, Problem
from tocsin.model.columns import RUN_STATUS_CHANGED, TABLES, KqlType

MAX_ROWS = 1_000_000
_NAME = re.compile(r"[A-Za-z_]\w*")
_INT = re.compile(r"-?(0|[1-9]\d{0,18})")
_REAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d:?\d\d)?)?")
_OURS = {c.name: c.type for c in RUN_STATUS_CHANGED if c.type is KqlType.STRING}
TIMESTAMP = pa.timestamp("us")


def load_tables(files: Sequence[Path], shown: Callable[[Path], str] = str) -> dict[str, pa.Table]:
    """The tables of ``files`` by name (the file's stem). Raises ContentError with the faults of all of them."""
    tables: dict[str, pa.Table] = {}
    problems: list[Problem] = []
    taken = {name.lower(): "one of tocsin's own tables" for name in TABLES}
    for path in files:
        name, where = path.stem, shown(path)
        if not _NAME.fullmatch(name):
            problems.append(Problem(
                file=where, message=f"'{name}' is no name for a table", hint="use letters, digits and _"
            ))  # fmt: skip
            continue
        if (other := taken.get(name.lower())) is not None:
            problems.append(
                Problem(file=where, message=f"the name '{name}' is that of {other}", hint="rename the file")
            )
            continue
        taken[name.lower()] = where
        try:
            tables[name] = load_csv(path, where) if path.suffix == ".csv" else load_parquet(path, where)
        except ConfigurationError as e:
            problems += e.problems
    if problems:
        raise ConfigurationError(problems)
    return tables


def load_csv(path: Path, where: str) -> pa.Table:
    """A CSV file with a header: UTF-8, comma, semicolon or tab. Raises ContentError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationError([Problem(file=where, message=f"cannot be read: {e}", hint="save it as UTF-8")]) from e
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    problems: list[Problem] = []
    columns: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        problems += _header(header, where)
        columns = [[] for _ in header]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                problems.append(Problem(
                    file=where, line=reader.line_num, message=f"has {len(row)} fields where the header has {len(header)}"
                ))  # fmt: skip
                if len(problems) >= 20:
                    break
                continue
            for column, cell in zip(columns, row, strict=True):
                column.append(cell.strip())
            if len(columns[0]) > MAX_ROWS:
                problems.append(Problem(file=where, message=f"has more than {MAX_ROWS} rows"))
                break
    except csv.Error as e:
        problems.append(Problem(file=where, line=reader.line_num, message=f"is no CSV: {e}"))
    if problems:
        raise ConfigurationError(problems)
    return pa.table([_typed(name, cells) for name, cells in zip(header, columns, strict=True)], names=header)


def _header(header: list[str], where: str) -> list[Problem]:
    if not header:
        return [Problem(file=where, message="is empty", hint="the first line names the columns")]
    problems = []
    for name in header:
        if not _NAME.fullmatch(name):
            problems.append(Problem(
                file=where, line=1, message=f"'{name}' is no name for a column", hint="use letters, digits and _"
            ))  # fmt: skip
    lowered = [name.lower() for name in header]
    for name in sorted({n for n in lowered if lowered.count(n) > 1}):
        problems.append(Problem(file=where, line=1, message=f"two columns are called '{name}'"))
    return problems


def _typed(name: str, cells: list[str]) -> pa.Array:
    filled = [c for c in cells if c]
    if name in _OURS or not filled:
        return pa.array(cells, pa.string())
    if all(_INT.fullmatch(c) for c in filled) and all(-(2**63) <= int(c) < 2**63 for c in filled):
        return pa.array([int(c) if c else None for c in cells], pa.int64())
    if all(_REAL.fullmatch(c) for c in filled) and any("." in c for c in filled):
        return pa.array([float(c) if c else None for c in cells], pa.float64())
    if all(c.lower() in ("true", "false") for c in filled):
        return pa.array([c.lower() == "true" if c else None for c in cells], pa.bool_())
    if all(_TIME.fullmatch(c) for c in filled):
        try:
            return pa.array([_time(c) if c else None for c in cells], TIMESTAMP)
        except ValueError:
            pass  # 2026-02-31: text after all
    return pa.array(cells, pa.string())


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def load_parquet(path: Path, where: str) -> pa.Table:
    """A Parquet file, its columns brought to KQL's types. Raises ContentError."""
    from pyarrow.parquet import ParquetFile  # takes 7 MiB, for those who have such a table

    try:
        with ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise ConfigurationError([Problem(file=where, message=f"has more than {MAX_ROWS} rows")])
            table = file.read()
    except (OSError, pa.ArrowException) as e:
        raise ConfigurationError([Problem(file=where, message=f"cannot be read: {str(e).splitlines()[0]}")]) from e
    problems = _header(list(table.column_names), where)
    if problems:
        raise ConfigurationError(problems)
    try:
        return pa.table([_kql(table.column(i)) for i in range(table.num_columns)], names=table.column_names)
    except pa.ArrowException as e:
        raise ConfigurationError([Problem(file=where, message=f"holds what KQL cannot: {e}")]) from e


def _kql(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_timestamp(kind):
        naive = column.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        return naive.cast(pa.timestamp("us", "UTC")).cast(TIMESTAMP) if kind.tz else naive
    if pa.types.is_date(kind):
        return column.cast(TIMESTAMP)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string()).fill_null("")
    texts = [None if v is None else json.dumps(v, default=_json, ensure_ascii=False) for v in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)
