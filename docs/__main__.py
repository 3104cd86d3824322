"""Writes the pages and dashboards that are made from code: `make docs`. With --check it only says which are stale, and ends with 1."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deploy.grafana.boards import BOARDS
from deploy.grafana.draw import DASHBOARDS, document
from tocsin.cli.reference import cli_reference
from tocsin.config.reference import settings_reference
from tocsin.metrics.reference import metrics_reference
from tocsin.model.reference import events_reference

HERE = Path(__file__).parent
PAGES: dict[Path, Callable[[], str]] = {
    HERE / "cli.md": cli_reference,
    HERE / "events.md": events_reference,
    HERE / "metrics.md": metrics_reference,
    HERE / "settings.md": settings_reference,
    **{DASHBOARDS / f"{board.uid}.json": partial(document, board) for board in BOARDS},
}


def main() -> int:
    stale = [page for page, make in PAGES.items() if not page.exists() or page.read_text() != make()]
    for page in stale:
        print(("stale: " if "--check" in sys.argv else "written: ") + str(page.relative_to(HERE.parent)))
        if "--check" not in sys.argv:
            page.write_text(PAGES[page]())
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
