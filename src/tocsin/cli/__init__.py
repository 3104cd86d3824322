"""The command line: parse, call app, print.

In: arguments of a command; the environment.
Out: data on stdout, everything else on stderr, an exit code: 0 fine, 1 problems found, 2 misuse.
Called by: people, cron and CI; deploy and the tests.
Never: decides anything that the web must decide too, and never imports a store before a command needs it.
Start at: main.py, then common.py and client.py.
"""

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
    gc.set_threshold(100_000)  # until ``app.engine.allocator`` sets them apart
    # Arrow reads it when it is first imported; its own allocator keeps what was freed, see ``app.engine.allocator``.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from tocsin.cli.main import run

    run()
