"""How many examples a property takes: few in `make test`, TOCSIN_EXAMPLES_TIMES as many in `make fuzz`."""

import os


def examples(few: int) -> int:
    """`few`, or so many times as many."""
    return few * int(os.environ.get("TOCSIN_EXAMPLES_TIMES", "1"))
