"""The command line; it calls app."""

from __future__ import annotations

import os


def main() -> None:
    """Entry point: 0 fine, 1 problems found, 2 misuse."""
    # Arrow reads it when it is first imported; its own allocator keeps what was freed, see ``app.allocator``.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from tocsin.cli.main import run

    run()
