"""What a list of runs shows, as its address says: filters, order, columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from tocsin.app.runs.find import MOST, SORTS, RunsAsked, tag_of
from tocsin.model.statuses import STATUS_WORDS
from tocsin.web.asked import moment, whole_number

COLUMNS: Final[Mapping[str, str]] = {
    "DisplayName": "Name", "ExperimentName": "Experiment", "Status": "Status", "Description": "Description", "Tags": "Tags",
    "Message": "Message", "Target": "Target", "WorkspaceName": "Workspace", "TriggeringUserName": "Started by",
    "OwnerEmail": "Owner", "RunType": "Type", "StartTime": "Started", "EndTime": "Ended", "DurationMs": "Duration",
    "StatusSince": "Since", "LastSeen": "Last seen", "Consumer": "From",
}  # fmt: skip
"""Columns that a list may have besides the run, and how they are called."""
USUAL: Final = ("Status", "ExperimentName", "Message", "Tags", "DurationMs", "StatusSince")
PER_PAGE: Final = 100
MOST_CHARTS: Final = 12
_FILTERS = (
    "q",
    "status",
    "experiment",
    "target",
    "tag",
    "workspace",
    "top",
    "since",
    "until",
    "chart",
    "sort",
    "limit",
)
_REPEATED = ("status", "experiment", "target", "tag", "workspace")
"""Filters that may stand more than once: a run has each of the tags, and one of the others' values."""
_TYPED: Final = (*_REPEATED, "since", "until")
"""Filters that may be typed into the search field: ``status:failed tag.team:vision since:7d``."""
_STATUSES: Final = {word.lower(): word for word in STATUS_WORDS}


def typed(query: QueryParams) -> QueryParams:
    """The parameters, those typed as ``name:value`` into the search field standing for themselves."""
    words, found = [], []
    for word in query.get("q", "").split():
        name, colon, value = word.partition(":")
        if name.startswith("tag.") and colon:
            found.append(("tag", f"{name[4:]}={value}"))
        elif name in _TYPED and value:
            found.append((name, _STATUSES.get(value.lower(), value) if name == "status" else value))
        else:
            words.append(word)
    if not found:
        return query
    rest = [(name, value) for name, value in query.multi_items() if name not in ("q", "page") and value]
    return QueryParams([*rest, ("q", " ".join(words)), *found])


def _several(query: QueryParams, name: str) -> list[str]:
    """The values of a parameter, each once; of one that may stand once only the last."""
    values = list(dict.fromkeys(value for value in query.getlist(name) if value))
    return values if name in _REPEATED else values[-1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAsked:
    """The parameters of a list's address."""

    given: Mapping[str, str]  # of parameters that may stand twice the first
    more: Sequence[tuple[str, str]]  # the others of these, each by its parameter
    columns: tuple[str, ...]
    page: int
    now: datetime

    @classmethod
    def of(cls, query: QueryParams, now: datetime) -> ListAsked:
        """Raises HTTPException for what is no column or no number."""
        query = typed(query)
        columns = tuple(dict.fromkeys(query.getlist("column"))) or USUAL
        for name in columns:
            if name not in COLUMNS:
                raise HTTPException(400, f"column: '{name[:40]}' is none of {', '.join(COLUMNS)}")
        return cls(
            given={name: values[0] for name in _FILTERS if (values := _several(query, name))},
            more=[(name, value) for name in _REPEATED for value in _several(query, name)[1:]],
            columns=columns,
            page=whole_number(query, "page", 1, 1, 10_000),
            now=now,
        )

    @property
    def limit(self) -> int:
        """Rows of a page."""
        return whole_number(self.given, "limit", PER_PAGE, 1, MOST)

    @property
    def charts(self) -> tuple[str, ...]:
        """Names of metrics of which a plot of the listed runs is shown."""
        names = (name.strip() for name in self.given.get("chart", "").split(","))
        return tuple(dict.fromkeys(name for name in names if name))[:MOST_CHARTS]

    @property
    def sort(self) -> tuple[str, bool]:
        """By which column, and whether the greatest comes first."""
        given = self.given.get("sort", "-LastSeen")
        return given.removeprefix("-"), given.startswith("-")

    @property
    def asked(self) -> RunsAsked:
        """One row more than the page shows, to know whether there are more. Raises HTTPException."""
        column, descending = self.sort
        if column not in SORTS:
            raise HTTPException(400, f"sort: '{column[:40]}' is no column to sort by")
        every = {name: [v for n, v in (*self.given.items(), *self.more) if n == name] for name in _REPEATED}
        return RunsAsked(
            limit=min(self.limit + 1, MOST), offset=(self.page - 1) * self.limit, status=every["status"],
            experiment=every["experiment"], target=every["target"], workspace=every["workspace"],
            top_only=bool(self.given.get("top")), tags=[tag_of(tag) for tag in every["tag"]],
            search=self.given.get("q", ""), since=self._time("since"), until=self._time("until"), sort=column, descending=descending, partial=True,
        )  # fmt: skip

    def _time(self, name: str) -> datetime | None:
        return moment(name, self.given[name], self.now) if name in self.given else None

    def without(self, taken: tuple[str, str]) -> str:
        """The address without one of ``more``."""
        return replace(self, more=[each for each in self.more if each != taken]).address(page="")

    def address(self, **changes: str) -> str:
        """The list's address with other parameters; '' takes one away."""
        given = {**self.given, **({"page": str(self.page)} if self.page > 1 else {}), **changes}
        pairs = [(name, value) for name, value in given.items() if value] + list(self.more)
        if self.columns != USUAL:
            pairs += [("column", name) for name in self.columns]
        return "/runs" + (f"?{urlencode(pairs)}" if pairs else "")

    def sorted_by(self, column: str) -> str:
        """The address that sorts by ``column``, the other way round where it does already."""
        now, descending = self.sort
        return self.address(sort=column if now == column and descending else f"-{column}", page="")

    def arrow(self, column: str) -> str:
        """How the list is sorted by ``column``, as ``aria-sort`` says it."""
        now, descending = self.sort
        return ("descending" if descending else "ascending") if now == column else "none"
