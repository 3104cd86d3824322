"""The command line; it calls app."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Entry point: 0 fine, 1 problems found, 2 misuse; `exec` ends as its command does."""
    if sys.argv[1:2] == ["exec"]:
        from tocsin.cli.runs.quick import execute

        code = execute(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    # Modules and rules are a million objects that stay. To look through them as they come is a twelfth of a start.
    gc.set_threshold(100_000)  # until ``app.run.collector`` sets them apart
    # Arrow reads it when it is first imported; its own allocator keeps what was freed, see ``app.allocator``.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from tocsin.cli.main import run

    run()
