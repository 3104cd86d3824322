"""How many examples a property takes: few in `make test`, TOCSIN_EXAMPLES_TIMES as many in `make fuzz`."""

import os

_TIMES = float(os.environ.get("TOCSIN_EXAMPLES_TIMES", "0.2"))  # a fifth in `make test`, which draws the same each time


def examples(few: int) -> int:
    """`few`, or so many times as many."""
    return max(2, round(few * _TIMES))
