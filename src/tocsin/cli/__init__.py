"""The command line; it calls app."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point: 0 fine, 1 problems found, 2 misuse; `exec` ends as its command does."""
    if sys.argv[1:2] == ["exec"]:
        from tocsin.cli.runs.quick import execute

        code = execute(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    # Arrow reads it when it is first imported; its own allocator keeps what was freed, see ``app.allocator``.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from tocsin.cli.main import run

    run()
