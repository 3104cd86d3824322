"""docs/tour.md leads to the functions that it names."""

import re

from docs.tour import SOURCE, STOPS

PAGE = SOURCE.parents[1] / "docs" / "tour.md"


def test_each_stop_stands_at_its_line() -> None:
    """At the file and line of a stop stands the `def` of its function."""
    stops = re.findall(r"^## \d+\. (?:\w+\.)?(\w+)\n\n`src/tocsin/([\w/.]+):(\d+)`", PAGE.read_text(), re.M)
    assert len(STOPS) == len(stops) <= 12
    for function, file, line in stops:
        found = (SOURCE / file).read_text().splitlines()[int(line) - 1]
        assert re.search(rf"\bdef {function}\(", found), (
            f"{file}:{line} is {found!r}; `make docs` finds {function} again"
        )
