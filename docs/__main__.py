"""Writes the pages that are made from code: `make docs`. With --check it only says which are stale, and ends with 1."""

import sys
from collections.abc import Callable
from pathlib import Path

from tocsin.cli.reference import cli_reference
from tocsin.config.reference import settings_reference
from tocsin.metrics.reference import metrics_reference

HERE = Path(__file__).parent
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_reference,
    "metrics.md": metrics_reference,
    "settings.md": settings_reference,
}


def main() -> int:
    stale = [name for name, make in PAGES.items() if not (HERE / name).exists() or (HERE / name).read_text() != make()]
    for name in stale:
        print(("stale: " if "--check" in sys.argv else "written: ") + f"docs/{name}")
        if "--check" not in sys.argv:
            (HERE / name).write_text(PAGES[name]())
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
