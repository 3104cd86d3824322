"""How many examples a property takes: few in CI, as many times more as TOCSIN_EXAMPLES_TIMES says on a night of its own."""

import os


def examples(few: int) -> int:
    """`few`, or so many times as many."""
    return few * int(os.environ.get("TOCSIN_EXAMPLES_TIMES", "1"))
