"""Which runs a list shows: filters, search, order. One SELECT over ``Runs``, values as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tocsin.model.columns import RUNS

MOST: Final = 1000
"""Rows of the longest list."""
SORTS: Final = frozenset(c.name for c in RUNS) - {"Tags", "Properties"}
"""Columns by which a list may be sorted."""
_SEARCHED = ("RunId", "DisplayName", "Description", "ExperimentName", "Status", "TriggeringUserName", "OwnerEmail", "CAST(Tags AS VARCHAR)")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsAsked:
    """What is asked of runs; '' and () ask nothing."""

    limit: int = 100
    offset: int = 0
    status: Sequence[str] = ()  # one of these, as of the four below
    experiment: Sequence[str] = ()
    target: Sequence[str] = ()
    workspace: Sequence[str] = ()
    parent: Sequence[str] = ()
    top_only: bool = False  # without runs that another run started
    tags: Sequence[tuple[str, str | None]] = ()  # all of these: (key, value); a value of None: the key is there
    search: str = ""  # in id, name, description, experiment, status, submitter, owner and tags; any case
    since: datetime | None = None  # their status has come at this time or later
    until: datetime | None = None  # their status had come before this time
    sort: str = "LastSeen"  # one of SORTS
    descending: bool = True
    partial: bool = False  # experiment, target and values of tags need only contain what is asked, in any case


def select(asked: RunsAsked) -> tuple[str, Mapping[str, object]]:
    """The SELECT and its parameters. Raises ValueError for a column that nothing is sorted by."""
    if asked.sort not in SORTS:
        raise ValueError(f"'{asked.sort[:40]}' is no column to sort by")
    parameters: dict[str, object] = {"limit": min(asked.limit, MOST), "offset": asked.offset}
    wheres = ["true"]
    like = "contains(lower({0}), lower(${1}))" if asked.partial else "{0} = ${1}"
    exact = {"Status": asked.status, "WorkspaceName": asked.workspace, "ParentRunId": asked.parent}
    for column, values in (exact | {"ExperimentName": asked.experiment, "Target": asked.target}).items():
        names = {f"{column}{n}": value for n, value in enumerate(values) if value}
        form = "{0} = ${1}" if column in exact else like
        if names:
            wheres.append(f"({' OR '.join(form.format(column, name) for name in names)})")
            parameters.update(names)
    if asked.top_only:
        wheres.append("ParentRunId = ''")
    for n, (key, wanted) in enumerate(asked.tags):
        parameters[f"key{n}"] = pointer(key)
        if wanted is None:
            wheres.append(f"json_exists(Tags, $key{n})")
        else:
            parameters[f"value{n}"] = wanted
            wheres.append(like.format(f"json_extract_string(Tags, $key{n})", f"value{n}"))
    for name, sign, at in (("since", ">=", asked.since), ("until", "<", asked.until)):
        if at is not None:
            parameters[name] = at.astimezone(UTC).replace(tzinfo=None)
            wheres.append(f"StatusSince {sign} ${name}")
    if asked.search:
        parameters["search"] = asked.search
        wheres.append(f"contains(lower(concat_ws('\n', {', '.join(_SEARCHED)})), lower($search))")
    order = f'"{asked.sort}" {"DESC" if asked.descending else "ASC"} NULLS LAST'
    where = " AND ".join(wheres)
    return f"SELECT * FROM Runs WHERE {where} ORDER BY {order}, RunId LIMIT $limit OFFSET $offset", parameters


def pointer(key: str) -> str:
    """The JSON pointer to a member called ``key``."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def tag_of(text: str) -> tuple[str, str | None]:
    """``KEY=VALUE`` or ``KEY`` as a pair."""
    key, equals, value = text.partition("=")
    return key, value if equals else None
