"""What nobody uses goes: the name of each function, class, method and constant of the engine stands in a second place."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "src" / "tocsin"
USERS = ("src", "bench", "docs", "templates")  # tests do not count
OF_SCRIPTS = {"sdk", "core", "callbacks", "exceptions", "migrations"}  # what others call, by names that they know

# What a library calls, by its name there: kafka, Jinja, SQLAlchemy, uvicorn, jmespath, Airflow.
CALLED_BY_OTHERS = re.compile(
    r"__\w+__|on_partitions_\w+|get_source|process_result_value|capture_signals|visit_\w+|_activeAlerts|TocsinPlugin"
)
DEFINITION = re.compile(
    r"(?P<decorators>(?:^ *(?:@.*|\))\n)*)^(?: {4})?(?:async )?(?:def|class) (?P<name>\w+)|^(?P<constant>\w+)(?:: .*?)? = ",
    re.MULTILINE,
)
KNOWN_TO_NOBODY = {"property", "cached_property", "classmethod", "staticmethod", "abstractmethod", "dataclass", "cache",
                   "lru_cache", "contextmanager", "contextlib.contextmanager"}  # fmt: skip
"""Decorators; any other one makes its function known to somebody."""


def test_everything_is_used_somewhere() -> None:
    words: Counter[str] = Counter()
    made: list[tuple[str, str]] = []
    for path in sorted(p for folder in USERS for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".j2", ".sql")):
        text = path.read_text(encoding="utf-8")
        words.update(re.findall(r"\w+", text))
        if path.suffix == ".py" and path.is_relative_to(ENGINE) and not {*path.parts} & OF_SCRIPTS:
            found = [
                m["name"] or m["constant"]
                for m in DEFINITION.finditer(text)
                if set(re.findall(r"(?:^ *@([\w.]+).*|^ *\))$", m["decorators"] or "", re.M)) <= KNOWN_TO_NOBODY
            ]
            made += [(name, f"{path.relative_to(ROOT)}: {name}") for name in found]
    times = Counter(name for name, _ in made)
    once = [where for name, where in made if words[name] <= times[name] and not CALLED_BY_OTHERS.fullmatch(name)]
    # The API calls `_muteRule` for its operation `muteRule`.
    assert [] == [where for where in once if not ("/web/" in where and words[where.rpartition(": _")[2]])]
